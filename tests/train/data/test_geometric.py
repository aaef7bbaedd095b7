"""Flips and quarter turns: which axes, how often, never a patch that does not fit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer.errors import ArgumentError
from neuromancer.train.data import Flip, Rotate90
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.placement import Orientation, PatchPlacement, Placed


def frame(sizes=(5, 5, 5), counts=None, tags="zyx", stack=False):
    counts = sizes if counts is None else counts
    n = len(sizes)
    offsets = tuple((a - b) // 2 for a, b in zip(sizes, counts, strict=True))
    return PatchFrame("net", tuple(tags), tuple(sizes), offsets, (1,) * n, tuple(counts), stack, 1, "float32")


def drawn(change, of, n=64):
    """All orientations that an augmentation draws."""
    rng = np.random.default_rng(0)
    start = PatchPlacement(of, Orientation.plain(of.ndim))
    return Counter(change.draw(start, rng).orientation for _ in range(n))


def block(of):
    return np.arange(np.prod(of.sizes)).reshape(1, *of.sizes)


@pytest.mark.parametrize(
    ("axes", "flipped"),
    [
        *[
            (None, {0, 1, 2}),
            ("zyx", {0, 1, 2}),
            ("x", {2}),
            ("xz", {0, 2}),
            ([0], {0}),
            ((-1, 1), {1, 2}),
            ([], set()),
        ],
        *[([], set()), (np.array([2]), {2}), (("y", 0), {0, 1})],
    ],
    ids=str,
)
def test_only_the_given_axes_are_flipped_each_about_half_of_the_time(axes, flipped):
    found = drawn(Flip(axes), frame(), 200)
    assert len(found) == 2 ** len(flipped)
    for k in range(3):
        share = sum(n for o, n in found.items() if o.flips[k]) / 200
        assert 0.35 < share < 0.65 if k in flipped else share == 0
    assert all(o.order == (0, 1, 2) for o in found)


@pytest.mark.parametrize(
    ("p", "flips"), [(0, {(False, False)}), (1, {(True, True)}), (np.float32(0), {(False, False)})]
)
def test_certain_flips(p, flips):
    assert {o.flips for o in drawn(Flip(p=p), frame((3, 4), tags="yx"))} == flips


def test_slices_of_a_stack_are_never_exchanged():
    of = frame((1, 4, 4), stack=True)
    for change in (Flip(), Rotate90()):
        assert all(o.order[0] == 0 and not o.flips[0] for o in drawn(change, of))
    with pytest.raises(ArgumentError, match="got z; expected tags out of 'yx'"):
        Flip("z").check(of)


@pytest.mark.parametrize(("plane", "axes"), [(None, (1, 2)), ("yx", (1, 2)), ("zx", (0, 2)), ((0, 1), (0, 1))], ids=str)
def test_turns_are_those_of_rot90_in_the_plane(plane, axes):
    of = frame()
    image = block(of)
    found = {o.turn(image).tobytes() for o in drawn(Rotate90(plane), of)}
    array_axes = tuple(1 + k for k in axes)
    assert found == {np.ascontiguousarray(np.rot90(image, n, array_axes)).tobytes() for n in range(4)}


@pytest.mark.parametrize("of", [frame((5, 4, 6)), frame((5, 6, 6), (5, 6, 4)), frame((5, 6, 4), (5, 4, 4))], ids=str)
def test_a_patch_that_is_not_square_is_turned_by_half_only(of):
    image = block(of)
    found = {o.turn(image).tobytes() for o in drawn(Rotate90(), of)}
    assert found == {np.ascontiguousarray(np.rot90(image, n, (2, 3))).tobytes() for n in (0, 2)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Flip("w"), "got w"),
        (Flip("yy"), "got yy"),
        (Flip(2), "got 2"),
        (Flip([0.5]), "0.5"),
        (Flip((0, -3)), "no such axes"),
        (Flip(p=1.1), "1.1"),
        (Flip(p=True), "not a probability"),
        (Flip(p="0.5"), "not a probability"),
        (Rotate90("z"), "two axes"),
        (Rotate90("zyx"), "two axes"),
        (Rotate90((0, 0)), "no such axes"),
        (Rotate90((0, 3)), "no such axes"),
    ],
    ids=str,
)
def test_what_a_patch_does_not_have(change, says):
    with pytest.raises(ArgumentError, match=says):
        change.check(frame())


def test_a_line_cannot_be_turned():
    with pytest.raises(ArgumentError, match="Rotate90"):
        Rotate90().check(frame((7,), tags="x"))


# ---- orientations
@st.composite
def orientations(draw, ndim=3):
    return Orientation(tuple(draw(st.permutations(range(ndim)))), tuple(draw(st.tuples(*[st.booleans()] * ndim))))


@given(orientations(), orientations(), orientations())
def test_orientations_compose_like_the_arrays_that_they_turn(a, b, c):
    image = np.arange(2 * 27).reshape(2, 3, 3, 3)
    np.testing.assert_array_equal(a.then(b).turn(image), b.turn(a.turn(image)))
    assert a.then(b).then(c) == a.then(b.then(c))
    assert a.then(Orientation.plain(3)) == Orientation.plain(3).then(a) == a


@given(orientations(), st.tuples(*[st.integers(1, 5)] * 3))
def test_a_turned_block_is_read_at_the_sources_of_its_voxels(orientation, sizes):
    image = np.random.default_rng(0).permutation(np.prod(sizes)).reshape(1, *sizes)
    turned = orientation.turn(image)
    at = orientation.sources([np.arange(n) for n in turned.shape[1:]], sizes)
    # the sources are per axis of the image; the result has its axes in the order of the image
    np.testing.assert_array_equal(orientation.exchange(image[(slice(None), *np.ix_(*at))]), turned)


@given(orientations())
def test_labels_are_those_of_the_turned_patch(orientation):
    of = frame((6, 6, 6), (2, 2, 2))
    placed = Placed(PatchPlacement(of, orientation))
    image = np.random.default_rng(0).permutation(216).reshape(1, 6, 6, 6)
    inside = tuple(slice(o, o + n) for o, n in zip(of.offsets, of.counts, strict=True))
    needed = tuple(slice(a, b + 1) for a, b in placed.labels)
    np.testing.assert_array_equal(
        placed.cut_labels(image[(slice(None), *needed)]), placed.cut_raw(image)[(slice(None), *inside)]
    )
    assert image[(0, *placed.centre)] == placed.cut_raw(image)[0, 2 + 1, 2 + 1, 2 + 1]


def test_a_placement_that_does_not_fit_loses_its_warp_before_its_rotation():
    class Warped:
        strength = 16

        def weaker(self):
            less = Warped()
            less.strength = self.strength / 2
            return less

    turned = Orientation((0, 2, 1), (True, False, False))
    placement, seen = PatchPlacement(frame(), turned, Warped()), []
    for _ in range(6):
        placement = placement.weaker()
        seen.append((None if placement.field is None else placement.field.strength, placement.orientation == turned))
    assert seen == [(8, True), (4, True), (2, True), (1, True), (None, True), (None, False)]
