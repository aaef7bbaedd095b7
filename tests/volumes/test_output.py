"""Outputs at a path: whole or absent, and removed after an interrupted creation only if they are proven to be new."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from neuromancer.errors import ArgumentError, FileError, InputTypeError, ShapeError
from neuromancer.volumes import create_sink, open_sink, open_source
from neuromancer.volumes.create import output_at
from neuromancer.volumes.fresh import tokens

SHAPE = (2, 5, 6, 7)
NAMES = ["a.npy", "a.tif", "a.h5:out", "a.h5:in/out", "a.zarr", "a.zarr/in/out", "image.zarr", "a.zarr/image"]
NAMES += ["a.nii", "a.mrc", "a.nrrd", "a.precomputed", "image04.zarr"]


def output(folder, name, shape=SHAPE, dtype="float32"):
    libraries = {".tif": "tifffile", ".zarr": "zarr", ".nii": "nibabel", ".mrc": "mrcfile", ".nrrd": "nrrd"}
    for suffix, library in (libraries | {".precomputed": "tensorstore"}).items():
        if suffix in name:
            pytest.importorskip(library)
    version = "0.4" if "04" in name else "0.5"
    return output_at(f"{folder}/{name}", shape, dtype, multiscale="image" in name, ome_version=version)


def made(folder, name):
    """Create an output; return it with its traces."""
    traces, found = [], output(folder, name)
    found.create(traces.append)
    return found, traces


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_an_output_is_found_once_it_was_created(tmp_path, name):
    found = output(tmp_path, name)
    assert found.find() is None
    found.require_free()
    assert left(tmp_path) == []
    found.create()
    sink = found.find()
    assert sink.shape == SHAPE and sink.dtype == "float32" and not sink[:].any()
    sink.close()
    for again in (found.require_free, found.create):
        with pytest.raises(FileError, match=name[:3]):
            again()
    for other, error in (((2, 5, 6, 8), ShapeError), ((2, 5, 7, 6), ShapeError), ("int32", InputTypeError)):
        options = {"dtype": other} if isinstance(other, str) else {"shape": other}
        with pytest.raises(error, match=name[:3]):
            output(tmp_path, name, **options).find()


@pytest.mark.parametrize("name", NAMES)
def test_a_new_output_is_discarded_with_all_that_was_made_for_it(tmp_path, name):
    found, traces = made(tmp_path, name)
    assert tokens(traces)
    found.discard(traces)
    assert left(tmp_path) == []
    found.discard(traces)  # there is nothing left
    found.create()
    assert found.find() is not None


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_creation_is_undone(tmp_path, name):
    found, traces = made(tmp_path, name)
    found.discard(traces)
    for last in range(1, len(traces) + 1):
        noted = []

        def note(trace, noted=noted, last=last):
            noted.append(trace)
            if len(noted) == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            found.create(note)
        assert found.find() is None
        found.discard(noted)
        assert left(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_never_discarded(tmp_path, name):
    found, traces = made(tmp_path, name)
    sink = found.find()
    sink[1:2, 4:5, 5:6, 6:7] = np.ones((1, 1, 1, 1), "float32")
    sink.close()
    found.discard(traces)
    sink = found.find()
    assert sink[:].sum() == 1
    sink.close()


@pytest.mark.parametrize("name", NAMES)
def test_an_output_of_others_is_never_discarded(tmp_path, name):
    found, traces = made(tmp_path, name)
    found.discard(traces)
    found.create()
    for forged in (traces, [], ["0" * 32], tokens(traces) * 2):
        found.discard(forged)
        sink = found.find()
        assert sink is not None
        sink.close()


@pytest.mark.parametrize("name", ["a.h5:out", "a.h5:in/out", "a.zarr/out", "a.zarr/in/out", "a.zarr/image"])
def test_what_else_is_in_the_file_stays(tmp_path, name):
    raw = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    path = f"{tmp_path}/{name[: name.index('.') + 1]}" + ("h5:in/raw" if ".h5" in name else "zarr/in/raw")
    if ".h5" in name:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["in/raw"] = raw
    else:
        pytest.importorskip("zarr").open_group(tmp_path / "a.zarr", mode="w").create_array("in/raw", data=raw)
    before = sorted(p for p in tmp_path.rglob("*") if "raw" in str(p))
    found, traces = made(tmp_path, name)
    np.testing.assert_array_equal(open_source(path)[:][0], raw)
    found.discard(traces)
    assert found.find() is None
    np.testing.assert_array_equal(open_source(path)[:][0], raw)
    assert sorted(p for p in tmp_path.rglob("*") if "raw" in str(p)) == before
    found.create()  # its name is free again
    assert found.find() is not None


def test_names_that_are_taken_by_something_else(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros(3)
        file.create_group("group")
        file["soft"], file["far"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("b.h5", "/data")
    before = (tmp_path / "a.h5").read_bytes()
    for name in ("data", "data/out", "group", "soft", "soft/out", "far", "far/out"):
        found = output(tmp_path, f"a.h5:{name}")
        for attempt in (found.require_free, found.create):
            with pytest.raises(FileError, match=r"a\.h5"):
                attempt()
        assert (tmp_path / "a.h5").read_bytes() == before
    assert left(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("name", ["a.npy", "a.h5:out", "a.tif", "a.nii"])
def test_other_content_in_the_place_of_an_output_is_named(tmp_path, name):
    file = tmp_path / name.partition(":")[0]
    file.write_bytes(b"%PDF-1.7")
    with pytest.raises(FileError, match=r"does not hold what its name says; got a PDF document"):
        output(tmp_path, name).require_free()
    assert file.read_bytes() == b"%PDF-1.7"


@pytest.mark.parametrize("name", ["a.npy", "a.h5:out", "a.tif"])
def test_a_link_to_nothing_is_written_through(tmp_path, name):
    (tmp_path / "far").mkdir()
    (tmp_path / name.partition(":")[0]).symlink_to(f"far/real{name[1:].partition(':')[0]}")
    found, traces = made(tmp_path, name)
    assert left(tmp_path / "far") == [f"real{name[1:].partition(':')[0]}"]
    found.discard(traces)
    assert left(tmp_path / "far") == [] and (tmp_path / name.partition(":")[0]).is_symlink()


def test_only_locators_can_be_opened_again(tmp_path):
    for given in (5, None, f"{tmp_path}/a.npy", ("npy", "a.npy")):
        with pytest.raises(InputTypeError, match="'open_sink'"):
            open_sink(given)
    for existing in ("replace", None, ["open"], np.array(["open", "error"])):
        with pytest.raises(ArgumentError, match="'existing'"):
            create_sink(tmp_path / "a.npy", SHAPE, "uint8", existing=existing)
    for on_missing in ("fil", None, np.array(["fill", "error"])):
        with pytest.raises(ArgumentError, match="'on_missing'"):
            open_source(np.zeros((4, 5, 6)), on_missing=on_missing)
    assert left(tmp_path) == []
