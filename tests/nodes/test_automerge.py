"""Merging branches of different resolution and size."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from tests.nodes.layers import check_gradients, random, randomise, registered, source


def conv(parent, kernel, pool_shape=None, n_f=3, **kwargs):
    return nm.Conv(parent, n_f, kernel, pool_shape, print_repr=False, **kwargs)


def merge(*args, **kwargs):
    return nm.AutoMerge(*args, **{"print_repr": False, **kwargs})


def branches(size=(1, 1, 14, 26, 26)):
    """Create a fine and a coarse branch."""
    high = conv(source(size), (1, 3, 3))
    low = conv(nm.Pool(high, (1, 2, 2), print_repr=False), (3, 3, 3), n_f=5)
    return high, low


def test_alias():
    assert nm.UpConvMerge is nm.AutoMerge


@pytest.mark.parametrize("swapped", [False, True])
def test_inserts_what_is_needed(swapped):
    high, low = branches()
    model = nm.model_manager.current
    known = list(model.nodes)
    node = merge(*((low, high) if swapped else (high, low)), upconv_n_f=4)
    assert [n for n in model.nodes if n not in known] == ["upconv", "crop", "merge"]
    assert isinstance(node, nm.Concat)
    assert repr(node.shape) == "[(1,b), (7,f), (12,z), (20,x), (20,y)]"
    up, crop = node.parents
    assert up is model["upconv"] and up.pool_shape == (1, 2, 2) and up.n_f == 4
    assert crop is model["crop"] and crop.crop == (1, 2, 2) and crop.parent is high
    assert node.shape.strides.tolist() == [1, 1, 1]
    # Merged voxels have the same position in the raw data.
    assert up.shape.centre == crop.shape.centre


def test_names_and_further_arguments():
    high, low = branches()
    node = merge(high, low, 4, "concat", False, {"activation_func": "tanh", "name": "bigger"}, "joined")
    assert node.name == "joined" and node.parents[0].name == "bigger"
    assert node.parents[0].activation_func == "tanh"


def test_adding():
    nm.config.floatX = "float64"
    high, low = branches((1, 1, 5, 10, 10))
    node = merge(high, low, upconv_n_f=3, merge_mode="add")
    assert isinstance(node, nm.Add) and node.shape["f"] == 3
    randomise(node)
    x = random(1, 1, 5, 10, 10)
    up, crop = node.parents
    np.testing.assert_allclose(node(x), up(x) + crop(x))
    check_gradients(node)


def test_equal_resolution_only_crops():
    inp = source((1, 1, 20, 20))
    a, b = conv(inp, (3, 7)), conv(inp, (5, 3))
    node = merge(a, b)
    low, high = node.parents
    # With equal strides the second counts as coarser; the larger one is cropped on every axis.
    assert low.parent is b and low.crop == (0, 2)
    assert high.parent is a and high.crop == (1, 0)
    assert node.shape.spatial_shape == [16, 14]
    same = merge(a, a)
    assert same.parents == (a, a)


def test_without_upconvolution():
    inp = source((1, 1, 12))
    high, low = conv(inp, (3,)), conv(inp, (3,), (2,))
    with pytest.raises(ShapeError, match="differ by an odd number"):
        merge(high, low, disable_upconv=True)
    node = merge(conv(inp, (2,)), low, disable_upconv=True)
    assert node.shape.spatial_shape == [5]


def test_unknown_sizes_are_cropped_by_position():
    high, low = branches((1, 1, None, 26, None))
    node = merge(high, low, upconv_n_f=4)
    assert node.parents[1].crop == (1, 2, 2)
    assert node.shape.spatial_shape == [None, 20, None]
    assert node(np.ones((1, 1, 14, 26, 18), "float32")).shape == (1, 7, 12, 20, 12)
    blind = conv(source((1, 1, None, None, None), name="blind"), (1, 1, 1), invalidate_fov=True)
    with pytest.raises(ShapeError, match=r"sizes and fields of view are unknown.*expected known sizes on axis 'z'"):
        merge(blind, low, upconv_n_f=4)


def test_bad_arguments_leave_nothing_behind():
    high, low = branches()
    odd = conv(source((1, 1, 14, 25, 26), name="odd"), (1, 1, 1))
    third = nm.Pool(source((1, 1, 14, 27, 27), name="third"), (1, 3, 3), print_repr=False)
    crossed = nm.Pool(source((1, 1, 14, 26, 26), name="crossed"), (2, 1, 1), print_repr=False)
    batch = conv(source((2, 1, 14, 26, 26), name="batch"), (1, 1, 1))
    flat = source((1, 1, 9, 9), name="flat")
    before = registered()
    with pytest.raises(
        ArgumentError, match=r"'AutoMerge': unknown merge_mode; got cat; expected one of \('concat', 'add'\)"
    ):
        merge(high, low, 4, "cat")
    with pytest.raises(
        ArgumentError,
        match=r"needs a number of features; got upconv_n_f=None; .* to up-convolve 'conv1' by \(1, 2, 2\)",
    ):
        merge(high, low)
    with pytest.raises(
        ShapeError,
        match=r"an odd number.*got 20 \('conv1'\) and 25 \('conv2'\) on axis 'x'; expected an even "
        "difference; nearest valid: size 24 or 26 of 'conv2'",
    ):
        merge(odd, low, upconv_n_f=4)
    for other in (third, crossed):
        with pytest.raises(ShapeError, match=r"the resolutions of the branches do not match"):
            merge(other, low, upconv_n_f=4)
    with pytest.raises(ShapeError, match=r"different axes; got flat: .*expected equal tags"):
        merge(flat, low, upconv_n_f=4)
    with pytest.raises(InputTypeError, match="'AutoMerge': every parent must be a node"):
        merge(high, "low", upconv_n_f=4)
    with pytest.raises(ShapeError, match="sizes differ on axis 'b'"):
        merge(batch, low, upconv_n_f=4)
    with pytest.raises(ShapeError, match="sizes differ on axis 'f'"):
        merge(high, low, upconv_n_f=4, merge_mode="add")
    with pytest.raises(ArgumentError, match="UpConv 'upconv': unknown activation function"):
        merge(high, low, upconv_n_f=4, upconv_kwargs={"activation_func": "x"})
    assert registered() == before
