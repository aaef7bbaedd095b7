"""Operations and dtypes without a torch form run on the host, with the same results."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from neuromancer import engine as E
from tests.engine.pytensor.test_conv_ops import PYTHON


class Flip(Op):
    """A user's operation: reverses a vector and returns its length."""

    __props__ = ()

    def make_node(self, x):
        return Apply(self, [x], [x.type(), pt.lscalar()])

    def perform(self, node, inputs, outputs):
        if inputs[0][0] > 100:
            raise ValueError("too large")
        outputs[0][0] = inputs[0][::-1]
        outputs[1][0] = np.array(len(inputs[0]))

    def pullback(self, inputs, outputs, cotangents):
        return [cotangents[0][::-1]]


def test_any_operation_runs_and_costs_one_transfer_each_way() -> None:
    x = E.tensor("x", (None,), "float32")
    flipped, length = Flip()(x * 2)
    f = E.function([x], [flipped + 1, length, E.grad((flipped * pt.arange(length)).sum(), [x])[0]])
    y, n, g = f([1, 2, 3])
    assert y.tolist() == [7, 5, 3] and n == 3 and g.tolist() == [4, 2, 0]


def test_errors_of_an_operation_keep_their_type_and_name_it() -> None:
    x = E.tensor("x", (None,), "float32")
    f = E.function([x], Flip()(x)[0] * 2)
    with pytest.raises(ValueError, match=r"too large") as caught:
        f([1000])
    assert any("Flip" in note for note in caught.value.__notes__)


def test_inner_graphs() -> None:
    a, b = pt.dvectors("a", "b")
    op = OpFromGraph([a, b], [pt.tanh(a) * b, a.sum()])
    x, y = E.tensor("x", (None,), "float64"), E.tensor("y", (None,), "float64")
    outputs = [*op(x, y), E.grad(op(x, y)[0].sum(), [x])[0]]
    arrays = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    with E.building():
        expected = pytensor.function([x, y], outputs, mode=PYTHON)(*arrays)
    for result, value in zip(E.function([x, y], outputs)(*arrays), expected, strict=True):
        np.testing.assert_allclose(result, value)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "int8", "int16", "uint8", "bool"])
def test_every_integer_dtype(dtype) -> None:
    x = E.tensor("x", (None, None), dtype)
    values = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    outputs = [x.astype("float32") * 0.5, x.sum(axis=0), pt.eq(x, 1), x[:, ::-1], pt.concatenate([x, x])]
    with E.building():
        expected = pytensor.function([x], outputs, mode=PYTHON)(values)
    for result, value in zip(E.function([x], outputs)(values), expected, strict=True):
        assert result.dtype == value.dtype
        np.testing.assert_array_equal(result, value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementwise_functions_of_all_kinds(dtype) -> None:
    x = E.tensor("x", (None,), dtype)
    names = (
        "abs arccos arccosh arcsin arcsinh arctan arctanh ceil cos cosh deg2rad erf erfc erfcx erfinv exp exp2 expm1 "
        "floor gamma gammaln i0 i1 j0 j1 log log10 log1mexp log1p log2 neg psi rad2deg reciprocal round sigmoid sign "
        "sin sinh softplus sqr sqrt tan tanh tri_gamma trunc"
    ).split()
    functions = {name: getattr(pt, name) for name in names if hasattr(pt, name)}
    values = np.linspace(0.05, 0.95, 7).astype(dtype)
    shift = {"arccosh": 1, "log1mexp": -1}
    outputs = [fn(x + np.asarray(shift.get(name, 0), dtype)) for name, fn in functions.items()]
    with E.building(), np.errstate(all="ignore"):
        expected = pytensor.function([x], outputs, mode=PYTHON)(values)
    for name, result, value in zip(functions, E.function([x], outputs)(values), expected, strict=True):
        assert result.dtype == value.dtype, name
        np.testing.assert_allclose(result, value, rtol=2e-5 if dtype == "float32" else 1e-10, atol=1e-6, err_msg=name)


def test_values_that_torch_does_not_know_stay_on_the_host() -> None:
    g, x = E.generic("g"), E.tensor("x", (), "float32")
    assert E.function([g, x], [g, x])("anything", 2)[0] == "anything"
    z = E.tensor("z", (None,), "complex64")
    assert E.function([z], z * 2)(np.array([1j], "complex64")).tolist() == [2j]


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_values_without_a_torch_form_meet_others(dtype: str) -> None:
    x, y = E.tensor("x", (None, 2), "float32"), E.tensor("y", (None, 2), dtype)
    a, b = np.float32([[1, 2.5]]), np.array([[3, 200]], dtype)
    cases = [x * y, x + y, pt.join(0, x, y), pt.dot(x, y.T), pt.maximum(x, y), pt.switch(pt.gt(x, 2), x, y)]
    found = E.function([x, y], cases)(a, b)
    wanted = [a * b, a + b, np.concatenate([a, b]), a @ b.T, np.maximum(a, b), np.where(a > 2, a, b)]
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
