"""Outputs that are compressed as a whole appear when they are closed, whole or not at all."""

from __future__ import annotations

import os

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, FileError
from neuromancer.volumes import create_sink, open_source
from tests.volumes.factories import numbered

NAMES = {"a.nii.gz": "nibabel", "a.mrc.gz": "mrcfile", "a.rec.bz2": "mrcfile", "a.nrrd": "nrrd"}
PLACED = {"voxel_size": (40, 4.5, 5), "unit": "nm", "offset": (80, -9, 2.5), "direction": (1, -1, 1)}
SHAPE = (2, 5, 6, 7)


def created(folder, name, **options):
    pytest.importorskip(NAMES[name])
    options |= {"compression": "gzip"} if name == "a.nrrd" else {}
    return create_sink(folder / name, SHAPE, "float32", **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_appears_when_it_is_closed(tmp_path, name):
    sink = created(tmp_path, name, **PLACED)
    values = numbered(SHAPE, "float32")
    sink[:] = values
    sink[0:1, 1:3, 2:4, 3:6] = values[0:1, 1:3, 2:4, 3:6] + 1000
    values[0:1, 1:3, 2:4, 3:6] += 1000
    sink.flush()
    np.testing.assert_array_equal(sink[:], values)
    assert sink.exclusive and sink.locator is None and not list(tmp_path.iterdir())
    sink.close()
    sink.close()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    found = open_source(tmp_path / name)
    np.testing.assert_array_equal(found[:], values)
    factor = {"nanometer": 1, "micrometer": 1000, "angstrom": 0.1}[found.unit]
    np.testing.assert_allclose(np.array(found.voxel_size) * factor, PLACED["voxel_size"], rtol=1e-6)
    np.testing.assert_allclose(np.array(found.offset) * factor, PLACED["offset"], rtol=1e-6)
    assert found.direction == PLACED["direction"]
    assert (tmp_path / name).stat().st_size < values.nbytes


@pytest.mark.parametrize("name", NAMES)
def test_libraries_read_it(tmp_path, name):
    sink = created(tmp_path, name)
    sink[:] = numbered(SHAPE, "float32")
    sink.close()
    if "nii" in name:
        found = np.asarray(pytest.importorskip("nibabel").load(tmp_path / name).dataobj).T
    elif name == "a.nrrd":
        found = pytest.importorskip("nrrd").read(str(tmp_path / name))[0].T
    else:
        with pytest.importorskip("mrcfile").open(tmp_path / name) as file:
            found = np.array(file.data)
    np.testing.assert_array_equal(found, numbered(SHAPE, "float32"))


@pytest.mark.parametrize("name", NAMES)
def test_a_sink_that_is_given_up_leaves_nothing(tmp_path, name):
    sink = created(tmp_path, name)
    sink[:] = numbered(SHAPE, "float32")
    sink.abandon()
    del sink
    created(tmp_path, name)  # and one that is forgotten
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_overwritten(tmp_path, name):
    sink, late = created(tmp_path, name), created(tmp_path, name)
    sink.close()
    content = (tmp_path / name).read_bytes()
    for existing in ("error", "open"):
        with pytest.raises(FileError, match=r"exists and is not overwritten; expected another name"):
            created(tmp_path, name, existing=existing)
    with pytest.raises(FileError, match="exists"):
        late.close()
    assert (tmp_path / name).read_bytes() == content and [p.name for p in tmp_path.iterdir()] == [name]


@pytest.fixture
def node():
    image = nm.Input((None, 1, 3, 6, 6), "b,f,z,y,x", print_repr=False)
    return nm.Conv(image, 2, (1, 3, 3), (1, 1, 1), name="edges", print_repr=False)


@pytest.mark.parametrize("name", NAMES)
def test_predictions(tmp_path, node, name):
    pytest.importorskip(NAMES[name])
    raw = numbered((1, 5, 8, 9), "uint8")
    options = {"store": {"compression": "gzip"}} if name == "a.nrrd" else {}
    node.predict_dense(raw, out=tmp_path / name, **options)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    np.testing.assert_allclose(open_source(tmp_path / name)[:], node.predict_dense(raw), rtol=1e-6)
    for key, value in (("resume", True), ("shard", (0, 2)), ("journal", tmp_path / "journal")):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ArgumentError, match=rf"'{key}'.*written at once.*expected an uncompressed file"):
            node.predict_dense(raw, out=tmp_path / "x" / name, **{key: value}, **options)
        assert not list((tmp_path / "x").iterdir())


def test_an_interrupted_prediction_leaves_nothing(tmp_path, node):
    pytest.importorskip("nibabel")

    class Broken:
        shape, dtype, read = (1, 40, 30, 30), np.dtype("uint8"), 0

        def __getitem__(self, where):
            self.read += 1
            if self.read > 12:  # after the samples of the fingerprint
                raise OSError(5, "Input/output error")
            return np.ones([s.stop - s.start for s in where], "uint8")

    with pytest.raises(FileError, match="Input/output error"):
        node.predict_dense(Broken(), out=tmp_path / "a.nii.gz", tile=(3, 6, 6))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_writable(tmp_path):
    pytest.importorskip("nibabel")
    if os.geteuid() == 0:
        with pytest.raises(FileError, match="no such folder"):
            create_sink(tmp_path / "nowhere/a.nii.gz", SHAPE, "float32")
        return
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match=r"a\.nii\.gz.*Permission denied"):
        create_sink(tmp_path / "a.nii.gz", SHAPE, "float32")
