"""Levels of N5 images; arrays of tensorstore are tested with all other stores."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuromancer.errors import UnknownNameError
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered

import tensorstore  # isort: skip

WHOLE = numbered((6, 8, 10))
FACTORS = [[1, 1, 1], [2, 2, 1]]


def levels(folder, named, listed=False):
    """Write an image with two levels, whose factors are attributes of the levels or listed in their group."""
    for k, (x, y, z) in enumerate(FACTORS):
        values = WHOLE[::z, ::y, ::x].T
        metadata = {"dimensions": values.shape, "blockSize": [4, 4, 4], "dataType": "uint16"}
        metadata |= {} if listed else {"downsamplingFactors": [x, y, z]}
        spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/{named}s{k}"}, "metadata": metadata}
        tensorstore.open(spec, create=True).result()[...] = values
    group = {"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}} | ({"scales": FACTORS} if listed else {})
    (folder / f"{named}attributes.json").write_text(json.dumps(group))


@pytest.mark.parametrize("named", ["", "em/"])
@pytest.mark.parametrize("listed", [False, True])
def test_the_finest_level_is_read(tmp_path, named, listed):
    levels(tmp_path / "a.n5", named, listed)
    for path in {f"{tmp_path}/a.n5", f"{tmp_path}/a.n5/{named}".rstrip("/"), f"{tmp_path}/a.n5/{named}s0"}:
        source = open_source(path)
        assert source.voxel_size == (40, 5, 4) and source.offset == (0, 0, 0)
        np.testing.assert_array_equal(source[:][0], WHOLE)
    coarse = open_source(f"{tmp_path}/a.n5/{named}s1")
    assert coarse.voxel_size == (40, 10, 8) and coarse.offset == (0, 2.5, 2)
    np.testing.assert_array_equal(coarse[:][0], WHOLE[:, ::2, ::2])


def test_several_images_are_listed_by_their_finest_level(tmp_path):
    for named in ("em/", "labels/"):
        levels(tmp_path / "a.n5", named)
    with pytest.raises(UnknownNameError, match=r"say which; expected one of \['em/s0', 'labels/s0'\]"):
        open_source(tmp_path / "a.n5")
