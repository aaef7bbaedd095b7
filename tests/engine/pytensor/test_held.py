"""What follows from parameters alone is computed once, until a parameter changes."""

from __future__ import annotations

import numpy as np

from neuromancer import engine as E

T = E.T


def parts(seed=0):
    rng = np.random.default_rng(seed)
    x = E.tensor("x", (None, 3), "float32")
    w = E.SharedVariable(rng.random((3, 3)).astype("float32"), "w")
    return x, w, rng.random((2, 3)).astype("float32")


def held_runs(function):
    """Counts how often the held steps run."""
    runs, execute = [], function.program._execute

    def counted(values, start, stop):
        runs.extend([None] * (start == 0))
        execute(values, start, stop)

    function.program._execute = counted
    return runs


def test_computed_once_and_again_after_a_change() -> None:
    x, w, a = parts()
    function = E.function([x], T.dot(x, T.exp(w[::-1])))
    runs = held_runs(function)
    value = w.get_value()
    for _ in range(3):
        np.testing.assert_allclose(function(a), a @ np.exp(value[::-1]), rtol=1e-5)
    assert len(runs) == 1
    w.set_value(2 * value)
    for _ in range(2):
        np.testing.assert_allclose(function(a), a @ np.exp(2 * value[::-1]), rtol=1e-5)
    assert len(runs) == 2


def test_follows_the_updates_of_another_function() -> None:
    x, w, a = parts()
    function = E.function([x], T.dot(x, T.exp(w)))
    step = E.function([], [], updates=[(w, w * np.float32(0.5))])
    for _ in range(3):
        np.testing.assert_allclose(function(a), a @ np.exp(w.get_value()), rtol=1e-5)
        step()


def test_parameters_that_are_read_directly_too() -> None:
    x, w, a = parts()
    function = E.function([x], T.dot(T.dot(x, w), T.exp(w)) + w.sum())
    value = w.get_value()
    for _ in range(2):
        np.testing.assert_allclose(function(a), a @ value @ np.exp(value) + value.sum(), rtol=1e-5)


def test_what_a_caller_does_with_a_result_changes_nothing() -> None:
    _, w, _ = parts()
    function = E.function([], [T.exp(w), T.exp(w).reshape((9,)), w])
    want = np.exp(w.get_value())
    for _ in range(2):
        first, second, third = function()
        np.testing.assert_allclose(first, want, rtol=1e-6)
        np.testing.assert_allclose(second, want.ravel(), rtol=1e-6)
        for result in (first, second, third):
            result[:] = 0
    assert w.get_value().min() > 0


def test_dead_operands_that_are_held_are_not_written_over() -> None:
    x, w, a = parts()
    function = E.function([x], T.exp(w[0]) * T.sqr(x) + T.sqr(w[1]))
    value = w.get_value()
    for _ in range(3):
        np.testing.assert_allclose(function(a), np.exp(value[0]) * a**2 + value[1] ** 2, rtol=1e-5)


def test_random_numbers_are_never_held() -> None:
    x, w, a = parts()
    function = E.function([x], x.sum() + (w * E.RandomStream(1).uniform((3, 3))).sum())
    assert function(a) != function(a)
