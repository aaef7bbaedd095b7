"""Results that would overwrite image or mask under another name; fingerprints of images in memory cover all voxels."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, FileError
from tests.dense.nets import image, volume_net

RAW = image(1, 9, 20, 22).astype("float32")
CHUNKS = (1, 4, 8, 8)


@pytest.fixture
def predict(fresh_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = volume_net()
    return lambda raw, out, **options: node.predict_dense(raw, out=out, pad_raw=True, reduce=0, **options)


def linked_npy():
    np.save("v.npy", RAW)
    os.link("v.npy", "w.npy")
    yield "v.npy", np.load("w.npy", mmap_mode="r+")
    yield np.load("v.npy", mmap_mode="r"), np.asarray(np.load("w.npy", mmap_mode="r+"))


def hdf5_names():
    file = h5py.File("a.h5", "w")
    file["raw"] = RAW
    file["alias"] = file["raw"]
    virtual = h5py.VirtualLayout(RAW.shape, "f4")
    virtual[:] = h5py.VirtualSource(file["raw"])
    yield file["raw"], file["alias"]
    yield file.create_virtual_dataset("virtual", virtual), file["raw"]


def xarrays():
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(RAW.copy(), dims=("c", "z", "y", "x"))
    yield array, array.values
    yield array.values, array


def zarrs():
    zarr = pytest.importorskip("zarr")
    zarr.create_array("i.zarr", shape=RAW.shape, chunks=CHUNKS, dtype="f4")[:] = RAW
    store = zarr.storage.MemoryStore()
    yield zarr.create_array(store, shape=RAW.shape, chunks=CHUNKS, dtype="f4"), zarr.open(store, mode="r+")
    dask = pytest.importorskip("dask.array")
    yield dask.from_zarr("i.zarr"), zarr.open("i.zarr", mode="r+")


def tensorstores():
    zarr, ts = pytest.importorskip("zarr"), pytest.importorskip("tensorstore")
    zarr.create_array("i.zarr", shape=RAW.shape, chunks=CHUNKS, dtype="f4")[:] = RAW
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": os.path.abspath("i.zarr")}}  # noqa: PTH100
    yield "i.zarr", ts.open(spec, read=True, write=True).result()
    yield ts.open(spec, read=True).result(), zarr.open("i.zarr", mode="r+")


def tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(RAW.shape)
    yield tensor, tensor.numpy()


@pytest.mark.parametrize("pairs", [linked_npy, hdf5_names, xarrays, zarrs, tensorstores, tensors])
def test_an_image_is_not_overwritten_by_its_prediction(predict, pairs):
    for raw, out in pairs():
        with pytest.raises(ArgumentError, match="written over the image"):
            predict(raw, out)


def test_a_mask_is_not_overwritten_either(predict):
    mask = np.ones(RAW.shape, "float32")
    with pytest.raises(ArgumentError, match="written over the mask"):
        predict(RAW, mask, mask=mask[0])


def test_what_lies_beside_the_image_is_taken(predict):
    both = np.concatenate([RAW, np.zeros_like(RAW)])
    np.save("both.npy", both)
    mapped = np.load("both.npy", mmap_mode="r+")
    with h5py.File("a.h5", "w") as file:
        file["raw"], file["out"] = RAW, np.zeros_like(RAW)
        predict(file["raw"], file["out"])
        want = file["out"][()]
    predict(both[:1], both[1:])
    predict(np.load("both.npy", mmap_mode="r")[:1], mapped[1:])
    np.testing.assert_array_equal(both[1:], want)
    np.testing.assert_array_equal(mapped[1:], want)


def test_two_nodes_have_two_places(fresh_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("sub")
    node, array = volume_net(), np.zeros((2, 6, 15, 17), "float32")
    outs = [(array, array[:]), (array, array[::-1]), ("s.npy", "sub/../s.npy"), ("sub/s.npy", "link/s.npy")]
    for two in (*outs, ("n.h5:/a/b", "n.h5:a//b"), ("n.h5:/a/b", "n.h5:/a/./b/")):
        with pytest.raises(ArgumentError, match="same output"):
            nm.predict_dense([node, node.parent], RAW, out=list(two))
    double = np.zeros((4, 6, 15, 17), "float32")
    nm.predict_dense([node, node.parent], RAW, out=[double[:2], double[2:]])
    assert double.any(axis=(1, 2, 3)).all()


def in_zarr(array):
    zarr = pytest.importorskip("zarr")
    made = zarr.create_array(zarr.storage.MemoryStore(), shape=array.shape, chunks=(1, 16, 16, 16), dtype="f4")
    made[:] = array
    return made


MADE = {
    "axes": lambda a: a,
    "masked": lambda a: np.ma.masked_greater(a, 0.99),
    "source": nm.volumes.open_source,
    "xarray": lambda a: pytest.importorskip("xarray").DataArray(a, dims=("c", "z", "y", "x")),
    "torch": lambda a: pytest.importorskip("torch").from_numpy(a),
    "dask": lambda a: pytest.importorskip("dask.array").from_array(a, chunks=16),
    "zarr": in_zarr,
}


@pytest.mark.parametrize("kind", MADE)
def test_a_restart_knows_every_voxel_of_an_image_in_memory(fresh_model, tmp_path, kind):
    first = np.random.default_rng(0).random((1, 48, 48, 48)).astype("float32")
    other = first.copy()
    other[0, :4, :4, :4] = 0
    node, out = volume_net(), tmp_path / "r.npy"
    options = {"axes": "czyx" if kind == "axes" else None, "out": out, "tile": (25, 43, 43)}
    node.predict_dense(MADE[kind](first), shard=(0, 2), **options)
    with pytest.raises(FileError, match="another image"):
        node.predict_dense(MADE[kind](other), resume=True, **options)
    node.predict_dense(MADE[kind](first.copy()), resume=True, **options)
