"""Crop and Pad: any tags, positions, dense form, bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, ShapeError, UnknownNameError
from tests.nodes.layers import check_gradients, evaluate, random, registered, source, twin

CASES = [
    ((2, 3, 7), "b,f,x", (2,)),
    ((2, 3, 7, 5), "b,f,y,x", (0, 1)),
    ((1, 2, 5, 7, 6), "b,f,z,x,y", (1, 2, 0)),
    ((1, 5, 2, 7, 6), "b,z,f,y,x", (2, 0, 1)),
    ((3, 1, 6, 2), "r,b,x,f", (2,)),
    ((5, 6), "y,x", (1, 1)),
    ((2, 3, 7), "b,f,x", (0,)),
]


def spatial(shape, tags, amounts):
    """Return pairs of amounts for all axes."""
    left = list(amounts)
    return [(left[0], left.pop(0)) if t in "zyx" else (0, 0) for t in tags.split(",")]


@pytest.mark.parametrize(("shape", "tags", "crop"), CASES)
def test_crop(shape, tags, crop):
    nm.config.floatX = "float64"
    x = random(*shape)
    node = nm.Crop(source(shape, tags), crop, print_repr=False)
    want = x[tuple(slice(a, n - b) for n, (a, b) in zip(shape, spatial(shape, tags, crop), strict=True))]
    np.testing.assert_array_equal(node(x), want)
    assert node.shape.shape == list(want.shape) and node.computational_cost == 0
    assert node.shape.offsets == list(crop) and node.shape.fov == [1] * len(crop)
    check_gradients(node)


@pytest.mark.parametrize(("shape", "tags", "pad"), CASES)
def test_pad(shape, tags, pad):
    nm.config.floatX = "float64"
    x = random(*shape)
    node = nm.Pad(source(shape, tags), pad, value=0.5, print_repr=False)
    want = np.pad(x, spatial(shape, tags, pad), constant_values=0.5)
    np.testing.assert_array_equal(node(x), want)
    assert node.shape.shape == list(want.shape) and node.computational_cost == 0
    assert node.shape.offsets == [-p for p in pad]
    check_gradients(node)


def test_positions_below_strides():
    conv = nm.Conv(source((1, 1, 20)), 2, (3,), (2,), print_repr=False)
    assert nm.Crop(conv, (2,), print_repr=False).shape.offsets == [2 + 4]
    assert nm.Pad(conv, (2,), print_repr=False).shape.offsets == [2 - 4]


@pytest.mark.parametrize(("cls", "want"), [(nm.Crop, 3), (nm.Pad, 9)])
def test_unknown_sizes_pass_through(cls, want):
    node = cls(source((None, 2, None, 6)), (1, 0), print_repr=False)
    assert node.shape.shape == [None, 2, None, 6]
    other = cls(source((None, 2, None, 6)), (0, 1), print_repr=False)
    assert other.shape.shape == [None, 2, None, 4 if cls is nm.Crop else 8]
    sizes = 5 if cls is nm.Crop else 7
    assert node(np.ones((3, 2, sizes, 6), "float32")).shape == (3, 2, want, 6)


def test_dense_form_crops_and_pads_in_steps_of_the_strides():
    conv = nm.Conv(source((1, 1, 20)), 2, (3,), (2,), activation_func="tanh", print_repr=False)
    raw = random(1, 1, 20).astype("float32")
    for node in (nm.Crop(conv, (2,), print_repr=False), nm.Pad(conv, (2,), value=1.5, print_repr=False)):
        want, got = evaluate(twin(node), raw), evaluate(twin(node, dense=True), raw)
        np.testing.assert_allclose(got[:, :, ::2], want, rtol=1e-5)


def test_integers_stay_integers():
    inp = nm.Input((1, 1, 3), "b,f,x", dtype="int16", print_repr=False)
    node = nm.Pad(inp, (1,), value=-1, print_repr=False)
    got = node(np.array([[[1, 2, 3]]], "int16"))
    assert got.dtype == "int16" and got.tolist() == [[[-1, 1, 2, 3, -1]]]
    with pytest.raises(ArgumentError, match=r"cannot be used for padding; got 0.5; expected a finite number of int16"):
        nm.Pad(inp, (1,), value=0.5, print_repr=False)


@pytest.mark.parametrize(
    ("cls", "args", "error", "message"),
    [
        (
            nm.Crop,
            ((1,),),
            ShapeError,
            r"Crop 'crop': crop needs one entry per spatial axis; got \(1,\); expected 2 entries",
        ),
        (
            nm.Crop,
            ((1, 3),),
            ShapeError,
            "cropping leaves nothing; got crop 3 from each end of 6 voxels on axis 'x' of 'raw'; "
            "expected 2 \\* crop below the size; nearest valid: crop 2",
        ),
        (nm.Crop, ((-1, 0),), ArgumentError, "crop must consist of integers"),
        (nm.Pad, ((1, 1, 1),), ShapeError, "Pad 'pad': pad needs one entry per spatial axis"),
        (nm.Pad, ((1, -1),), ArgumentError, r"pad must consist of integers; got \(1, -1\); expected entries >= 0"),
        (nm.Pad, ((1, 1), np.nan), ArgumentError, "cannot be used for padding; got nan"),
        (nm.Pad, ((1, 1), "0"), ArgumentError, "cannot be used for padding; got 0"),
    ],
)
def test_bad_arguments_leave_nothing_behind(cls, args, error, message):
    inp = source((1, 2, 5, 6), name="raw")
    before = registered()
    with pytest.raises(error, match=message):
        cls(inp, *args, print_repr=False)
    assert registered() == before


@pytest.mark.parametrize("cls", [nm.Crop, nm.Pad])
def test_no_spatial_axes(cls):
    with pytest.raises(
        (ShapeError, UnknownNameError), match="needs spatial axes; got b,f; expected tags out of z, y, x"
    ):
        cls(source((2, 3)), (), print_repr=False)


# ---- other numbers at either end, and voxels of the image


def test_other_numbers_at_either_end():
    x = random(2, 3, 7, 8)
    crop = nm.Crop(source(x.shape), (1, (0, 3)), print_repr=False)
    np.testing.assert_allclose(crop(x), x[:, :, 1:-1, :-3], rtol=1e-6)
    assert crop.shape.offsets == [1, 0] and crop.crop == (1, (0, 3))
    pad = nm.Pad(source(x.shape), ((2, 1), 0), value=2, print_repr=False)
    np.testing.assert_allclose(pad(x), np.pad(x, [(0, 0), (0, 0), (2, 1), (0, 0)], constant_values=2), rtol=1e-6)
    assert pad.shape.offsets == [-2, 0]
    for node, array in ((crop, x), (pad, x)):
        np.testing.assert_allclose(node.rearranged([array]), node(array), rtol=1e-6)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize(("shape", "tags"), [((2, 3, 5, 6), "b,f,y,x"), ((5, 2, 6, 3), "y,b,x,f"), ((5, 6), "y,x")])
def test_voxels_of_the_image(mode, shape, tags):
    nm.config.floatX = "float64"
    x = random(*shape)
    node = nm.Pad(source(shape, tags), (2, (0, 3)), padding_mode=mode, print_repr=False)
    width = [{"y": (2, 2), "x": (0, 3)}.get(tag, (0, 0)) for tag in tags.split(",")]
    want = np.pad(x, width, {"reflect": "reflect", "replicate": "edge"}[mode])
    np.testing.assert_allclose(node(x), want, rtol=1e-12)
    np.testing.assert_allclose(node.rearranged([x]), want, rtol=1e-12)
    check_gradients(node)


def test_integers_are_padded_with_voxels_of_the_image():
    labels = nm.Input((1, 1, 4), "b,f,x", dtype="int16", print_repr=False)
    node = nm.Pad(labels, (2,), padding_mode="reflect", print_repr=False)
    got = node(np.array([[[5, 6, 7, 8]]]))
    assert got.dtype == np.int16 and got.tolist() == [[[7, 6, 5, 6, 7, 8, 7, 6]]]


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda x: nm.Crop(x, ((2, 3), 0), print_repr=False), ShapeError, "2 from the start and 3 from the end of 5"),
        (lambda x: nm.Pad(x, (1, 6), padding_mode="reflect", print_repr=False), ShapeError, "too short.*above 6"),
        (lambda x: nm.Pad(x, (1, 1), padding_mode="wrap", print_repr=False), ArgumentError, "got wrap.*zeros"),
        (lambda x: nm.Crop(x, ((1, 2, 3), 0), print_repr=False), ArgumentError, "pairs"),
    ],
)
def test_bad_ends_leave_nothing_behind(build, error, says):
    inp = source((1, 2, 5, 6))
    before = registered()
    with pytest.raises(error, match=says):
        build(inp)
    assert registered() == before
