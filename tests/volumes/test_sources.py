"""Every store and axis order gives the values of the array, and reads no more than requested."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuromancer.errors import (
    ArgumentError,
    FileError,
    InputTypeError,
    MissingDependencyError,
    OutOfMemoryError,
    ShapeError,
    UnknownNameError,
)
from tests.volumes.factories import STORES, Sliced, numbered, zarr

from neuromancer.volumes import Source, open_source  # isort: skip

IN_FILES = {"memmap", "npy", "hdf5", "open_hdf5", "zarr", "zarr_sharded", "zarr_2", "zarr_in_group", "open_zarr"} | {
    "tensorstore",
    "n5",
    "tif",
    "tif_compressed",
    "nifti",
    "nifti_compressed",
    "mrc",
    "mrc_compressed",
    "nrrd",
    "nrrd_compressed",
    "nrrd_detached",
}


@pytest.mark.parametrize("store", STORES)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_store_in_every_order(store, tmp_path_factory, data):
    spatial = "".join(data.draw(st.permutations("zyx")))
    axes = "".join(data.draw(st.permutations(spatial + data.draw(st.sampled_from(["", "c"])))))
    size = {"z": 5, "y": 9, "x": 7, "c": 2}
    array = numbered([size[a] for a in axes])
    wanted = array.transpose([axes.index(a) for a in "c" + spatial if a in axes])
    wanted = wanted if "c" in axes else wanted[None]
    source = open_source(STORES[store](array, tmp_path_factory.mktemp("volume")), axes=axes, spatial=spatial)
    assert isinstance(source, Source)
    assert source.shape == wanted.shape and source.dtype == array.dtype and source.spatial == spatial
    where = []
    for n in source.shape:
        start = data.draw(st.integers(0, n - 1))
        where.append(slice(start, data.draw(st.integers(start + 1, n))))
    block = source[tuple(where)]
    assert isinstance(block, np.ndarray) and block.dtype.isnative
    np.testing.assert_array_equal(block, wanted[tuple(where)])
    np.testing.assert_array_equal(source[:], wanted)
    assert source.chunks is None or len(source.chunks) == len(source.shape)
    again = open_source(source.locator) if source.locator is not None else source
    np.testing.assert_array_equal(again[tuple(where)], block)
    assert (source.locator is not None) == (store in IN_FILES)
    assert again.fingerprint() == source.fingerprint()
    source.close()
    if source.locator is not None:  # files are reopened
        np.testing.assert_array_equal(source[tuple(where)], block)


def test_other_processes_open_them(tmp_path):
    array, sent, prints = numbered((2, 5, 9, 7)), [], []
    for store in sorted(IN_FILES):
        (tmp_path / store).mkdir()
        source = open_source(STORES[store](array, tmp_path / store), axes="czyx")
        sent.append((source.locator, source[0:1, 1:3, 2:5, 3:6]))
        prints.append(source.fingerprint())
        assert len(pickle.dumps(sent[-1])) < 3000
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[:], array)
    code = (
        "import pickle, sys; from neuromancer.volumes import open_source;"
        "pairs = pickle.loads(sys.stdin.buffer.read()); opened = [open_source(l) for l, _ in pairs];"
        "assert all((s[0:1, 1:3, 2:5, 3:6] == b).all() for s, (_, b) in zip(opened, pairs));"
        "sys.stdout.write(' '.join(s.fingerprint() for s in opened))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(sent), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == prints


@pytest.mark.parametrize("store", STORES)
def test_many_threads_read_at_once(store, tmp_path):
    array = numbered((2, 8, 16, 16))
    source = open_source(STORES[store](array, tmp_path), axes="czyx")
    barrier = threading.Barrier(8)

    def read(k):
        barrier.wait()
        for i in range(8):
            where = (slice(k % 2, k % 2 + 1), slice(i, i + 1), slice(k, k + 5), slice(0, 16))
            np.testing.assert_array_equal(source[where], array[where])
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_no_more_is_read_than_asked_for():
    array = Sliced(numbered((6, 7, 8, 2)))
    source = open_source(array, axes="xyzc")
    assert array.read == 0
    assert source[1:2, 2:4, 3:6, 0:5].shape == (1, 2, 3, 5)
    assert array.read == 30


def test_only_the_chunks_in_question_are_read(tmp_path):
    class Counting(zarr.storage.WrapperStore):
        keys = ()

        async def get(self, key, *args, **kwargs):
            self.keys += (key,)
            return await super().get(key, *args, **kwargs)

    store = Counting(zarr.storage.MemoryStore())
    array = zarr.create_array(store, shape=(40, 40, 40), chunks=(10, 10, 10), dtype="uint8")
    array[:] = 1
    source = open_source(array)
    assert source.locator is None and source.chunks == (1, 10, 10, 10)
    store.keys = ()
    source[0:1, 5:15, 12:18, 30:31]
    assert sorted(store.keys) == ["c/0/1/3", "c/1/1/3"]


def test_huge_volumes_open_at_once(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("raw", (3000, 6000, 6000), "uint8", chunks=(64, 64, 64))
    zarr.create_array(tmp_path / "huge.zarr", shape=(3000, 6000, 6000), chunks=(64, 64, 64), dtype="uint8")
    with (tmp_path / "huge.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (3000, 6000, 6000)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 3000 * 6000 * 6000)
    for name in ("huge.h5", "huge.zarr", "huge.npy"):
        source = open_source(tmp_path / name)
        assert source.shape == (1, 3000, 6000, 6000)
        assert not source[0:1, 2900:2910, 5000:5010, 5990:6000].any()
        assert source.fingerprint()


def test_a_stack_for_a_2d_network():
    assert open_source(np.zeros((3, 8, 9)), spatial="yx").shape == (3, 8, 9)
    assert open_source(np.zeros((8, 9)), spatial="yx").shape == (1, 8, 9)
    stack = open_source(np.zeros((2, 5, 8, 9)), spatial="yx")
    assert stack.shape == (2, 5, 8, 9) and stack.spatial == "zyx"
    named = open_source(numbered((8, 9, 5)), axes="yxz", spatial="xy")
    assert named.shape == (1, 5, 9, 8) and named.spatial == "zxy"
    assert named[0:1, 2:3, 4:5, 1:2].item() == numbered((8, 9, 5))[1, 4, 2]
    with pytest.raises(ShapeError, match=r"axis 'z' of size 5"):
        open_source(
            STORES["xarray"](np.zeros((5, 8, 9)), None).rename(dim_0="z", dim_1="y", dim_2="x"),
            None,
            "yx",
            "raw",
            False,
        )


def test_other_axes(tmp_path):
    array = STORES["xarray"](numbered((1, 4, 5, 6)), None).rename(dim_0="t", dim_1="z", dim_2="y", dim_3="x")
    np.testing.assert_array_equal(open_source(array)[:], numbered((1, 1, 4, 5, 6))[0])
    with pytest.raises(ShapeError, match="axis 't' of size 3"):
        open_source(STORES["xarray"](np.zeros((3, 4, 5, 6)), None).rename(dim_0="t", dim_1="z", dim_2="y", dim_3="x"))
    for axes, says in (("tzyx", "without 't'"), ("zyx", "does not name"), ("zzyx", "does not name"), ("czzx", "name")):
        with pytest.raises(ArgumentError, match=says):
            open_source(np.zeros((1, 4, 5, 6)), axes=axes)
    with pytest.raises(ShapeError, match="no axis z"):
        open_source(np.zeros((4, 5, 6)), axes="cyx")
    with pytest.raises(ShapeError, match="wrong number of axes"):
        open_source(np.zeros((4, 5)))
    with pytest.raises(ShapeError, match="wrong number of axes"):
        open_source(np.zeros((1, 1, 4, 5, 5)))


def test_only_slices_within_the_volume():
    source = open_source(np.zeros((4, 5, 6)))
    for where in ((slice(0, 1), slice(-1, 3)), (slice(0, 1), slice(0, 5)), (slice(None), slice(None, None, 2)), (0,)):
        with pytest.raises(ShapeError, match="slice"):
            source[where]
    with pytest.raises(ShapeError, match="too many"):
        source[(slice(None),) * 5]


def test_the_fingerprint_follows_the_data(tmp_path):
    array = numbered((12, 12, 12))
    first = open_source(array).fingerprint()
    assert first == open_source(array.copy()).fingerprint()
    assert first != open_source(array + 1).fingerprint()
    assert first != open_source(array, axes="xyz").fingerprint()
    assert first != open_source(array.astype("int16")).fingerprint()
    np.save(tmp_path / "a.npy", array)
    stored = open_source(tmp_path / "a.npy").fingerprint()
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b/a.npy", array)
    assert len({first, stored, open_source(tmp_path / "b/a.npy").fingerprint()}) == 3


@pytest.mark.parametrize("store", ["npy", "hdf5", "zarr"])
def test_the_fingerprint_is_that_of_the_file_whatever_leads_to_it(store, tmp_path):
    real = tmp_path / "real"
    (real / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    path = str(STORES[store](numbered((3, 4, 5)), real))
    ways = [path.replace("/real/", f"/{way}/") for way in ("link", "real/sub/..", "link/sub/..")]
    prints = {open_source(way).fingerprint() for way in (path, *ways)}
    if store == "hdf5":
        with h5py.File(ways[0].partition(":")[0]) as file:
            prints.add(open_source(file["in/raw"]).fingerprint())
    assert len(prints) == 1


def test_remote_addresses(tmp_path):
    made = zarr.create_array("memory://bucket/a.zarr/raw", shape=(4, 5, 6), dtype="uint8", overwrite=True)
    made[:] = numbered((4, 5, 6), "uint8")
    source = open_source("memory://bucket/a.zarr/raw")
    np.testing.assert_array_equal(source[0:1], numbered((1, 4, 5, 6), "uint8"))
    np.testing.assert_array_equal(open_source(source.locator)[0:1], source[0:1])
    with pytest.raises(FileError, match="no zarr array"):
        open_source("memory://bucket/b.zarr")


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("none.h5:raw", FileError, "no such file"),
        ("none.zarr", FileError, "no such file"),
        ("data.h5:cube/row", UnknownNameError, r"cube/raw.*nearest valid: cube/raw"),
        ("data.h5", UnknownNameError, r"several arrays.*cube/other.*cube/raw"),
        ("data.zarr/row", UnknownNameError, "nearest valid: raw"),
        ("data.zarr", UnknownNameError, r"several arrays.*other.*raw"),
        ("data.n5/row", UnknownNameError, "nearest valid: raw"),
        ("two.tif", UnknownNameError, "several arrays"),
        ("empty.h5", FileError, "holds no arrays$"),
        ("data.png", FileError, "unknown file format"),
        ("bad.h5:raw", FileError, "cannot be read"),
        ("bad.npy", FileError, "cannot be read"),
        ("bad.tif", FileError, "cannot be read"),
        ("bad.zarr", FileError, "no zarr array|cannot be read"),
        ("none.n5", FileError, "holds no arrays"),
        ("zero.npy", ShapeError, "zero.npy': is empty"),
        ("plain.nii.gz", FileError, "got a NIfTI file; expected compressed NIfTI data"),
        ("a.npy:raw", ArgumentError, "unnamed array"),
    ],
)
def test_files_that_cannot_be_opened(tmp_path, path, error, says):
    import tensorstore
    import tifffile

    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["cube/raw"] = file["cube/other"] = np.zeros((3, 4, 5))
    h5py.File(tmp_path / "empty.h5", "w").close()
    group = zarr.open_group(tmp_path / "data.zarr", mode="w")
    for name in ("raw", "other"):
        group.create_array(name, shape=(3, 4, 5), dtype="uint8")
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{tmp_path}/data.n5/raw"}}
    tensorstore.open(spec | {"metadata": {"dimensions": [5], "dataType": "uint8"}}, create=True).result()
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(np.zeros((4, 5)))
        file.write(np.zeros((6, 7)))
    for name in ("bad.h5", "bad.npy", "bad.tif", "data.png"):
        (tmp_path / name).write_bytes(b"no data at all")
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr/zarr.json").write_text("{")
    (tmp_path / "none.n5").mkdir()
    (tmp_path / "plain.nii.gz").write_bytes(b"\\\x01\0\0" + bytes(400))
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    np.save(tmp_path / "zero.npy", np.zeros((3, 0, 5)))
    with pytest.raises(error, match=says) as caught:
        open_source(f"{tmp_path}/{path}")
    assert path.partition(":")[0].partition("/")[0] in str(caught.value)


def test_blocks_that_cannot_be_read(tmp_path):
    array = numbered((8, 8, 8))
    source = open_source(STORES["zarr"](array, tmp_path))
    (tmp_path / "a.zarr/c/1/1/1").write_bytes(b"damaged")
    np.testing.assert_array_equal(source[0:1, 0:4], array[None, 0:4])
    with pytest.raises(FileError, match=r"a\.zarr.*a block cannot be read"):
        source[0:1, 4:8, 4:8, 4:8]
    path = STORES["hdf5"](array, tmp_path)
    file = tmp_path / "a.h5"
    with h5py.File(file) as opened:
        place = opened["in/raw"].id.get_chunk_info(7)
    content = bytearray(file.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"x" * place.size
    file.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.h5:in/raw.*a block cannot be read"):
        open_source(path)[:]


def test_things_that_are_no_volumes(monkeypatch, tmp_path):
    import xarray

    for thing in (b"text", {"a": 1}, object()):
        with pytest.raises(InputTypeError, match=r"not an array|numeric"):
            open_source(thing)
    with pytest.raises(InputTypeError, match="numeric"):
        open_source(np.zeros((3, 4, 5), complex))
    with pytest.raises(ShapeError, match="empty"):
        open_source(np.zeros((3, 0, 5)))
    with pytest.raises(InputTypeError, match=r"not an array|DataArray"):
        open_source(xarray.Dataset({"a": xarray.DataArray(np.zeros(3))}))
    for huge in (range(10**12), [range(10**12)]):
        with pytest.raises(OutOfMemoryError, match="does not fit into memory"):
            open_source(huge)
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((3, 4, 5), "uint8"), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert open_source(file).shape == (1, 3, 4, 5)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        pass
    with pytest.raises(FileError, match="is closed"):
        open_source(file)
    path = STORES["n5"](numbered((3, 4, 5)), tmp_path)
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(MissingDependencyError, match="extra 'tensorstore'"):
        open_source(path)
