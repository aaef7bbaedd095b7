"""Voxel size, unit, offset and direction of a result, from those of the image and from the options of the store."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromancer.dense.placement import image_placement, placed
from neuromancer.errors import ArgumentError
from neuromancer.volumes.placement import Placement

IMAGE = Placement((40.0, 4.0, 8.0), (100.0, 20.0, 30.0), "nanometer")


@given(st.tuples(*[st.integers(0, 50)] * 3), st.tuples(*[st.sampled_from([1, 2, 5, Fraction(1, 2)])] * 3))
def test_a_result_starts_at_its_voxel_of_the_image(shift, steps):
    found = placed(IMAGE, {}, shift, steps)
    assert found["unit"] == "nanometer"
    np.testing.assert_allclose(found["offset"], np.add(IMAGE.offset, np.multiply(shift, IMAGE.voxel_size)))
    np.testing.assert_allclose(found["voxel_size"], np.multiply([float(s) for s in steps], IMAGE.voxel_size))


def test_an_axis_that_runs_backwards_starts_further_down():
    found = placed(Placement((4.0, 2.0), (100.0, 50.0), "nanometer", (-1, 1)), {}, (3, 5), (1, 1))
    assert found["offset"] == (88.0, 60.0) and tuple(found["direction"]) == (-1, 1)


def test_the_orientation_of_the_image_is_kept_unless_the_place_is_given():
    orientation = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    image = Placement((4.0, 2.0), (100.0, 50.0), "nanometer", None, orientation)
    assert placed(image, {}, (3, 5), (1, 1))["orientation"] == orientation
    for store in ({"offset": (0, 0)}, {"direction": (1, 1)}):
        assert "orientation" not in placed(image, store, (3, 5), (1, 1))


def test_unknown_sizes_stay_unknown_and_the_offset_of_an_uncut_axis_is_kept():
    found = placed(Placement((None, 4.0), (10.0, 20.0), "nanometer"), {}, (0, 2), (1, 1))
    assert found["voxel_size"] == (None, 4.0) and found["offset"] == (10.0, 28.0)
    cut = placed(Placement((None, 4.0), (10.0, 20.0), "nanometer"), {}, (1, 2), (1, 1))
    assert cut["offset"] == (None, 28.0)


def test_an_image_of_unknown_place_says_nothing_about_sizes():
    assert not {"voxel_size", "unit", "offset"} & set(placed(Placement(), {}, (1, 2), (2, 2)))


def test_a_unit_given_with_sizes_converts_the_place_of_the_image():
    found = placed(IMAGE, {"voxel_size": (0.04, 0.004, 0.008), "unit": "micrometer"}, (1, 10, 5), (1, 1, 1))
    assert set(found) & {"voxel_size", "unit"} == set()  # those are given already
    np.testing.assert_allclose(found["offset"], [0.14, 0.06, 0.07])


def test_given_sizes_are_those_of_the_result():
    found = placed(Placement(None, (10.0, 10.0), "nanometer"), {"voxel_size": (8.0, 6.0)}, (3, 4), (2, 3))
    assert found["offset"] == (10.0 + 3 * 4, 10.0 + 4 * 2)


def test_a_unit_alone_replaces_that_of_the_image():
    found = placed(IMAGE, {"unit": "micrometer"}, (0, 0, 0), (1, 1, 1))
    assert found["voxel_size"] == IMAGE.voxel_size and found["offset"] == IMAGE.offset and "unit" not in found


@pytest.mark.parametrize(
    "store",
    [
        {"voxel_size": (1.0, 2.0)},
        {"voxel_size": (0.0, 1.0, 1.0)},
        {"unit": "voxels long"},
        {"offset": (np.inf, 0, 0)},
    ],
)
def test_options_that_place_nothing_are_refused(store):
    with pytest.raises(ArgumentError, match=next(iter(store))):
        placed(IMAGE, store, (0, 0, 0), (1, 1, 1))


def test_metadata_of_a_foreign_source_that_cannot_be_are_left_out_with_a_warning():
    class Source:
        voxel_size, offset, unit, direction, label = (4.0, -1.0), (0.0, 0.0), "nanometer", None, "raw"

    with pytest.warns(UserWarning, match=r"-1"):
        found = image_placement(Source(), "yx", to_file=False)
    assert found.voxel_size is None or found.voxel_size[1] is None


def test_a_plain_array_has_no_place():
    assert image_placement(np.zeros((1, 2, 3)), "yx", to_file=True).voxel_size is None
