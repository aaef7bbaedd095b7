"""Damage in the files behind dask and xarray arrays is found wherever the graph refers to them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from neuromancer.errors import FileError, IncompleteWarning
from neuromancer.volumes import behind, open_source
from neuromancer.volumes.behind import arrays_behind
from neuromancer.volumes.chunk_files import damage_in
from tests.volumes.factories import numbered

da = pytest.importorskip("dask.array", reason="dask is an extra")
zarr = pytest.importorskip("zarr", reason="zarr is an extra")

WHOLE = numbered((6, 8, 10), "uint8") + np.uint8(1)


def chunked(path, **how):
    made = zarr.create_array(path, shape=WHOLE.shape, chunks=(3, 4, 5), dtype="uint8", fill_value=0, **how)
    made[:] = WHOLE
    return made


def damage(path, key):
    (path / key).unlink()
    (path / key).symlink_to("nowhere")


def ways(path):
    """Iterate over different lazy arrays of the same file."""
    opened = zarr.open(path, mode="r")
    yield da.from_zarr(str(path))
    yield da.from_zarr(opened)
    yield da.from_array(opened, chunks=4, inline_array=True)
    yield (da.from_zarr(str(path))[:, 2:] // 2).rechunk(3)
    yield da.concatenate([da.zeros(WHOLE.shape, dtype="uint8"), da.from_zarr(str(path))])
    yield da.map_blocks(lambda block, other: block, da.zeros((2, 3, 4), dtype="uint8"), other=opened)
    from dask import optimize

    yield optimize(da.from_zarr(str(path)) + 1)[0]


@pytest.mark.parametrize(("how", "key"), [({}, "c/1/1/0"), ({"zarr_format": 2}, "1.1.0")])
def test_chunks_that_are_no_files(tmp_path, how, key):
    path = tmp_path / "raw.zarr"
    chunked(path, **how)
    for lazy in ways(path):
        assert open_source(lazy).shape
    damage(path, key)
    for lazy in ways(path):
        with pytest.raises(FileError, match=rf"missing or damaged.*chunk {key} of .*leads nowhere"):
            open_source(lazy)
        source = open_source(lazy, on_missing="fill")
        with pytest.warns(IncompleteWarning, match=key):
            source[:]


def test_through_xarray(tmp_path):
    xarray = pytest.importorskip("xarray", reason="xarray is an extra")
    path = tmp_path / "raw.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xarray.Dataset({"em": (("z", "y", "x"), WHOLE)}).to_zarr(path)
        for k, chunks in enumerate(({}, None)):
            lazy = xarray.open_zarr(path, chunks=chunks)["em"]
            for array in (lazy, lazy[1:, 2:], lazy.variable):
                if k == 0:
                    np.testing.assert_array_equal(open_source(array)[:][0], array.values)
                else:
                    with pytest.raises(FileError, match=r"chunk c/0/0/0 of .*em: is a folder"):
                        open_source(array)
            shutil.rmtree(path / "em/c")
            (path / "em/c/0/0/0").mkdir(parents=True)


def test_sources_of_virtual_data_sets(tmp_path):
    layout = h5py.VirtualLayout(WHOLE.shape, "uint8")
    layout[:] = h5py.VirtualSource("gone.h5", "d", shape=WHOLE.shape)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_virtual_dataset("em", layout)
    with h5py.File(tmp_path / "raw.h5") as file:
        for inline in (False, True):
            with pytest.raises(FileError, match=r"gone\.h5"):
                open_source(da.from_array(file["em"], chunks=4, inline_array=inline))


def test_arrays_into_which_nothing_was_written(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=WHOLE.shape, chunks=(3, 4, 5), dtype="uint8")
    chunked(tmp_path / "b.zarr")
    blank, other = (da.from_zarr(str(tmp_path / name)) for name in ("a.zarr", "b.zarr"))
    assert open_source(blank).blank and open_source(blank[1:] + 1).blank
    assert not open_source(other).blank and not open_source(blank + other).blank
    assert not open_source(da.zeros((2, 3, 4))).blank


def test_a_folder_that_has_gone(tmp_path):
    chunked(tmp_path / "raw.zarr")
    lazy = da.from_zarr(str(tmp_path / "raw.zarr"))
    shutil.rmtree(tmp_path / "raw.zarr")
    with pytest.raises(FileError, match=r"raw\.zarr.*no such folder"):
        open_source(lazy)


def test_bounded_effort(tmp_path, monkeypatch):
    chunked(tmp_path / "raw.zarr")
    lazy = da.concatenate([da.from_zarr(str(tmp_path / "raw.zarr"))] * 9)
    assert len(arrays_behind(lazy)) == 1
    monkeypatch.setattr(behind, "MOST", 3)
    assert arrays_behind(lazy) == []


def test_only_chunks_are_looked_at(tmp_path):
    path = Path(tmp_path / "raw.zarr")
    chunked(path)
    (path / "notes").mkdir()
    (path / "readme").symlink_to("nowhere")
    (path / "c/0/.cache").symlink_to("nowhere")
    assert damage_in(path, 4) == []
    shutil.move(path / "c/1", tmp_path / "elsewhere")
    (path / "c/1").symlink_to(tmp_path / "elsewhere")  # part of a store may be on another disk
    assert damage_in(path, 4) == []
    (path / "c/2").write_bytes(b"")
    assert damage_in(path, 4) == [("c/2", "is a file")]
