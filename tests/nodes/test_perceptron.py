"""Perceptron against NumPy: layouts, flattening, duals, costs, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from tests.nodes.layers import check_dense_form, check_gradients, random, registered, source, twin


def perceptron(*args, **kwargs):
    return nm.Perceptron(*args, print_repr=False, **kwargs)


def test_signature_and_alias():
    assert nm.Dot is nm.Perceptron
    node = nm.Perceptron(source((2, 3)), 4, "lin", True, False, 0, name="a", print_repr=False)
    assert node.name == "a" and node.flatten and node.activation_func == "lin"
    assert perceptron(source((2, 3)), 4).name == "dot"


@pytest.mark.parametrize(
    ("shape", "tags"),
    [
        ((5, 3), "b,f"),
        ((2, 3, 6), "b,f,x"),
        ((2, 3, 4, 5), "b,f,y,x"),
        ((2, 3, 2, 4, 5), "b,f,z,y,x"),
        ((2, 2, 3, 4, 5), "b,z,f,y,x"),
        ((2, 4, 5, 3), "b,y,x,f"),
        ((4, 2, 3), "r,b,f"),
        ((2, 3, 4, 2, 2, 2), "b,f,s,z,y,x"),
    ],
)
def test_every_layout(shape, tags):
    nm.config.floatX = "float64"
    node = perceptron(source(shape, tags), 7, activation_func="tanh")
    axis, values, x = tags.split(",").index("f"), node.get_param_values(), random(*shape)
    want = np.tanh(np.moveaxis(np.moveaxis(x, axis, -1) @ values["w"] + values["b"], -1, axis))
    np.testing.assert_allclose(node(x), want, rtol=1e-12)
    assert node.shape.shape == [7 if i == axis else n for i, n in enumerate(shape)]
    assert node.shape.tags == tags.split(",")
    assert node.computational_cost == np.prod(shape) * 7
    assert node.param_count == 3 * 7 + 7
    check_gradients(node)


def test_flattening():
    nm.config.floatX = "float64"
    node = perceptron(source((3, 2, 4, 5)), 6, flatten=True, activation_func="tanh")
    x, values = random(3, 2, 4, 5), node.get_param_values()
    np.testing.assert_allclose(node(x), np.tanh(x.reshape(3, 40) @ values["w"] + values["b"]), rtol=1e-12)
    assert repr(node.shape) == "[(3,b), (6,f)]"
    assert values["w"].shape == (40, 6)
    assert node.computational_cost == 3 * 40 * 6
    check_gradients(node)


def test_unknown_batch_size():
    node = perceptron(source((None, 2, 4)), 6, flatten=True)
    assert node.shape.shape == [None, 6] and node.computational_cost == 8 * 6
    for n in (1, 5):
        assert node(np.ones((n, 2, 4), "float32")).shape == (n, 6)


def test_unknown_sizes_pass_through():
    node = perceptron(source((None, 2, None, None)), 6)
    assert node.shape.shape == [None, 6, None, None]
    assert node(np.ones((2, 2, 3, 4), "float32")).shape == (2, 6, 3, 4)
    assert twin(node, dense=True).shape.shape == [None, 6, None, None]


def test_dense_form():
    conv = nm.Conv(source((1, 2, 4, 4)), 3, (3, 3), (2, 2), print_repr=False)
    node = nm.Conv(perceptron(conv, 4, activation_func="tanh"), 2, (1, 1), print_repr=False)
    check_dense_form(node, random(1, 2, 7, 6).astype("float32"))


class TestDual:
    def test_maps_back(self):
        inp = source((2, 300))
        code = perceptron(inp, 257, name="code")
        dual = code.make_dual(code)
        assert dual.name == "code.T" and dual.n_f == 300
        assert dual.w is not code.w and dual.param_count == 257 * 300 + 300

    def test_shares_weights(self):
        code = perceptron(source((2, 5)), 3)
        dual = code.make_dual(code, share_w=True, name="back", activation_func="lin", print_repr=False)
        assert dual.name == "back" and dual.param_count == 5
        h, w = random(2, 3), code.get_param_values()["w"]
        free = nm.Perceptron(source((2, 3)), 5, "lin", w=dual.w, b=dual.b, print_repr=False)
        np.testing.assert_allclose(free(h.astype("float32")), h @ w.T + dual.b.get_value(), rtol=1e-5, atol=1e-6)

    def test_refusals(self):
        inp = source((2, 5))
        code, flat = perceptron(inp, 3), perceptron(inp, 3, flatten=True)
        maxout = perceptron(inp, 4, activation_func="maxout 2")
        before = registered()
        with pytest.raises(ArgumentError, match="a layer that flattens its input has no dual"):
            flat.make_dual(flat)
        with pytest.raises(ShapeError, match=r"as many features as the output.*; got input: f=5; expected f=3"):
            code.make_dual(inp)
        with pytest.raises(ArgumentError, match="weights can be shared or given, not both"):
            code.make_dual(code, share_w=True, w=np.ones((3, 5)))
        with pytest.raises(ArgumentError, match="weights of a maxout layer cannot be shared"):
            maxout.make_dual(maxout, share_w=True)
        assert registered() == before


@pytest.mark.parametrize(
    ("shape", "tags", "kwargs", "message"),
    [
        ((3, 4), "f,b", {}, "the features must not be on the first axis; got f,b; expected b,f,..."),
        (
            (2, 4, 3),
            "b,x,f",
            {"flatten": True},
            "flattening needs axis f directly after axis b; got b,x,f; expected tags b,f,...; nearest valid: b,f,x",
        ),
        (
            (None, 4, None),
            "b,f,x",
            {"flatten": True},
            r"flattening needs known sizes; got \[\(None,b\), \(4,f\), "
            r"\(None,x\)\]; expected only the batch size unknown",
        ),
        ((2, None), "b,f", {}, "the parent must have a known number of features"),
    ],
)
def test_bad_parents(shape, tags, kwargs, message):
    inp = source(shape, tags)
    before = registered()
    with pytest.raises(ShapeError, match=message):
        perceptron(inp, 3, **kwargs)
    assert registered() == before
