"""Checks of single values: which are taken, what they become, and the nearest valid value of others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, InputTypeError, UnknownNameError
from neuromancer.train.checks import amount, known, mapping, switch, whole


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_whole_numbers_become_ints(value):
    assert type(whole(value, "n", "X", least=3)) is int


@pytest.mark.parametrize(
    ("value", "nearest"),
    [
        *[(1, "2"), (-5, "2"), (2.0, "2"), (2.7, "3"), (np.float32(7.2), "7"), (math.nan, None), (math.inf, None)],
        *[(value, None) for value in (True, np.True_, "3", None, [3], np.array([3]))],
    ],
    ids=repr,
)
def test_others_are_refused_with_the_nearest_whole_number(value, nearest):
    with pytest.raises(ArgumentError, match=r"unusable n; .*at least 2") as caught:
        whole(value, "n", "X", least=2)
    assert str(caught.value).endswith(f"nearest valid: {nearest}") == (nearest is not None)
    assert ("nearest" in str(caught.value)) == (nearest is not None)


@pytest.mark.parametrize("value", [0, 0.0, np.float16(0.5), np.int64(3), 1e300])
def test_amounts_become_floats(value):
    assert type(amount(value, "n", "X")) is float and amount(value, "n", "X") == value


@pytest.mark.parametrize("value", [-1e-300, math.nan, math.inf, -math.inf, True, "1", None, 1j, [1.0]], ids=repr)
def test_what_is_no_amount(value):
    with pytest.raises(ArgumentError, match=r"X.*: unusable n"):
        amount(value, "n", "X")


def test_infinity_is_an_amount_only_where_it_means_no_limit():
    assert amount(math.inf, "n", "X", infinite=True) == math.inf
    for value in (-math.inf, math.nan):
        with pytest.raises(ArgumentError, match="expected a number, at least 0"):
            amount(value, "n", "X", infinite=True)


@pytest.mark.parametrize("value", [True, False, np.True_, 0, 1, np.int32(1)])
def test_switches_become_bools(value):
    assert switch(value, "n", "X") is bool(value)


@pytest.mark.parametrize("value", ["False", "", 2, -1, 1.0, None, []], ids=repr)
def test_nothing_else_is_a_switch(value):
    with pytest.raises(ArgumentError, match="expected True or False"):
        switch(value, "n", "X")


def test_a_mapping_is_copied():
    given = {"lr": 0.1}
    found = mapping(given, "n", "X", "numbers")
    found["mom"] = 1
    assert given == {"lr": 0.1}


@pytest.mark.parametrize("value", [None, [("lr", 1)], "lr", {1: 2}, {"lr": 1, None: 2}], ids=repr)
def test_what_is_no_mapping_of_names(value):
    with pytest.raises(InputTypeError, match="a dict of numbers"):
        mapping(value, "n", "X", "numbers")


def test_the_first_unknown_name_is_given_with_the_nearest():
    known(["lr", "mom"], {"lr": 1, "mom": 2}, "unknown", "X")
    with pytest.raises(UnknownNameError, match=r"got lrr; .*nearest valid: lr"):
        known(["mom", "lrr", "momm"], ["lr", "mom"], "unknown", "X")
