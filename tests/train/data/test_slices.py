"""Missing and misaligned slices: which slices change, by how much, along which axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer.errors import ArgumentError
from neuromancer.train.data import DropSlices, ShiftSlices


def patch(*shape):
    return np.random.default_rng(3).random(shape or (2, 5, 6, 7)).astype("float32")


def along(array, axis):
    """Slices of a patch, (n, f, ...)."""
    return np.moveaxis(array, axis, 0)


@given(st.integers(0, 1000), st.sampled_from([0, 1, 2, -1]), st.booleans())
def test_a_dropped_slice_is_the_mean_or_the_one_before(seed, axis, repeat):
    raw = patch()
    got = DropSlices(0.4, axis, repeat)(raw, None, np.random.default_rng(seed))[0]
    before, after = (along(a, 1 + axis % 3) for a in (raw, got))
    changed = [i for i in range(len(before)) if not np.array_equal(before[i], after[i])]
    for i in changed:
        if repeat:
            np.testing.assert_array_equal(after[i], before[i - 1])
        else:
            np.testing.assert_allclose(after[i], raw.mean(), rtol=1e-5)
    assert not (repeat and 0 in changed)  # the first one has none before it


def test_about_the_given_share_of_slices_is_lost():
    raw = patch(1, 4000, 1, 2)
    got = DropSlices(0.25)(raw, None, np.random.default_rng(0))[0]
    assert 0.22 < (got != raw).any(axis=(0, 2, 3)).mean() < 0.28


def test_a_certain_drop_with_repetition_shows_the_slices_one_later():
    raw = patch()
    got = DropSlices(1, repeat=True)(raw, None, np.random.default_rng(0))[0]
    np.testing.assert_array_equal(got[:, 1:], raw[:, :-1])
    np.testing.assert_array_equal(got[:, 0], raw[:, 0])


def shifts_of(before, after, limit):
    """All shifts that turn one slice (f, y, x) into another."""
    wide = np.pad(before, [(0, 0), (limit, limit), (limit, limit)], mode="symmetric")
    y, x = before.shape[1:]
    span = range(2 * limit + 1)
    return {(i - limit, j - limit) for i in span for j in span if np.array_equal(wide[:, i : i + y, j : j + x], after)}


@given(st.integers(0, 1000), st.sampled_from([0, 1, 2, -2]), st.integers(1, 3))
def test_every_slice_is_shifted_by_whole_voxels_and_mirrored(seed, axis, limit):
    raw = patch()
    got = ShiftSlices(limit, 1.0, axis)(raw, None, np.random.default_rng(seed))[0]
    for before, after in zip(along(raw, 1 + axis % 3), along(got, 1 + axis % 3), strict=True):
        assert len(shifts_of(before, after, limit)) == 1


def test_shifts_reach_their_limit_in_both_directions_and_on_both_axes():
    raw, found = patch(1, 400, 5, 6), set()
    got = ShiftSlices(2, 1.0)(raw, None, np.random.default_rng(0))[0]
    for before, after in zip(along(raw, 1), along(got, 1), strict=True):
        found |= shifts_of(before, after, 2)
    assert found == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}


@given(st.integers(0, 1000))
def test_later_slices_shift_along(seed):
    raw = patch(1, 12, 5, 6)
    got = ShiftSlices(2, 0.3, onwards=True)(raw, None, np.random.default_rng(seed))[0]
    each = [next(iter(shifts_of(b, a, 2))) for b, a in zip(along(raw, 1), along(got, 1), strict=True)]
    single = ShiftSlices(2, 0.3)(raw, None, np.random.default_rng(seed))[0]
    last = (0, 0)
    for k, (before, after) in enumerate(zip(along(raw, 1), along(single, 1), strict=True)):
        (own,) = shifts_of(before, after, 2)
        assert each[k] in {own, last}
        last = each[k]


def test_a_shift_of_zero_changes_nothing():
    raw = patch()
    assert ShiftSlices(0, 1.0)(raw, None, np.random.default_rng(0))[0] is raw


@pytest.mark.parametrize("axis", [3, -4, 1.0, "z", True, None], ids=str)
@pytest.mark.parametrize("make", [DropSlices, ShiftSlices])
def test_axes_that_a_patch_does_not_have(make, axis):
    with pytest.raises(ArgumentError, match=f"{make.__name__}.*no such axis"):
        make(axis=axis)(patch(), None, np.random.default_rng(0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: DropSlices(repeat="yes"),
        lambda: ShiftSlices(-1),
        lambda: ShiftSlices(True),
        lambda: ShiftSlices(onwards=2),
        lambda: ShiftSlices(p=-0.1),
        lambda: DropSlices(p=np.nan),
    ],
)
def test_options_that_mean_nothing(make):
    with pytest.raises(ArgumentError, match="Slices"):
        make()
