"""Speed of the machine: measured once, when that is worth it, and choices follow it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.pytensor.kernels import conv_algorithm, measuring, rows, speed, winograd
from neuromancer.engine.pytensor.kernels.conv_algorithm import Layer, fastest
from neuromancer.engine.pytensor.kernels.measuring import fitted
from neuromancer.engine.pytensor.kernels.speed import TYPICAL, Speed

CUBE = (1, 1, 1)
FEW = Layer((1, 20, 62, 62, 62), (20, 20, 3, 3, 3), CUBE, CUBE)


@pytest.fixture
def unknown(monkeypatch, tmp_path):
    """A machine that was never measured; returns the groups measured so far."""
    done = []

    def measure(group, threads):
        done.append(group)
        return {kind: 2 * seconds for kind, seconds in TYPICAL[group].items()}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(speed, "_known", {})
    monkeypatch.setattr(measuring, "measure", measure)
    conv_algorithm._decided.cache_clear()
    yield done
    conv_algorithm._decided.cache_clear()


def machine(**factors):
    """A machine on which some work takes so many times as long as usual."""
    return Speed(
        {group: {k: v * factors.get(k, 1.0) for k, v in typical.items()} for group, typical in TYPICAL.items()}
    )


# ---- choices
def test_machines_with_other_speeds_choose_other_algorithms():
    assert isinstance(fastest(FEW, machine()), rows.TiledRowConv)
    slow_rows = machine(row_product=5, row_copy=5, row_transform=5)
    assert not isinstance(fastest(FEW, slow_rows), rows.RowConv)
    fourier_too = {k: 9.0 for group in ("winograd", "fourier") for k in TYPICAL[group]}
    assert fastest(FEW, machine(row_product=9, row_copy=9, row_transform=9, **fourier_too)) is None
    good = machine(winograd_product=0.2, winograd_value=0.2)
    assert isinstance(fastest(FEW, good), winograd.Tiling)


def test_an_image_in_another_format_is_converted_for_all_but_rows():
    planar = Layer(FEW.x_shape, FEW.w_shape, CUBE, CUBE, planar=True)
    known = machine(row_product=1.5)
    times = [conv_algorithm.seconds(None, layer, known) for layer in (FEW, planar)]
    assert times[1] - times[0] == pytest.approx(known.seconds({"reorder": 20 * 62**3}))
    best = rows.RowConv(FEW.x_shape, FEW.w_shape, CUBE, CUBE)
    assert conv_algorithm.seconds(best, FEW, known) == conv_algorithm.seconds(best, planar, known)


@pytest.mark.parametrize("w_shape", [(20, 20, 3, 3, 3), (16, 20, 1, 1, 1), (20, 1, 3, 3, 3), (20, 5, 3, 3, 3)])
@pytest.mark.parametrize("stride", [CUBE, (2, 2, 2)])
def test_all_layers_have_a_time(w_shape, stride):
    layer = Layer(FEW.x_shape, w_shape, stride, CUBE, 20 // w_shape[1])
    assert 0 < machine().seconds(layer.direct) < 10
    assert machine(**{k: 2.0 for k in TYPICAL["basic"]}).seconds(layer.direct) == pytest.approx(
        2 * machine().seconds(layer.direct)
    )


# ---- when it is measured
def test_calls_never_measure_and_plans_do_once(unknown, caplog):
    config.device = "cpu"
    x = E.tensor("x", (1, 20, None, None, None), "float32")
    w = E.SharedVariable(np.ones((20, 20, 3, 3, 3), "float32"), "w")
    E.function([x], E.conv(x, w))(np.ones((1, 20, 30, 30, 30), "float32"))
    E.conv_cost(FEW.x_shape, FEW.w_shape, CUBE, "float32")
    before = E.unit_costs("float32")
    assert unknown == []
    with caplog.at_level(logging.INFO, "neuromancer"):
        assert E.measure_speed("float32") and not E.measure_speed("float32")
    assert unknown == ["basic"] and "measured the speed" in caplog.text
    assert E.unit_costs("float32").product == 2 * TYPICAL["basic"]["direct"] >= before.product
    speed._known.clear()
    assert not E.measure_speed("float32"), "from the file"
    assert unknown == ["basic"]


def test_an_algorithm_is_measured_before_plans_choose_it(unknown):
    wide = (1, 40, 10, 60, 60), (80, 40, 4, 4, 4)
    E.conv_cost(*wide, CUBE, "float32")
    assert unknown == []
    E.measure_speed("float32")
    E.conv_cost(*wide, CUBE, "float32")
    assert unknown == ["basic", "fourier"]


def test_what_was_decided_for_calls_stays(unknown):
    x, w = torch.zeros(1).expand(FEW.x_shape), torch.zeros(1).expand(FEW.w_shape)
    choose = lambda: conv_algorithm.algorithm(x, w, CUBE, CUBE, (0, 0, 0))  # noqa: E731
    first = choose()
    E.measure_speed("float32")
    assert choose() is first


def test_training_goes_by_typical_speeds(unknown, monkeypatch):
    monkeypatch.setattr(conv_algorithm, "current", lambda: 1 / 0)
    conv_algorithm._decided(Layer(FEW.x_shape, FEW.w_shape, CUBE, CUBE, prepared=False))


def test_bad_measurements_are_typical_ones(unknown, monkeypatch, caplog):
    monkeypatch.setattr(measuring, "measure", lambda group, threads: dict.fromkeys(TYPICAL[group], 0.0))
    assert not any(value <= 0 for value in speed.require().per_unit.values())
    assert "could not be measured" in caplog.text


# ---- fitting
def test_constants_are_found_in_spite_of_noise():
    rng = np.random.default_rng(0)
    true = {"a": 2e-11, "b": 5e-10}
    units = [{"a": a, "b": b} for a, b in ((1e8, 1e5), (1e8, 4e6), (1e7, 8e6), (3e7, 3e6))]
    times = [sum(true[k] * n for k, n in work.items()) * (1 + 0.1 * rng.random()) for work in units]
    found = fitted(units, times, {"a": 1e-11, "b": 1e-10})
    assert found["a"] == pytest.approx(true["a"], rel=0.25) and found["b"] == pytest.approx(true["b"], rel=0.25)


def test_noise_never_gives_absurd_constants():
    units = [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}]
    for times in ([5.0, 1.0], [1.0, 100.0]):
        found = fitted(units, times, {"a": 1.0, "b": 1.0})
        assert all(value > 0 for value in found.values())
        assert max(found.values()) <= measuring.WITHIN**2 * min(found.values())


def test_what_is_known_is_not_fitted_again():
    found = fitted([{"a": 1.0, "b": 2.0}], [7.0], {"a": 1.0, "b": 1.0}, {"a": 3.0})
    assert found == {"b": pytest.approx(2.0)}


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("group", ["basic", "winograd", "fourier"])
def test_every_constant_is_measured(group, threads, monkeypatch):
    """With times that follow the typical speeds of a single thread, those of all threads are found."""

    def times(runs):
        return [Speed().seconds(units) for units in expected]

    expected = []
    monkeypatch.setattr(measuring, "_times", times)

    def taken(family):
        def samples():
            found = family()
            expected[:] = [units for units, _ in found]
            return found

        return samples

    monkeypatch.setitem(measuring.FAMILIES, group, [taken(family) for family in measuring.FAMILIES[group]])
    for kind, family in measuring.BY_MEMORY.items():
        monkeypatch.setitem(measuring.BY_MEMORY, kind, taken(family))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = measuring.measure(group, threads)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    alike = (*speed.SERIAL, *measuring.BY_MEMORY)  # as slow with all threads as with one
    shares = {kind: 1 if kind in alike else threads for kind in TYPICAL[group]}
    assert found == {kind: pytest.approx(TYPICAL[group][kind] / shares[kind], rel=1e-6) for kind in TYPICAL[group]}
