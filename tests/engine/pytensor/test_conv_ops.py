"""Convolution in PyTensor: first and second gradients, static shapes, agreement with its Python mode."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from pytensor.compile.mode import Mode
from pytensor.gradient import verify_grad

from neuromancer import engine as E
from neuromancer.engine.pytensor.ops.conv import Conv, ConvGradInput, ConvGradKernel, ConvTranspose
from neuromancer.errors import EngineError
from tests.engine import reference
from tests.engine.test_conv import GEOMETRIES, arrays, geometries

PYTHON = Mode("vm", "fast_compile")


def check_gradient(function, values) -> None:
    """Run verify_grad without compiling C code."""
    with E.building():
        verify_grad(function, values, rng=np.random.default_rng(1), mode=PYTHON)


@pytest.mark.parametrize("ndim, stride, dilation, pad", GEOMETRIES)
def test_gradients(ndim, stride, dilation, pad) -> None:
    x, w = (a[:, :2] for a in arrays(ndim))
    check_gradient(Conv(ndim, stride, dilation, pad), [x, w])
    check_gradient(ConvTranspose(ndim, stride, dilation, pad), [x, w.swapaxes(0, 1)])


@pytest.mark.parametrize("ndim, stride, dilation, pad", GEOMETRIES)
def test_second_order_gradients(ndim, stride, dilation, pad) -> None:
    x, w = (a[:, :2] for a in arrays(ndim))
    op = Conv(ndim, stride, dilation, pad)
    gy = np.random.default_rng(2).standard_normal(reference.conv(x, w, op.stride, op.dilation, op.pad).shape)
    grad_input, grad_kernel = ConvGradInput(ndim, *op.geometry), ConvGradKernel(ndim, *op.geometry)
    check_gradient(lambda w_, g: grad_input(pt.constant(x), w_, g), [w, gy])
    check_gradient(lambda x_, g: grad_kernel(x_, pt.constant(w), g), [x, gy])


@pytest.mark.parametrize("ndim, stride, dilation, pad", GEOMETRIES)
def test_gradients_on_the_engine_agree_with_python_mode(ndim, stride, dilation, pad) -> None:
    x, w = arrays(ndim)
    sx, sw = E.tensor("x", (None,) * x.ndim, "float64"), E.tensor("w", (None,) * w.ndim, "float64")
    y = E.conv(sx, sw, stride, dilation, pad)
    z = E.conv_transpose(y, sw, stride, dilation, pad)
    gradients = E.grad((z**3).sum(), [sx, sw])
    outputs = [*gradients, *E.grad((gradients[0] ** 2).sum(), [sw])]
    with E.building():
        expected = pytensor.function([sx, sw], outputs, mode=PYTHON)(x, w)
    for result, value in zip(E.function([sx, sw], outputs)(x, w), expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(geometries())
def test_any_geometry(geometry) -> None:
    kernel, stride, dilation, pad, size = geometry
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 2, *size)), rng.standard_normal((3, 2, *kernel))
    op = Conv(len(kernel), stride, dilation, pad)
    y = op(pt.constant(x), pt.constant(w))
    expected = reference.conv(x, w, stride, dilation, pad)
    assert y.type.shape == expected.shape
    node = y.owner
    cell = [[None]]
    op.perform(node, [x, w], cell)
    np.testing.assert_allclose(cell[0][0], expected, rtol=1e-9, atol=1e-11)
    # adjointness verifies both gradients: <conv(x, w), g> = <x, grad_input(w, g)> = <w, grad_kernel(x, g)>
    g = rng.standard_normal(expected.shape)
    product = (expected * g).sum()
    for kind, factor in ((ConvGradInput, x), (ConvGradKernel, w)):
        grad = kind(len(kernel), stride, dilation, pad)
        grad.perform(grad.make_node(x, w, g), [x, w, g], cell)
        np.testing.assert_allclose((cell[0][0] * factor).sum(), product, rtol=1e-8, atol=1e-9)


def test_static_shapes() -> None:
    x = E.tensor("x", (None, 3, 9, None), "float32")
    w = E.tensor("w", (8, 3, 3, 2), "float32")
    assert E.conv(x, w).type.shape == (None, 8, 7, None)
    assert E.conv(x, w, stride=2, pad=1).type.shape == (None, 8, 5, None)
    v = E.tensor("v", (3, 5, 2, 2), "float32")
    assert E.conv_transpose(x, v, stride=2).type.shape == (None, 5, 18, None)
    assert E.grad(E.conv(x, w).sum(), [x])[0].type.shape == x.type.shape


def test_the_shape_of_a_result_is_computed_without_convolution() -> None:
    x, w = E.tensor("x", (None,) * 4, "float32"), E.tensor("w", (None,) * 4, "float32")
    f = E.function([x, w], E.conv(x, w, 2, 1, 1).shape)
    assert not any(isinstance(n.op, Conv) for n in f.pytensor_function.maker.fgraph.toposort())
    assert f(np.zeros((1, 2, 9, 8), "f"), np.zeros((3, 2, 3, 3), "f")).tolist() == [1, 3, 5, 4]


def test_errors_of_torch_name_operation_and_shapes() -> None:
    x, w = E.tensor("x", (None,) * 4, "float32"), E.tensor("w", (None,) * 4, "float32")
    y = E.function([x, w], x @ w)
    with pytest.raises(EngineError, match=r"BatchedDot.*\(1, 2, 3\)"):
        y(np.zeros((1, 1, 2, 3), "f"), np.zeros((1, 1, 2, 3), "f"))
