"""Transposed convolutions against NumPy: values, sizes, geometry, gradients, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.geometry import raw_interval
from tests.nodes.layers import check_gradients, per_feature, random, registered, source
from tests.nodes.spatial import transposed

QUIET = {"print_repr": False}


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "groups", "padding", "extra"),
    [
        ((5,), (3,), (2,), (1,), 1, 1, 1),
        ((5,), (4,), (2,), (1,), 2, 1, 0),
        ((4,), (2,), (3,), (1,), 1, 0, 2),  # gaps between kernels
        ((4, 5), (3, 2), (2, 1), (1, 2), 2, (1, 0), (1, 0)),
        ((4, 5), (3, 3), (2, 3), (1, 1), 1, ((0, 1), (2, 0)), 1),
        ((3, 4, 3), (2, 3, 1), (2, 2, 1), (1, 1, 1), 1, (0, 1, 0), 0),
    ],
)
def test_values_shapes_costs_gradients(size, kernel, stride, dilation, groups, padding, extra):
    nm.config.floatX = "float64"
    x = random(2, 4, *size)
    options = {"stride": stride, "dilation": dilation, "groups": groups, "padding": padding, "output_padding": extra}
    node = nm.ConvTranspose(source(x.shape), 6, kernel, activation_func="tanh", **options, **QUIET)
    linear = transposed(x, node.w.get_value(), stride, dilation, groups, padding, extra)
    want = np.tanh(linear + per_feature(node.b.get_value(), x.ndim))
    np.testing.assert_allclose(node(x), want, rtol=1e-9, atol=1e-11)
    assert node.shape.shape == list(want.shape)
    assert node.shape.strides.tolist() == [1 / s for s in stride]
    assert node.w.get_value().shape == (6 // groups, 4, *kernel)
    assert node.computational_cost == 6 // groups * 4 * np.prod(kernel) * np.prod(size) * 2
    check_gradients(node)


def test_kernels_that_do_not_overlap_are_an_up_convolution():
    x = random(1, 3, 4, 5)
    node = nm.ConvTranspose(source(x.shape), 2, (2, 3), (2, 3), activation_func="lin", **QUIET)
    up = nm.UpConv(source(x.shape), 2, (2, 3), "lin", w=node.w.get_value(), b=node.b.get_value(), **QUIET)
    np.testing.assert_allclose(node(x), up(x), rtol=1e-5, atol=1e-6)
    assert (node.shape.fov, node.shape.offsets) == (up.shape.fov, up.shape.offsets)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"), [(3, 2, 1, 1), (4, 2, 1, 0), (5, 3, 2, 1), (3, 1, 1, 0), (2, 2, 0, 0)]
)
def test_what_a_voxel_depends_on_is_what_its_interval_says(kernel, stride, padding, extra):
    inp = source((1, 1, 12))
    coarse = nm.Conv(inp, 1, (1,), stride=stride, activation_func="lin", **QUIET)
    node = nm.ConvTranspose(coarse, 1, (kernel,), stride, padding, extra, activation_func="lin", **QUIET)
    for param in node.all_trainable_params.values():
        param.set_value(np.ones_like(param.get_value()))
    rest = node(np.zeros((1, 1, 12)))
    reach = np.stack([(node(np.eye(12)[i][None, None]) != rest)[0, 0] for i in range(12)])
    for j in range(stride * 2, stride * 2 + stride):
        seen = np.flatnonzero(reach[:, j])
        low, high = raw_interval(node, 0, j, j)
        assert (seen.min(), seen.max()) == (low + -low % stride, high - high % stride)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"output_padding": 2}, ArgumentError, "output_padding 2, stride 2 on axis 'y'.*nearest valid: 1"),
        ({"padding": 6}, ShapeError, "size 4 on axis 'y'.*padding \\(6, 6\\)"),
        ({"groups": 4}, ArgumentError, "4 groups of 4 input and 6 output.*nearest valid: 2"),
        ({"stride": -1}, ArgumentError, "stride"),
        ({"padding": "same"}, ShapeError, "padding.*same"),
        ({"w": np.zeros((4, 6, 3, 3))}, ShapeError, r"got \(4, 6, 3, 3\); expected \(6, 4, 3, 3\)"),
    ],
)
def test_bad_arguments_leave_nothing_behind(options, error, says):
    parent = source((1, 4, 4, 5))
    before = registered()
    with pytest.raises(error, match=says):
        nm.ConvTranspose(parent, 6, (3, 3), **{"stride": 2, **options}, **QUIET)
    assert registered() == before
