"""A loaded model is identical to the saved one: graph, names, values, state, and further training."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from tests.io.graphs import FAMILIES, QUIET, Scaled, classes, feed, finish, image, layers, shared


def reload(model, path):
    model.save(path)
    return nm.modelload(path)


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


@pytest.fixture(params=FAMILIES, ids=lambda f: f.__name__)
def pair(request, fresh_model, tmp_path):
    """A model after two training steps, and its copy from a file."""
    request.param()
    model, optimiser = fresh_model, "Adam" if request.param is classes else "SGD"
    model.lr, model.mom, model.wd = 0.01, 0.8, 0.001
    arrays = feed(model.loss_node)
    for _ in range(2):
        model.trainingstep(*arrays, optimiser=optimiser)
    model.history = {"loss": np.arange(3.0), "step": np.arange(3)}
    return model, reload(model, tmp_path / "model.h5"), optimiser


def test_everything_is_restored(pair):
    model, copy, optimiser = pair
    assert list(copy.nodes) == list(model.nodes)
    assert copy.designations == model.designations
    assert copy.splits == model.splits
    for name, node in model.nodes.items():
        twin = copy[name]
        assert type(twin) is type(node)
        assert twin.shape == node.shape and [p.name for p in twin.parents] == [p.name for p in node.parents]
        assert list(twin.params) == list(node.params)
        assert twin.feature_names == node.feature_names
        for key, param in node.params.items():
            other = twin.params[key]
            assert same(other.get_value(), param.get_value()), (name, key)
            assert (other.constant, other.apply_train, other.apply_reg) == (
                param.constant, param.apply_train, param.apply_reg,
            )  # fmt: skip
    assert list(copy.loss_node.all_trainable_params) == list(model.loss_node.all_trainable_params)
    assert {key: float(p.get_value()) for key, p in copy.meta.params.items()} == {
        key: float(p.get_value()) for key, p in model.meta.params.items()
    }
    assert copy.meta.given == model.meta.given == {"lr", "mom", "wd"}
    assert copy.loss_smooth == model.loss_smooth and copy.time_per_step == model.time_per_step
    assert {k: v.tolist() for k, v in copy.history.items()} == {"loss": [0, 1, 2], "step": [0, 1, 2]}
    assert not copy.optimisers, "optimisers are built when they are first used"

    # The same prediction, and training continues bit for bit.
    data = feed(model.prediction_node)
    if model.nodes.get("state") is None:
        assert same(model.predict(*data), copy.predict(*data))
    arrays = feed(model.loss_node, 1)
    for _ in range(2):
        assert copy.trainingstep(*arrays, optimiser=optimiser)[0] == model.trainingstep(*arrays, optimiser=optimiser)[0]
    for a, b in zip(model.get_param_values(as_list=True), copy.get_param_values(as_list=True), strict=True):
        assert same(a, b)


def test_saving_again_gives_the_same_file(fresh_model, tmp_path):
    layers()
    copy = reload(fresh_model, tmp_path / "a.h5")
    nm.model_manager.delmodel(fresh_model.name)
    copy.name = fresh_model.name
    copy.save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_state_of_unused_optimisers_is_kept(fresh_model, tmp_path):
    layers()
    fresh_model.trainingstep(*feed(fresh_model.loss_node), optimiser="AdaGrad")
    copy = reload(reload(fresh_model, tmp_path / "a.h5"), tmp_path / "b.h5")
    expected = fresh_model.optimisers["AdaGrad"].get_state()
    actual = copy.optimiser("AdaGrad").get_state()
    assert all(same(actual[key], expected[key]) for key in expected)


def test_shared_parameters_are_shared(fresh_model, tmp_path):
    shared()
    copy = reload(fresh_model, tmp_path / "a.h5")
    assert copy["two"].w is copy["one"].w and not copy["two"].params
    copy["one"].w.set_value(copy["one"].w.get_value() * 0)
    assert not copy["two"](*feed(copy["two"])).any() or copy["one"].b.get_value().any()


def test_a_variable_of_no_node_stays_one_for_all(fresh_model, tmp_path):
    inp = image()
    w = nm.VariableWeight(value=np.ones((2, 2, 1, 1)), name="w", apply_train=False)
    nm.Conv(nm.Conv(inp, 2, (1, 1), w=w, name="a", **QUIET), 2, (1, 1), w=w, name="b", **QUIET)
    copy = reload(fresh_model, tmp_path / "a.h5")
    assert copy["a"].w is copy["b"].w and copy["a"].w.apply_train is False
    assert same(copy["a"].w.get_value(), w.get_value())


def test_names_and_flags_changed_later_are_kept(fresh_model, tmp_path):
    layers()
    conv = fresh_model["conv"]
    conv.feature_names = ["one", "two", "three"]
    conv.w.apply_train, conv.w.apply_reg = False, 0.5
    copy = reload(fresh_model, tmp_path / "a.h5")
    assert copy["conv"].feature_names == ("one", "two", "three")
    assert (copy["conv"].w.apply_train, copy["conv"].w.apply_reg) == (False, 0.5)


def test_odd_names(fresh_model, tmp_path):
    inp = nm.Input((1, 2), "b,f", name="raw/data", **QUIET)
    nm.Perceptron(inp, 2, name="..", **QUIET)
    nm.Perceptron(inp, 2, name=".", **QUIET)
    nm.Perceptron(inp, 2, name="größe %2E\x00", **QUIET)
    Scaled(inp)
    copy = reload(fresh_model, tmp_path / "a.h5")
    assert list(copy.nodes) == list(fresh_model.nodes)


def test_class_weights_changed_later_are_kept(fresh_model, tmp_path):
    classes()
    fresh_model["nll"].class_weights.set_value(np.array([3, 2, 1], "float32"))
    copy = reload(fresh_model, tmp_path / "a.h5")
    assert copy["nll"].class_weights.get_value().tolist() == [3, 2, 1]


def test_another_precision(fresh_model, tmp_path):
    nm.config.floatX = "float64"
    layers()
    fresh_model.save(tmp_path / "a.h5")
    expected = fresh_model.predict(*feed(fresh_model.prediction_node))
    nm.config.floatX = "float32"
    copy = nm.modelload(tmp_path / "a.h5")
    actual = copy.predict(*feed(fresh_model.prediction_node))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_nan_is_kept(fresh_model, tmp_path):
    layers()
    fresh_model["conv"].b.set_value(np.full_like(fresh_model["conv"].b.get_value(), np.nan))
    assert np.isnan(reload(fresh_model, tmp_path / "a.h5")["conv"].b.get_value()).all()


def test_the_generator_is_left_alone(fresh_model, tmp_path):
    layers()
    fresh_model.save(tmp_path / "a.h5")
    nm.seed(5)
    expected = nm.initweights((2, 2))
    nm.seed(5)
    nm.modelload(tmp_path / "a.h5")
    assert same(nm.initweights((2, 2)), expected)


def test_the_loaded_model_is_current_and_named(fresh_model, tmp_path):
    layers()
    fresh_model.save(tmp_path / "a.h5")
    model = nm.modelload(tmp_path / "a.h5", name="loaded")
    assert nm.model_manager.current is model and model.name == "loaded"
    with pytest.raises(nm.errors.ArgumentError, match="exists"):
        nm.modelload(tmp_path / "a.h5", name="loaded")
    nm.model_manager.delmodel("loaded")


def test_what_no_file_can_hold(fresh_model, tmp_path):
    inp = image()
    node = nm.ApplyFunc(inp, lambda x: x, name="nameless")
    path = tmp_path / "a.h5"
    with pytest.raises(nm.errors.ArgumentError, match=r"nameless.*stored by name"):
        fresh_model.save(path)
    fresh_model.forget(node.name)
    nm.FromTensor(inp.output * 2, inp.shape, inp, name="tensor")
    with pytest.raises(nm.errors.ArgumentError, match=r"tensor.*cannot be stored"):
        fresh_model.save(path)
    assert not list(tmp_path.iterdir())


def test_parameters_of_a_file(fresh_model, tmp_path):
    layers()
    fresh_model.save(tmp_path / "a.h5")
    expected = fresh_model.get_param_values()
    actual = nm.params_from_model_file(tmp_path / "a.h5")
    assert {n: list(p) for n, p in actual.items()} == {n: list(p) for n, p in expected.items()}
    other = nm.model_manager.newmodel(None)
    layers()
    assert not same(other["conv"].w.get_value(), expected["conv"]["w"])
    other.set_param_values(tmp_path / "a.h5")
    assert same(other["conv"].w.get_value(), expected["conv"]["w"])
    nm.model_manager.newmodel(None)
    finish(nm.Perceptron(image(), 2, name="other", **QUIET))
    with pytest.raises(nm.errors.UnknownNameError):
        nm.model_manager.current.set_param_values(str(tmp_path / "a.h5"))
