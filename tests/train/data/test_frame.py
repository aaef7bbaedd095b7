"""Frames of patches: sizes, offsets and strides of the predicted voxels, by comparison with the network itself."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import GraphError, ShapeError
from neuromancer.train.data.frame import frame_of
from tests.train.data.factories import chain


def ramp(node, axis):
    """Mean raw position along an axis over what each output voxel sees, measured with averaging kernels."""
    for param in node.all_trainable_params.values():
        value = param.get_value()
        param.set_value(np.full_like(value, 1 / value[0].size) if value.ndim > 1 else np.zeros_like(value))
    sizes = node.input_nodes[0].shape.spatial_shape
    shape = [1] * len(sizes)
    shape[axis] = sizes[axis]
    raw = np.broadcast_to(np.arange(sizes[axis], dtype="float32").reshape(shape), sizes)[None, None]
    out = np.asarray(node(np.ascontiguousarray(raw)))[0, 0]
    return np.moveaxis(out, axis, 0).reshape(out.shape[axis], -1)[:, 0]


@pytest.mark.parametrize(
    ("kernel", "stride", "second", "fov"), [(3, 1, 3, 5), (2, 2, 2, 5), (4, 2, 3, 9), (1, 3, 1, 3), (3, 3, 1, 5)]
)
@pytest.mark.parametrize("more", [0, 1, 3])
def test_output_voxels_lie_at_the_centres_of_what_they_depend_on(kernel, stride, second, fov, more):
    size = fov + stride * more
    node = nm.Input((1, 1, size, fov), "b,f,y,x", name="raw", print_repr=False)
    node = nm.Conv(node, 1, (kernel,) * 2, (stride,) * 2, activation_func="tanh", print_repr=False)
    node = nm.Conv(node, 1, (second,) * 2, activation_func="lin", print_repr=False)
    frame, raw = frame_of(node), np.random.default_rng(0).random((1, 1, size, fov)).astype("float32")
    assert frame.counts == (1, more + 1, 1) and frame.strides[1:] == (stride, stride)
    before = node(raw)[0, 0, :, 0]
    for k, centre in enumerate(frame.positions(1)):
        outside = raw.copy()
        outside[:, :, : centre - fov // 2] = outside[:, :, centre + fov // 2 + 1 :] = 9
        assert node(outside)[0, 0, k, 0] == pytest.approx(before[k], rel=1e-5)
    assert frame.positions(2).tolist() == [fov // 2]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("axis", [0, 1])
def test_positions_are_the_centres_of_the_fields_of_view(kernel, axis):
    node = nm.Input((1, 1, 9, 11), "b,f,y,x", name="raw", print_repr=False)
    node = nm.Conv(node, 1, (kernel, 3), activation_func="lin", print_repr=False)
    node = nm.Conv(node, 1, (3, kernel), activation_func="lin", print_repr=False)
    frame = frame_of(node)
    np.testing.assert_allclose(ramp(node, axis), frame.positions(1 + axis), rtol=1e-5)


def test_a_volume_has_no_axis_of_a_stack():
    frame = frame_of(chain([((2, 3, 3), None, "valid")], (5, 9, 8)))
    assert (frame.tags, frame.ndim, frame.stack, list(frame.own)) == (("z", "y", "x"), 3, False, [0, 1, 2])
    assert (frame.sizes, frame.counts, frame.centre) == ((5, 9, 8), (4, 7, 6), (2, 3, 3))


@pytest.mark.parametrize(("tags", "first"), [("b,f,y,x", "z"), ("b,f,z,x", "y"), ("b,f,z,y", "x")])
def test_a_plane_has_the_missing_axis_in_front(tags, first):
    frame = frame_of(chain([((3, 3), None, "valid")], (9, 8), tags))
    assert (frame.tags[0], frame.stack, list(frame.own)) == (first, True, [1, 2])
    assert (frame.sizes, frame.offsets, frame.strides, frame.counts) == ((1, 9, 8), (0, 1, 1), (1, 1, 1), (1, 7, 6))


def test_channels_and_dtype_are_those_of_the_input():
    inp = nm.Input((1, 3, 6, 6), "b,f,y,x", dtype="float64", print_repr=False)
    frame = frame_of(nm.Conv(inp, 2, (3, 3), print_repr=False))
    assert (frame.channels, frame.dtype) == (3, "float64")
    plane = nm.Input((6, 6), "y,x", print_repr=False)
    assert frame_of(nm.Crop(plane, (1, 1), print_repr=False)).channels == 1


@pytest.mark.parametrize("patch_size", [(10, 11), [10, 11], np.array([10, 11]), (np.int64(10), 11)], ids=str)
def test_a_patch_size_closes_open_sizes(patch_size):
    node = chain([((3, 3), (2, 3), "valid")], (None, None), "b,f,y,x")
    with pytest.raises(ShapeError, match=r"unknown.*patch_size"):
        frame_of(node)
    assert frame_of(node, patch_size).counts == (1, 4, 3)
    with pytest.raises(ShapeError, match="nearest"):
        frame_of(node, (9, 11))


@pytest.mark.parametrize("patch_size", [9, "99", (9,), (9, 9, 9), (9.0, 9), (True, 9), None, (9, None)], ids=str)
def test_what_is_no_patch_size(patch_size):
    node = chain([((3, 3), None, "valid")], (None, None), "b,f,y,x")
    with pytest.raises(ShapeError, match="raw"):
        frame_of(node, patch_size)


def test_a_declared_size_is_kept():
    node = chain([((3, 3), None, "valid")], (9, None), "b,f,y,x")
    assert frame_of(node, (9, 20)).sizes == (1, 9, 20)
    with pytest.raises(ShapeError, match=r"another patch size; got \[10, 20\]"):
        frame_of(node, (10, 20))


def test_nodes_that_have_no_patches():
    inp = nm.Input((1, 1, 9, 9), "b,f,y,x", name="raw", print_repr=False)
    other = nm.Input((1, 1, 9, 9), "b,f,y,x", name="other", print_repr=False)
    with pytest.raises(GraphError, match="other"):
        frame_of(nm.Add(inp, other, print_repr=False))
    with pytest.raises(GraphError, match="whole strides"):
        frame_of(nm.UpConv(inp, 1, (2, 2), print_repr=False))
    even = nm.Input((1, 1, 10, 10), "b,f,y,x", name="even", print_repr=False)
    fragments = nm.Conv(even, 1, (2, 2), (2, 2), mfp=True, print_repr=False)
    with pytest.raises(GraphError, match="FragmentsToDense"):
        frame_of(fragments)
