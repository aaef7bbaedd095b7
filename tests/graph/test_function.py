"""make_func: lazy compilation, outputs, updates, settings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.graph import function
from neuromancer.graphutils import getinput_for_multioutput, make_func


def vector(name="x"):
    return E.tensor(name, (None,), nm.config.floatX)


def test_compiles_on_the_first_call_only():
    x = vector()
    func = make_func(x, x + 1, name="increment")
    assert func.func is None
    assert func() is None
    compiled = func.func
    np.testing.assert_array_equal(func([1.0, 2.0]), [2, 3])
    np.testing.assert_array_equal(func([1.0]), [2])
    assert func.func is compiled
    func.func = None
    func([1.0])
    assert func.func is not compiled


def test_single_and_several_outputs():
    x, y = vector("x"), vector("y")
    assert isinstance(make_func([x], [x * 2])([1.0]), list)
    total, difference = make_func([x, y], (x + y, x - y))([3.0], [1.0])
    assert (total.item(), difference.item()) == (4.0, 2.0)


def test_a_function_without_inputs_is_evaluated():
    shared = E.SharedVariable(np.ones(2, "float32"), "s")
    assert make_func([], shared.sum())().item() == 2.0


def test_updates_are_applied_on_every_call():
    counter = E.SharedVariable(np.zeros((), "float32"), "n")
    x = vector()
    func = make_func([x], x.sum() + counter, updates=[(counter, counter + 1)])
    assert [float(func([1.0])) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert counter.get_value() == 3.0


def test_calls_are_timed():
    x = vector()
    func = make_func([x], x + 1, profile_execution=3)
    assert func.last_exec_time is None
    func([1.0])
    assert func.last_exec_time > 0


def test_a_changed_device_recompiles():
    x = vector()
    func = make_func([x], x + 1)
    func([1.0])
    before = func.func
    nm.config.device = "auto"
    assert tuple(func([1.0, 2.0]).shape) == (2,)
    assert func.func is not before


def test_results_are_not_aliased():
    x = vector()
    func = make_func([x], [x, x + 0])
    values = np.ones(3, "float32")
    for result in func(values):
        result[:] = 5
    np.testing.assert_array_equal(values, 1)
    np.testing.assert_array_equal(func(values)[0], 1)


def test_inputs_of_several_nodes_are_unique_and_in_order():
    a = nm.Input((1, 2), "b,f", name="a", print_repr=False)
    b = nm.Input((1, 2), "b,f", name="b", print_repr=False)
    both = nm.Add(b, a, print_repr=False)
    assert getinput_for_multioutput([both, a]) == [b.output, a.output]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_streams_advance_and_restart(dtype):
    nm.config.floatX = dtype
    stream = E.RandomStream(3)
    func = make_func([], stream.normal((4,)))
    first, second = func(), func()
    assert first.dtype == dtype
    assert np.abs(first - second).max() > 0
    stream.reseed(3)
    np.testing.assert_array_equal(func(), first)


def test_attributes_before_the_first_call():
    x, y = vector("x"), vector("y")
    func = make_func((x, y), x + y)
    assert func.inputs == [x, y]
    assert (func.updates, func.func, func.last_exec_time) == ([], None, None)
    assert (func.profile_execution, func.precision) == (0, "f32")
    assert isinstance(func.name, str) and func.name
    assert make_func(x, x, name="mine").name == "mine"
    assert make_func(x, x).inputs == [x]
    assert make_func(x, x).output is x
    outputs = [x, y]
    kept = make_func([x, y], outputs)
    outputs.append(x)
    assert kept.output == make_func([x, y], (x, y)).output == [x, y]


def test_what_the_engine_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(E, "function", lambda *args, **kwargs: told.append((args, kwargs)) or (lambda *a: a))
    x = vector()
    shared = E.SharedVariable(np.zeros((), "float32"), "n")
    output = x + 1
    func = make_func(x, output, updates=((shared, shared + 1),), name="f", precision="tf32")
    func([1.0])
    ((args, kwargs),) = told
    assert args[0] == [x] and args[1] is output
    assert kwargs.pop("updates")[0][0] is shared
    assert kwargs == {"name": "f", "precision": "tf32"}


@pytest.mark.parametrize("setting", ["device", "backend", "floatX"])
def test_a_changed_setting_compiles_again_and_only_then(monkeypatch, setting):
    compiled = []
    monkeypatch.setattr(E, "function", lambda *args, **kwargs: compiled.append(1) or (lambda *a: a))
    settings = SimpleNamespace(device="cpu", backend="numba", floatX="float32")
    monkeypatch.setattr(function, "config", settings)
    x = vector()
    func = make_func(x, x + 1)
    for n in (1, 1):
        func([1.0])
        assert len(compiled) == n
    setattr(settings, setting, "another")
    for _ in range(2):
        func([1.0])
        assert len(compiled) == 2


@pytest.mark.parametrize(("repeats", "calls"), [(0, 1), (1, 1), (3, 3), (-2, 1)])
def test_the_time_is_the_mean_of_all_runs(monkeypatch, repeats, calls):
    ran, clock = [], iter([10.0, 16.0])
    monkeypatch.setattr(E, "function", lambda *args, **kwargs: lambda *a: ran.append(a) or len(ran))
    monkeypatch.setattr(function, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    x = vector()
    func = make_func(x, x + 1, profile_execution=repeats)
    assert func([1.0]) == calls
    assert ran == [([1.0],)] * calls
    assert func.last_exec_time == 6.0 / calls


def test_inputs_of_no_nodes():
    assert getinput_for_multioutput([]) == []
