"""Fused operations and overwritten operands change nothing but speed."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.math import add

from neuromancer import engine as E
from neuromancer.engine.pytensor.kernels.row_up import RowUpConv
from neuromancer.engine.pytensor.link.torch.fusion import SharedSums
from neuromancer.engine.pytensor.ops.conv_epilogue import FusedConv
from neuromancer.engine.pytensor.ops.fused import ConvBias
from neuromancer.engine.pytensor.ops.square_sum import SquareSum
from tests.engine.pytensor.test_conv_ops import PYTHON

T = E.T


def nodes(function) -> list[Apply]:
    """Return the operations that run, also those inside groups."""
    steps = [step.node for step in function.program.steps if step.node is not None]
    return [inner for node in steps for inner in _parts(node)]


def _parts(node: Apply) -> list[Apply]:
    if isinstance(node.op, FusedConv):
        return [node.op.convolution, *_parts(node.op.after)]
    return list(getattr(node.op, "nodes", [node]))


def operations(function) -> list[type]:
    """Return the classes of the operations that run."""
    return [type(node.op) for node in nodes(function)]


def test_bias_is_added_by_the_convolution() -> None:
    x = E.tensor("x", (None, 2, None, None), "float64")
    w = E.SharedVariable(np.random.default_rng(0).standard_normal((3, 2, 2, 2)), "w")
    b = E.SharedVariable(np.arange(3.0), "b")
    y = E.conv(x, w) + b.dimshuffle("x", 0, "x", "x")
    f = E.function([x], T.tanh(y))
    assert ConvBias in operations(f)
    a = np.random.default_rng(1).standard_normal((2, 2, 4, 5))
    with E.building():
        expected = pytensor.function([x], T.tanh(y), mode=PYTHON)(a)
    np.testing.assert_allclose(f(a), expected, rtol=1e-10)
    # not if something else reads the convolution, nor if one number is added to several channels
    assert ConvBias not in operations(E.function([x], [T.tanh(y), E.conv(x, w) * 2]))
    one = E.SharedVariable(np.ones(1), "one")
    assert ConvBias not in operations(E.function([x], E.conv(x, w) + one.dimshuffle("x", 0, "x", "x")))


def test_up_convolution_computes_what_reads_it_before_it_stores(monkeypatch) -> None:
    x = E.tensor("x", (None, 3, None, None), "float32")
    w = E.SharedVariable(np.random.default_rng(0).standard_normal((3, 4, 2, 2)).astype("f"), "w")
    y = E.conv_transpose(x, w, stride=(2, 2))
    f = E.function([x], T.tanh(y) + 1)
    a = np.random.default_rng(1).standard_normal((2, 3, 5, 40)).astype("f")
    plain, seen = E.function([x], y)(a), []
    own = RowUpConv.conv
    monkeypatch.setattr(RowUpConv, "conv", lambda *args: seen.append(args[5]) or own(*args))
    np.testing.assert_allclose(f(a), np.tanh(plain) + 1, atol=1e-5)
    assert len(seen) == 1 and seen[0] is not None


def test_bias_is_added_before_pooling() -> None:
    x = E.tensor("x", (None, 2, None, None), "float64")
    w = E.SharedVariable(np.random.default_rng(0).standard_normal((3, 2, 2, 2)), "w")
    b = E.SharedVariable(np.arange(3.0), "b")
    conv = E.conv(x, w)
    y = E.pool(conv, (2, 2), (1, 1)) + b.dimshuffle("x", 0, "x", "x")
    f = E.function([x], T.maximum(y, 0))
    assert ConvBias in operations(f)
    a = np.random.default_rng(1).standard_normal((2, 2, 6, 5))
    with E.building():
        expected = pytensor.function([x], T.maximum(y, 0), mode=PYTHON)(a)
    np.testing.assert_allclose(f(a), expected, rtol=1e-10)
    # not if something else reads the maxima or the convolution without bias
    assert ConvBias not in operations(E.function([x], [y, conv]))
    assert ConvBias not in operations(E.function([x], [y, E.grad(T.sqr(y).sum(), [x])[0]]))


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 4, 5), (2,)), ((3, 4, 5), (0, 2)), ((3, 4, 5), None), ((2, 0), (1,)), ((2, 5000), (1,))]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squares_are_added_without_an_array_of_them(shape, axes, dtype) -> None:
    x = E.tensor("x", (None,) * len(shape), dtype)
    f = E.function([x], T.sqr(x).sum(axis=axes))
    assert SquareSum in operations(f)
    a = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    expected = (a.astype("float64") ** 2).sum(axes)
    np.testing.assert_allclose(f(a), expected, rtol=1e-6 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(f(a[::-1, ..., ::-1]), expected[::-1] if axes in ((1,), (2,)) else f(a), rtol=1e-5)
    # not if something else reads the squares, or the last axis remains
    assert SquareSum not in operations(E.function([x], [T.sqr(x), T.sqr(x).sum()]))
    assert SquareSum not in operations(E.function([x], T.sqr(x).sum(axis=[0])))


def test_sums_of_squares_of_large_arrays_are_precise() -> None:
    x = E.tensor("x", (None, None, None), "float32")
    a = np.random.default_rng(0).standard_normal((2, 1000, 1000)).astype("float32")
    got = E.function([x], T.sqr(x).sum(axis=(1, 2)))(a)
    np.testing.assert_allclose(got, (a.astype("float64") ** 2).sum((1, 2)), rtol=5e-7)


UNARY = [T.tanh, T.exp, T.sqr, T.neg, T.sigmoid, lambda v: T.maximum(v, 0), lambda v: 0.5 * v, lambda v: v.T.T * v]
BINARY = [T.add, T.mul, T.sub, T.maximum, lambda a, b: a / (T.sqr(b) + 1), lambda a, b: a * b + b * a + 1]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_random_expressions_agree_with_python_mode(data) -> None:
    """Values that are read again, viewed, returned or kept are never overwritten."""
    x, row = E.tensor("x", (None, 3), "float64"), E.tensor("row", (1, 3), "float64")
    p = E.SharedVariable(np.linspace(-1, 1, 6).reshape(2, 3), "p")
    pool = [x, row, p, x + 1]
    for _ in range(data.draw(st.integers(2, 9))):
        if data.draw(st.booleans()):
            pool.append(data.draw(st.sampled_from(UNARY))(data.draw(st.sampled_from(pool))))
        else:
            a, b = data.draw(st.sampled_from(pool)), data.draw(st.sampled_from(pool))
            pool.append(data.draw(st.sampled_from(BINARY))(a, b))
    outputs = [pool[-1], pool[data.draw(st.integers(0, len(pool) - 1))]]
    outputs += [g for g in E.grad(T.tanh(pool[-1]).sum(), [x, p]) if g is not None]
    arrays = [np.random.default_rng(0).standard_normal((2, 3)), np.random.default_rng(1).standard_normal((1, 3))]
    with E.building(), np.errstate(all="ignore"):
        expected = pytensor.function([x, row], outputs, mode=PYTHON, on_unused_input="ignore")(*arrays)
    copies = [a.copy() for a in arrays]
    f = E.function([x, row], outputs)
    for _ in range(2):
        for result, value in zip(f(*arrays), expected, strict=True):
            np.testing.assert_allclose(result, value, rtol=1e-8, atol=1e-10)
    for a, c in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(p.get_value(), np.linspace(-1, 1, 6).reshape(2, 3))


def test_sums_of_a_chain_of_residuals_are_shared() -> None:
    x = E.tensor("x", (3, 40, 50), "float32")
    with E.building():
        a, b, c = T.tanh(x), T.exp(x), T.sqr(x)
        chain = FunctionGraph([x], [add(x, a), add(x, a, b), add(x, b, a, c), add(x, x)], clone=True)
    SharedSums().rewrite(chain)
    # every sum adds one term to the one before
    assert [len(out.owner.inputs) for out in chain.outputs] == [2] * 4
    assert chain.outputs[0] in chain.outputs[1].owner.inputs and chain.outputs[1] in chain.outputs[2].owner.inputs
    terms = [x]
    sums = []
    for k in range(4):
        terms.append(T.tanh(terms[-1] * (k + 1)))
        sums.append(add(*terms))
    values = np.random.default_rng(0).standard_normal((3, 40, 50)).astype("float32")
    wanted, last = values, values
    for k, got in enumerate(E.function([x], sums)(values)):
        last = np.tanh(last * (k + 1))
        wanted = wanted + last
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
