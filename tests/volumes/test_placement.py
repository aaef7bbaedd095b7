"""Placement given by users: numbers per axis, units of length and directions."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import ArgumentError
from neuromancer.volumes.placement import Placement, checked_placement, directed, known_or_none


def test_values_are_kept_per_axis():
    found = checked_placement((40, np.float32(4), None), "um", [1, None, -2.5], "zyx", (1, -1, 1))
    assert found == Placement((40.0, 4.0, None), (1.0, None, -2.5), "micrometer", (1, -1, 1))
    assert checked_placement(np.array([1, 2]), b"nm", None, "yx", np.array([-1, 1])) == Placement(
        (1.0, 2.0), None, "nanometer", (-1, 1)
    )


@pytest.mark.parametrize("unit", [None, "", "pixel"])
def test_nothing_known_is_none(unit):
    assert checked_placement([None] * 3, unit, [None] * 3, "zyx", (1, 1, 1)) == Placement()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("voxel_size", v) for v in ((1, 2), (1, 2, 3, 4), 5, "123", (1, "a", 2), (1, np.nan, 2), (1, np.inf, 2))],
        *[("voxel_size", v) for v in ((1, 0, 2), (None, -1, 2), (1, 10**400, 2), (1, 2j, 3))],
        *[("offset", v) for v in ((), (1, 2), "123", (0, np.nan, 0), (0, 0, -np.inf), [[1], [2, 3], [4]])],
        *[("unit", v) for v in ("furlong", "nm^2", 5)],
        *[("direction", v) for v in ((1, 1), (1, 0, 1), (1, -1, 2), (True, 1, 1), "111", 1, (1, 1, "-1"))],
    ],
)
def test_values_that_no_placement_has(name, value):
    given = {"voxel_size": None, "unit": None, "offset": None, "direction": None, name: value}
    with pytest.raises(ArgumentError) as caught:
        checked_placement(spatial="zyx", **given)
    assert caught.value.node == name


def test_the_nearest_unit_is_named():
    with pytest.raises(ArgumentError) as caught:
        checked_placement(None, "nanometers?", None, "zyx")
    assert caught.value.nearest == "nanometer"


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_axes_are_reordered_together(order):
    placement = Placement((1.0, 2.0, 3.0), (4.0, None, 6.0), "nanometer", (1, -1, 1))
    found = placement.reordered(order)
    for name in ("voxel_size", "offset", "direction"):
        assert getattr(found, name) == tuple(getattr(placement, name)[k] for k in order)
    assert found.unit == "nanometer" and Placement(unit="meter").reordered(order) == Placement(unit="meter")


def test_one_known_value_keeps_all():
    assert known_or_none([None, None]) is None and known_or_none([None, 0.0]) == (None, 0.0)
    assert directed([1, 1]) is None and directed([1, -1]) == (1, -1)
