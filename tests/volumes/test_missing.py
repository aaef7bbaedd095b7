"""Missing or damaged parts: an error that names them, or fill value and a single warning."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, FileError, IncompleteWarning, MetadataWarning, MissingDependencyError
from neuromancer.volumes import Locator, open_source
from neuromancer.volumes.blocks import chunks_of
from neuromancer.volumes.flat import mapping_of
from neuromancer.volumes.missing import Filled, Part, listed, shown
from neuromancer.volumes.objects import guarded, open_array
from tests.volumes.factories import Sliced, numbered

WHOLE = numbered((6, 8, 10), "uint8") + np.uint8(1)


class Damaged(Sliced):
    """Array with one unreadable plane."""

    def __init__(self, array, plane, error):
        super().__init__(array)
        self.plane, self.error = plane, error

    def __getitem__(self, key):
        if key[0].start <= self.plane < key[0].stop:
            raise self.error
        return super().__getitem__(key)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyError("x"), ZeroDivisionError(), EOFError()])
def test_any_error_of_another_library_is_one_of_ours(error):
    source = open_source(Damaged(WHOLE, 4, error))
    np.testing.assert_array_equal(source[0:1, 0:4], WHOLE[None, 0:4])
    with pytest.raises(FileError, match=r"cannot be read.*\[4:5, 0:8, 0:10\]"):
        source[0:1, 2:6]


def test_only_damage_is_filled():
    for error, raised in ((MemoryError(), MemoryError), (ImportError("codec"), MissingDependencyError)):
        with pytest.raises(raised):
            open_source(Damaged(WHOLE, 4, error), on_missing="fill")[:]
    source = open_source(Damaged(WHOLE, 4, ArgumentError("of the array itself")), on_missing="fill")
    with pytest.raises(ArgumentError, match="of the array itself"):
        source[:]


def test_filled_where_nothing_can_be_read():
    source = open_source(Damaged(WHOLE, 4, OSError("bad")), on_missing="fill")
    expected = WHOLE.copy()
    expected[4] = 0
    with pytest.warns(IncompleteWarning, match=r"\[4:5, 0:8, 0:10\]: bad"):
        np.testing.assert_array_equal(source[0:1, 1:6, 2:5], expected[None, 1:6, 2:5])
    np.testing.assert_array_equal(source[:], expected[None])  # no second warning for the same part
    assert list(source.filled.parts) == ["chunk [4:5, 0:8, 0:10]"]
    again = source.with_choice("fill")
    assert again.fingerprint() == source.fingerprint() and not again.filled.parts


@pytest.mark.parametrize("value", ["fil", "Error", None, 1])
def test_other_choices(value):
    with pytest.raises(ArgumentError, match=r"on_missing.*one of \('error', 'fill'\)"):
        open_source(WHOLE, on_missing=value)


def test_the_nearest_choice_is_named():
    with pytest.raises(ArgumentError, match="nearest valid: fill"):
        open_source(WHOLE, on_missing="fil")


# ---- .npy and memory maps
def _cut(path, array, n):
    np.save(path, array)
    path.write_bytes(path.read_bytes()[:-n])
    return path


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_that_is_cut_off(tmp_path, order):
    path = _cut(tmp_path / "a.npy", np.asarray(WHOLE, order=order), 85)
    axis, whole = (0, 4) if order == "C" else (2, 8)
    with pytest.raises(FileError, match=rf"a\.npy.*the file ends after {whole} of {WHOLE.shape[axis]} planes"):
        open_source(path)
    source = open_source(path, on_missing="fill")
    expected = WHOLE.copy()
    expected[(slice(None),) * axis + (slice(whole, None),)] = 0
    with pytest.warns(IncompleteWarning, match="planes"):
        np.testing.assert_array_equal(source[:], expected[None])
    assert source.locator.on_missing == "fill"
    again = pickle.loads(pickle.dumps(open_source(source.locator)))
    with pytest.warns(IncompleteWarning, match="planes"):
        np.testing.assert_array_equal(again[0:1, 2:6, 1:3, 5:10], expected[None, 2:6, 1:3, 5:10])


def test_what_is_not_touched_is_not_warned_of(tmp_path):
    source = open_source(_cut(tmp_path / "a.npy", WHOLE, 85), on_missing="fill")
    np.testing.assert_array_equal(source[0:1, 0:4], WHOLE[None, 0:4])
    assert not source.filled.parts


def test_npy_that_is_longer_than_its_header_says(tmp_path):
    np.save(tmp_path / "a.npy", WHOLE)
    with (tmp_path / "a.npy").open("ab") as file:
        file.write(b"more")
    with pytest.raises(FileError, match="its header: describes 4 bytes less"):
        open_source(tmp_path / "a.npy")
    with pytest.warns(IncompleteWarning, match="4 bytes"):
        np.testing.assert_array_equal(open_source(tmp_path / "a.npy", on_missing="fill")[:], WHOLE[None])


@pytest.mark.parametrize("kind", ["path", "npy", "raw", "view", "training"])
def test_a_mapped_file_that_becomes_shorter(tmp_path, kind):
    """Reading beyond the end of the file would kill the process."""
    path = tmp_path / "a.npy"
    large = np.ones((64, 64, 64), "uint8")
    np.save(path, large)
    raw = np.memmap(path, "uint8", "r", offset=path.stat().st_size - large.nbytes, shape=large.shape)
    given = {
        "path": path,
        "npy": np.load(path, mmap_mode="r"),
        "raw": raw,
        "view": np.asarray(raw)[::1],
        "training": np.load(path, mmap_mode="r+"),
    }[kind]
    source = guarded(open_array(given, "raw"), "raw") if kind == "training" else open_source(given)
    where = (slice(0, 1), slice(60, 64)) if kind != "training" else (slice(60, 64),)
    assert source[where].all()
    with path.open("r+b") as file:
        file.truncate(1 << 16)
    with pytest.raises(FileError, match="the file has become shorter"):
        source[where]


@pytest.mark.parametrize("part", [slice(None), slice(1, None)])
@pytest.mark.parametrize("kind", ["xarray", "torch"])
def test_a_mapped_file_below_an_array_of_another_library(tmp_path, kind, part):
    library, path = pytest.importorskip(kind), tmp_path / "a.npy"
    if kind == "torch" and not Path("/proc/self/maps").exists():
        pytest.skip("torch does not say what it maps, nor does this system")
    np.save(path, numbered((20, 30, 40), "uint8"))
    whole = np.load(path, mmap_mode="c")
    array = (library.from_numpy(whole) if kind == "torch" else library.DataArray(whole, dims=tuple("zyx")))[part]
    source = open_source(array)
    np.testing.assert_array_equal(source[:][0], np.load(path)[part])
    os.truncate(path, 4096)
    with pytest.raises(FileError, match="the file has become shorter"):
        source[:]


def test_arrays_in_memory_are_not_mapped():
    assert mapping_of(WHOLE) is None and mapping_of(WHOLE[1:]) is None


def test_guarded_arrays_travel_if_the_array_does():
    guard = pickle.loads(pickle.dumps(guarded(Damaged(WHOLE, 4, OSError("bad")), "raw")))
    assert guard.ndim == 3 and (guard[0:4, 0:8] == WHOLE[:4]).all()
    with pytest.raises(FileError, match=r"'raw'.*bad"):
        guard[0:6, 0:8]


# ---- messages
def test_parts_are_listed_and_counted():
    parts = [Part(f"page {k}", "cut off", (slice(k, k + 1),)) for k in range(5)]
    assert listed(parts).endswith("page 2: cut off; and 2 more")
    assert listed(parts[:2]) == "page 0: cut off; page 1: cut off"
    assert shown((slice(1, 2), slice(3, 4))) == "[1:2, 3:4]"
    assert len(list(chunks_of((slice(1, 5), slice(0, 2)), (8, 9), (4, 4)))) == 2


def test_a_record_travels_empty():
    filled = Filled("a.h5")
    filled.quiet = True
    filled([Part("page 1", "cut off")])
    assert list(filled.parts) == ["page 1"]
    assert pickle.loads(pickle.dumps(filled)).parts == {}
    assert Locator("npy", "a.npy").on_missing == "error"


def test_names_from_files_are_shown_safely(tmp_path):
    bad = Part("source file s\x1b[31m\nFAKE.h5", "no such file\u202e")
    assert listed([bad]).isprintable() and "s\\x1b[31m\\nFAKE.h5" in listed([bad])
    with pytest.warns(IncompleteWarning) as caught:
        Filled("raw\x1b.h5")([bad])
    assert str(caught[0].message).isprintable() and "raw\\x1b.h5: read as fill value" in str(caught[0].message)
    np.save(tmp_path / "a\x1b[31m\nb.npy", WHOLE)
    source = open_source(tmp_path / "a\x1b[31m\nb.npy")
    for text in (repr(source), str(source.locator), repr(source.locator), str(source.array)):
        assert text.isprintable() and "a\\x1b[31m\\nb.npy" in text


@pytest.mark.parametrize("kind", [IncompleteWarning, MetadataWarning])
def test_warnings_are_shown_as_errors_are(kind):
    text = str(kind("https://u:s3cret@h/a.zarr\x1b[31m\nFAKE"))
    assert text == "https://***@h/a.zarr\\x1b[31m\\nFAKE" and str(kind("6 × 4 µm")) == "6 × 4 µm"
