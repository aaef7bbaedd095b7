"""Convolutional layers against NumPy: modes, layouts, pooling, geometry, costs, dense form, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from tests.nodes.layers import (
    check_dense_form,
    check_gradients,
    convolve,
    evaluate,
    per_feature,
    pool,
    random,
    registered,
    source,
    twin,
)

PAD = {"valid": lambda f: 0, "same": lambda f: f // 2, "full": lambda f: f - 1}


def conv(parent, *args, **kwargs):
    return nm.Conv(parent, *args, print_repr=False, **kwargs)


def expected(x, values, pool_shape, mode="valid"):
    """Compute tanh(max-pooled convolution + bias)."""
    pad = [PAD[mode](f) for f in values["w"].shape[2:]]
    return np.tanh(pool(convolve(x, values["w"], pad), pool_shape) + per_feature(values["b"], x.ndim))


@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@pytest.mark.parametrize(
    ("size", "kernel", "pool_shape"),
    [
        ((14,), (3,), (2,)),
        ((9, 8), (3, 1), (1, 2)),
        ((8, 10), (5, 3), (1, 2)),
        ((5, 6, 7), (3, 1, 3), (1, 2, 1)),
        ((4, 4, 4), (1, 1, 1), (2, 2, 2)),
    ],
)
def test_values_shapes_costs_gradients(mode, size, kernel, pool_shape):
    nm.config.floatX = "float64"
    grown = [s + 2 * PAD[mode](f) - f + 1 for s, f in zip(size, kernel, strict=True)]
    size = tuple(s - g % p for s, g, p in zip(size, grown, pool_shape, strict=True))
    x = random(2, 3, *size)
    node = conv(source(x.shape), 4, kernel, pool_shape, conv_mode=mode, activation_func="tanh")
    want = expected(x, node.get_param_values(), pool_shape, mode)
    np.testing.assert_allclose(node(x), want, rtol=1e-10, atol=1e-12)
    assert node.shape.shape == list(want.shape)
    assert node.shape.strides.tolist() == list(pool_shape)
    assert node.shape.fov == [f + p - 1 for f, p in zip(kernel, pool_shape, strict=True)]
    positions = [s + 2 * PAD[mode](f) - f + 1 for s, f in zip(size, kernel, strict=True)]
    assert node.computational_cost == 4 * 3 * np.prod(kernel) * np.prod(positions) * 2
    assert node.param_count == 4 * 3 * np.prod(kernel) + 4
    check_gradients(node)


@pytest.mark.parametrize("kernel", [(2,), (4,)])
def test_even_kernels(kernel):
    nm.config.floatX = "float64"
    x = random(1, 2, 11)
    for mode in ("valid", "full"):
        node = conv(source(x.shape), 3, kernel, conv_mode=mode, activation_func="tanh")
        np.testing.assert_allclose(node(x), expected(x, node.get_param_values(), (1,), mode), rtol=1e-10)


def test_kernels_are_flipped():
    x = np.zeros((1, 1, 5, 5), "float32")
    x[0, 0, 2, 2] = 1
    w = np.arange(9.0).reshape(1, 1, 3, 3)
    node = conv(source(x.shape), 1, (3, 3), activation_func="lin", w=w, b=np.zeros(1))
    np.testing.assert_array_equal(node(x)[0, 0], w[0, 0])


def test_layout_with_features_between_the_spatial_axes():
    nm.config.floatX = "float64"
    x = random(2, 4, 3, 7, 8)
    w = random(5, 2, 3, 2, 3)
    node = conv(source(x.shape, "b,z,f,y,x"), 5, (2, 2, 3), (3, 2, 1), activation_func="tanh", w=w)
    plain = conv(
        source((2, 3, 4, 7, 8)), 5, (2, 2, 3), (3, 2, 1), activation_func="tanh", w=w.transpose(0, 2, 1, 3, 4), b=node.b
    )
    want = plain(x.transpose(0, 2, 1, 3, 4))
    np.testing.assert_allclose(node(x), want.transpose(0, 2, 1, 3, 4), rtol=1e-12)
    assert repr(node.shape) == "[(2,b), (1,z), (5,f), (3,y), (6,x)]"
    assert node.shape.fov == plain.shape.fov == [4, 3, 3]
    assert node.computational_cost == plain.computational_cost
    check_gradients(node)
    second = conv(node, 2, (1, 2, 2))
    assert second.get_param_values()["w"].shape == (2, 1, 5, 2, 2)


@pytest.mark.parametrize("tags", ["b,f,z,x,y", "b,f,x,y,z", "b,f,z,y,x"])
def test_spatial_arguments_follow_the_order_of_the_tags(tags):
    node = conv(source((1, 1, 5, 6, 8), tags), 2, (2, 3, 1), (1, 2, 4))
    assert node.shape.tags == tags.split(",")
    assert node.shape.spatial_shape == [4, 2, 2]


def test_documented_network():
    conv0 = conv(source((10, 3, 23, 183, 183)), 32, (1, 6, 6), (1, 2, 2), name="conv")
    conv1 = conv(conv0, 64, (4, 6, 6), (2, 2, 2), name="conv")
    conv2 = conv(conv1, 5, (3, 3, 3), activation_func="lin")
    assert [n.shape.spatial_shape for n in (conv0, conv1, conv2)] == [[23, 89, 89], [10, 42, 42], [8, 40, 40]]
    assert conv2.shape.fov == [9, 27, 27] and conv2.shape.strides.tolist() == [2, 4, 4]
    assert [n.param_count for n in (conv0, conv1, conv2)] == [3488, 294976, 8645]
    assert repr(conv0) == (
        "<Conv-Node> 'conv' \n  #Params=3,488 Comp.Cost=25.2 Giga Ops, Out:[(10,b), (32,f), (23,z), (89,x), (89,y)]\n"
        "  n_f=32, 3d conv, kernel=(1, 6, 6), pool=(1, 2, 2), act='relu', "
    )
    assert conv1.name == "conv1" and f"{conv1.computational_cost / 1e9:.1f}" == "416.2"


def test_initial_scale_accounts_for_pooling():
    nm.seed(2)
    inp = source((1, 30, 20, 20))
    w = conv(inp, 40, (3, 3), (2, 2)).get_param_values()["w"]
    assert abs(w.std() / np.sqrt(2 / ((30 + 40 / 4) * 9)) - 1) < 0.03
    swapped = conv(source((1, 8, 30, 9, 9), "b,z,f,y,x"), 40, (2, 2, 2), (1, 2, 2)).get_param_values()["w"]
    assert abs(swapped.std() / np.sqrt(2 / ((30 + 40 / 4) * 8)) - 1) < 0.03
    nm.seed(None)


def test_unknown_sizes_pass_through():
    node = conv(conv(source((None, 2, None, 9)), 3, (2, 2), (2, 2)), 4, (2, 3), conv_mode="full")
    assert node.shape.shape == [None, 4, None, 6]
    assert node.shape.fov == [5, 7]
    values = node(np.ones((3, 2, 7, 9), "float32"))
    assert values.shape == (3, 4, 4, 6)
    assert node.computational_cost == 4 * 3 * 6 * 6
    assert twin(node).shape.shape == [None, 4, None, None]


def test_invalidated_field_of_view():
    node = conv(source((1, 1, 9)), 2, (2,), (2,), invalidate_fov=True)
    assert node.shape.fov == [-1] and node.shape.offsets == [-1] and node.shape.strides.tolist() == [2]
    assert conv(node, 2, (2,)).shape.fov == [-1]


# ---- dense form
@pytest.mark.parametrize(
    ("layers", "sizes"),
    [
        ([((3,), (2,)), ((2,), (3,)), ((2,), (1,))], (24,)),
        ([((3, 2), (2, 1)), ((2, 3), (2, 3)), ((1, 2), (1, 1))], (14, 15)),
        ([((1, 3, 2), (1, 2, 2)), ((2, 2, 2), (2, 1, 1)), ((1, 2, 1), (1, 1, 1))], (5, 9, 7)),
    ],
)
def test_dense_form_equals_every_position(layers, sizes):
    fov, stride = [1] * len(sizes), [1] * len(sizes)
    for kernel, pool_shape in layers:
        for k in range(len(sizes)):
            fov[k] += (kernel[k] + pool_shape[k] - 2) * stride[k]
            stride[k] *= pool_shape[k]
    node = source((1, 2, *fov))
    for kernel, pool_shape in layers:
        node = conv(node, 3, kernel, pool_shape, activation_func="tanh")
    assert node.shape.fov == fov and node.shape.spatial_shape == [1] * len(sizes)
    got = check_dense_form(node, random(2, 2, *sizes).astype("float32"))
    dense = twin(node, dense=True)
    assert dense.shape.strides.tolist() == stride and dense.shape.shape == [None, 3, *[None] * len(sizes)]
    assert got.shape[0] == 2


def test_dense_form_in_the_other_layout():
    inp = source((1, 4, 2, 5, 6), "b,z,f,y,x")
    node = conv(conv(inp, 3, (1, 2, 3), (2, 2, 1), activation_func="tanh"), 2, (2, 2, 2), activation_func="tanh")
    raw = random(1, 6, 2, 8, 7).astype("float32")
    plain, got = twin(node), evaluate(twin(node, dense=True), raw)
    fz, fy, fx = node.shape.fov
    assert got.shape == (1, 7 - fz, 2, 9 - fy, 8 - fx)
    want = evaluate(plain, raw[:, 1 : 1 + fz, :, 2 : 2 + fy, 1 : 1 + fx])
    np.testing.assert_allclose(got[:, 1:2, :, 2:3, 1:2], want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["same", "full"])
def test_dense_form_with_padding_contains_the_strided_result(mode):
    inp = source((1, 1, 12, 12))
    first = conv(inp, 3, (3, 3), (2, 2), conv_mode=mode, activation_func="tanh")
    node = conv(first, 2, (3, 5), conv_mode=mode, activation_func="tanh")
    raw = random(1, 1, 12, 12).astype("float32")
    want, got = evaluate(twin(node), raw), evaluate(twin(node, dense=True), raw)
    np.testing.assert_allclose(got[:, :, ::2, ::2][:, :, : want.shape[2], : want.shape[3]], want, rtol=1e-4, atol=1e-6)


# ---- duals
class TestDual:
    def test_maps_back(self):
        inp = source((2, 3, 9, 10))
        layer = conv(inp, 260, (2, 3), (2, 2), name="code")
        dual = layer.make_dual(layer, print_repr=False)
        assert isinstance(dual, nm.UpConv) and dual.name == "code.T"
        assert dual.shape.shape == [2, 3, 8, 8]
        assert dual.w is not layer.w

    @pytest.mark.parametrize("tags", ["b,f,z,y,x", "b,z,f,y,x"])
    def test_shared_weights_make_the_adjoint(self, tags):
        nm.config.floatX = "float64"
        size = (1, 2, 4, 6, 3) if tags == "b,f,z,y,x" else (1, 4, 2, 6, 3)
        inp = source((1, 2, 5, 8, 3) if tags == "b,f,z,y,x" else (1, 5, 2, 8, 3), tags)
        layer = conv(inp, 5, (2, 3, 1), (2, 3, 1), activation_func="lin", b=np.zeros(5))
        dual = layer.make_dual(layer, share_w=True, activation_func="lin", print_repr=False)
        assert list(dual.params) == ["b"]
        swap = (0, 2, 1, 3, 4) if tags == "b,z,f,y,x" else (0, 1, 2, 3, 4)
        x = random(*size)
        # <strided convolution of x, y> == <x, up-convolution of y>
        strided = convolve(x.transpose(swap), layer.w.get_value().transpose(swap))[:, :, ::2, ::3]
        code = source(tuple(strided.shape[i] for i in swap), tags, name="code")
        back = nm.UpConv(code, 2, (2, 3, 1), "lin", w=dual.w, b=dual.b, print_repr=False)
        y = random(*strided.shape, seed=1)
        up = back(y.transpose(swap)).transpose(swap)
        np.testing.assert_allclose((strided * y).sum(), (x.transpose(swap) * up).sum(), rtol=1e-10)

    def test_refusals(self):
        inp = source((2, 3, 9, 10))
        layer = conv(inp, 4, (2, 3), (2, 2))
        before = registered()
        with pytest.raises(ArgumentError, match="an up-convolution has no fragments"):
            layer.make_dual(layer, mfp=True)
        with pytest.raises(ArgumentError, match=r"same size; got filter_shape \(2, 3\), pool_shape \(2, 2\)"):
            layer.make_dual(layer, share_w=True)
        with pytest.raises(ShapeError, match="expected f=4"):
            layer.make_dual(inp)
        assert registered() == before
