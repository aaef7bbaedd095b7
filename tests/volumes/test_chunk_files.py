"""A chunk that was never written is fill value; a damaged one, or one that is not a file, is an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from neuromancer.errors import FileError, IncompleteWarning, MissingDependencyError
from neuromancer.volumes import open_source
from tests.volumes.factories import numbered, tensorstore, zarr

WHOLE = numbered((8, 8, 8), "uint8") | np.uint8(1)


def _zarr(folder, fill_value=5, **options):
    made = zarr.create_array(
        folder / "a.zarr",
        name="in/raw",
        shape=WHOLE.shape,
        chunks=(4, 4, 4),
        dtype="uint8",
        fill_value=fill_value,
        **options,
    )
    made[...] = WHOLE
    return folder / "a.zarr/in/raw", f"{folder}/a.zarr/in/raw"


def _tensorstore(folder, driver, metadata):
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/t.n5/raw"}}
    made = tensorstore.open(spec | {"metadata": metadata}, create=True).result()
    made.write(WHOLE.transpose() if driver == "n5" else WHOLE).result()
    return folder / "t.n5/raw", f"{folder}/t.n5/raw" if driver == "n5" else tensorstore.open(spec, read=True).result()


GRID = {"name": "regular", "configuration": {"chunk_shape": [4, 4, 4]}}
STORES = {
    "zarr 3": (lambda f: _zarr(f), "c/1/0/1", (4, 0, 4)),
    "zarr 3, not packed": (lambda f: _zarr(f, compressors=None), "c/1/0/1", (4, 0, 4)),
    "zarr 3, sharded": (lambda f: _zarr(f, shards=(4, 8, 8)), "c/1/0/0", (4, 0, 0)),
    "zarr 2": (lambda f: _zarr(f, zarr_format=2), "1.0.1", (4, 0, 4)),
    "n5": (
        lambda f: _tensorstore(f, "n5", {"dimensions": [8, 8, 8], "blockSize": [4, 4, 4], "dataType": "uint8"}),
        "1/0/1",
        (4, 0, 4),
    ),
    "tensorstore of zarr 3": (
        lambda f: _tensorstore(
            f, "zarr3", {"shape": [8, 8, 8], "data_type": "uint8", "chunk_grid": GRID, "fill_value": 5}
        ),
        "c/1/0/1",
        (4, 0, 4),
    ),
    "tensorstore of zarr 2": (
        lambda f: _tensorstore(f, "zarr", {"shape": [8, 8, 8], "chunks": [4, 4, 4], "dtype": "|u1", "fill_value": 5}),
        "1.0.1",
        (4, 0, 4),
    ),
}


def _empty(path):
    path.write_bytes(b"")


def _short(path):
    path.write_bytes(path.read_bytes()[:10])


def _folder(path):
    path.unlink()
    path.mkdir()


def _dangling(path):
    path.unlink()
    path.symlink_to("nowhere")


def _file_above(path):
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


@pytest.mark.parametrize(
    ("store", "harm"),
    [
        (store, harm)
        for store in STORES
        for harm in (_empty, _short, _folder, _dangling, _file_above)
        if harm is not _file_above or "zarr 2" not in store  # whose chunks lie beside the metadata
    ],
)
def test_damaged_chunks(tmp_path, store, harm):
    make, key, first = STORES[store]
    folder, given = make(tmp_path)
    harm(folder / key)
    name = "raw" if isinstance(given, str) else "kvstore"
    with pytest.raises(FileError, match=rf"(?s){name}.*a block cannot be read.*\[[04]:[48], 0:"):
        open_source(given)[:]
    source = open_source(given, on_missing="fill")
    with pytest.warns(IncompleteWarning, match=r"read as fill value"):
        filled = source[:][0]
    fill = 0 if store == "n5" else 5
    part = tuple(slice(a, 8 if "sharded" in store and k else a + 4) for k, a in enumerate(first))
    assert (filled[part] == fill).all()
    assert source.filled.parts
    if harm is not _file_above:
        filled[part] = WHOLE[part]
        np.testing.assert_array_equal(filled, WHOLE)


@pytest.mark.parametrize("store", STORES)
def test_chunks_that_were_never_written(tmp_path, store):
    make, key, first = STORES[store]
    folder, given = make(tmp_path)
    (folder / key).unlink()
    expected = WHOLE.copy()
    part = tuple(slice(a, 8 if "sharded" in store and k else a + 4) for k, a in enumerate(first))
    expected[part] = 0 if store == "n5" else 5
    np.testing.assert_array_equal(open_source(given)[:], expected[None])


@pytest.mark.parametrize("store", STORES)
def test_a_folder_that_goes_while_it_is_read(tmp_path, store):
    make, _, _ = STORES[store]
    folder, given = make(tmp_path)
    source = open_source(given)
    shutil.rmtree(folder)
    with pytest.raises(FileError, match=r"a block cannot be read"):
        source[:]


def test_stores_into_which_nothing_was_written(tmp_path):
    empty = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8, 8), chunks=(4, 4, 4), dtype="uint8", fill_value=5)
    source = open_source(tmp_path / "a.zarr")
    assert source.blank and (source[:] == 5).all()
    empty[0, 0, 0] = 1
    assert not open_source(tmp_path / "a.zarr").blank


@pytest.mark.parametrize(
    "harm",
    [
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "nosuch", "configuration": {}}]},
        {"data_type": "nosuch"},
        {"shape": "x"},
        {"shape": [8, 8]},
        {"shape": None},
        {"fill_value": "xx"},
        {"node_type": "thing"},
        {"zarr_format": 4},
        b"",
        b"[]",
        b"\xff\xfe",
    ],
)
def test_damaged_metadata(tmp_path, harm):
    folder, given = _zarr(tmp_path)
    file = folder / "zarr.json"
    file.write_bytes(harm if isinstance(harm, bytes) else json.dumps(json.loads(file.read_text()) | harm).encode())
    with pytest.raises((FileError, MissingDependencyError), match=r"a\.zarr"):
        open_source(given)


def test_codecs_that_are_not_installed(tmp_path):
    folder, given = _zarr(tmp_path, zarr_format=2)
    metadata = json.loads((folder / ".zarray").read_text())
    (folder / ".zarray").write_text(json.dumps(metadata | {"compressor": {"id": "nosuch"}}))
    with pytest.raises(MissingDependencyError, match=r"a\.zarr.*codec.*nosuch"):
        open_source(given)


def test_references_to_files_that_are_gone(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    file = tmp_path / "flat.bin"
    WHOLE.tofile(file)
    header = {"zarr_format": 2, "shape": [8, 8, 8], "chunks": [4, 8, 8], "dtype": "|u1", "compressor": None}
    header |= {"filters": None, "fill_value": 0, "order": "C"}
    places = {f"{k}.0.0": [f"file://{file}", 256 * k, 256] for k in range(2)}
    references = {"version": 1, "refs": {".zarray": json.dumps(header), ".zattrs": "{}", **places}}

    def opened(on_missing="error"):
        system = fsspec.filesystem("reference", fo=references, remote_protocol="file", asynchronous=True)
        store = zarr.storage.FsspecStore(system, read_only=True, path="")
        return open_source(zarr.open_array(store, mode="r"), on_missing=on_missing)

    np.testing.assert_array_equal(opened()[:], WHOLE[None])
    with file.open("r+b") as short:
        short.truncate(300)
    with pytest.raises(FileError, match=r"chunk 1\.0\.0"):
        opened()[:]
    with pytest.warns(IncompleteWarning, match=r"chunk 1\.0\.0"):
        np.testing.assert_array_equal(opened("fill")[:][0, :4], WHOLE[:4])
    Path(file).unlink()
    with pytest.raises(FileError, match=r"chunk 0\.0\.0"):
        opened()[:]
