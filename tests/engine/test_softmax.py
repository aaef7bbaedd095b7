"""Softmax, its logarithm, and the rectifier: values along every axis, extremes, gradients of both orders."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from neuromancer import engine as E

SHAPE = (2, 3, 4)
FUNCTIONS = {"softmax": (E.softmax, scipy.special.softmax), "log_softmax": (E.log_softmax, scipy.special.log_softmax)}


def values(shape=SHAPE, seed=0, scale=3.0):
    return scale * np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_scipy_along_every_axis(name, axis, dtype) -> None:
    function, reference = FUNCTIONS[name]
    x = E.tensor("x", (None,) * 3, dtype)
    a = values().astype(dtype)
    result = E.function([x], function(x, axis))(a)
    assert result.dtype == dtype and result.shape == SHAPE
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(result, reference(a.astype("float64"), axis), rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gradient_agrees_with_finite_differences(name, axis) -> None:
    function, reference = FUNCTIONS[name]
    x = E.tensor("x", (None,) * 3, "float64")
    a, g = values(scale=1.0), values(seed=1)
    gradient = E.function([x], E.grad((function(x, axis) * E.constant(g)).sum(), [x])[0])(a)
    step = 1e-5
    expected = np.empty_like(a)
    for index in np.ndindex(SHAPE):
        shift = np.zeros_like(a)
        shift[index] = step
        expected[index] = ((reference(a + shift, axis) - reference(a - shift, axis)) * g).sum() / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shift", [-1e4, -1.0, 0.5, 1e4])
def test_a_constant_added_to_all_classes_changes_nothing(shift) -> None:
    x = E.tensor("x", (None, 4), "float64")
    f = E.function([x], [E.softmax(x, 1), E.log_softmax(x, 1)])
    a = values((20, 4))
    for moved, plain in zip(f(a + shift), f(a), strict=True):
        np.testing.assert_allclose(moved, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("large", [1e3, 1e30])
def test_extreme_scores_neither_overflow_nor_lose_the_winner(large) -> None:
    x = E.tensor("x", (None, 3), "float32")
    soft, logs = E.function([x], [E.softmax(x, 1), E.log_softmax(x, 1)])(np.float32([[large, -large, 0]]))
    assert soft.tolist() == [[1, 0, 0]]
    np.testing.assert_allclose(logs, np.float32([[0, -2 * large, -large]]), rtol=1e-6)


def test_a_single_class_is_certain() -> None:
    x = E.tensor("x", (None, 1), "float32")
    soft, logs = E.function([x], [E.softmax(x, 1), E.log_softmax(x, 1)])(values((5, 1)))
    assert (soft == 1).all() and (logs == 0).all()


def test_the_batch_may_be_empty() -> None:
    x = E.tensor("x", (None, 3), "float32")
    for result in E.function([x], [E.softmax(x, 1), E.log_softmax(x, 1), E.relu(x)])(np.zeros((0, 3))):
        assert result.shape == (0, 3)


@pytest.mark.parametrize("ndim", [0, 1, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rectifier_of_any_rank(ndim, dtype) -> None:
    x = E.tensor("x", (None,) * ndim, dtype)
    a = np.asarray(values((2, 1, 3, 2, 2)[:ndim])).astype(dtype)
    y, slope = E.function([x], [E.relu(x), E.grad(E.relu(x).sum(), [x])[0]])(a)
    assert y.dtype == slope.dtype == dtype
    np.testing.assert_array_equal(y, np.maximum(a, 0))
    np.testing.assert_array_equal(slope, a > 0)


def test_rectifier_at_the_edges_of_the_numbers() -> None:
    x = E.tensor("x", (None,), "float32")
    tiny = np.finfo("float32").tiny
    y, slope = E.function([x], [E.relu(x), E.grad(E.relu(x).sum(), [x])[0]])(
        np.float32([-np.inf, -tiny, -0.0, 0.0, tiny, np.inf])
    )
    assert y.tolist() == [0, 0, 0, 0, tiny, np.inf] and slope.tolist() == [0, 0, 0, 0, 1, 1]
    assert np.isnan(E.function([x], E.relu(x))(np.float32([np.nan])))


def test_a_fence_is_the_identity_with_gradients_of_both_orders() -> None:
    x = E.tensor("x", (None, None), "float64")
    y = E.fence(x * x)
    assert (y.ndim, y.dtype) == (2, "float64")
    first = E.grad((y * x).sum(), [x])[0]
    second = E.grad(first.sum(), [x])[0]
    a = values((2, 3))
    for result, expected in zip(E.function([x], [y, first, second])(a), (a**2, 3 * a**2, 6 * a), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_the_sizes_behind_a_fence_are_those_before_it() -> None:
    x = E.tensor("x", (None, 1, 3), "float32")
    assert E.known_shape(E.fence(x)) == (None, 1, 3)
    assert E.function([x], E.fence(x * 2).shape)(np.zeros((5, 1, 3))).tolist() == [5, 1, 3]
    assert E.function([x], E.fence(x))(np.ones((2, 1, 3))).tolist() == np.ones((2, 1, 3)).tolist()
