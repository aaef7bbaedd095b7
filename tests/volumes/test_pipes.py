"""Named pipes inside folders of volumes: opening one would block forever."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neuromancer.errors import FileError
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered, zarr

import tensorstore  # isort: skip

WHOLE = numbered((4, 6, 8), "uint8")


def pipe(path):
    Path(path).unlink(missing_ok=True)
    os.mkfifo(path)


def refused(given, name):
    with pytest.raises(FileError, match=rf"{name}.* a named pipe"):
        open_source(given)[:]


def grouped(folder, version):
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    group.create_array("raw", data=WHOLE, chunks=(4, 4, 4))
    return folder


def n5(folder):
    metadata = {"dimensions": WHOLE.shape[::-1], "blockSize": [4, 4, 4], "dataType": "uint8"}
    metadata["compression"] = {"type": "raw"}
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/raw/"}, "metadata": metadata}
    tensorstore.open(spec, create=True, open=True).result()[...].write(WHOLE.T).result()
    return folder


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (3, "zarr.json"),
        (3, "raw/zarr.json"),
        (3, "raw/c/0/1/0"),
        (2, ".zgroup"),
        (2, ".zattrs"),
        (2, "raw/.zarray"),
        (2, "raw/.zattrs"),
        (2, "raw/0.1.0"),
    ],
)
def test_zarr(tmp_path, version, name):
    path = grouped(tmp_path / "a.zarr", version)
    opened = zarr.open(path, mode="r")["raw"]
    pipe(path / name)
    refused(path / "raw", name)
    refused(path, name)
    if "0" in name:
        refused(opened, name)


@pytest.mark.parametrize("name", ["attributes.json", "raw/attributes.json", "raw/1/0/0"])
def test_n5(tmp_path, name):
    pipe(n5(tmp_path / "a.n5") / name)
    refused(tmp_path / "a.n5/raw", name.removeprefix("raw/"))


@pytest.mark.parametrize("harm", [pipe, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_chunks_of_neuroglancer(tmp_path, harm):
    scale = {"resolution": [4, 5, 40], "size": WHOLE.shape[::-1], "voxel_offset": [100, 50, 7]}
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(tmp_path)},
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
        "scale_metadata": scale | {"encoding": "raw", "chunk_size": [4, 4, 4]},
    }
    array = tensorstore.open(spec, create=True, open=True).result()
    array[...].write(WHOLE.T[..., None]).result()
    chunk = next(tmp_path.rglob("104-108_50-54_7-11"))
    chunk.unlink()
    found = open_source(array)[:][0]  # not written: fill value
    assert not found[:, :4, 4:].any() and (found[:, 4:] == WHOLE[:, 4:]).all()
    harm(chunk)
    with pytest.raises(FileError, match=r"104-108_50-54_7-11 is a"):
        open_source(array)[:]
    pipe(tmp_path / "info")
    refused(array, "info")


def test_what_lies_beside_an_image_is_not_waited_for(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("raw", data=WHOLE, dimension_names=list("zyx"))
    for name, n in zip("zyx", WHOLE.shape, strict=True):
        group.create_array(name, data=np.arange(n) * 2.0, dimension_names=[name])
    pipe(tmp_path / "a.zarr/y/c/0")
    for given in (tmp_path / "a.zarr/raw", zarr.open(tmp_path / "a.zarr", mode="r")["raw"]):
        with pytest.warns(UserWarning, match="voxel size of y: positions that cannot be read"):
            source = open_source(given)
        assert source.voxel_size == (2, None, 2)
        np.testing.assert_array_equal(source[:], WHOLE[None])
