"""Specification of an output: shape, chunks, placement and names in the stored order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neuromancer.volumes.axes import Layout
from neuromancer.volumes.placement import Placement
from neuromancer.volumes.store_spec import StoreSpec

PLACEMENT = Placement((40.0, 4.0, 5.0), (1.0, None, 3.0), "nanometer", (1, -1, 1))
SPEC = StoreSpec(
    (2, 7, 9, 5), np.dtype("float32"), Layout("xfyz", "zyx"), (1, 4, 16, 5), (2, 8, 16, 10), None, PLACEMENT, False
)


def test_everything_is_reordered_to_the_stored_axes():
    assert SPEC.stored_shape == (5, 2, 9, 7)
    assert SPEC.stored_chunks == (5, 1, 9, 4)  # no larger than the volume
    assert SPEC.stored_shards == (10, 2, 16, 8) and replace(SPEC, shards=None).stored_shards is None
    assert SPEC.axis_names == ("x", "c", "y", "z")
    assert SPEC.stored_placement == Placement((5.0, 4.0, 40.0), (3.0, None, 1.0), "nanometer", (1, -1, 1))
    assert SPEC.attributes() == {
        "voxel_size": [5.0, 4.0, 40.0],
        "offset": [3.0, None, 1.0],
        "unit": "nanometer",
        "direction": [1, -1, 1],
    }


def test_without_a_channel_axis_and_with_a_squeezed_one():
    spec = replace(SPEC, shape=(1, 7, 9, 5), layout=Layout("x.yz", "zyx"))
    assert spec.stored_shape == (5, 1, 9, 7) and spec.axis_names == ("x", "y", "z")
    assert spec.stored_placement == SPEC.stored_placement


def test_unknown_placement_has_no_attributes():
    assert replace(SPEC, placement=Placement()).attributes() == {}
    assert replace(SPEC, placement=Placement(unit="meter")).attributes() == {"unit": "meter"}


def test_an_array_is_described_by_shape_and_dtype():
    assert SPEC.describes(np.empty((5, 2, 9, 7), "float32"))
    for shape, dtype in (((2, 7, 9, 5), "float32"), ((5, 2, 9, 7), "int32"), ((5, 2, 9, 7, 1), "float32")):
        assert not SPEC.describes(np.empty(shape, dtype))
