"""Spellings of units of length."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.volumes.units import UNITS, long_unit, ratio, says_no_unit, short_unit


@pytest.mark.parametrize(
    "text",
    [
        *("um", "µm", "μm", "UM", "micron", "Microns", "micrometer", "Micrometre", "micrometers", " um "),
        *("\\u00B5m", "Âµm", b"um", b"\xb5m", np.bytes_("µm".encode()), np.array(["um"]), np.str_("um")),
    ],
)
def test_micrometres(text):
    assert long_unit(text) == "micrometer" and not says_no_unit(text)


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_under_its_names(name):
    assert long_unit(name) == long_unit(name.capitalize()) == long_unit(short_unit(name)) == name
    assert ratio(name, name) == 1


def test_what_is_no_unit():
    for nothing in (None, "", "pixel", "Pixels", b"voxel", "unknown"):
        assert says_no_unit(nothing) and long_unit(nothing) is None
    for odd in ("furlong", 5, [], {}, "nm^2"):
        assert not says_no_unit(odd) and long_unit(odd) is None
    assert long_unit("Å") == long_unit("\u212b") == "angstrom"
