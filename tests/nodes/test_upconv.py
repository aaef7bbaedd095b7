"""Up-convolution against NumPy: values, identity initialisation, geometry, costs, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, ShapeError
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode
from tests.nodes.layers import check_gradients, per_feature, random, randomise, registered, source, up_convolve


def upconv(parent, *args, **kwargs):
    return nm.UpConv(parent, *args, print_repr=False, **kwargs)


@pytest.mark.parametrize(
    ("size", "factor"),
    [((4,), (3,)), ((3, 4), (2, 1)), ((3, 2), (3, 2)), ((2, 3, 2), (1, 2, 2)), ((2, 2, 2), (2, 2, 3))],
)
def test_values_shapes_costs_gradients(size, factor):
    nm.config.floatX = "float64"
    x = random(2, 3, *size)
    node = upconv(source(x.shape), 4, factor, "tanh", identity_init=False)
    values = node.get_param_values()
    want = np.tanh(up_convolve(x, values["w"]) + per_feature(values["b"], x.ndim))
    np.testing.assert_allclose(node(x), want, rtol=1e-12)
    assert node.shape.shape == list(want.shape)
    assert values["w"].shape == (4, 3, *factor)
    # Each output position depends on one position of the kernel.
    assert node.computational_cost == 2 * 4 * 3 * np.prod(size) * np.prod(factor)
    check_gradients(node)


def test_other_layout():
    nm.config.floatX = "float64"
    x = random(1, 2, 3, 2, 2)
    node = upconv(source(x.shape, "b,z,f,y,x"), 4, (2, 1, 3), "lin", identity_init=False)
    w = node.get_param_values()["w"]
    assert w.shape == (4, 3, 2, 1, 3)
    want = up_convolve(x.transpose(0, 2, 1, 3, 4), w).transpose(0, 2, 1, 3, 4)
    np.testing.assert_allclose(node(x), want, atol=1e-5)
    assert repr(node.shape) == "[(1,b), (4,z), (4,f), (2,y), (6,x)]"


def test_geometry():
    inp = source((1, 2, 14))
    low = nm.Conv(inp, 2, (3,), (4,), print_repr=False)
    node = upconv(low, 2, (2,))
    assert node.shape.strides.tolist() == [2] and low.shape.strides.tolist() == [4]
    assert node.shape.fov == [6]
    assert node.shape.centre[0] == low.shape.centre[0] - 1
    assert upconv(node, 2, (4,)).shape.strides.tolist() == [0.5]


def test_unknown_sizes_pass_through():
    node = upconv(source((None, 2, None, 3)), 5, (2, 2))
    assert node.shape.shape == [None, 5, None, 6]
    assert node(np.ones((2, 2, 4, 3), "float32")).shape == (2, 5, 8, 6)
    assert node.computational_cost == 5 * 2 * 4 * 3


class TestIdentity:
    @pytest.mark.parametrize(("n_in", "n_f"), [(3, 3), (2, 4), (4, 2)])
    def test_starts_as_repetition(self, n_in, n_f):
        nm.seed(0)
        node = upconv(source((1, n_in, 3, 3)), n_f, (2, 2), "lin")
        values, both = node.get_param_values(), min(n_in, n_f)
        assert (values["b"] == 0).all()
        assert (values["w"][range(both), range(both)] == 1).all()
        others = values["w"][~np.eye(n_f, n_in, dtype=bool)]
        assert 0 < np.abs(others).max() < 0.5
        node.set_param_values({"w": np.where(values["w"] == 1, 1, 0)})
        x = random(1, n_in, 3, 3).astype("float32")
        np.testing.assert_array_equal(node(x)[:, :both], x.repeat(2, 2).repeat(2, 3)[:, :both])
        nm.seed(None)

    def test_prelu_starts_linear(self):
        node = upconv(source((1, 2, 3)), 2, (2,), "prelu")
        assert node.get_param_values()["b"].tolist() == [[0, 1], [0, 1]]

    def test_given_parameters_are_kept(self):
        inp, w, b = source((1, 2, 3)), random(2, 2, 2), random(2)
        node = upconv(inp, 2, (2,), w=w, b=b)
        np.testing.assert_array_equal(node.get_param_values()["w"], w.astype("float32"))
        np.testing.assert_array_equal(node.get_param_values()["b"], b.astype("float32"))
        constant = upconv(inp, 2, (2,), w=[w, "const"])
        np.testing.assert_array_equal(constant.get_param_values()["w"], w.astype("float32"))
        assert (constant.get_param_values()["b"] == 0).all()
        shared = upconv(inp, 2, (2,), w=node.w, b=node.b)
        assert shared.params == {}
        np.testing.assert_array_equal(node.get_param_values()["w"], w.astype("float32"))
        np.testing.assert_array_equal(node.get_param_values()["b"], b.astype("float32"))


def test_no_dense_form():
    node = upconv(nm.Conv(source((1, 2, 9)), 2, (2,), (2,), print_repr=False), 3, (2,))
    with pytest.raises(
        GraphError,
        match=r"UpConv 'upconv': an up-convolution cannot be evaluated densely by dilation; "
        r"got pool_shape \(2,\)",
    ):
        rebuild([node], BuildMode(inference=True, dense=True), free_sizes=True)


def test_training_parameters_below():
    nm.config.floatX = "float64"
    node = upconv(source((1, 2, 3, 3)), 2, (2, 2), "prelu", batch_normalisation="fadeout")
    randomise(node)
    check_gradients(node)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((3, (2,)), {}, ShapeError, "UpConv 'upconv': pool_shape needs one entry per spatial axis"),
        ((3, (2, 0)), {}, ArgumentError, "pool_shape must consist of integers"),
        ((3, (2, 2)), {"w": np.ones((2, 3, 2, 2))}, ShapeError, r"got \(2, 3, 2, 2\); expected \(3, 2, 2, 2\)"),
        ((0, (2, 2)), {}, ArgumentError, "n_f must be a positive integer"),
        ((3, (2, 2), "tnah"), {}, ArgumentError, "nearest valid: tanh"),
    ],
)
def test_bad_arguments_leave_nothing_behind(args, kwargs, error, message):
    inp = source((1, 2, 4, 4))
    before = registered()
    with pytest.raises(error, match=message):
        upconv(inp, *args, **kwargs)
    assert registered() == before
