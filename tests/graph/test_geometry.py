"""Windows, receptive fields and positions, compared with the measured influence of input voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.graph.geometry import period, raw_interval, sizes_through, windows_of
from neuromancer.graph.window import Window


def influence(node, position):
    """Return the raw range along one axis that a voxel depends on, measured by the gradient."""
    inp = node.input_nodes[0]
    (gradient,) = E.grad(node.output[0, :, position].sum(), [inp.output])
    x = np.random.default_rng(0).random([s or 1 for s in inp.shape.shape]).astype("float32")
    touched = np.flatnonzero(np.abs(nm.make_func([inp.output], gradient)(x)).sum(axis=(0, 1)))
    return int(touched.min()), int(touched.max())


def source(size=32):
    return nm.Input((1, 1, size), "b,f,x", print_repr=False)


def conv(parent, kernel, pool=1, **kwargs):
    return nm.Conv(parent, 2, (kernel,), (pool,), activation_func="tanh", print_repr=False, **kwargs)


def mean(parent, pool):
    # Average pooling, since the gradient of a maximum does not show the whole receptive field.
    return nm.Pool(parent, (pool,), mode="average", print_repr=False)


def upconv(parent, factor):
    return nm.UpConv(parent, 2, (factor,), activation_func="tanh", identity_init=False, print_repr=False)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 12))
def test_window_sizes_and_needs_agree(size, down, before, after, extra):
    w = Window(size, down, 1, before, after)
    n = size - before - after + extra
    out = w.output_size(n)
    assert out == (extra // down) + 1
    low, high = w.needed(0, out - 1)
    assert low == -before
    assert high == n + after - 1 - w.remainder(n)


@pytest.mark.parametrize(
    ("build", "fov", "offset"),
    [
        (lambda x: conv(x, 3), 3, 1),
        (lambda x: conv(x, 5, 2), 6, 3),
        (lambda x: conv(conv(x, 5, 2), 4), 12, 6),
        (lambda x: conv(x, 3, conv_mode="same"), 3, 0),
        (lambda x: conv(x, 4, conv_mode="full"), 4, -1),
        (lambda x: nm.Crop(conv(x, 3), (2,), print_repr=False), 3, 3),
        (lambda x: nm.Pad(conv(x, 3), (2,), print_repr=False), 3, -1),
        (lambda x: conv(nm.Crop(conv(x, 3, 2, conv_mode="valid"), (1,), print_repr=False), 3), 8, 6),
        (lambda x: upconv(conv(x, 3, 2), 2), 4, 1),
        (lambda x: conv(upconv(conv(x, 3, 2), 2), 3), 6, 2),
    ],
)
def test_field_of_view_and_position(build, fov, offset):
    node = build(source(32))
    assert node.shape.fov == [fov]
    assert node.shape.offsets == [offset]


def test_raw_interval_equals_the_measured_influence():
    for node in (
        conv(mean(conv(source(31), 4), 2), 3),
        conv(upconv(mean(conv(source(30), 3), 2), 2), 2),
        conv(upconv(mean(conv(mean(conv(source(34), 3), 2), 3), 2), 2), 3),
    ):
        extents = []
        for i in range(2, 2 + max(1, period([node], 0))):
            low, high = influence(node, i)
            assert raw_interval(node, 0, i, i) == (low, high)
            extents.append(high - low + 1)
        assert node.shape.fov == [max(extents)]


def test_unet_geometry():
    inp = source(28)
    top = conv(inp, 3)
    low = conv(mean(top, 2), 3)
    # Linear, since a rectifier could hide part of the receptive field.
    options = {"activation_func": "lin", "identity_init": False}
    node = conv(nm.AutoMerge(low, top, upconv_n_f=2, upconv_kwargs=options, print_repr=False), 3)
    assert node.shape.offsets == [(28 - node.shape["x"]) // 2]
    assert period([node], 0) == 2
    assert sizes_through(node, 0, 28) == node.shape["x"]
    assert sizes_through(node, 0, 29) is None
    assert sizes_through(node, 0, 3) is None
    for i in range(2):
        assert raw_interval(node, 0, i, i) == influence(node, i)


def test_windows_of_a_user_node_are_inferred_from_its_shape():
    class Shrink(nm.Node):
        def _make_output(self):
            x = self.parent.output
            self.output = x[:, :, :-2] + x[:, :, 2:]

        def _calc_shape(self):
            shape = self.parent.shape.updateshape("x", -2, "add")
            self.shape = shape.updatefov(0, shape.fov[0] + 2 * int(shape.strides[0]))

    node = Shrink(conv(source(32), 3, 2))
    assert windows_of(node) == (Window(size=3),)
    raw = np.random.default_rng(0).random((1, 20)).astype("float32")
    assert node.predict_dense(raw).shape == (2, 20 - node.shape.fov[0] + 1)


def test_unknown_field_of_view_stays_unknown():
    node = conv(conv(source(), 3, invalidate_fov=True), 3)
    assert node.shape.fov == [-1]
    assert node.shape.offsets == [-1]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3))
def test_offset_of_valid_chains_is_half_the_field_of_view(layers):
    nm.model_manager.newmodel(None)
    size = 1
    for kernel, pool in reversed(layers):
        size = size * pool + kernel - 1
    node = source(size)
    for kernel, pool in layers:
        node = conv(node, kernel, pool)
    assert node.shape.offsets == [node.shape.fov[0] // 2]
    assert raw_interval(node, 0, 0, 0) == (0, node.shape.fov[0] - 1)
    assert node.shape.fov == [size]


@pytest.mark.parametrize("order", [1, -1])
def test_merged_field_of_view_does_not_depend_on_the_order_of_the_parents(order):
    node = nm.Input((1, 1, 20), "b,f,x", print_repr=False)
    for _ in range(2):
        branches = [nm.Conv(node, 2, (3,), print_repr=False), nm.Crop(node, (1,), print_repr=False)]
        node = nm.Concat(branches[::order], print_repr=False)
    assert (node.shape.fov, node.shape.offsets) == ([5], [2])
    low = nm.Conv(nm.Pool(node, (2,), print_repr=False), 2, (3,), print_repr=False)
    top = nm.AutoMerge(low, node, upconv_n_f=2, print_repr=False)
    assert (top.shape.fov, top.shape.offsets) == ([10], [4])
