"""WebKnossos volumes: wkw cubes, and zarr 3."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from neuromancer.errors import FileError, MissingDependencyError
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered, zarr

wkw = pytest.importorskip("wkw")

WHOLE = numbered((2, 20, 18, 10))


def layer(folder, box=(0, 0, 0, 20, 18, 10), packed=False, mag="1"):
    """Write a data set with one layer, described by the bounding box of the layer."""
    (folder / "color").mkdir(parents=True)
    kind = wkw.Header.BLOCK_TYPE_LZ4 if packed else wkw.Header.BLOCK_TYPE_RAW
    header = wkw.Header(np.uint16, num_channels=2, block_len=8, file_len=2, block_type=kind)
    made = wkw.Dataset.create(str(folder / "color" / mag), header)
    made.write((0, 0, 0), np.pad(WHOLE, [(0, 0), (0, 12), (0, 14), (0, 6)]))
    made.close()
    if box is not None:
        names = ("width", "height", "depth")
        bounds = {"topLeft": box[:3], **dict(zip(names, box[3:], strict=True))}
        described = {"dataLayers": [{"name": "color", "boundingBox": bounds}]}
        described["scale"] = {"factor": [4.5, 5, 40], "unit": "nanometer"}
        (folder / "datasource-properties.json").write_text(json.dumps(described))
    return folder / "color" / mag


@pytest.mark.parametrize("packed", [False, True])
def test_a_layer(tmp_path, packed):
    source = open_source(layer(tmp_path / "set", packed=packed))
    assert source.shape == (2, 10, 18, 20) and source.chunks == (1, 8, 8, 8)
    assert source.voxel_size == (40, 5, 4.5) and source.unit == "nanometer"
    np.testing.assert_array_equal(source[:], WHOLE.transpose(0, 3, 2, 1))
    np.testing.assert_array_equal(source[1:2, 2:9, 7:17, 15:18], WHOLE.transpose(0, 3, 2, 1)[1:2, 2:9, 7:17, 15:18])
    np.testing.assert_array_equal(open_source(source.locator)[0:1], source[0:1])


def test_the_bounding_box(tmp_path):
    source = open_source(layer(tmp_path / "a", (3, 5, 1, 10, 9, 8)))
    assert source.offset == (40, 25, 13.5)
    np.testing.assert_array_equal(source[:], WHOLE.transpose(0, 3, 2, 1)[:, 1:9, 5:14, 3:13])
    coarse = open_source(layer(tmp_path / "b", (0, 0, 0, 40, 36, 10), mag="2-2-1"))
    assert coarse.shape == (2, 10, 18, 20) and coarse.voxel_size == (40, 10, 9)
    plain = open_source(layer(tmp_path / "c", None))  # whole cubes
    assert plain.shape == (2, 16, 32, 32) and plain.voxel_size is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [0, 5, 60, -1])
def test_cubes_that_are_cut_off(tmp_path, packed, size):
    path = layer(tmp_path / "set", packed=packed)
    cube = path / "z0/y0/x1.wkw"
    os.truncate(cube, size if size >= 0 else cube.stat().st_size - 1)
    source = open_source(path)
    assert source[0:1, 0:5, 0:5, 0:16].any()
    with pytest.raises(FileError, match=r"z0/y0/x1\.wkw ends after \d+ of \d+ bytes"):
        source[:]


def test_what_is_in_place_of_cubes(tmp_path):
    path = layer(tmp_path / "set")
    (path / "z0/y0/x1.wkw").unlink()
    assert not open_source(path)[0:1, 0:10, 0:16, 16:20].any()  # never written
    os.mkfifo(path / "z0/y0/x1.wkw")
    with pytest.raises(FileError, match=r"x1\.wkw is a named pipe"):
        open_source(path)[:]
    (path / "header.wkw").write_bytes(b"short")
    with pytest.raises(FileError, match="cannot be read"):
        open_source(path)
    (path / "header.wkw").unlink()
    os.mkfifo(path / "header.wkw")
    with pytest.raises(FileError, match="a named pipe"):
        open_source(path)


def test_odd_descriptions(tmp_path, monkeypatch):
    path = layer(tmp_path / "set")
    (tmp_path / "set/datasource-properties.json").write_text("{")
    with pytest.raises(FileError, match=r"datasource-properties\.json"):
        open_source(path)
    layers = {"dataLayers": [{"name": "color", "boundingBox": {"topLeft": "here"}}]}
    (tmp_path / "set/datasource-properties.json").write_text(json.dumps(layers))
    with pytest.raises(FileError, match="bounding box"):
        open_source(path)
    monkeypatch.setitem(sys.modules, "wkw", None)
    with pytest.raises(MissingDependencyError, match="extra 'wkw'"):
        open_source(path)


def test_layers_in_zarr_3_are_zarr(tmp_path):
    folder = tmp_path / "set/color/1"
    zarr.create_array(folder, data=WHOLE, chunks=(2, 8, 8, 8), dimension_names=["c", "x", "y", "z"])
    np.testing.assert_array_equal(open_source(folder)[:], WHOLE.transpose(0, 3, 2, 1))
