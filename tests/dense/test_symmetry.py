"""Views of an image: the groups that they form, their order, the arrays that they share."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.dense.symmetry import GROUPS, View, views
from neuromancer.errors import ArgumentError

SIZES = [("flips", 1, 2), ("flips", 2, 4), ("flips", 3, 8), ("rotations", 2, 4), ("rotations", 3, 4)]
SIZES += [("all", 2, 8), ("all", 3, 16)]


def cube(ndim):
    """An array without symmetries, of equal sizes."""
    return np.random.default_rng(0).permutation(4**ndim).reshape((4,) * ndim)


@pytest.mark.parametrize(("group", "ndim", "size"), SIZES)
def test_a_group_is_closed_and_its_views_differ(group, ndim, size):
    found, image = views(group, ndim), cube(ndim)
    seen = {view.apply(image).tobytes() for view in found}
    assert len(found) == len(seen) == size
    twice = {b.apply(a.apply(image)).tobytes() for a in found for b in found}
    assert twice == seen


@pytest.mark.parametrize("group", [None, *GROUPS])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_first_view_is_the_image(group, ndim):
    image = np.arange(2 * 3 * 4).reshape((2, 3, 4)[-ndim:] if ndim == 3 else (6, 4))
    np.testing.assert_array_equal(views(group, ndim)[0].apply(image), image)


def test_without_a_group_there_is_only_the_image():
    assert [len(views(None, ndim)) for ndim in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize("ndim", [2, 3])
def test_rotations_are_those_of_rot90_in_the_plane_of_the_last_axes(ndim):
    image = np.arange(5 * 6 * 7).reshape((5, 6, 7) if ndim == 3 else (30, 7))
    for turns, view in enumerate(views("rotations", ndim)):
        np.testing.assert_array_equal(view.apply(image), np.rot90(image, turns, axes=(ndim - 2, ndim - 1)))


def test_flips_are_those_of_numpy():
    image = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    for view in views("flips", 3):
        axes = tuple(k for k, flip in enumerate(view.flips) if flip)
        np.testing.assert_array_equal(view.apply(image), np.flip(image, axes))


def test_leading_axes_stay_and_views_write_into_the_image():
    image = np.zeros((3, 2, 4, 5))
    view = View((1, 0), (True, False))
    inside = view.apply(image)
    assert inside.shape == (3, 2, 5, 4) and np.shares_memory(inside, image)
    inside[1, 0, 0, 2] = 7
    assert image[1, 0, 2, 4] == 7 and np.count_nonzero(image) == 1


@pytest.mark.parametrize(("group", "nearest"), [("flip", "flips"), ("rotation", "rotations")])
def test_an_unknown_group_is_refused_with_the_nearest(group, nearest):
    with pytest.raises(ArgumentError, match=f"got {group}; .*nearest valid: {nearest}"):
        views(group, 2)


@pytest.mark.parametrize("group", [True, 8, ["flips"], np.array([1, 2])])
def test_what_is_no_name_is_refused(group):
    with pytest.raises(ArgumentError, match="augment"):
        views(group, 2)


@pytest.mark.parametrize("group", ["rotations", "all"])
def test_a_line_cannot_be_rotated(group):
    with pytest.raises(ArgumentError, match="got 1 axis; expected 2 or 3 axes"):
        views(group, 1)
