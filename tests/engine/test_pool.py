"""Pooling: values, gradients of both orders, shapes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from tests.engine import reference

GEOMETRIES = [
    ((2,), (2,), (1,)),
    ((3,), (1,), (2,)),
    ((2, 3), (2, 3), (1, 1)),
    ((3, 2), (2, 1), (1, 2)),
    ((1, 2, 2), (1, 2, 2), (1, 1, 1)),
    ((2, 2, 2), (1, 1, 1), (1, 2, 3)),
    ((2, 1, 3), (2, 1, 1), (2, 1, 1)),
    ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
]
MODES = ["max", "average", "sum"]


def image(ndim: int) -> np.ndarray:
    """An input (2, 3, ...)."""
    return np.random.default_rng(0).standard_normal((2, 3, *(5, 7, 8)[3 - ndim :]))


@pytest.mark.parametrize("size, stride, dilation", GEOMETRIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pool_agrees_with_definition(size, stride, dilation, mode, dtype) -> None:
    x = image(len(size)).astype(dtype)
    sx = E.tensor("x", (None,) * x.ndim, dtype)
    y = E.pool(sx, size, stride, dilation, mode)
    result, gradient = E.function([sx], [y, E.grad((y**2).sum(), [sx])[0]])(x)
    alone = E.function([sx], y)(x)  # without a gradient another kernel runs
    expected = reference.pool(x, size, stride, dilation, mode)
    assert result.dtype == alone.dtype == gradient.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-6)
    # (y**2).sum() is homogeneous of degree 2 in x: Euler's theorem
    np.testing.assert_allclose((gradient * x).sum(), 2 * (expected**2).sum(), rtol=1e-4)


@st.composite
def geometries(draw):
    """A pool that fits its input."""
    ndim = draw(st.integers(1, 3))
    axes = st.tuples(*[st.integers(1, 3)] * ndim)
    size, stride, dilation = draw(axes), draw(axes), draw(axes)
    extra = draw(st.tuples(*[st.integers(0, 4)] * ndim))
    return size, stride, dilation, tuple(d * (k - 1) + 1 + e for k, d, e in zip(size, dilation, extra, strict=True))


@settings(max_examples=15, deadline=None)
@given(geometries(), st.sampled_from(MODES))
def test_any_geometry(geometry, mode) -> None:
    size, stride, dilation, shape = geometry
    x = np.random.default_rng(0).standard_normal((1, 2, *shape))
    sx = E.tensor("x", x.shape, "float64")
    y = E.pool(sx, size, stride, dilation, mode)
    expected = reference.pool(x, size, stride, dilation, mode)
    g = np.random.default_rng(1).standard_normal(expected.shape)
    result, gx = E.function([sx], [y, E.grad((y * E.constant(g)).sum(), [sx])[0]])(x)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((gx * x).sum(), (expected * g).sum(), rtol=1e-8, atol=1e-9)


def test_stride_without_gaps_by_default() -> None:
    x = E.tensor("x", (None, 3, 9, None), "float32")
    assert E.function([x], E.pool(x, (2, 3)))(np.zeros((1, 3, 9, 7))).shape == (1, 3, 4, 2)


def test_errors_name_what_is_wrong() -> None:
    x = E.tensor("x", (None, 3, 9, 9), "float32")
    with pytest.raises(ArgumentError, match=r"unknown mode; got median; expected 'max', 'average' or 'sum'"):
        E.pool(x, 2, mode="median")
    with pytest.raises(ShapeError, match=r"window larger.*\(9, 9\)"):
        E.pool(x, (10, 1))
    with pytest.raises(ShapeError, match=r"window larger"):
        E.pool(x, 4, dilation=3)
    with pytest.raises(ArgumentError, match=r"size"):
        E.pool(x, (2, 2, 2))
    with pytest.raises(InputTypeError, match=r"floating point; got int8"):
        E.pool(E.tensor("x", (None,) * 4, "int8"), 2)
    y = E.tensor("y", (None,) * 4, "float32")
    with pytest.raises(ShapeError, match=r"window larger"):
        E.function([y], E.pool(y, 3))(np.zeros((1, 1, 2, 5)))
    for mode in MODES:
        with pytest.raises(ShapeError, match=r"window larger"):
            E.function([y], E.pool(y, 3, 1, 2, mode))(np.zeros((1, 1, 4, 9)))
