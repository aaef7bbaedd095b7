"""Neuroglancer precomputed volumes in folders."""

from __future__ import annotations

import json
import os
import sys
from unittest.mock import Mock

import numpy as np
import pytest

from neuromancer.errors import FileError, MissingDependencyError, UnknownNameError
from neuromancer.volumes import create_sink, open_source, write_pyramid
from tests.volumes.factories import numbered

import tensorstore  # isort: skip

SHAPE = (2, 6, 10, 12)
PLACED = {"voxel_size": (40, 4.5, 5), "unit": "nm", "offset": (81, -9, 2.5), "direction": (1, -1, 1)}


def volume(folder, levels=2, channels=2):
    """Write a volume of others, with coarser scales first in the list."""
    values = numbered((12, 10, 6, channels), "uint8")
    for k in reversed(range(levels)):
        fine = values[:: 2**k, :: 2**k]
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": channels},
            "scale_metadata": {
                "resolution": [4 * 2**k, 4 * 2**k, 40],
                "size": fine.shape[:3],
                "voxel_offset": [100 // 2**k, 50 // 2**k, 7],
                "encoding": "raw",
                "chunk_size": [4, 4, 4],
            },
        }
        tensorstore.open(spec, create=True, open=True).result()[...].write(fine).result()
    return values.T


@pytest.mark.parametrize("name", ["a.precomputed", "plain"])
@pytest.mark.parametrize("form", ["{}", "precomputed://{}", "precomputed://{}/"])
def test_volumes_of_others(tmp_path, name, form):
    values = volume(tmp_path / name)
    source = open_source(form.format(tmp_path / name))
    assert source.shape == SHAPE and source.voxel_size == (40, 4, 4) and source.unit == "nanometer"
    assert source.offset == (280, 200, 400) and source.chunks == (2, 4, 4, 4)
    np.testing.assert_array_equal(source[0:1, 1:3, 2:4, 3:9], values[0:1, 1:3, 2:4, 3:9])
    again = open_source(source.locator)
    assert again.fingerprint() == source.fingerprint()
    np.testing.assert_array_equal(again[:], values)


def test_scales_by_name(tmp_path):
    values = volume(tmp_path / "a.precomputed")
    for path in (f"{tmp_path}/a.precomputed/8_8_40", f"precomputed://{tmp_path}/a.precomputed:8_8_40"):
        coarse = open_source(path)
        assert coarse.voxel_size == (40, 8, 8) and coarse.offset == (280, 200, 400)
        np.testing.assert_array_equal(coarse[:], values[..., ::2, ::2])
    with pytest.raises(UnknownNameError, match="nearest valid: 8_8_40"):
        open_source(f"{tmp_path}/a.precomputed/8_8_4")


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ("{", "the file info cannot be read"),
        ("[]", "no precomputed volume"),
        ('{"@type": "neuroglancer_legacy_mesh"}', "no precomputed volume"),
        ('{"scales": [{"key": "a"}]}', "no precomputed volume"),
        ('{"scales": [{"key": "a", "resolution": [1, 1, 1], "size": [1, 1, 1]}]}', "cannot be read"),
    ],
)
def test_odd_metadata(tmp_path, info, says):
    (tmp_path / "a.precomputed").mkdir()
    (tmp_path / "a.precomputed/info").write_text(info)
    with pytest.raises(FileError, match=rf"a\.precomputed.*{says}"):
        open_source(tmp_path / "a.precomputed")


def test_what_is_in_place_of_a_volume(tmp_path, monkeypatch):
    (tmp_path / "a.precomputed").mkdir()
    with pytest.raises(FileError, match="a file 'info' in it"):
        open_source(tmp_path / "a.precomputed")
    os.mkfifo(tmp_path / "a.precomputed/info")
    with pytest.raises(FileError, match="a named pipe"):
        open_source(tmp_path / "a.precomputed")
    (tmp_path / "b.precomputed").write_text("{}")
    with pytest.raises(FileError, match="is not a folder"):
        open_source(tmp_path / "b.precomputed")
    volume(tmp_path / "c.precomputed")
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    for act in (open_source, lambda path: create_sink(path.with_stem("d"), SHAPE, "uint8")):
        with pytest.raises(MissingDependencyError, match="extra 'tensorstore'"):
            act(tmp_path / "c.precomputed")


def test_chunks_that_are_damaged_or_missing(tmp_path):
    values = volume(tmp_path / "a.precomputed", 1).copy()
    chunk = next((tmp_path / "a.precomputed/4_4_40").glob("104-108_50-54_7-11"))
    chunk.write_bytes(b"short")
    with pytest.raises(FileError, match=r"a\.precomputed.*a block cannot be read"):
        open_source(tmp_path / "a.precomputed")[:]
    chunk.unlink()
    values[:, :4, :4, 4:8] = 0
    np.testing.assert_array_equal(open_source(tmp_path / "a.precomputed")[:], values)


def test_tensorstore_reads_what_is_written(tmp_path):
    sink = create_sink(tmp_path / "a.precomputed", SHAPE, "float32", chunks=(1, 4, 4, 4), **PLACED)
    assert sink.unit_of_write == (2, 4, 4, 4) and open_source(sink.locator).blank
    values = numbered(SHAPE, "float32")
    sink[:] = values
    sink.close()
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/a.precomputed/"}
    found = tensorstore.open(spec, read=True).result()
    np.testing.assert_array_equal(found[...].read().result().T, values)
    assert [u.to_json() for u in found.dimension_units[:3]] == [[5, "nm"], [4.5, "nm"], [40, "nm"]]
    assert found.domain.origin[:3] == (0, -2, 2)  # whole voxels
    source = open_source(tmp_path / "a.precomputed")
    assert {key: getattr(source, key) for key in PLACED} == PLACED | {"unit": "nanometer"} and not source.blank


def test_without_placement(tmp_path):
    for spatial, shape in (("zyx", (1, 4, 5, 6)), ("yx", (3, 5, 6))):
        sink = create_sink(tmp_path / f"{spatial}.precomputed", shape, "uint16", spatial=spatial)
        sink[:] = numbered(shape)
        source = open_source(tmp_path / f"{spatial}.precomputed", spatial=spatial)
        assert source.voxel_size is None and set(source.offset) == {0}
        np.testing.assert_array_equal(source[:].reshape(shape), numbered(shape))


def test_coarser_scales(tmp_path):
    sink = create_sink(tmp_path / "a.precomputed", SHAPE, "float32", chunks=(2, 4, 4, 4), **PLACED)
    values = numbered(SHAPE, "float32")
    sink[:] = values
    assert write_pyramid(sink, "nearest", levels=2) == ["5_4.5_40", "10_9_40", "20_18_40"]
    coarse = open_source(f"{tmp_path}/a.precomputed/10_9_40")
    assert coarse.voxel_size == (40, 9, 10) and coarse.direction == (1, -1, 1)
    np.testing.assert_array_equal(coarse[:], values[..., ::2, ::2])
    # y starts at voxel -2, which is -1 in the first coarser scale and so in the middle of a voxel of the next
    twice = values[..., [0, 2, 6], ::4]
    np.testing.assert_array_equal(open_source(f"{tmp_path}/a.precomputed/20_18_40")[:], twice)
    assert open_source(tmp_path / "a.precomputed").offset == PLACED["offset"]
    assert write_pyramid(tmp_path / "a.precomputed", levels=1) == ["5_4.5_40", "10_9_40"]
    mean = values.reshape(2, 6, 5, 2, 6, 2).mean((3, 5))
    np.testing.assert_allclose(open_source(f"{tmp_path}/a.precomputed/10_9_40")[:], mean)
    info = json.loads((tmp_path / "a.precomputed/info").read_text())
    assert len(info["scales"]) == 2 and sink.identity in info["neuromancer"]
    assert write_pyramid(f"precomputed://{tmp_path}/a.precomputed") == ["5_4.5_40"]


def test_coarser_scales_are_where_neuroglancer_draws_them(tmp_path):
    places = {"voxel_size": (8, 4, 4), "offset": (8, -12, 20), "unit": "nm"}  # voxels 1, -3, 5
    sink = create_sink(tmp_path / "a.precomputed", (1, 5, 6, 9), "float32", chunks=(1, 2, 2, 4), **places)
    sink[:] = numbered((1, 5, 6, 9), "float32")
    assert write_pyramid(sink, levels=2) == ["4_4_8", "8_8_8", "16_16_16"]
    base = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/a.precomputed/"}
    scales = [tensorstore.open(base | {"scale_index": k}, read=True).result() for k in range(3)]
    for fine, coarse, factors in zip(scales, scales[1:], ([2, 2, 1, 1], [2, 2, 2, 1]), strict=False):
        expected = tensorstore.downsample(fine, factors, "mean")
        assert coarse.domain == expected.domain
        np.testing.assert_allclose(coarse.read().result(), expected.read().result())
    assert sorted(p.name for p in (tmp_path / "a.precomputed").iterdir()) == ["16_16_16", "4_4_8", "8_8_8", "info"]


@pytest.mark.parametrize("key", ["2_2_2", "2_2_2/fine", "a/../2_2_2"])
def test_coarser_scales_never_replace_the_image(tmp_path, key):
    sink = create_sink(tmp_path / "a.precomputed", (1, 8, 8, 8), "float32")
    sink[:] = numbered((1, 8, 8, 8), "float32")
    info = json.loads((tmp_path / "a.precomputed/info").read_text())
    info["scales"][0]["key"] = key
    (tmp_path / "a.precomputed/info").write_text(json.dumps(info))
    (tmp_path / "a.precomputed/a").mkdir()
    moved = tmp_path / "a.precomputed" / key
    moved.parent.mkdir(exist_ok=True)
    (tmp_path / "a.precomputed/1_1_1").rename(moved)
    with pytest.raises(FileError, match="its finest scale has the key of a coarser one"):
        write_pyramid(tmp_path / "a.precomputed", levels=1)
    np.testing.assert_array_equal(open_source(tmp_path / "a.precomputed")[:], numbered((1, 8, 8, 8), "float32"))


def test_an_interrupted_pyramid_lists_no_scales(tmp_path, monkeypatch):
    sink = create_sink(tmp_path / "a.precomputed", (1, 8, 8, 8), "float32")
    sink[:] = numbered((1, 8, 8, 8), "float32")
    assert write_pyramid(sink, levels=1) == ["1_1_1", "2_2_2"]
    monkeypatch.setattr("neuromancer.volumes.pyramid_levels.shrink", Mock(side_effect=OSError(28, "full")))
    with pytest.raises(FileError, match="cannot be written; got full"):
        write_pyramid(sink, levels=2)
    assert len(json.loads((tmp_path / "a.precomputed/info").read_text())["scales"]) == 1
    assert not list((tmp_path / "a.precomputed").glob(".*"))
