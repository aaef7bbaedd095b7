"""Malformed metadata of zarr arrays: unknown, with a warning, and the image is still read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from neuromancer.errors import FileError, MetadataWarning, ShapeError
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered, zarr

WHOLE = numbered((4, 6, 8), "uint8")
AXES = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]


def read_with_warning(path, says):
    with pytest.warns(MetadataWarning, match=says):
        source = open_source(path)
    np.testing.assert_array_equal(source[:], WHOLE[None])
    return source


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_ARRAY_DIMENSIONS", 3.5),
        ("_ARRAY_DIMENSIONS", ["y", "x"]),
        ("_ARRAY_DIMENSIONS", [1, 2, 3]),
        ("axes", [["z"], "y"]),
        ("axes", "zy"),
        ("axis_names", [["z"], ["y", "x"]]),
        ("scale_factor", [[1], [2, 3]]),
        ("_FillValue", [[1], [2, 3]]),
        ("voxel_size", [[1], [2, 3], 4]),
        ("direction", [[1, 2], 3, 4]),
    ],
)
def test_attributes(tmp_path, name, value, version):
    zarr.create_array(tmp_path / "a.zarr", data=WHOLE, zarr_format=version, attributes={name: value})
    read_with_warning(tmp_path / "a.zarr", name.replace("voxel_size", "voxel size"))


@pytest.mark.parametrize("images", ["abc", ["abc"], 5, [{}], [{"datasets": 5}], [{"datasets": ["0"]}]])
def test_no_image_of_ome(tmp_path, images):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=WHOLE)
    group.attrs["ome"] = {"version": "0.5", "multiscales": images}
    for path in (tmp_path / "a.zarr", tmp_path / "a.zarr/0"):
        read_with_warning(path, "multiscales")


def transformed(path, steps):
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=WHOLE)
    level = {"path": "0"} | ({} if steps is None else {"coordinateTransformations": steps})
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": AXES, "datasets": [level]}]}
    return path


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [None, [], [{"type": "identity"}]])
def test_without_a_scale_the_voxel_size_is_unknown(tmp_path, steps):
    source = open_source(transformed(tmp_path / "a.zarr", steps))
    assert source.voxel_size is None and source.offset == (0, 0, 0)


@pytest.mark.parametrize("kind", ["affine", "rotation", None])
def test_transformations_that_are_not_known(tmp_path, kind):
    steps = [{"type": "scale", "scale": [4, 2, 2]}, {"type": kind}]
    assert read_with_warning(transformed(tmp_path / "a.zarr", steps), f"type {kind}").voxel_size is None


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 6, 8]}}}, FileError, "chunks of"),
        ({"shape": [10**12] * 3}, ShapeError, "too many voxels"),
    ],
)
def test_sizes_that_cannot_be(tmp_path, change, error, says):
    zarr.create_array(tmp_path / "a.zarr", data=WHOLE)
    file = tmp_path / "a.zarr/zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(error, match=says):
        open_source(tmp_path / "a.zarr")
