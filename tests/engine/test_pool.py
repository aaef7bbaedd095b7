"""Pooling: values, gradients of both orders, shapes, errors."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.engine.pytensor.ops.pool import AveragePool, AveragePoolGrad, MaxPool, MaxPoolGrad, TakeWinners
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from tests.engine import reference
from tests.engine.test_conv import PYTHON, check_gradient

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
    with E.building():
        slow = pytensor.function([sx], E.grad((y**2).sum(), [sx])[0], mode=PYTHON)(x)
    np.testing.assert_allclose(gradient, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size, stride, dilation", GEOMETRIES)
def test_gradients_of_both_orders(size, stride, dilation) -> None:
    x = image(len(size))[:1, :2, ..., :6]
    sx = pt.constant(x)
    gy = np.random.default_rng(1).standard_normal(reference.pool(x, size, stride, dilation, "max").shape)
    check_gradient(lambda v: MaxPool(size, stride, dilation)(v)[0], [x])
    index = MaxPool(size, stride, dilation)(sx)[1]
    check_gradient(lambda g: MaxPoolGrad(size, stride, dilation)(sx, g, index), [gy])
    check_gradient(lambda v: TakeWinners(size, stride, dilation)(v, index), [x])
    for total in (False, True):
        check_gradient(AveragePool(size, stride, dilation, total), [x])
        check_gradient(lambda g, t=total: AveragePoolGrad(size, stride, dilation, t)(sx, g), [gy])


@st.composite
def geometries(draw):
    """A pool that fits its input."""
    ndim = draw(st.integers(1, 3))
    axes = st.tuples(*[st.integers(1, 3)] * ndim)
    size, stride, dilation = draw(axes), draw(axes), draw(axes)
    extra = draw(st.tuples(*[st.integers(0, 4)] * ndim))
    return size, stride, dilation, tuple(d * (k - 1) + 1 + e for k, d, e in zip(size, dilation, extra, strict=True))


@settings(max_examples=40, deadline=None)
@given(geometries(), st.sampled_from(MODES))
def test_any_geometry(geometry, mode) -> None:
    size, stride, dilation, shape = geometry
    x = np.random.default_rng(0).standard_normal((1, 2, *shape))
    sx = E.tensor("x", x.shape, "float64")
    y = E.pool(sx, size, stride, dilation, mode)
    expected = reference.pool(x, size, stride, dilation, mode)
    assert y.type.shape == expected.shape
    op = y.owner.op
    cells = [[None] for _ in y.owner.outputs]
    op.perform(y.owner, [x], cells)
    np.testing.assert_allclose(cells[0][0], expected, rtol=1e-9, atol=1e-12)
    g = np.random.default_rng(1).standard_normal(expected.shape)
    back = E.grad((y * E.constant(g)).sum(), [sx])[0].owner
    inputs = [x, g] if mode != "max" else [x, g, cells[1][0]]
    back.op.perform(back, inputs, cells[:1])
    # linear where the winners are fixed, so <pool(x), g> = <x, gradient>
    np.testing.assert_allclose((cells[0][0] * x).sum(), (expected * g).sum(), rtol=1e-8, atol=1e-9)


def test_default_stride_is_the_size() -> None:
    x = E.tensor("x", (None, 3, 9, None), "float32")
    assert E.pool(x, (2, 3)).type.shape == (None, 3, 4, None)
    assert E.pool(x, 2).owner.op.stride == (2, 2)


def test_shape_needs_no_pooling() -> None:
    x = E.tensor("x", (None,) * 4, "float32")
    f = E.function([x], E.pool(x, 2, 1, 2).shape)
    assert not any(isinstance(n.op, MaxPool) for n in f.pytensor_function.maker.fgraph.toposort())
    assert f(np.zeros((1, 2, 9, 8), "f")).tolist() == [1, 2, 7, 6]


def test_first_of_equal_elements_wins() -> None:
    x = E.tensor("x", (1, 1, 4), "float32")
    g = E.function([x], E.grad(E.pool(x, 2).sum(), [x])[0])
    assert g(np.ones((1, 1, 4))).ravel().tolist() == [1, 0, 1, 0]


def test_nan_passes_through() -> None:
    x = E.tensor("x", (1, 1, 4), "float32")
    assert np.isnan(E.function([x], E.pool(x, 2))(np.array([[[np.nan, 1, 2, np.nan]]]))).all()


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
