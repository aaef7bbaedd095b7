"""Values that depend on parameters only are computed once, until a parameter changes."""

from __future__ import annotations

import numpy as np
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from neuromancer import engine as E

T = E.T


class Counted(Op):
    """The identity; counts how often it runs."""

    __props__ = ()

    def __init__(self):
        self.runs = 0

    def make_node(self, x):
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, outputs):
        self.runs += 1
        outputs[0][0] = inputs[0].copy()


def parts(seed=0):
    rng = np.random.default_rng(seed)
    x = E.tensor("x", (None, 3), "float32")
    w = E.SharedVariable(rng.random((3, 3)).astype("float32"), "w")
    return x, w, rng.random((2, 3)).astype("float32")


def test_computed_once_and_again_after_a_change() -> None:
    x, w, a = parts()
    counted = Counted()
    function = E.function([x], T.dot(x, counted(T.exp(w[::-1]))))
    value = w.get_value()
    for _ in range(3):
        np.testing.assert_allclose(function(a), a @ np.exp(value[::-1]), rtol=1e-5)
    assert counted.runs == 1
    w.set_value(2 * value)
    for _ in range(2):
        np.testing.assert_allclose(function(a), a @ np.exp(2 * value[::-1]), rtol=1e-5)
    assert counted.runs == 2


def test_follows_the_updates_of_another_function() -> None:
    x, w, a = parts()
    function = E.function([x], T.dot(x, T.exp(w)))
    step = E.function([], [], updates=[(w, w * np.float32(0.5))])
    for _ in range(3):
        np.testing.assert_allclose(function(a), a @ np.exp(w.get_value()), rtol=1e-5)
        step()


def test_parameters_that_arguments_meet_too() -> None:
    x, w, a = parts()
    function = E.function([x], T.dot(T.dot(x, w), T.exp(w)) + w.sum())
    value = w.get_value()
    for _ in range(2):
        np.testing.assert_allclose(function(a), a @ value @ np.exp(value) + value.sum(), rtol=1e-5)


def test_overwriting_a_result_does_not_change_held_values() -> None:
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


def test_held_operands_are_not_overwritten() -> None:
    x, w, a = parts()
    function = E.function([x], T.exp(w[0]) * T.sqr(x) + T.sqr(w[1]))
    value = w.get_value()
    for _ in range(3):
        np.testing.assert_allclose(function(a), np.exp(value[0]) * a**2 + value[1] ** 2, rtol=1e-5)


def test_random_numbers_are_never_held() -> None:
    x, w, a = parts()
    function = E.function([x], x.sum() + (w * E.RandomStream(1).uniform((3, 3))).sum())
    assert function(a) != function(a)
