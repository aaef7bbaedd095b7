"""Open arrays: those in files are replaced by what other processes can open, and only if it is the same data."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest

from neuromancer.errors import FileError, InputTypeError
from neuromancer.volumes import open_source
from neuromancer.volumes.objects import OpenArray, guarded, in_file, open_array, stored_at
from neuromancer.volumes.stored import StoredArray

VALUES = np.arange(1, 4 * 4 * 4 + 1, dtype="uint16").reshape(4, 4, 4)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    return tmp_path / "a.npy"


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_of_a_whole_file_can_be_opened_elsewhere(path, order):
    np.save(path, np.asarray(VALUES, order=order))
    found = in_file(np.load(path, mmap_mode="r"))
    assert isinstance(found, StoredArray) and (found.path, found.kind) == (str(path), "npy")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found))[:], VALUES)


def parts(path):
    """Return memory maps of a file that do not show what its header describes, with their values."""
    mapped = np.load(path, mmap_mode="r")
    start, raw = mapped.offset, np.frombuffer(path.read_bytes(), "uint8")
    yield mapped[1:], VALUES[1:]
    yield mapped.T, VALUES.T
    yield np.memmap(path, "uint16", "r", start + 32, (3, 4, 4)), VALUES[1:]
    yield np.memmap(path, "int16", "r", start, (4, 4, 4)), VALUES.astype("int16")
    yield np.memmap(path, "uint16", "r", start, (4, 4, 4), order="F"), VALUES.T
    yield np.memmap(path, "uint8", "r", start, (4, 4, 8)), raw[start:].reshape(4, 4, 8)
    yield np.memmap(path, "uint16", "r", start - 2, (4, 4, 4)), raw[start - 2 : -2].view("uint16").reshape(4, 4, 4)
    yield np.load(path, mmap_mode="r+"), VALUES
    yield np.load(path, mmap_mode="c"), VALUES


def test_maps_of_other_bytes_are_read_as_they_are(path):
    for array, expected in parts(path):
        assert in_file(array) is None
        source = open_source(array)
        assert source.locator is None and source.dtype == expected.dtype
        np.testing.assert_array_equal(source[:][0], expected)


@pytest.mark.parametrize(("mode", "driver", "stored"), [("r", None, True), ("r+", None, False), ("r", "core", False)])
def test_data_sets_that_are_open_for_reading_can_be_opened_elsewhere(tmp_path, mode, driver, stored):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["in/raw"] = VALUES
    with h5py.File(tmp_path / "a.h5", mode, driver=driver) as file:
        found = in_file(file["in/raw"], "fill")
        assert (found is not None) == stored
        if stored:
            assert (found.dataset, found.on_missing) == ("/in/raw", "fill")
            np.testing.assert_array_equal(found[:], VALUES)
        np.testing.assert_array_equal(open_array(file["in/raw"], "raw")[:], VALUES)


def test_arrays_in_memory_are_not_in_a_file():
    for array in (VALUES, VALUES[1:], [[1]], None, np.ma.masked_array(VALUES)):
        assert in_file(array) is None
    assert open_array(VALUES, "raw") is VALUES
    with pytest.raises(InputTypeError, match="'labels'"):
        open_array(np.ma.masked_equal(VALUES, 3), "labels")


def test_only_arrays_that_may_be_damaged_are_guarded(path):
    stored = stored_at(path, "raw")
    assert guarded(VALUES, "raw") is VALUES and guarded(stored, "raw") is stored
    array = guarded(np.load(path, mmap_mode="r+"), "raw", "fill")
    assert isinstance(array, OpenArray) and (array.shape, array.dtype, array.ndim) == ((4, 4, 4), "uint16", 3)
    np.testing.assert_array_equal(array[1:3], VALUES[1:3])
    assert (array.label, array.on_missing) == ("raw", "fill")


def test_foreign_errors_name_the_array_and_blocks_are_checked():
    class Foreign:
        shape, dtype, answer = (4, 4), np.dtype("uint8"), None

        def __getitem__(self, key):
            if self.answer is None:
                raise ZeroDivisionError("lost")
            return self.answer

    array = Foreign()
    guard = OpenArray(array, "mine")
    with pytest.raises(FileError, match=r"'mine'.*ZeroDivisionError"):
        guard[0:2]
    array.answer = np.zeros((2, 4), "float32")
    with pytest.raises(InputTypeError, match="'mine'"):
        guard[0:2]
    array.answer = np.zeros((2, 4), "uint8")
    assert guard[0:2].shape == (2, 4)
    again = pickle.loads(pickle.dumps(OpenArray(VALUES, "raw", "fill")))
    assert (again.label, again.on_missing) == ("raw", "fill") and (again[:] == VALUES).all()
