"""PyTensor's own form of pooling: gradients of both orders, static shapes, ties and NaN."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.engine.pytensor.ops.pool import AveragePool, AveragePoolGrad, MaxPool, MaxPoolGrad, TakeWinners
from tests.engine import reference
from tests.engine.pytensor.test_conv_ops import check_gradient
from tests.engine.test_pool import GEOMETRIES, MODES, geometries, image


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
