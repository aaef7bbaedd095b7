"""The rectifier: values, gradients, and in-place results."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest

from neuromancer import engine as E
from neuromancer.engine.pytensor.ops.rectifier import Relu, ReluGrad
from tests.engine.pytensor.test_conv_ops import PYTHON
from tests.engine.pytensor.test_fusion import nodes

T = E.T


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value_and_gradient_everywhere(dtype):
    x = E.tensor("x", (None,), dtype)
    y = E.relu(x)
    outputs = [y, *E.grad(y.sum(), [x]), *E.grad((T.sqr(y) + 3 * y).sum(), [x])]
    tiny = np.finfo(dtype).smallest_subnormal
    values = np.array([-np.inf, -2, -tiny, -0.0, 0.0, tiny, 3, np.inf, np.nan], dtype)
    with E.building(), np.errstate(all="ignore"):
        plain = pytensor.function([x], outputs, mode=PYTHON)(values)
    for got, same in zip(E.function([x], outputs)(values), plain, strict=True):
        np.testing.assert_array_equal(got, same)
        assert got.dtype == dtype
    y, slope, other = plain
    np.testing.assert_array_equal(y, np.maximum(values, 0))
    np.testing.assert_array_equal(slope[:-1], values[:-1] > 0)
    np.testing.assert_array_equal(other[:-2], np.where(values > 0, 2 * values + 3, 0)[:-2])


def test_second_order():
    x = E.tensor("x", (None,), "float64")
    first = E.grad((E.relu(x) ** 3).sum(), [x])[0]
    second = E.function([x], E.grad(first.sum(), [x])[0])
    values = np.array([-1.0, 0.5, 2.0])
    np.testing.assert_allclose(second(values), np.where(values > 0, 6 * values, 0))


def test_the_input_is_overwritten_if_nothing_else_reads_it():
    x = E.tensor("x", (2, 3), "float32")
    a = np.random.default_rng(0).standard_normal((2, 3)).astype("float32")
    before = a.copy()
    np.testing.assert_allclose(E.function([x], E.relu(T.sin(x)))(a), np.maximum(np.sin(a), 0), rtol=1e-6)
    s = T.sin(x)
    got, kept = E.function([x], [E.relu(s), s])(a)
    np.testing.assert_allclose(got, np.maximum(np.sin(a), 0), rtol=1e-6)
    np.testing.assert_allclose(kept, np.sin(a), rtol=1e-6)
    np.testing.assert_array_equal(a, before)
    E.function([x], E.relu(x))(a)
    np.testing.assert_array_equal(a, before)


def test_only_the_result_is_kept_for_the_gradient():
    x = E.tensor("x", (None, 3), "float32")
    f = E.function([x], E.grad((E.relu(T.sin(x)) * T.exp(x)).sum(), [x])[0])
    (rectified,) = [node.outputs[0] for node in nodes(f) if isinstance(node.op, Relu)]
    (grad,) = [node for node in nodes(f) if isinstance(node.op, ReluGrad)]
    assert grad.inputs[0] is rectified


@pytest.mark.parametrize("formats", ["same", "different"])
def test_memory_formats(formats):
    import torch

    y = torch.randn(1, 3, 2, 4, 5).clamp_min(0)
    gy = torch.randn(1, 3, 2, 4, 5)
    if formats == "different":
        gy = gy.contiguous(memory_format=torch.channels_last_3d)
    expected = torch.where(y > 0, gy, 0)
    got = ReluGrad().kernel_in_place(y, gy)
    assert torch.equal(got, expected)
    assert got.stride() == y.stride()
