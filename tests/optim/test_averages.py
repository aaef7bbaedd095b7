"""Moving averages of parameters: the formula, and what they survive."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import errors
from tests.train.nets import Squares, classifier, line, parameters, points

X, T = (array[:4] for array in points())


def averages(model):
    return model.optimisers["SGD"].averages


@pytest.mark.parametrize("optimiser", ["SGD", "Adam"])
def test_the_formula(optimiser):
    model, decay = line("averaged"), 0.5
    model.ema, model.lr, mean = decay, 0.1, None
    for n in range(30):
        model.trainingstep(X, T, optimiser=optimiser)
        now, d = parameters(model)[0], min(decay, n / (n + 9))
        mean = now if mean is None else d * mean + (1 - d) * now
    with model.averaged(optimiser):
        np.testing.assert_allclose(parameters(model)[0], mean, rtol=1e-5)
    np.testing.assert_array_equal(parameters(model)[0], now)


def test_they_do_not_affect_training_and_running_statistics_are_averaged():
    plain, model = classifier("plain", 0.2, "train"), classifier("watched", 0.2, "train")
    model.ema = 0.9
    for n in range(12):
        for each in (plain, model):
            each.trainingstep(*Squares().batch(n), optimiser="Adam")
    for a, b in zip(parameters(plain), parameters(model), strict=True):
        np.testing.assert_array_equal(a, b)
    raw = model["conv"].params["mean"].get_value()
    with model.averaged("Adam"):
        assert not np.array_equal(model["conv"].params["mean"].get_value(), raw)
        outside = model.predict(Squares().batch(0)[0])
    assert not np.array_equal(model.predict(Squares().batch(0)[0]), outside)


def test_turning_them_on_and_off_keeps_the_moments(tmp_path):
    twin, model = line("twin"), line("switched")
    for n in range(9):
        model.ema = {3: 0.9, 6: None}.get(n, model.ema)
        for each in (twin, model):
            each.trainingstep(X, T, optimiser="Adam")
    np.testing.assert_array_equal(parameters(twin)[0], parameters(model)[0])
    assert not any(key.startswith("average") for key in model.optimisers["Adam"].get_state())


def test_saved_and_loaded(tmp_path):
    whole = line("whole")
    whole.ema = 0.9
    for n in range(8):
        whole.trainingstep(X, T)
        if n == 4:
            whole.save(tmp_path / "half.h5")
    half = nm.modelload(tmp_path / "half.h5")
    half.ema = 0.9
    for _ in range(3):
        half.trainingstep(X, T)
    for key, value in averages(whole).variables.items():
        np.testing.assert_array_equal(value.get_value(), averages(half).variables[key].get_value())


def test_repair_restores_them():
    model = line("repaired")
    model.ema = 0.9
    for _ in range(3):
        model.trainingstep(X, T)
    before = [v.get_value() for v in averages(model).variables.values()]
    model.trainingstep(X * np.nan, T)
    model.trainingstep(X, T)
    model.trainingstep(X, T)
    assert not np.isfinite(averages(model).variables["average_0"].get_value()).all()
    model.repair("SGD")
    for a, b in zip(before, averages(model).variables.values(), strict=True):
        np.testing.assert_array_equal(a, b.get_value())


@pytest.mark.parametrize("decay", [0, 1, -0.5, 2, np.nan, "0.9", True])
def test_invalid_decays(decay):
    with pytest.raises(errors.ArgumentError, match="unusable ema"):
        line("invalid").ema = decay


def test_averages_of_other_parameters_are_refused():
    model = line("other")
    model.ema = 0.9
    model.trainingstep(X, T)
    state = model.optimisers["SGD"].get_state()
    with pytest.raises(errors.UnknownNameError, match="averages do not belong"):
        model.optimisers["SGD"].set_state({k: v for k, v in state.items() if k != "average_1"})
    with pytest.raises(errors.ShapeError, match="average_1"):
        model.optimisers["SGD"].set_state({**state, "average_1": np.zeros(7)})
