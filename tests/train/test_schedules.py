"""Schedules: their curves, what they can be bound to, resuming, errors."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, UnknownNameError
from neuromancer.train.schedules import make_schedules

STEPS = np.array([0, 1, 7, 49, 50, 99, 100, 250])


def curve(schedule, start=None):
    return [schedule.value(int(n), start) for n in STEPS]


@pytest.mark.parametrize("start", [0.3, np.array([0.3, 2.0])])
def test_curves(start):
    n = STEPS.reshape(-1, *[1] * np.ndim(start))
    np.testing.assert_allclose(curve(nm.DecaySchedule(0.9, 50, start)), start * 0.9 ** (n // 50))
    done = np.minimum(n / 100, 1)
    np.testing.assert_allclose(curve(nm.LinearSchedule(100, 0.1, start=start)), start + (0.1 - start) * done)
    pieces = np.minimum(n // 7 * 7 / 100, 1)
    np.testing.assert_allclose(curve(nm.LinearSchedule(100, every=7), start), start * (1 - pieces))
    half = 0.1 + (start - 0.1) * (1 + np.cos(np.pi * done)) / 2
    np.testing.assert_allclose(curve(nm.CosineSchedule(100, 0.1), start), half)
    again = start * (1 + np.cos(np.pi * (n % 100) / 100)) / 2
    np.testing.assert_allclose(curve(nm.CosineSchedule(100, restart=True), start), again)
    warm = nm.WarmUpSchedule(50, nm.DecaySchedule(0.5, every=100), 0.2)
    want = start * np.where(n < 50, 0.2 + 0.8 * n / 50, 0.5 ** (np.maximum(n - 50, 0) // 100))
    np.testing.assert_allclose(curve(warm, start), want)
    np.testing.assert_allclose(curve(nm.WarmUpSchedule(50), start), start * np.minimum(n / 50, 1))
    updates = nm.StepSchedule([(1, 5), (50, 6), (100, 7)], start=4)
    assert curve(updates) == [4, 5, 5, 5, 6, 6, 7, 7]


def build():
    """A model with everything that can be scheduled."""
    model = nm.model_manager.newmodel(None)
    x = nm.Input((4, 3), "b,f", name="x", print_repr=False)
    hidden = nm.Perceptron(x, 5, name="hidden", dropout_rate=0.5, print_repr=False)
    y = nm.Perceptron(hidden, 2, "lin", name="y", dropout_rate=0.25, print_repr=False)
    t = nm.Input_like(y, name="t", print_repr=False)
    losses = [nm.SquaredLoss(y, t, margin=0.5, name="se", print_repr=False), nm.AbsLoss(y, t, print_repr=False)]
    nm.AggregateLoss(losses, name="loss", print_repr=False)
    model.designate_nodes("x", "t", "loss", "y")
    return model


def test_targets():
    model = build()
    half = nm.DecaySchedule(0.5, every=1)
    for key in ("lr", "mom", "wd", "beta2", "clip_norm"):
        model.meta.set({key: 0.5})
        assert half.bind(model, key).apply(2) == model.meta[key] == 0.125
    half.bind(model, "dropout_rates").apply(1)
    np.testing.assert_allclose(model.dropout_rates, [0.25, 0.125])
    half.bind(model, "mixing", start=[4.0, 2.0]).apply(1)
    np.testing.assert_allclose(model.mixing, [2, 1])
    assert half.bind(model, "se_margin").apply(1) == 0.25
    assert model["se"].params["margin"].get_value() == 0.25
    half.bind(model, "loss_mixing_weights").apply(1)
    np.testing.assert_allclose(model.mixing, [1, 0.5])
    model.temperature = 8.0
    half.bind(model, "temperature").apply(3)
    assert model.temperature == 1.0


def test_training_with_schedules_needs_one_compilation_and_resumes():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(6, 4, 3)).astype("float32"), rng.normal(size=(6, 4, 2)).astype("float32")
    results = []
    for parts in ([range(6)], [range(3), range(3, 6)]):
        nm.seed(3)
        model = build()
        model.dropout_rates = 0
        model.lr, start = 0.1, None
        for steps in parts:  # bound again for every part, as in a new process, with the stored start
            schedule = nm.WarmUpSchedule(2, nm.CosineSchedule(4)).bind(model, "lr", start)
            start = schedule.start
            for n in steps:
                schedule.apply(n)
                model.trainingstep(data[0][n], data[1][n], optimiser="AdamW")
        results.append(model.get_param_values(as_list=True))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_short_forms():
    model = build()
    model.lr = 0.4
    spec = {"lr": {"dec": 0.5}, "mom": {"updates": [(10, 0.5)]}, "wd": {"lindec": [2000, 0.1]}}
    bound = make_schedules(model, {**spec, "dropout_rates": nm.StepSchedule([(5, 0)])})
    for schedule in bound:
        schedule.apply(1500)
    assert (model.lr, model.mom, model.wd) == (pytest.approx(0.2), 0.5, pytest.approx(0.05))
    assert model.dropout_rates == [0, 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: nm.DecaySchedule(0.0), ArgumentError, "'DecaySchedule': factor must be a number above 0"),
        (lambda m: nm.DecaySchedule(0.5, 0), ArgumentError, "every must be a number of steps"),
        (lambda m: nm.LinearSchedule(2.5), ArgumentError, "n_steps must be a number of steps"),
        (lambda m: nm.LinearSchedule(5, np.nan), ArgumentError, "end must be finite"),
        (lambda m: nm.CosineSchedule(5, start="fast"), ArgumentError, "start must be finite"),
        (lambda m: nm.CosineSchedule(5).value(3), ArgumentError, "must be bound to a model"),
        (lambda m: nm.CosineSchedule(5, start=1).value(-3), ArgumentError, "steps count from 0"),
        (lambda m: nm.StepSchedule([(5, 1), (3, 2)]), ArgumentError, r"ascend.*nearest valid: \[3, 5\]"),
        (lambda m: nm.StepSchedule([3, 4]), ArgumentError, "pairs"),
        (lambda m: nm.WarmUpSchedule(5, "cosine"), ArgumentError, "then must be a schedule"),
        (lambda m: nm.WarmUpSchedule(5, factor=2), ArgumentError, "between 0 and 1"),
        (lambda m: nm.DecaySchedule(0.5).bind(m, "momm"), UnknownNameError, "nearest valid: mom"),
        (lambda m: nm.DecaySchedule(0.5).bind(m, "hidden_w"), UnknownNameError, "'hidden_w'"),
        (lambda m: nm.DecaySchedule(0.5, start=[1, 2]).bind(m, "lr"), ArgumentError, "do not fit the target"),
        (lambda m: nm.StepSchedule([(0, 2.0)]).bind(m, "mom").apply(0), ArgumentError, "mom cannot have"),
        (lambda m: make_schedules(m, {"lr": {"exp": 3}}), ArgumentError, r"expected .*\['dec', 'lindec', 'updates'\]"),
        (lambda m: make_schedules(m, {"lr": {"lindec": 3}}), ArgumentError, "lindec needs two numbers"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(build())


def test_editors_see_the_arguments():
    assert str(inspect.signature(nm.StepSchedule)).startswith("(updates: ")
    assert list(inspect.signature(nm.CosineSchedule).parameters) == ["n_steps", "end", "restart", "start"]
