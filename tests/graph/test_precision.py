"""NumPy scalars in expressions do not change the precision of a network."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E

T = nm.T


class Stretched(nm.Node):
    """A user-defined node with scalars, an array and a parameter in double precision."""

    def __init__(self, parent, name="scaled"):
        super().__init__(parent, name)
        self.params["scale"] = nm.VariableParam(np.full(3, 0.5), name="scale")

    def _make_output(self):
        self.output = self.parent.output * self.params["scale"] + np.arange(3.0) * np.float64(0.1)


class Layer(nm.Perceptron):
    """A layer with an additional activation function."""

    def _make_output(self):
        super()._make_output()
        self.output = T.tanh(self.output * np.float64(1.5))


def source(dtype=None, **kwargs):
    return nm.Input((None, 3), "b,f", name="x", dtype=dtype, print_repr=False, **kwargs)


MAKERS = {
    "scalar": lambda x: nm.ApplyFunc(x, lambda v: v * np.float64(0.5)),
    "array": lambda x: nm.ApplyFunc(x, lambda v: v + np.arange(3.0)),
    "constant": lambda x: nm.ApplyFunc(x, lambda v: v - E.constant(np.float64(0.1))),
    "tensor": lambda x: nm.FromTensor(x.output * np.float64(0.5), x.shape, x),
    "function": lambda x: nm.FromTensor(lambda v: v * np.float64(0.5), x.shape, x),
    "own node": Stretched,
    "own layer": lambda x: Layer(x, 3, print_repr=False),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_network_stays_float32(make):
    x = source()
    node = make(x)
    out = nm.Perceptron(node, 3, activation_func="lin", name="out", print_repr=False)
    assert {n.output.dtype for n in out.sub_graph()} == {"float32"}
    data = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    assert node(data).dtype == node.infer(data).dtype == "float32"
    t = nm.Input_like(out, name="t", print_repr=False)
    loss = nm.AggregateLoss([nm.SquaredLoss(out, t, print_repr=False)], name="loss", print_repr=False)
    model = nm.model_manager.current
    model.designate_nodes("x", t, loss, out)
    assert loss.output.dtype == "float32"
    before = model.loss(data, data)
    model.lr = 0.01
    for _ in range(5):
        model.trainingstep(data, data, optimiser="Adam")
    assert model.loss(data, data) < before


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_double_precision_on_request(make):
    nm.config.floatX = "float64"
    assert make(source()).output.dtype == "float64"


JOINS = {
    "Add": lambda a, b: nm.Add(a, b, print_repr=False),
    "MultMerge": lambda a, b: nm.MultMerge(a, b, print_repr=False),
    "Concat": lambda a, b: nm.Concat([a, b], print_repr=False),
    "SquaredLoss": lambda a, b: nm.SquaredLoss(a, b, print_repr=False),
    "GaussianNLL": lambda a, b: nm.GaussianNLL(a, a, b, print_repr=False),
}


@pytest.mark.parametrize("join", JOINS.values(), ids=list(JOINS))
def test_mixed_precision_gives_the_configured_one(join):
    x = nm.Input((4, 3), "b,f", name="x", print_repr=False)
    value = nm.ValueNode((4, 3), "b,f", dtype="float64", value=1.0, print_repr=False)
    for pair in ((x, value), (value, x)):
        node = join(*pair)
        assert node.output.dtype == node(np.ones((4, 3), "float32")).dtype == "float32"
    both = join(value, nm.ValueNode((4, 3), "b,f", dtype="float64", value=1.0, print_repr=False))
    assert both.output.dtype == "float64"


def test_a_float64_input_stays_float64():
    assert nm.ApplyFunc(source("float64"), T.tanh).output.dtype == "float64"


def test_other_dtypes_are_unchanged():
    x = source()
    assert nm.ApplyFunc(x, lambda v: T.gt(v, np.float64(0))).output.dtype == "bool"
    assert nm.ApplyFunc(x, lambda v: T.cast(v, "int64")).output.dtype == "int64"
    assert nm.ApplyFunc(x, lambda v: T.cast(v, "float16")).output.dtype == "float16"
    assert nm.ApplyFunc(source("int32"), lambda v: v + np.int64(1)).output.dtype == "int64"


def test_division_of_integers_has_the_configured_precision():
    assert nm.ApplyFunc(source("int32"), lambda v: v / 3).output.dtype == "float32"


def test_a_copy_has_the_precision_of_the_original():
    node = nm.ApplyFunc(source(), lambda v: v * np.float64(0.1))
    nm.config.floatX = "float64"
    assert node.infer(np.ones((1, 3), "float32")).dtype == "float32"


def test_values_in_single_precision():
    node = nm.ApplyFunc(source(), lambda v: v * np.float64(0.1))
    np.testing.assert_allclose(node(np.float32([[1, 2, 3]])), [[0.1, 0.2, 0.3]], rtol=1e-6)
