"""Convolution and its relatives: values, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from tests.engine import reference

GEOMETRIES = [
    (1, 1, 1, 0),
    (1, 2, 2, 1),
    (2, 1, 1, 0),
    (2, (2, 1), (1, 2), (1, 0)),
    (3, 1, 1, 0),
    (3, (1, 2, 2), 1, 0),
    (3, 1, (1, 2, 3), 0),
    (3, (2, 1, 1), 1, (1, 1, 0)),
]


def arrays(ndim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an input (2, 3, ...) and a kernel (2, 3, ...)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 3, *(4, 6, 7)[3 - ndim :])), rng.standard_normal((2, 3, *(2, 3, 2)[3 - ndim :]))


def per_axis(value, ndim: int) -> tuple:
    """Return `value` as one int per axis."""
    return (value,) * ndim if isinstance(value, int) else value


def check_adjoint(x, w, stride, dilation, pad) -> None:
    """Assert that convolution agrees with its definition, and its gradients by adjointness: it is linear in x and w."""
    sx, sw = E.tensor("x", (None,) * x.ndim, "float64"), E.tensor("w", (None,) * w.ndim, "float64")
    expected = reference.conv(x, w, stride, dilation, pad)
    g = np.random.default_rng(1).standard_normal(expected.shape)
    y = E.conv(sx, sw, stride, dilation, pad)
    result, gx, gw = E.function([sx, sw], [y, *E.grad((y * E.constant(g)).sum(), [sx, sw])])(x, w)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-11)
    assert (gx.shape, gw.shape) == (x.shape, w.shape)
    for product in ((gx * x).sum(), (gw * w).sum()):
        np.testing.assert_allclose(product, (expected * g).sum(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("ndim, stride, dilation, pad", GEOMETRIES)
def test_gradients_are_adjoint(ndim, stride, dilation, pad) -> None:
    check_adjoint(*arrays(ndim), per_axis(stride, ndim), per_axis(dilation, ndim), per_axis(pad, ndim))


@st.composite
def geometries(draw):
    """Draw a convolution that fits its input."""
    ndim = draw(st.integers(1, 3))
    axes = st.tuples(*[st.integers(1, 3)] * ndim)
    kernel, stride, dilation = draw(axes), draw(axes), draw(axes)
    pad = draw(st.tuples(*[st.integers(0, 2)] * ndim))
    extra = draw(st.tuples(*[st.integers(0, 4)] * ndim))
    least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, d, p in zip(kernel, dilation, pad, strict=True)]
    return kernel, stride, dilation, pad, tuple(m + e for m, e in zip(least, extra, strict=True))


@settings(max_examples=15, deadline=None)
@given(geometries())
def test_any_geometry(geometry) -> None:
    kernel, stride, dilation, pad, size = geometry
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 2, *size)), rng.standard_normal((3, 2, *kernel))
    check_adjoint(x, w, stride, dilation, pad)


@pytest.mark.parametrize("ndim, stride, dilation, pad", GEOMETRIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conv_agrees_with_definition(ndim, stride, dilation, pad, dtype) -> None:
    x, w = (a.astype(dtype) for a in arrays(ndim))
    sx, sw = E.tensor("x", (None,) * x.ndim, dtype), E.tensor("w", (None,) * w.ndim, dtype)
    result = E.function([sx, sw], E.conv(sx, sw, stride, dilation, pad))(x, w)
    expected = reference.conv(x, w, per_axis(stride, ndim), per_axis(dilation, ndim), per_axis(pad, ndim))
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_conv_agrees_with_scipy(ndim) -> None:
    x, w = arrays(ndim)
    sx, sw = E.constant(x), E.constant(w)
    result = E.function([], E.conv(sx, sw))()
    expected = sum(scipy.signal.correlate(x[0, c], w[1, c], "valid") for c in range(3))
    np.testing.assert_allclose(result[0, 1], expected, rtol=1e-10)


@pytest.mark.parametrize("ndim, stride, dilation, pad", GEOMETRIES)
def test_conv_transpose_agrees_with_definition(ndim, stride, dilation, pad) -> None:
    x, w = arrays(ndim)
    w = w.swapaxes(0, 1)
    sx, sw = E.tensor("x", (None,) * x.ndim, "float64"), E.tensor("w", (None,) * w.ndim, "float64")
    result = E.function([sx, sw], E.conv_transpose(sx, sw, stride, dilation, pad))(x, w)
    expected = reference.conv_transpose(x, w, per_axis(stride, ndim), per_axis(dilation, ndim), per_axis(pad, ndim))
    np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-12)


def test_mixed_dtypes_give_the_wider_one() -> None:
    x, w = E.tensor("x", (None,) * 4, "float32"), E.tensor("w", (None,) * 4, "float64")
    assert E.conv(x, w).dtype == "float64"


def test_errors_name_what_is_wrong() -> None:
    x = E.tensor("x", (None, 3, 9, 9), "float32")
    w = E.tensor("w", (8, 3, 3, 3), "float32")
    with pytest.raises(ShapeError, match=r"channels of input and kernel differ.*4 input channels"):
        E.conv(x, E.tensor("w", (8, 4, 3, 3), "float32"))
    with pytest.raises(ShapeError, match=r"window larger than the input.*\(9, 9\).*\(10, 3\)"):
        E.conv(x, E.tensor("w", (8, 3, 10, 3), "float32"))
    with pytest.raises(ShapeError, match=r"wrong number of axes.*4 axes"):
        E.conv(x, E.tensor("w", (8, 3, 3), "float32"))
    with pytest.raises(InputTypeError, match=r"w must be floating point; got int64"):
        E.conv(x, E.tensor("w", (8, 3, 3, 3), "int64"))
    with pytest.raises(ArgumentError, match=r"stride.*got 0"):
        E.conv(x, w, stride=0)
    with pytest.raises(ArgumentError, match=r"dilation.*got \(1, 2, 3\)"):
        E.conv(x, w, dilation=(1, 2, 3))
    with pytest.raises(ArgumentError, match=r"pad.*got 1.5"):
        E.conv(x, w, pad=1.5)
    with pytest.raises(ArgumentError, match=r"spatial axes.*got 4"):
        E.conv(E.tensor("x", (None,) * 6, "float32"), E.tensor("w", (None,) * 6, "float32"))
    with pytest.raises(ShapeError, match=r"output would be empty"):
        E.conv_transpose(E.tensor("x", (1, 3, 1), "float32"), E.tensor("w", (3, 1, 2), "float32"), pad=1)


def test_errors_at_run_time_name_the_sizes() -> None:
    x, w = E.tensor("x", (None,) * 4, "float32"), E.tensor("w", (None,) * 4, "float32")
    f = E.function([x, w], E.conv(x, w))
    with pytest.raises(ShapeError, match=r"channels"):
        f(np.zeros((1, 2, 5, 5), "f"), np.zeros((1, 3, 2, 2), "f"))
    with pytest.raises(ShapeError, match=r"window larger"):
        f(np.zeros((1, 2, 5, 5), "f"), np.zeros((1, 2, 6, 2), "f"))


def test_memory_layout_of_arguments_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    x, w = E.tensor("x", (None,) * 4, "float32"), E.tensor("w", (None,) * 4, "float32")
    f = E.function([x, w], E.conv(x, w))
    a, b = rng.standard_normal((2, 3, 6, 7)).astype("f"), rng.standard_normal((4, 3, 2, 3)).astype("f")
    plain = f(a, b)
    frozen = np.asfortranarray(a)
    frozen.flags.writeable = False
    np.testing.assert_allclose(f(frozen, b), plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(f(a[..., ::-1].copy()[..., ::-1], b), plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(f(a.astype(">f4"), b), plain, rtol=1e-4, atol=1e-5)
