"""Stride, dilation, groups and padding of convolutions, against NumPy; and the arguments that say them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from tests.nodes.layers import check_gradients, per_feature, random, registered, source
from tests.nodes.spatial import correlate, padded

QUIET = {"print_repr": False}


def conv(parent, n_f, kernel, **options):
    return nm.Conv(parent, n_f, kernel, activation_func="tanh", **QUIET, **options)


def expected(x, node, stride, dilation, groups, padding, mode):
    ndim = x.ndim - 2
    w = node.w.get_value()[(slice(None), slice(None), *(slice(None, None, -1),) * ndim)]
    y = correlate(padded(x, padding, mode), w, stride, dilation, groups)
    return np.tanh(y + per_feature(node.b.get_value(), x.ndim))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "groups", "padding"),
    [
        ((11,), (3,), (2,), (1,), 1, 1),
        ((11,), (3,), (1,), (2,), 2, ((0, 3),)),
        ((9, 8), (3, 2), (2, 1), (1, 3), 2, (1, (2, 0))),
        ((8, 9), (1, 3), (3, 2), (1, 1), 4, 0),
        ((6, 7, 5), (3, 1, 2), (2, 2, 1), (1, 1, 2), 1, (1, 0, 2)),
    ],
)
def test_values_shapes_costs_gradients(mode, size, kernel, stride, dilation, groups, padding):
    nm.config.floatX = "float64"
    x = random(2, 4, *size)
    options = {"stride": stride, "dilation": dilation, "groups": groups, "padding": padding, "padding_mode": mode}
    node = conv(source(x.shape), 8, kernel, **options)
    want = expected(x, node, stride, dilation, groups, padding, mode)
    np.testing.assert_allclose(node(x), want, rtol=1e-9, atol=1e-11)
    assert node.shape.shape == list(want.shape)
    assert node.shape.strides.tolist() == list(stride)
    assert node.shape.fov == [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    assert node.w.get_value().shape == (8, 4 // groups, *kernel)
    assert node.computational_cost == 8 * 4 // groups * np.prod(kernel) * np.prod(want.shape[2:]) * 2
    check_gradients(node)


def test_every_feature_by_itself():
    x = random(1, 3, 7)
    node = conv(source(x.shape), 6, (3,), groups=3)
    np.testing.assert_allclose(node(x), expected(x, node, (1,), (1,), 3, 0, "zeros"), rtol=1e-4, atol=1e-5)
    assert [f"{n}={v}" in repr(node) for n, v in (("groups", 3), ("kernel", (3,)))] == [True, True]


def test_a_pool_follows_a_stride():
    x = random(1, 2, 19)
    node = conv(source(x.shape), 3, (3,), pool_shape=(2,), stride=2, dilation=2)
    linear = np.arctanh(expected(x, node, (2,), (2,), 1, 0, "zeros"))
    want = np.tanh(np.maximum(linear[..., 0::2], linear[..., 1::2]))
    np.testing.assert_allclose(node(x), want, rtol=1e-4, atol=1e-5)
    assert node.shape.strides.tolist() == [4] and node.shape.fov == [7]


def test_layout_b_z_f_y_x():
    x = random(2, 5, 4, 6, 7)
    swapped = nm.Input(x.shape, "b,z,f,y,x", **QUIET)
    options = {"stride": (1, 2, 1), "dilation": (2, 1, 1), "groups": 2, "padding": (1, (0, 1), 2)}
    node = conv(swapped, 6, (2, 3, 2), padding_mode="reflect", **options)
    assert node.w.get_value().shape == (6, 2, 2, 3, 2)
    plain = conv(source((2, 4, 5, 6, 7)), 6, (2, 3, 2), padding_mode="reflect", **options)
    plain.set_param_values({"w": node.w.get_value().swapaxes(1, 2), "b": node.b.get_value()})
    np.testing.assert_allclose(node(x).swapaxes(1, 2), plain(x.swapaxes(1, 2)), rtol=1e-5, atol=1e-6)


def test_same_padding_goes_by_the_extent():
    node = conv(source((1, 2, 9)), 3, (3,), conv_mode="same", dilation=3)
    assert node.shape.spatial_shape == [9] and node.padding == ((3, 3),)
    with pytest.raises(ArgumentError, match="odd kernels"):
        conv(source((1, 2, 9)), 3, (2,), conv_mode="same", dilation=1)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9))
def test_sizes_are_those_of_the_definition(kernel, stride, dilation, before, after, more):
    extent = dilation * (kernel - 1) + 1
    size = max(1, extent - before - after) + more
    node = conv(source((1, 1, size)), 1, (kernel,), stride=stride, dilation=dilation, padding=((before, after),))
    assert node.shape.spatial_shape == [(size + before + after - extent) // stride + 1]
    assert node(np.zeros((1, 1, size))).shape[2:] == tuple(node.shape.spatial_shape)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"stride": 0}, ArgumentError, "stride.*got \\(0, 0\\)"),
        ({"stride": (1,)}, ShapeError, "stride.*2 entries"),
        ({"dilation": 1.5}, ShapeError, "dilation"),
        ({"groups": 3}, ArgumentError, r"got 3 groups of 4 input and 6 output.*one of \[1, 2\].*nearest valid: 2"),
        ({"groups": 0}, ArgumentError, "groups"),
        ({"padding": -1}, ArgumentError, r"padding.*got \(-1, -1\); expected entries >= 0"),
        ({"padding": (1, (1, 2, 3))}, ArgumentError, "pairs"),
        ({"padding": (1, 2, 3)}, ShapeError, "padding.*2 entries"),
        ({"padding": 1, "conv_mode": "same"}, ArgumentError, "conv_mode='same'"),
        ({"padding": 1, "padding_mode": "mirror"}, ArgumentError, "got mirror.*zeros.*reflect.*replicate"),
        ({"padding": (0, 9), "padding_mode": "reflect"}, ShapeError, r"\(9, 9\) on axis 'x' of size 9.*above 9"),
        ({"dilation": 5}, ShapeError, "size 8 on axis 'y'.*dilation 5.*at least size 11"),
        ({"stride": 2, "pool_shape": (2, 2)}, ShapeError, "size 8.*stride 2.*plus a multiple of 4"),
        ({"stride": 2, "mfp": True}, ArgumentError, "stride"),
    ],
)
def test_bad_arguments_leave_nothing_behind(options, error, says):
    parent = source((1, 4, 8, 9))
    before = registered()
    with pytest.raises(error, match=says):
        conv(parent, 6, (3, 3), **options)
    assert registered() == before


def test_the_dual_of_a_strided_layer():
    layer = conv(source((1, 2, 12)), 3, (2,), stride=2)
    dual = layer.make_dual(layer, share_w=True, print_repr=False)
    assert dual.shape.spatial_shape == [12] and dual.shape["f"] == 2
    with pytest.raises(ArgumentError, match="groups 3"):
        conv(source((1, 3, 12)), 3, (2,), stride=2, groups=3).make_dual(layer, share_w=True)
