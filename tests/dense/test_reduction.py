"""Reductions: values, dtypes, what is stored, fill values, what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neuromancer.dense.postprocess import Postprocess, checked_reductions
from neuromancer.dense.reduction import reduction
from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError, ShapeError

BLOCK = arrays("float32", (3, 1, 2, 4), elements=st.floats(-0.5, 1.5, width=32))


def label(value):
    """Name of a case, alike in every process: without the addresses of functions."""
    return re.sub(r"<function (\S+) at \w+>", r"\1", str(value))


def double(values):
    return (2 * values).astype("float64")


def as_bool(values):
    return values > 0.5


STEPS = [None, "uint8", "uint16", "argmax", 1, np.int64(2), [2, 0], (0, 0), ("threshold", 0.25), double, as_bool]
STEPS += [[1, "uint8"], [double, "argmax"], [double, [0, 2], "uint16"], ["argmax", ("threshold", 0)]]


@given(BLOCK)
def test_scaled_integers_are_the_floor_and_stay_in_their_range(values):
    for name, top in (("uint8", 255), ("uint16", 65535)):
        got = reduction(name).apply(values)
        assert got.dtype == name
        want = [[min(max(np.floor(np.float32(v) * np.float32(top)), 0), top)] for v in values.ravel()]
        np.testing.assert_array_equal(got.ravel(), np.ravel(want))


@given(BLOCK, st.floats(-1, 2))
def test_thresholds_are_exclusive(values, limit):
    values[0, 0, 0, 0] = limit
    got = reduction(("threshold", float(values[0, 0, 0, 0]))).apply(values)
    assert got.dtype == np.uint8 and got[0, 0, 0, 0] == 0
    np.testing.assert_array_equal(got, values > values[0, 0, 0, 0])


@given(BLOCK)
def test_the_first_of_equal_channels_is_the_largest(values):
    values[2] = values[1]
    got = reduction("argmax").apply(values)
    assert got.shape == (1, *values.shape[1:]) and not (got == 2).any()
    np.testing.assert_array_equal(np.take_along_axis(values, got.astype(int), 0)[0], values.max(0))


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (256, "uint8"), (257, "uint16")])
def test_class_numbers_fit_their_dtype(channels, dtype):
    values = np.zeros((channels, 1, 1, 1))
    values[-1] = 1
    got = reduction("argmax").apply(values)
    assert got.dtype == dtype and got.item() == channels - 1


@pytest.mark.parametrize("reduce", STEPS, ids=label)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_stored_is_known_before(reduce, dtype):
    steps, values = reduction(reduce), np.random.default_rng(0).random((3, 2, 4, 5, 6)).astype(dtype)
    got = steps.apply(values)
    assert steps.stored(3, np.dtype(dtype), ndim=3) == (got.shape[0], got.dtype)


@pytest.mark.parametrize("reduce", STEPS, ids=label)
def test_the_values_of_the_block_are_left_alone(reduce):
    values = np.random.default_rng(0).random((3, 1, 4, 5))
    before = values.copy()
    reduction(reduce).apply(values)
    np.testing.assert_array_equal(values, before)


def test_steps_are_applied_in_order():
    values = np.array([0.2, 0.6]).reshape(2, 1, 1, 1)
    assert reduction([double, 1, ("threshold", 1)]).apply(values).tolist() == [[[[1]]]]
    assert reduction([("threshold", 0.5), double]).apply(values).ravel().tolist() == [0, 2]
    assert reduction(reduction(["argmax"])).apply(values).item() == 1


def test_a_pair_of_channels_is_no_threshold():
    assert reduction((1, 0)).steps == ((1, 0),)
    assert reduction(("threshold", 1)).steps == (("threshold", 1.0),)


def test_bytes_are_stored_in_native_order():
    swapped = reduction(lambda v: v.astype(">f8"))
    assert swapped.apply(np.ones((1, 1, 2, 2))).dtype.isnative
    assert swapped.stored(1, np.dtype("float32"))[1].isnative


@pytest.mark.parametrize(
    ("reduce", "stored"),
    [("uint8", 63), (["argmax", double], 0.25), ([1, "uint16"], 16383), (None, 0.25), (1, 0.25), ("argmax", 0.25)],
)
def test_fill_values_are_scaled_like_predictions(reduce, stored):
    assert reduction(reduce).filling(0.25) == stored


@pytest.mark.parametrize("value", [0, 1, 7, 255])
def test_whole_fill_values_are_stored_as_they_are(value):
    assert reduction("uint8").filling(value) == value


@pytest.mark.parametrize(
    ("reduce", "error"),
    [
        ("uint32", ArgumentError),
        ("threshold", ArgumentError),
        (("threshold",), ArgumentError),
        (("threshold", np.nan), ArgumentError),
        (("threshold", np.inf), ArgumentError),
        (("threshold", "0.5"), ArgumentError),
        (("threshold", 0.5, 1), ArgumentError),
        (-1, ArgumentError),
        ([0, -1], ArgumentError),
        (True, InputTypeError),
        (0.0, InputTypeError),
        ({1: 2}, InputTypeError),
        ([[]], ArgumentError),
        (["uint8", "uint7"], ArgumentError),
    ],
    ids=label,
)
def test_unknown_reductions_are_refused(reduce, error):
    with pytest.raises(error, match="reduce"):
        reduction(reduce)


def fails(values):
    raise RuntimeError("no license")


@pytest.mark.parametrize(
    ("reduce", "error", "message"),
    [
        (3, ArgumentError, "got 3; expected 0 to 2"),
        ([[0, 1], 2], ArgumentError, "got 2; expected 0 to 1"),
        (["argmax", "uint8"], ArgumentError, "'uint8' of uint8"),
        ([as_bool, "uint16"], ArgumentError, "'uint16' of bool"),
        (fails, ArgumentError, "RuntimeError: no license"),
        (lambda v: v[0], ShapeError, "preserve the voxels"),
        (lambda v: v[..., ::-1][..., :1], ShapeError, "preserve the voxels"),
        (lambda v: v.swapaxes(2, 3), ShapeError, "preserve the voxels"),
        (lambda v: None, ShapeError, "NoneType"),
        (lambda v: v[:0], InputTypeError, "must return channels of numbers"),
        (lambda v: v.astype("complex64"), InputTypeError, "complex64"),
        (lambda v: v.astype(str), InputTypeError, "must return channels of numbers"),
    ],
    ids=label,
)
def test_steps_that_do_not_fit_are_refused_before_anything_is_predicted(reduce, error, message):
    with pytest.raises(error, match=message):
        reduction(reduce).stored(3, np.dtype("float32"), last=2)


@pytest.mark.parametrize(
    ("reduce", "as_uint8", "labels"),
    [
        (None, False, ["", ""]),
        (None, True, ["'uint8'", "'uint8'"]),
        ("argmax", False, ["'argmax'", "'argmax'"]),
        ({"b": 1}, False, ["", "(1,)"]),
        ({}, False, ["", ""]),
    ],
)
def test_every_node_has_its_reduction(reduce, as_uint8, labels):
    assert [r.label for r in checked_reductions(reduce, as_uint8, ["a", "b"])] == labels


@pytest.mark.parametrize(("reduce", "got"), [({"c": 1}, "c"), ({"a": "uint9"}, "uint9")])
def test_reductions_of_other_nodes_are_refused(reduce, got):
    with pytest.raises(NeuromancerError, match=rf"reduce.*got .*{got}"):
        checked_reductions(reduce, False, ["a", "b"])


@pytest.mark.parametrize(
    ("steps", "on_nan", "stored", "checked"),
    [
        ([None], None, False, False),
        ([None], None, True, True),
        ([None, "uint8"], None, False, True),
        (["argmax"], None, False, False),
        ([None], "error", False, True),
        ([None], "keep", True, False),
        (["uint16"], "error", False, True),
    ],
)
def test_nan_is_an_error_where_it_would_be_stored_or_scaled(steps, on_nan, stored, checked):
    reductions = tuple(map(reduction, steps))
    assert Postprocess.checked(reductions, 0, on_nan, stored).check_nan is checked


@pytest.mark.parametrize(("steps", "on_nan"), [(["uint8"], "keep"), ([[0, "uint16"]], "keep"), ([None], "ignore")])
def test_integers_cannot_keep_nan(steps, on_nan):
    with pytest.raises(ArgumentError, match=f"on_nan.*got {on_nan}"):
        Postprocess.checked(tuple(map(reduction, steps)), 0, on_nan, stored=False)
