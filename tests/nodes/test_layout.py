"""Axis layouts and arguments per axis: what is taken, and the nearest valid value of what is not."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError
from neuromancer.nodes.layout import (
    as_float,
    feature_vector,
    flag,
    is_int,
    nearest_sizes,
    per_axis,
    positive_int,
    require_features,
    require_layout,
    swap_layout,
)
from tests.nodes.layers import source


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_, 0, 1, np.int64(1)])
def test_options_that_are_on_or_off(value):
    assert flag(value, "mfp", "Conv") is bool(value)


@pytest.mark.parametrize("value", ["no", None, 2, 1.0, np.ones(2), [True]])
def test_options_that_are_neither_on_nor_off(value):
    with pytest.raises(ArgumentError, match="mfp must be a bool"):
        flag(value, "mfp", "Conv")


@pytest.mark.parametrize("tags", ["b,f,x", "b,f,y", "b,f,x,z", "b,f,y,x,z", "b,z,f,y,x", "b,x,f,z,y"])
def test_layouts_of_layers(tags):
    node = source([2] * len(tags.split(",")), tags)
    assert require_layout(node, node) is node.shape


@pytest.mark.parametrize(
    ("tags", "nearest"),
    [
        ("f,b,x", "b,f,x"),
        ("b,x,f", "b,f,x"),
        ("x,y,b,f", "b,f,x,y"),
        ("b,z,y,f,x", "b,f,z,y,x"),
        ("b,y,f,x", "b,f,y,x"),
        ("b,f", None),
        ("b,x", None),
        ("r,b,f,x", None),
        ("z,f,y,x,b", "b,f,z,y,x"),
    ],
)
def test_other_layouts_are_refused_with_the_nearest(tags, nearest):
    node = source([2] * len(tags.split(",")), tags)
    with pytest.raises(ShapeError, match=f"got {tags}; ") as caught:
        require_layout(node, node)
    assert str(caught.value).endswith(f"nearest valid: {nearest}") is (nearest is not None)


def test_every_order_of_four_axes_is_taken_or_refused_with_one_that_is():
    for tags in map(",".join, permutations("bfyx")):
        node = source((2,) * 4, tags)
        try:
            require_layout(node, node)
        except ShapeError as error:
            nearest = str(error).rpartition("nearest valid: ")[2]
            other = source((2,) * 4, nearest)
            assert require_layout(other, other) is other.shape and not tags.startswith("b,f")
        else:
            assert tags.startswith("b,f")


def test_the_layout_of_the_original_library_is_swapped_and_back():
    node = source((2, 5, 3, 6, 7), "b,z,f,y,x")
    x = np.random.default_rng(0).random((2, 5, 3, 6, 7)).astype("float32")
    once = swap_layout(node.output, node.shape)
    twice = swap_layout(once, node.shape)
    a, b = nm.make_func(node.input_tensors, [once, twice])(x)
    np.testing.assert_array_equal(a, x.swapaxes(1, 2))
    np.testing.assert_array_equal(b, x)
    plain = source((2, 3, 5, 6, 7))
    assert swap_layout(plain.output, plain.shape) is plain.output


# ---- arguments per axis
@pytest.mark.parametrize("values", [(2, 3), [2, 3], np.array([2, 3]), (np.int8(2), np.uint64(3))], ids=repr)
def test_entries_become_ints(values):
    node = source((1, 1, 5, 5))
    found = per_axis(values, "size", node.shape, node)
    assert found == (2, 3) and {type(v) for v in found} == {int}


@pytest.mark.parametrize(
    ("values", "nearest"),
    [
        (2, "(2, 2)"),
        (np.int64(3), "(3, 3)"),
        *[(v, None) for v in (0, -1, True, 2.0, "22", (2,), (2, 2, 2), None, {2, 3}, {2: 3, 4: 5})],
    ],
    ids=repr,
)
def test_one_entry_per_axis_is_needed(values, nearest):
    node = source((1, 1, 5, 5))
    with pytest.raises(ShapeError, match=r"size needs .*2 entries, for the axes y, x") as caught:
        per_axis(values, "size", node.shape, node)
    assert str(caught.value).endswith(f"nearest valid: {nearest}") is (nearest is not None)


@pytest.mark.parametrize("values", [(1, -1), (1, 1.0), (True, 1), ("1", 1), (None, 1), (1, np.nan)], ids=repr)
@pytest.mark.parametrize("least", [0, 1])
def test_entries_are_integers_of_a_least_size(values, least):
    node = source((1, 1, 5, 5))
    with pytest.raises(ArgumentError, match=f"entries >= {least}"):
        per_axis(values, "size", node.shape, node, least)


def test_zero_is_an_entry_where_it_is_the_least():
    node = source((1, 1, 5, 5))
    assert per_axis((0, 1), "size", node.shape, node, least=0) == (0, 1)
    with pytest.raises(ArgumentError, match="entries >= 1"):
        per_axis((0, 1), "size", node.shape, node)


@pytest.mark.parametrize("value", [0, -3, 1.0, True, np.True_, "1", None, [1]], ids=repr)
def test_positive_integers(value):
    assert positive_int(np.uint8(4), "n", "node") == 4
    with pytest.raises(ArgumentError, match="n must be a positive integer"):
        positive_int(value, "n", "node")


def test_bools_are_no_integers():
    assert [is_int(v) for v in (1, np.int8(1), True, np.False_, 1.0, "1", None)] == [True, True] + [False] * 5


@given(st.integers(1, 300), st.integers(1, 9), st.integers(0, 8))
def test_nearest_sizes_are_the_closest_on_both_sides(size, step, rest):
    def fits(n):
        return n % step == rest % step and n > 3

    valid = [n for n in range(4, 700) if fits(n)]
    below, above = max((n for n in valid if n < size), default=None), min(n for n in valid if n > size)
    assert nearest_sizes(size, fits) == (f"{above}" if below is None else f"{below} or {above}")


def test_sizes_that_do_not_exist():
    assert nearest_sizes(10, lambda n: False) == ""
    assert nearest_sizes(10, lambda n: n == 9) == "9"
    assert nearest_sizes(1, lambda n: n <= 0) == ""


# ---- features and dtypes
def test_features_must_be_known():
    assert require_features(source((2, 3, 4), "b,f,x"), "node") == 3
    with pytest.raises(ShapeError, match="known number of features"):
        require_features(source((2, None, 4), "b,f,x"), "node")
    with pytest.raises(NeuromancerError, match="'f'"):
        require_features(source((2, 4), "b,x"), "node")
    with pytest.raises(InputTypeError, match="no tensor output; got generic"):
        require_features(nm.GenericInput("generic", print_repr=False), "node")


@pytest.mark.parametrize("dtype", ["int8", "uint32", "bool", "int64", "float32", "float64"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_integers_become_floats_of_the_precision_and_floats_stay(dtype, precision):
    nm.config.floatX = precision
    x = E.tensor("x", (None,), dtype)
    assert as_float(x).dtype == (dtype if dtype.startswith("float") else precision)
    assert (as_float(x) is x) == dtype.startswith("float")


@pytest.mark.parametrize(("ndim", "axis"), [(2, 1), (4, 1), (5, 2), (3, 0), (1, 0)])
def test_a_vector_of_features_broadcasts_along_its_axis(ndim, axis):
    v, x = E.tensor("v", (None,), "float32"), E.tensor("x", (None,) * ndim, "float32")
    a, b = np.arange(3, dtype="float32"), np.zeros([3 if k == axis else 2 for k in range(ndim)], "float32")
    got = nm.make_func([v, x], x + feature_vector(v, ndim, axis))(a, b)
    np.testing.assert_array_equal(got, b + a.reshape([-1 if k == axis else 1 for k in range(ndim)]))
