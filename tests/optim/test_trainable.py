"""Training of a graph: steps, smoothed losses, debug outputs, gradients, statistics, shared parameters, threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, ShapeError, UnknownNameError
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.optim.trainable import SMOOTHED_STEPS, TIMED_STEPS
from tests.train.nets import line, points

X, Y = (a[:4] for a in points(4))


def weights(model):
    return np.concatenate([v.ravel() for v in model.get_param_values(as_list=True)])


def test_a_step_follows_the_gradient():
    model = line()
    model.set_opt_meta_params("SGD", {"lr": 0.25, "mom": 0})
    before, gradient = model["y"].get_param_values(), model.gradients(X, Y)
    loss = model.loss(X, Y)
    got, seconds, debug = model.trainingstep(X, Y)
    assert got == pytest.approx(loss, rel=1e-6) and seconds >= 0 and debug is None
    after = model["y"].get_param_values()
    for name, g in zip(model.loss_node.all_trainable_params, gradient, strict=True):
        key = name.removeprefix("y_")
        np.testing.assert_allclose(after[key], before[key] - 0.25 * g, rtol=1e-5)


@pytest.mark.parametrize("optimiser", list(OPTIMISERS))
def test_the_loss_after_the_update_is_returned_on_request(optimiser):
    model = line()
    model.lr = 0.01
    after = model.trainingstep(X, Y, optimiser=optimiser, update_loss=True)[0]
    assert after == pytest.approx(model.loss(X, Y), rel=1e-6)
    assert model.loss_smooth == after


def test_smoothing_and_timing_forget_old_steps():
    model = line()
    model.lr = 1e-4
    losses = [model.trainingstep(X, Y)[0] for _ in range(SMOOTHED_STEPS + 20)]
    assert model.loss_smooth == pytest.approx(np.mean(losses[-SMOOTHED_STEPS:]), rel=1e-9)
    assert (SMOOTHED_STEPS, TIMED_STEPS) == (200, 50)


def test_debug_outputs_are_those_before_the_update():
    model = line()
    model.designate_nodes("x", "t", "loss", "y", debug_outputs=["y", "loss"])
    want = model["y"](X)
    loss, _, (seen, again) = model.trainingstep(X, Y)
    np.testing.assert_allclose(seen, want, rtol=1e-6)
    assert again == pytest.approx(loss, rel=1e-6)


def test_losses_that_are_not_finite_are_dropped_on_repair():
    model = line()
    model.lr = 0.01
    first = model.trainingstep(X, Y)[0]
    kept = weights(model)
    model.trainingstep(X * np.nan, Y)
    assert np.isnan(model.loss_smooth) and np.isnan(model["y"].w.get_value()).all()
    model.repair("SGD")
    assert model.loss_smooth == first and np.isfinite(weights(model)).all() and np.isfinite(kept).all()
    assert np.isfinite(model.trainingstep(X, Y)[0])


def test_repair_needs_a_step_of_that_optimiser():
    model = line()
    model.trainingstep(X, Y)
    with pytest.raises(ArgumentError, match="Adam"):
        model.repair("Adam")


def test_a_shared_parameter_is_updated_once_with_the_sum_of_its_gradients():
    model = nm.model_manager.newmodel(None)
    x = nm.Input((4, 1), "b,f", name="x", print_repr=False)
    first = nm.Perceptron(x, 1, "lin", name="first", print_repr=False)
    second = nm.Perceptron(first, 1, "lin", w=first.w, b=first.b, name="second", print_repr=False)
    t = nm.Input_like(second, name="t", print_repr=False)
    nm.AggregateLoss(nm.SquaredLoss(second, t, print_repr=False), name="loss", print_repr=False)
    model.designate_nodes("x", t, "loss", second)
    first.set_param_values({"w": [[0.5]], "b": [0.25]})
    model.set_opt_meta_params("SGD", {"lr": 0.1, "mom": 0})
    w, b = 0.5, 0.25
    step, ends = 1e-3, []
    for dw, db in ((step, 0), (-step, 0), (0, step), (0, -step)):
        first.set_param_values({"w": [[w + dw]], "b": [b + db]})
        ends.append(model.loss(X, Y))
    first.set_param_values({"w": [[w]], "b": [b]})
    model.trainingstep(X, Y)
    got = [v.item() for v in (first.w.get_value(), first.b.get_value())]
    slopes = [(ends[0] - ends[1]) / (2 * step), (ends[2] - ends[3]) / (2 * step)]
    np.testing.assert_allclose(got, [w - 0.1 * slopes[0], b - 0.1 * slopes[1]], rtol=1e-2)


def test_new_roles_begin_anew():
    model = line()
    model.trainingstep(X, Y, optimiser="Adam")
    model.designate_nodes("x", "t", "loss", "y")
    assert (model.optimisers, model.loss_smooth, model.time_per_step) == ({}, 0, 0)


def test_optimisers_keep_their_moments_apart_and_share_the_learning_rate():
    model = line()
    model.lr = 0.5
    for name in ("Adam", "SGD"):
        model.trainingstep(X, Y, optimiser=name)
    assert set(model.optimisers) == {"Adam", "SGD"}
    assert "steps" in model.optimisers["Adam"].get_state() and "steps" not in model.optimisers["SGD"].get_state()
    model.optimisers["SGD"].setlr(0.25)
    assert model.lr == 0.25 and "lr=0.25" in repr(model.optimisers["Adam"])


@pytest.mark.parametrize("key", ["lr", "mom", "wd", "clip_value", "clip_norm"])
def test_meta_parameters_are_attributes_too(key):
    model = line()
    setattr(model, key, 0.5)
    assert getattr(model, key) == model.meta[key] == 0.5
    with pytest.raises(ArgumentError, match=f"{key} cannot have this value; got -1"):
        setattr(model, key, -1)
    assert getattr(model, key) == 0.5


@pytest.mark.parametrize("call", ["loss", "trainingstep", "gradients", "activations", "gradstats", "actstats"])
def test_wrong_arrays_are_refused_before_anything_happens(call):
    model, before = line(), None
    before = weights(model)
    with pytest.raises(ShapeError, match="x"):
        getattr(model, call)(X[:, :0], Y)
    with pytest.raises(nm.errors.NeuromancerError):
        getattr(model, call)(X)
    np.testing.assert_array_equal(weights(model), before)
    assert model.loss_smooth == 0


def test_unknown_optimisers_are_refused_with_the_nearest():
    model = line()
    for call in (
        lambda: model.trainingstep(X, Y, optimiser="adam"),
        lambda: model.repair("adam"),
        lambda: model.optimiser("adam"),
        lambda: model.set_opt_meta_params("adam", {"lr": 1}),
    ):
        with pytest.raises(UnknownNameError, match=r"got adam; expected .*'Adam'"):
            call()


def test_statistics_are_those_of_numpy():
    model = line()
    rows = model.gradstats(X, Y).data
    for (name, row), g in zip(rows.items(), model.gradients(X, Y), strict=True):
        assert row["shape"] == g.shape and row["mean"] == pytest.approx(g.mean(), rel=1e-5), name
    acts = model.actstats(X, Y).data
    assert next(iter(acts)) == "y" and list(acts)[-1] == "loss"
    assert acts["y"]["std"] == pytest.approx(model["y"](X).std(), rel=1e-4)
    assert acts["loss"]["shape"] == () and acts["loss"]["std"] == 0
    assert acts["loss"]["mean"] == acts["loss"]["median_abs"] == pytest.approx(model.loss(X, Y), rel=1e-6)
    params = model.paramstats().data
    assert params["y_w"]["median_abs"] == pytest.approx(abs(model["y"].w.get_value().item()))


def test_statistics_of_a_model_without_a_loss_are_those_of_the_prediction():
    model = line()
    model.designate_nodes("x", prediction_node="y")
    assert set(model.paramstats().data) == {"y_w", "y_b"}
    with pytest.raises(GraphError, match="loss"):
        model.gradstats(X, Y)


def test_threads_take_turns():
    """Steps of several threads are as many steps one after the other: plain gradient descent on one batch."""
    model, twin, errors = line("a"), line("b"), []
    for m in (model, twin):
        m.set_opt_meta_params("SGD", {"lr": 0.01, "mom": 0.5})

    def train():
        try:
            for _ in range(10):
                model.trainingstep(X, Y)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(40):
        twin.trainingstep(X, Y)
    assert errors == [] and model.loss_smooth == pytest.approx(twin.loss_smooth, rel=1e-9)
    np.testing.assert_array_equal(weights(model), weights(twin))
