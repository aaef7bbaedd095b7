"""Damage in files of a header and contiguous voxels: NIfTI, MRC and NRRD, plain and compressed."""

from __future__ import annotations

import bz2
import gzip
import os
import sys

import numpy as np
import pytest

from neuromancer.errors import FileError, IncompleteWarning, MissingDependencyError
from neuromancer.volumes import create_sink, open_source, unzipped
from tests.volumes.factories import STORES, numbered

PLAIN = ("nifti", "mrc", "nrrd", "nrrd_detached")
PACKED = ("nifti_compressed", "mrc_compressed", "nrrd_compressed")
LIBRARIES = {
    "nifti": ("nibabel", "nibabel", "nifti"),
    "mrc": ("mrcfile",) * 2 + ("mrc",),
    "nrrd": ("nrrd", "pynrrd", "nrrd"),
}
WHOLE = numbered((6, 8, 10))


def stored(kind, folder):
    """Return the path of a volume, and the file of its voxels."""
    path = STORES[kind](WHOLE, folder)
    return path, next(folder.glob("*.raw"), path)


def first_axis(values, kind):
    """Return the volume with the axis first along which a cut removes whole planes."""
    return values[0] if kind.startswith("mrc") else values[0].transpose(2, 1, 0)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_file_that_is_cut_off(tmp_path, kind):
    path, file = stored(kind, tmp_path)
    os.truncate(file, file.stat().st_size - 30)
    with pytest.raises(FileError, match=r"parts of the image are missing.*the file ends after \d+ of"):
        open_source(path, axes="zyx")
    with pytest.warns(IncompleteWarning, match="the file ends after"):
        values = open_source(path, axes="zyx", on_missing="fill")[:]
    whole, found = first_axis(WHOLE[None], kind), first_axis(values, kind)
    np.testing.assert_array_equal(found[:-1], whole[:-1])
    assert not found[-1].any()


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("part", [0.5, 0.97])
def test_a_compressed_file_that_is_cut_off(tmp_path, kind, part):
    path, _ = stored(kind, tmp_path)
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(FileError, match=path.name.replace(".", r"\.")):
        open_source(path)


def test_damage_within_compressed_data(tmp_path):
    path, _ = stored("nifti_compressed", tmp_path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # of the checksum
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"c\.nii\.gz.*missing or damaged; got compressed data: CRC check failed"):
        open_source(path)
    with pytest.warns(IncompleteWarning, match="CRC check failed"):
        np.testing.assert_array_equal(open_source(path, axes="zyx", on_missing="fill")[:][0], WHOLE)


@pytest.mark.parametrize("kind", [*PLAIN, *PACKED])
@pytest.mark.parametrize("content", [b"", b"NRRD0004\n", b"no image at all", bytes(2000), b"<html>not found</html>"])
def test_other_content(tmp_path, kind, content):
    path, _ = stored(kind, tmp_path)
    path.write_bytes(content)
    with pytest.raises(FileError, match=path.name.replace(".", r"\.")):
        open_source(path)


@pytest.mark.parametrize("kind", [*PLAIN, *PACKED])
def test_named_pipes(tmp_path, kind):
    path, file = stored(kind, tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(FileError, match="a named pipe"):
        open_source(path)


@pytest.mark.parametrize("kind", ["nifti", "mrc", "nrrd"])
def test_a_library_that_is_missing(tmp_path, kind, monkeypatch):
    path, _ = stored(kind, tmp_path)
    module, package, extra = LIBRARIES[kind]
    monkeypatch.setitem(sys.modules, module, None)
    says = rf"needs the package {package}.*extra '{extra}'.*pip install {package}"
    with pytest.raises(MissingDependencyError, match=says):
        open_source(path)
    with pytest.raises(MissingDependencyError, match=says):
        create_sink(path.with_stem("new"), (1, 2, 3, 4), "float32")


@pytest.mark.parametrize("kind", ["nifti", "mrc", "nrrd"])
def test_a_file_that_becomes_shorter_while_it_is_open(tmp_path, kind):
    path, _ = stored(kind, tmp_path)
    source = open_source(path)
    os.truncate(path, 400)
    with pytest.raises(FileError, match="the file has become shorter"):
        source[:]


def test_a_temporary_folder_that_is_full(tmp_path, monkeypatch):
    path, _ = stored("nifti_compressed", tmp_path)

    monkeypatch.setattr("neuromancer.volumes.unzipped.tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(FileError, match=r"temporary folder; got No space left.*TMPDIR"):
        open_source(path)


class Full:
    """A file on a full disk."""

    def write(self, block):
        raise OSError(28, "No space left on device")

    def close(self):
        """There is nothing to close."""


@pytest.mark.parametrize("kind", PACKED)
def test_what_follows_the_voxels_is_left_out(tmp_path, kind, monkeypatch):
    """A small file cannot fill the disk."""
    path, _ = stored(kind, tmp_path)
    pack = bz2.compress if path.suffix == ".bz2" else gzip.compress
    with path.open("ab") as file:
        file.write(pack(bytes(50_000_000)))
    written, write = [], unzipped._write
    monkeypatch.setattr(
        unzipped, "_write", lambda file, block, label: (written.append(len(block)), write(file, block, label))
    )
    np.testing.assert_array_equal(open_source(path, axes="zyx")[:][0], WHOLE)
    assert sum(written) < 3_000_000


@pytest.mark.parametrize("name", ["a.nii", "a.mrc", "a.nrrd", "a.nii.gz", "a.precomputed"])
@pytest.mark.parametrize("spatial", ["yx", "xy", "zx", "yz", "y"])
@pytest.mark.parametrize("channels", [1, 2])
def test_axes_of_space_may_be_missing(tmp_path, name, spatial, channels, recwarn):
    if name == "a.precomputed":
        pytest.importorskip("tensorstore")
    values = numbered((channels, *(4, 5)[: len(spatial)]), "float32")
    sizes, places = (2.0, 3.0)[: len(spatial)], (6.0, -9.0)[: len(spatial)]
    placed = {"voxel_size": sizes, "offset": places, "unit": "um", "direction": (-1, 1)[: len(spatial)]}
    sink = create_sink(tmp_path / name, values.shape, "float32", spatial=spatial, **placed)
    sink[tuple(slice(0, n) for n in values.shape)] = values
    sink.close()
    source = open_source(tmp_path / name, spatial=spatial, stack=False)
    np.testing.assert_array_equal(source[:], values)
    factor = {"micrometer": 1, "nanometer": 1e3, "angstrom": 1e4}[source.unit]
    assert source.voxel_size == pytest.approx(np.multiply(sizes, factor))
    assert source.offset == pytest.approx(np.multiply(places, factor))
    assert source.direction == placed["direction"] and not recwarn.list
