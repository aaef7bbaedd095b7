"""Geometry arguments: one number per axis, numbers of windows against counting them, and what errors report."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.engine.common.arguments import (
    array_argument,
    axes_tuple,
    check_filled,
    check_floats,
    check_window,
    full_length,
    static_shape,
    window_length,
)
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

AXIS = {"size": st.integers(1, 5), "stride": st.integers(1, 4), "dilation": st.integers(1, 4)}


# ---- one number per axis
@pytest.mark.parametrize(
    ("value", "ndim", "result"),
    [
        (2, 3, (2, 2, 2)),
        (np.int32(4), 2, (4, 4)),
        ((1, 2, 3), 3, (1, 2, 3)),
        ([3, 1], 2, (3, 1)),
        (np.array([2, 5]), 2, (2, 5)),
        ((2.0, 3), 2, (2, 3)),
    ],
)
def test_a_number_stands_for_every_axis_and_a_sequence_for_its_own(value, ndim, result) -> None:
    found = axes_tuple(value, ndim, "stride", "conv")
    assert found == result and all(type(v) is int for v in found)


@pytest.mark.parametrize("value", [0, -1, 1.5, (1,), (1, 2, 3), (1, 0), (1, 1.5), "ab", None, (None, 1), {}])
def test_anything_else_is_refused_by_name(value) -> None:
    with pytest.raises(ArgumentError) as caught:
        axes_tuple(value, 2, "dilation", "conv7")
    error = caught.value
    assert error.node == "conv7" and error.got is value and "dilation" in error.problem and "2" in str(error.expected)


def test_the_least_value_is_allowed_and_nothing_below_it() -> None:
    assert axes_tuple((0, 2), 2, "pad", "conv", least=0) == (0, 2)
    with pytest.raises(ArgumentError) as caught:
        axes_tuple((1, 2), 2, "length", "conv", least=2)
    assert caught.value.got == (1, 2) and str(caught.value.expected).endswith("at least 2")


# ---- numbers of windows
@given(st.integers(1, 30), st.integers(0, 3), st.fixed_dictionaries(AXIS))
def test_windows_are_those_that_fit_in_the_padded_axis(n, pad, axis) -> None:
    extent = axis["dilation"] * (axis["size"] - 1) + 1
    starts = [s for s in range(0, n + 2 * pad, axis["stride"]) if s + extent <= n + 2 * pad]
    if starts:
        assert window_length(n, axis["size"], axis["stride"], axis["dilation"], pad) == len(starts)


@given(st.integers(1, 12), st.integers(0, 2), st.fixed_dictionaries(AXIS))
def test_the_full_length_is_the_shortest_that_has_so_many_windows(windows, pad, axis) -> None:
    geometry = axis["size"], axis["stride"], axis["dilation"], pad
    n = full_length(windows, *geometry)
    assert window_length(n, *geometry) == windows
    assert window_length(n - 1, *geometry) == windows - 1


@pytest.mark.parametrize("geometry", [(3, 1, 2, 0), (3, 1, 1, 1), (1, 1, 1, 0), (2, 3, 1, 0), (4, 2, 3, 2)])
def test_symbolic_lengths_follow_the_same_rule(geometry) -> None:
    n = E.tensor("n", (), "int64")
    count = E.function([n], window_length(n, *geometry) + 0)
    assert [count(k).item() for k in range(10, 24)] == [window_length(k, *geometry) for k in range(10, 24)]


def test_sizes_are_unknown_where_one_of_their_causes_is() -> None:
    assert static_shape(window_length, (9, None, 7), (3, 3, None), (2, 1, 1), (1, 1, 1)) == (4, None, None)
    assert static_shape(lambda a, b: a * b, (), ()) == ()
    with pytest.raises(ValueError, match="shorter"):
        static_shape(window_length, (9, 9), (3,), (1, 1), (1, 1))


# ---- checks
@pytest.mark.parametrize("lengths, extents", [((5, 7), (5, 7)), ((None, 3), (9, 3)), ((2, 3), (None, 3)), ((), ())])
def test_windows_as_long_as_the_input_or_of_unknown_length_fit(lengths, extents) -> None:
    check_window("pool", lengths, extents)


@pytest.mark.parametrize("lengths, extents", [((5, 7), (5, 8)), ((5, None), (6, 9)), ((0,), (1,))])
def test_longer_windows_do_not_and_both_are_reported(lengths, extents) -> None:
    with pytest.raises(ShapeError) as caught:
        check_window("pool3", lengths, extents)
    assert caught.value.node == "pool3" and str(lengths) in caught.value.got and str(extents) in caught.value.got


def test_outputs_have_at_least_one_element_per_axis() -> None:
    check_filled("upconv", (1, None, 3))
    for sizes in ((0, 3), (2, -1), (None, 0)):
        with pytest.raises(ShapeError) as caught:
            check_filled("upconv", sizes)
        assert caught.value.node == "upconv" and caught.value.got == sizes


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        (("float32", "float32"), "float32"),
        (("float32", "float64"), "float64"),
        (("float16", "float32"), "float32"),
        (("float64",), "float64"),
    ],
)
def test_operands_have_a_common_float_dtype(dtypes, common) -> None:
    operands = {f"v{k}": E.tensor("v", (None,) * 4, dtype) for k, dtype in enumerate(dtypes)}
    assert check_floats("conv", 2, **operands) == common


def test_operands_that_are_integers_or_have_other_ranks_are_named() -> None:
    good = E.tensor("x", (None,) * 4, "float32")
    for dtype in ("int32", "uint8", "bool"):
        with pytest.raises(InputTypeError) as wrong_dtype:
            check_floats("conv", 2, x=good, mask=E.tensor("m", (None,) * 4, dtype))
        assert "mask" in wrong_dtype.value.problem and wrong_dtype.value.got == dtype
    for ndim in (3, 5):
        with pytest.raises(ShapeError) as wrong_rank:
            check_floats("conv", 2, x=good, kernel=E.tensor("k", (None,) * ndim, "float32"))
        assert "kernel" in wrong_rank.value.problem and str(ndim) in wrong_rank.value.got


@pytest.mark.parametrize("value", [[[1, 2], [3]], [np.zeros(2), np.zeros(3)]])
def test_a_ragged_list_is_not_an_array(value) -> None:
    with pytest.raises(InputTypeError) as caught:
        array_argument(value, "raw", "conv")
    assert caught.value.node == "conv" and "raw" in caught.value.problem
    assert array_argument([[1, 2], [3, 4]], "raw", "conv").tolist() == [[1, 2], [3, 4]]
