"""Coarser levels of OME-TIFF files; those of precomputed volumes are tested with the format."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import FileError
from neuromancer.volumes import create_sink, open_source, write_pyramid
from tests.volumes.factories import numbered, tifffile

PLACED = {"voxel_size": (40, 4.5, 5), "unit": "um", "offset": (80, -9, 2.5)}


@pytest.mark.parametrize("shape", [(2, 3, 21, 16), (1, 1, 21, 16)])
@pytest.mark.parametrize("method", ["mean", "nearest"])
def test_levels_are_subifds(tmp_path, shape, method):
    sink = create_sink(tmp_path / "a.tif", shape, "float32", **PLACED)
    values = numbered(shape, "float32")
    sink[:] = values
    assert write_pyramid(sink, method, levels=2) == ["0", "1", "2"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_ome and len(file.series) == 1 and file.series[0].is_pyramidal
        levels = [level.asarray().reshape(*shape[:2], *level.shape[-2:]) for level in file.series[0].levels]
    assert [level.shape[-2:] for level in levels] == [(21, 16), (11, 8), (6, 4)]
    np.testing.assert_array_equal(levels[0], values)
    if method == "nearest":
        np.testing.assert_array_equal(levels[1], values[..., ::2, ::2])
        np.testing.assert_array_equal(levels[2], values[..., ::4, ::4])
    else:
        np.testing.assert_allclose(
            levels[1][..., :10, :], values[..., :20, :].reshape(*shape[:2], 10, 2, 8, 2).mean((3, 5))
        )
    source = open_source(tmp_path / "a.tif")
    assert {key: getattr(source, key) for key in PLACED} == PLACED | {"unit": "micrometer"}
    np.testing.assert_array_equal(source[:], values)
    assert write_pyramid(tmp_path / "a.tif", levels=1) == ["0", "1"]
    again = create_sink(tmp_path / "a.tif", shape, "float32", existing="open")
    assert again.identity == sink.identity
    np.testing.assert_array_equal(again[:], values)
    again.close()


def test_levels_end_with_256_voxels(tmp_path):
    sink = create_sink(tmp_path / "a.tif", (1, 1, 3, 1025), "uint8")
    assert write_pyramid(sink) == ["0", "1", "2", "3"]
    assert write_pyramid(tmp_path / "a.tif", levels=0) == ["0"]
    assert write_pyramid(tmp_path / "a.tif", levels=99)[-1] == "11"


def test_files_of_others(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4, 5), "uint8"), photometric="minisblack")
    before = (tmp_path / "a.tif").read_bytes()
    with pytest.raises(FileError, match=r"a\.tif.*no image of this package"):
        write_pyramid(tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == before
    with pytest.raises(FileError, match=r"none\.tif"):
        write_pyramid(tmp_path / "none.tif")
    (tmp_path / "b.tif").write_text("no TIFF")
    with pytest.raises(FileError, match=r"b\.tif"):
        write_pyramid(tmp_path / "b.tif")
