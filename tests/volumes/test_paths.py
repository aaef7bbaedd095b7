"""Paths of volumes: format, file and dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuromancer.errors import FileError, InputTypeError
from neuromancer.volumes.paths import exists, local_path, plain_name, require_content, require_kind, split_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.h5", ("hdf5", "a.h5", "")),
        ("a.HDF5:/in/raw/", ("hdf5", "a.HDF5", "in/raw")),
        ("dir.old/a.hdf:b", ("hdf5", "dir.old/a.hdf", "b")),
        ("a.zarr", ("zarr", "a.zarr", "")),
        ("a.zarr/in/raw", ("zarr", "a.zarr", "in/raw")),
        ("a.zarr:in/raw", ("zarr", "a.zarr", "in/raw")),
        ("a.zarr/", ("zarr", "a.zarr", "")),
        ("a.zarr/b.zarr/c", ("zarr", "a.zarr", "b.zarr/c")),
        (r"C:\data\a.zarr\in\raw", ("zarr", r"C:\data\a.zarr", "in/raw")),
        (r"C:\data\a.h5:raw", ("hdf5", r"C:\data\a.h5", "raw")),
        ("a.n5/s0", ("n5", "a.n5", "s0")),
        ("a.h5/b.npy", ("npy", "a.h5/b.npy", "")),
        ("a.npy", ("npy", "a.npy", "")),
        ("sub.01/a.nii", ("nifti", "sub.01/a.nii", "")),
        ("a.NII.gz", ("nifti", "a.NII.gz", "")),
        ("a.mrc", ("mrc", "a.mrc", "")),
        ("a.map.bz2", ("mrc", "a.map.bz2", "")),
        ("a.nhdr", ("nrrd", "a.nhdr", "")),
        ("a.ims:ResolutionLevel 1", ("imaris", "a.ims", "ResolutionLevel 1")),
        ("a.xml:setup0/timepoint1/s2", ("bdv", "a.xml", "setup0/timepoint1/s2")),
        ("a.precomputed/8_8_40", ("precomputed", "a.precomputed", "8_8_40")),
        ("precomputed://some/folder", ("precomputed", "some/folder", "")),
        ("precomputed:///some/folder/:8_8_40", ("precomputed", "/some/folder", "8_8_40")),
        ("a.ome.tiff", ("tif", "a.ome.tiff", "")),
        ("a.TIF", ("tif", "a.TIF", "")),
        (Path("folder/a.tif"), ("tif", "folder/a.tif", "")),
        ("s3://bucket/a.zarr/0", ("zarr", "s3://bucket/a.zarr", "0")),
        ("https://host:8080/a.h5.d/b.zarr", ("zarr", "https://host:8080/a.h5.d/b.zarr", "")),
    ],
)
def test_parts_of_a_path(path, expected):
    assert split_path(path, "raw") == expected


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("a.png", FileError),
        ("zarr", FileError),
        ("a.h5x", FileError),
        ("s3://bucket/a.h5:raw", FileError),
        ("a.gz", FileError),
        ("a.tif.gz", FileError),
        ("precomputed://gs://bucket/volume", FileError),
        ("s3://bucket/a.zarr?versionId=3", FileError),
        ("https://host/a.zarr#part", FileError),
        (3, InputTypeError),
    ],
)
def test_what_is_no_path_of_a_volume(path, error):
    with pytest.raises(error) as caught:
        split_path(path, "raw")
    assert caught.value.node == "raw"


@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup"])
def test_a_folder_with_metadata_of_zarr_needs_no_suffix(tmp_path, name):
    with pytest.raises(FileError):
        split_path(tmp_path, "raw")
    (tmp_path / name).write_text("{}")
    assert split_path(tmp_path, "raw") == ("zarr", str(tmp_path), "")


@pytest.mark.parametrize(
    ("name", "plain"), [("", ""), ("/", ""), ("a", "a"), ("//a/./b//", "a/b"), ("a/../b", "a/../b"), (".a/b.", ".a/b.")]
)
def test_plain_names(name, plain):
    assert plain_name(name) == plain


def test_local_paths_are_absolute_and_addresses_unchanged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert local_path("a.npy", "raw") == str(tmp_path / "a.npy") == local_path(tmp_path / "a.npy", "raw")
    assert local_path("s3://bucket/a.zarr", "raw") == "s3://bucket/a.zarr"
    assert exists(str(tmp_path)) and not exists(str(tmp_path / "a.npy"))


def test_files_and_folders_are_told_apart(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    for kind in ("hdf5", "npy", "tif"):
        require_kind(str(tmp_path / "a.npy"), kind, "raw")
        with pytest.raises(FileError, match="'raw'"):
            require_kind(str(tmp_path), kind, "raw")
    for kind in ("zarr", "n5"):
        require_kind(str(tmp_path), kind, "raw")
        with pytest.raises(FileError, match=r"\.npy"):  # what the file holds
            require_kind(str(tmp_path / "a.npy"), kind, "raw")
    with pytest.raises(FileError) as caught:
        require_kind(str(tmp_path / "b.npy"), "npy", "raw")
    assert caught.value.got == str(tmp_path / "b.npy")


def test_the_content_is_compared_with_the_name(tmp_path):
    path = str(tmp_path / "a.npy")
    np.save(path, np.zeros(3))
    require_content(path, "npy", "raw")
    for kind in ("hdf5", "tif"):
        with pytest.raises(FileError, match=r"'raw'.*\.npy"):
            require_content(path, kind, "raw")
    Path(path).write_bytes(b"nothing known")
    require_content(path, "hdf5", "raw")
