"""Reductions on torch against numpy, over every set of axes and for every dtype; sorting; softmax over several axes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytensor.tensor as pt
import pytest
import scipy.special
from pytensor.tensor.special import log_softmax, softmax

from neuromancer import engine as E

SHAPE = (2, 3, 4)
AXES = [None, *(axes for n in range(4) for axes in combinations(range(3), n)), (-1,), (-3, -1)]
DTYPES = ["float32", "float64", "int64", "int8", "uint8", "bool"]
NAMES = ["sum", "prod", "max", "min", "all", "any", "mean"]


def values(dtype, shape=SHAPE):
    """Return numbers in which every kind of reduction gives different results along different axes."""
    rng = np.random.default_rng(5)
    if dtype == "bool":
        return rng.random(shape) < 0.6
    return rng.permutation(int(np.prod(shape))).reshape(shape).astype(dtype) - (0 if dtype == "uint8" else 9)


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in NAMES for d in DTYPES if d != "bool" or n not in ("prod", "mean")]
)
def test_over_every_set_of_axes(name, dtype) -> None:
    x = E.tensor("x", (None,) * 3, dtype)
    if name in ("all", "any"):
        a = values(dtype) if dtype == "bool" else values(dtype) % 3
        a = a.astype(dtype)
    else:
        a = values(dtype)
    made = [getattr(pt, name)(x, axis=axes) for axes in AXES]
    kept = [getattr(pt, name)(x, axis=axes, keepdims=True) for axes in AXES]
    results = E.function([x], made + kept)(a)
    for k, axes in enumerate(AXES):
        for result, variable, keepdims in ((results[k], made[k], False), (results[k + len(AXES)], kept[k], True)):
            assert result.dtype == variable.dtype and result.ndim == variable.ndim
            wide = a.astype("float64") if a.dtype.kind == "f" else a
            expected = getattr(np, name)(wide, axis=axes, keepdims=keepdims)
            np.testing.assert_allclose(result, expected.astype(result.dtype), rtol=1e-5, err_msg=str(axes))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, (0, 1), (1, 2), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_position_of_the_first_maximum(axis, dtype) -> None:
    x = E.tensor("x", (None,) * 3, dtype)
    a = values(dtype) % 4
    (result,) = E.function([x], [pt.argmax(x, axis=axis)])(a)
    axes = tuple(range(3)) if axis is None else tuple(k % 3 for k in np.atleast_1d(axis))
    kept = [k for k in range(3) if k not in axes]
    flat = a.transpose(*kept, *axes).reshape(*(SHAPE[k] for k in kept), -1)
    assert result.dtype == "int64"
    np.testing.assert_array_equal(result, flat.argmax(-1))


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
def test_cumulative_sums_and_products(axis, dtype) -> None:
    x = E.tensor("x", (None,) * 3, dtype)
    a = (values(dtype) % 3 + 1).astype(dtype)
    made = [pt.cumsum(x, axis=axis), pt.cumprod(x, axis=axis)]
    for result, variable, function in zip(E.function([x], made)(a), made, (np.cumsum, np.cumprod), strict=True):
        assert result.dtype == variable.dtype
        np.testing.assert_allclose(result, function(a, axis=axis).astype(result.dtype), rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_sorting_is_stable_along_every_axis(axis) -> None:
    x = E.tensor("x", (None,) * 3, "float32")
    a = values("float32") % 3
    ordered, order = E.function([x], [pt.sort(x, axis=axis), pt.argsort(x, axis=axis, kind="stable")])(a)
    np.testing.assert_array_equal(ordered, np.sort(a, axis=axis))
    np.testing.assert_array_equal(order, np.argsort(a, axis=axis, kind="stable"))


def test_sorting_along_a_symbolic_axis() -> None:
    x, axis = E.tensor("x", (None, None), "float32"), E.tensor("axis", (), "int64")
    try:
        pt.sort(x, axis=axis)
    except TypeError:
        pytest.skip("this version of PyTensor sorts along constant axes only")
    f = E.function([x, axis], [pt.sort(x, axis=axis), pt.argsort(x, axis=axis)])
    a = values("float32", (3, 4))
    for k in (0, 1):
        ordered, order = f(a, k)
        np.testing.assert_array_equal(ordered, np.sort(a, axis=k))
        np.testing.assert_array_equal(order, np.argsort(a, axis=k))


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1), (0, 2), (1, 2), (-1, 0)])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(softmax, scipy.special.softmax), (log_softmax, scipy.special.log_softmax)]
)
def test_softmax_over_several_axes(ours, theirs, axis) -> None:
    x = E.tensor("x", (None,) * 3, "float64")
    a = values("float64") / 7
    result, gradient = E.function([x], [ours(x, axis), E.grad((ours(x, axis) ** 2).sum(), [x])[0]])(a)
    np.testing.assert_allclose(result, theirs(a, axis), rtol=1e-12)
    along = np.random.default_rng(0).standard_normal(SHAPE)
    step = 1e-6
    slope = ((theirs(a + step * along, axis) ** 2).sum() - (theirs(a - step * along, axis) ** 2).sum()) / (2 * step)
    np.testing.assert_allclose((gradient * along).sum(), slope, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["sum", "prod", "all", "any"])
def test_empty_arrays_give_the_neutral_element(name) -> None:
    x = E.tensor("x", (None, None), "float32")
    results = E.function([x], [getattr(pt, name)(x, axis=axis) for axis in (0, 1)])(np.ones((0, 3)))
    for axis, result in enumerate(results):
        np.testing.assert_array_equal(result, getattr(np, name)(np.ones((0, 3)), axis=axis))


@pytest.mark.parametrize("name", ["max", "min", "argmax"])
def test_nothing_has_no_largest_element(name) -> None:
    x = E.tensor("x", (None, None), "float32")
    f = E.function([x], getattr(pt, name)(x, axis=0))
    assert f(np.ones((1, 3))).shape == (3,)
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        f(np.ones((0, 3)))


def test_gradient_of_a_product_with_a_zero() -> None:
    x = E.tensor("x", (None,), "float64")
    gradient = E.function([x], E.grad(pt.prod(x), [x])[0])
    np.testing.assert_allclose(gradient([2.0, 3.0, 4.0]), [12, 8, 6])
    np.testing.assert_allclose(gradient([0.0, 3.0, 4.0]), [12, 0, 0])
    np.testing.assert_allclose(gradient([0.0, 3.0, 0.0]), [0, 0, 0])
