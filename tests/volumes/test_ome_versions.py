"""Images in OME-Zarr 0.4 and 0.5 satisfy the specification."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, FileError
from neuromancer.volumes import create_sink, open_source, write_pyramid
from tests.volumes.factories import numbered, zarr

SHAPE = (2, 6, 10, 12)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["czyx", "zyx"])
def test_the_models_of_ome_accept_what_is_written(tmp_path, version, axes):
    models = pytest.importorskip("ome_zarr_models")
    shape = SHAPE if "c" in axes else (1, *SHAPE[1:])
    meta = {"voxel_size": (40, 4, 4), "unit": "nm", "offset": (80, 8, 4)}
    sink = create_sink(
        tmp_path / "a.zarr",
        shape,
        "float32",
        axes=axes,
        multiscale=True,
        ome_version=version,
        chunks=(1, 4, 4, 4),
        **meta,
    )
    sink[:] = numbered(shape, "float32")
    sink.close()
    write_pyramid(sink, levels=1)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    found = models.open_ome_zarr(group)
    assert found.ome_zarr_version == version and type(found).__name__ == "Image"
    image = (found.attributes if version == "0.4" else found.attributes.ome).multiscales[0]
    assert [level.path for level in image.datasets] == ["0", "1"] and "".join(a.name for a in image.axes) == axes
    assert group.metadata.zarr_format == (2 if version == "0.4" else 3)
    source = open_source(tmp_path / "a.zarr")
    assert source.voxel_size == (40, 4, 4) and source.offset == (80, 8, 4) and source.unit == "nanometer"
    np.testing.assert_array_equal(source[:], numbered(shape, "float32"))
    assert open_source(f"{tmp_path}/a.zarr/1").voxel_size == (40, 8, 8)


@pytest.mark.parametrize("compression", ["default", "blosc", "zstd", "gzip", None])
def test_compressions_of_zarr_2(tmp_path, compression):
    options = {"multiscale": True, "ome_version": "0.4", "compression": compression, "chunks": (2, 4, 4, 4)}
    sink = create_sink(tmp_path / "a.zarr", SHAPE, "uint16", **options)
    sink[:] = numbered(SHAPE)
    sink.close()
    np.testing.assert_array_equal(open_source(tmp_path / "a.zarr")[:], numbered(SHAPE))
    assert (tmp_path / "a.zarr/0/0/0/0/0").is_file()


def test_versions_are_not_mixed(tmp_path):
    create_sink(tmp_path / "a.zarr/x", SHAPE, "uint8").close()
    with pytest.raises(FileError, match=r"zarr format 2.*a folder of format 3"):
        create_sink(tmp_path / "a.zarr/y", SHAPE, "uint8", multiscale=True, ome_version="0.4")
    with pytest.raises(ArgumentError, match="no shards"):
        create_sink(tmp_path / "b.zarr", SHAPE, "uint8", multiscale=True, ome_version="0.4", shards=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
