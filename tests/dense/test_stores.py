"""Real stores: every kind of image to every kind of result, with metadata."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, FileError, InputTypeError
from neuromancer.volumes import open_source
from tests.dense.nets import image, plane_net, volume_net

zarr = pytest.importorskip("zarr")
SHAPE = (1, 12, 40, 44)


@pytest.fixture
def raw():
    return image(*SHAPE)


def store(raw, folder, kind):
    """Write the image to a store; return the argument for predict_dense."""
    if kind == "array":
        return raw
    if kind == "npy":
        np.save(folder / "raw.npy", raw)
        return folder / "raw.npy"
    if kind == "memmap":
        np.save(folder / "raw.npy", raw)
        return np.load(folder / "raw.npy", mmap_mode="r")
    if kind == "h5":
        with h5py.File(folder / "raw.h5", "w") as file:
            file.create_dataset("em/raw", data=raw[0], chunks=(4, 16, 16), compression="gzip")
        return f"{folder}/raw.h5:/em/raw"
    if kind == "tif":
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(folder / "raw.tif", raw[0])
        return folder / "raw.tif"
    if kind == "dask":
        return pytest.importorskip("dask.array").from_array(raw[0], chunks=(4, 16, 16))
    array = zarr.create_array(str(folder / "raw.zarr"), shape=SHAPE[1:], chunks=(4, 16, 16), dtype="uint8")
    array[:] = raw[0]
    return folder / "raw.zarr" if kind == "zarr" else array


@pytest.mark.parametrize("kind", ["array", "npy", "memmap", "h5", "tif", "dask", "zarr", "open zarr"])
@pytest.mark.parametrize("name", ["out.zarr", "out.zarr/seg/a", "out.h5:/values", "out.npy", "out.tif"])
def test_from_any_store_to_any_store(raw, tmp_path, kind, name):
    node = volume_net()
    want = node.predict_dense(raw, tile=(4, 16, 40))
    out = f"{tmp_path}/{name}"
    options = {} if name in ("out.npy", "out.tif") else {"chunks": (2, 4, 16, 20)}
    given = store(raw, tmp_path, kind)
    assert node.predict_dense(given, out=out, tile=(4, 16, 40), store=options) == out
    np.testing.assert_array_equal(open_source(out)[tuple(slice(0, n) for n in want.shape)], want)
    journal = tmp_path / (name.replace(":/", ".").replace("/", ".") + ".progress")
    assert (journal / "run.json").exists()
    with pytest.raises(FileError, match=r"there is a prediction already; got 18 of 18 tiles done|prediction already"):
        node.predict_dense(given, out=out, tile=(4, 16, 40), store=options)
    node.predict_dense(given, out=out, tile=(4, 16, 40), store=options, resume=True)


def test_tiles_follow_chunks_and_shards(raw, tmp_path):
    node = volume_net()
    out = tmp_path / "a.zarr"
    node.predict_dense(raw, out=out, memory="20MB", store={"chunks": (1, 2, 4, 4), "shards": (2, 4, 8, 12)})
    np.testing.assert_allclose(zarr.open(str(out))[:], node.predict_dense(raw), atol=1e-6)


@pytest.mark.parametrize("name", ["a.zarr", "a.h5"])
def test_chunks_of_new_stores_leave_room_for_a_tile(name, tmp_path):
    """A chunk of the usual size would be too large for one evaluation of the network."""
    node, raw = volume_net(), image(1, 40, 120, 130)
    out = tmp_path / name
    node.predict_dense(raw, out=out, memory="30MB", as_uint8=True)
    assert open_source(out).chunks[0] == 1 and np.prod(open_source(out).chunks) < 400_000
    # tiles of other sizes are convolved by other algorithms: values at the border between two numbers may become either
    values = 255 * node.predict_dense(raw)
    clear = np.abs(values - np.rint(values)) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(open_source(out)[:, :, :, :][clear], node.predict_dense(raw, as_uint8=True)[clear])
    sharded = tmp_path / "sharded.zarr"
    node.predict_dense(raw, out=sharded, memory="30MB", as_uint8=True, store={"shards": True})
    assert np.prod(zarr.open(str(sharded)).shards) < 400_000


def test_nothing_is_made_where_no_tile_fits(tmp_path):
    node, raw = volume_net(), image(1, 40, 120, 130)
    for options in ({"store": {"chunks": (2, 37, 115, 125)}}, {"tile": (5, 30, 30), "store": {"chunks": (2, 4, 8, 8)}}):
        with pytest.raises(ArgumentError, match=r"does not fit into the memory|into the same block"):
            node.predict_dense(raw, out=tmp_path / "a.zarr", memory="10MB", **options)
        assert not list(tmp_path.iterdir())


def test_axes_in_another_order(raw):
    node = volume_net()
    np.testing.assert_array_equal(node.predict_dense(raw[0].T, axes="xyz"), node.predict_dense(raw))
    np.testing.assert_array_equal(node.predict_dense(np.moveaxis(raw, 0, -1), axes="zyxc"), node.predict_dense(raw))


def test_stack_and_mask_in_files(tmp_path):
    node, raw = plane_net(), image(1, 9, 30, 31)
    np.save(tmp_path / "raw.npy", raw)
    mask = np.zeros((9, 15, 16), "uint8")
    mask[4:, 3:9] = 1
    np.save(tmp_path / "mask.npy", mask)
    want = node.predict_dense(raw, mask=mask)
    out = tmp_path / "out.h5"
    options = {"mask": tmp_path / "mask.npy", "memory": "10MB", "store": {"chunks": (2, 3, 8, 8)}}
    node.predict_dense(tmp_path / "raw.npy", out=out, **options)
    np.testing.assert_allclose(h5py.File(out)["data"][:], want, atol=1e-6)


def test_voxel_size_and_offset_are_carried_over(raw, tmp_path):
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["raw"] = raw[0]
        file["raw"].attrs.update({"voxel_size": (40.0, 8.0, 8.0), "unit": "nanometer", "offset": (400.0, 0.0, 16.0)})
    node = volume_net()
    node.predict_dense(f"{tmp_path}/raw.h5:raw", out=tmp_path / "out.zarr", roi=[None, (5, 30), None])
    found = open_source(tmp_path / "out.zarr")
    assert found.voxel_size == (40.0, 8.0, 8.0) and found.unit == "nanometer"
    z, y, x = node.shape.offsets
    assert found.offset == (400.0 + 40 * z, 8.0 * (y + 5), 16.0 + 8 * x)


def test_a_dataarray_gives_one(raw):
    xarray = pytest.importorskip("xarray")
    node = volume_net()
    array = xarray.DataArray(raw[0], dims=("z", "y", "x"), coords={"x": 100 + 4.0 * np.arange(44)})
    got = node.predict_dense(array, roi=[None, None, (3, 20)])
    assert got.dims == ("c", "z", "y", "x") and got.name == "probs"
    assert float(got.x[0]) == 100 + 4.0 * (node.shape.offsets[2] + 3)
    np.testing.assert_array_equal(got.values, node.predict_dense(raw, roi=[None, None, (3, 20)]))


def test_several_nodes_into_several_stores(raw, tmp_path):
    last = volume_net()
    outs = [tmp_path / "a.zarr", f"{tmp_path}/b.h5:values"]
    nodes = [last.parent, last]
    assert nm.predict_dense(nodes, raw, out=outs, memory="30MB", reduce={last.name: "argmax"}) == outs
    want = nm.predict_dense(nodes, raw, reduce={last.name: "argmax"})
    np.testing.assert_allclose(zarr.open(str(outs[0]))[:], want[0], atol=1e-6)
    assert (h5py.File(tmp_path / "b.h5")["values"][:] == want[1]).mean() > 0.999


def test_outputs_that_cannot_be(raw, tmp_path):
    node = volume_net()
    for out, error, message in (
        (tmp_path / "a.xyz", FileError, "unknown file format"),
        (tmp_path / "none" / "a.zarr", FileError, "no such folder"),
        (3, InputTypeError, "is not an output"),
    ):
        with pytest.raises(error, match=message):
            node.predict_dense(raw, out=out)
    np.save(tmp_path / "a.npy", raw)
    with pytest.raises(FileError, match="not overwritten"):
        node.predict_dense(raw, out=tmp_path / "a.npy")
    assert not list(tmp_path.glob("*.progress/run.json"))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), raw)
