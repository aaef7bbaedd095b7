"""Outputs of every format: data is written, durable and described, and existing data is never replaced."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuromancer.errors import ArgumentError, FileError, InputTypeError, ShapeError
from neuromancer.volumes import Sink, chunks_for, create_sink, open_sink, open_source, result_array
from tests.volumes.factories import Sliced, numbered, zarr

import tensorstore  # isort: skip


PATHS = {
    "zarr": ("out.zarr", {}),
    "zarr in a group": ("out.zarr/a/b", {}),
    "zarr sharded": ("out.zarr", {"chunks": (1, 4, 4, 4), "shards": (2, 8, 8, 4)}),
    "zarr image": ("out.zarr", {"multiscale": True, "chunks": (1, 4, 4, 4), "compression": "zstd"}),
    "hdf5": ("out.h5:/a/b", {"chunks": (1, 4, 4, 4)}),
    "hdf5 gzip": ("out.h5", {"chunks": (1, 4, 4, 4), "compression": "gzip"}),
    "hdf5 lzf": ("out.hdf5:b", {"chunks": (1, 4, 4, 4), "compression": "lzf"}),
    "tif": ("out.tif", {}),
    "npy": ("out.npy", {}),
    "nifti": ("out.nii", {}),
    "mrc": ("out.mrc", {}),
    "nrrd": ("out.nrrd", {}),
    "precomputed": ("out.precomputed", {"chunks": (2, 4, 4, 4)}),
    "zarr image 0.4": ("out.zarr", {"multiscale": True, "ome_version": "0.4", "chunks": (1, 4, 4, 4)}),
}
LIBRARIES = {"nifti": "nibabel", "mrc": "mrcfile", "nrrd": "nrrd"}
FIXED = ("tif", "nifti", "mrc", "precomputed")
"""Formats that prescribe the order of axes."""


def created(folder, kind, shape, dtype, **options):
    name, given_options = PATHS[kind]
    pytest.importorskip(LIBRARIES.get(kind, "numpy"))
    return create_sink(f"{folder}/{name}", shape, dtype, **given_options, **options)


def _tensorstore(shape):
    return tensorstore.open(
        {"driver": "zarr3", "kvstore": "memory://", "metadata": {"shape": shape, "data_type": "float32"}}, create=True
    ).result()


def objects(folder, shape):
    return {
        "numpy": np.zeros(shape, "float32"),
        "memmap": np.lib.format.open_memmap(folder / "mapped.npy", "w+", "float32", shape),
        "hdf5": h5py.File(folder / "open.h5", "w").create_dataset("out", shape, "float32"),
        "zarr": zarr.create_array(folder / "open.zarr", shape=shape, dtype="float32", chunks=(2,) * len(shape)),
        "zarr in memory": zarr.create_array({}, shape=shape, dtype="float32", chunks=(2,) * len(shape)),
        "tensorstore": _tensorstore(shape),
        "sliced": Sliced(np.zeros(shape, "float32")),
    }


def regions(data, shape):
    found = []
    for _ in range(4):
        where = []
        for n in shape:
            start = data.draw(st.integers(0, n))
            where.append(slice(start, data.draw(st.integers(start, n))))
        found.append(tuple(where))
    return found


def write_and_compare(sink, found, shape):
    expected = np.zeros(shape, "float32")
    for number, where in enumerate(found, 1):
        values = (numbered(expected[where].shape, "float32") + 1000 * number).swapaxes(1, 2).copy().swapaxes(1, 2)
        sink[where] = values
        expected[where] = values
        np.testing.assert_array_equal(sink[where], values)
    sink.flush()
    np.testing.assert_array_equal(sink[:], expected)
    return expected


@pytest.mark.parametrize("kind", PATHS)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_paths(kind, tmp_path_factory, data):
    shape, folder = (2, 7, 9, 5), tmp_path_factory.mktemp("out")
    spatial = "".join(data.draw(st.permutations("zyx")))
    axes = None if kind in FIXED else "".join(data.draw(st.permutations("c" + spatial)))
    sink = created(folder, kind, shape, "float32", spatial=spatial, axes=axes)
    assert isinstance(sink, Sink) and sink.shape == shape and sink.spatial == spatial
    expected = write_and_compare(sink, regions(data, shape), shape)
    identity = sink.fingerprint()
    sink.close()
    again = open_sink(pickle.loads(pickle.dumps(sink.locator)))
    assert again.fingerprint() == identity and again.unit_of_write == sink.unit_of_write
    np.testing.assert_array_equal(again[:], expected)
    again[0:1, 0:1, 0:1, 0:1] = np.full((1, 1, 1, 1), -1, "float32")
    again.close()
    expected[0, 0, 0, 0] = -1
    path = f"{folder}/{PATHS[kind][0]}"
    with_names = open_source(path, axes if kind == "npy" else None, spatial)
    np.testing.assert_array_equal(with_names[:], expected)
    np.testing.assert_array_equal(open_source(sink.locator)[:], expected)
    with_names.close()


@pytest.mark.parametrize("kind", ["numpy", "memmap", "hdf5", "zarr", "zarr in memory", "tensorstore", "sliced"])
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arrays_that_are_open(kind, tmp_path_factory, data):
    axes = "".join(data.draw(st.permutations("czyx")))
    shape = dict(zip("czyx", (2, 7, 9, 5), strict=True))
    out = objects(tmp_path_factory.mktemp("out"), tuple(shape[a] for a in axes))[kind]
    sink = create_sink(out, tuple(shape.values()), "float32", axes=axes)
    expected = write_and_compare(sink, regions(data, sink.shape), sink.shape)
    stored = np.asarray(out.array if kind == "sliced" else out[...])
    np.testing.assert_array_equal(stored.transpose([axes.index(a) for a in "czyx"]), expected)
    sink.close()


def test_strides_into_memory_only(tmp_path):
    out = np.zeros((6, 7), "float32")
    sink = create_sink(out, (1, 6, 7), "float32", spatial="yx")
    sink[0:1, 1:6:2, 0:7:3] = np.ones((1, 3, 3), "float32")
    assert out.sum() == 9 and out[1, 3] == out[5, 6] == 1
    with pytest.raises(ShapeError, match="slice with steps"):
        create_sink(tmp_path / "a.npy", (1, 6, 7), "float32", spatial="yx")[0:1, 1:6:2, 0:7:3] = np.ones((1, 3, 3))


def test_wrong_blocks(tmp_path):
    sink = create_sink(tmp_path / "a.npy", (1, 6, 7), "uint8", spatial="yx")
    with pytest.raises(ShapeError, match=r"wrong shape; got \(1, 2, 2\); expected \(1, 2, 3\)"):
        sink[0:1, 0:2, 0:3] = np.ones((1, 2, 2), "uint8")
    with pytest.raises(InputTypeError, match="wrong kind"):
        sink[0:1, 0:2, 0:3] = np.ones((1, 2, 3), "float32")
    with pytest.raises(ShapeError, match="outside"):
        sink[0:1, 0:2, 5:8] = np.ones((1, 2, 3), "uint8")
    sink.close()


@pytest.mark.parametrize("kind", PATHS)
def test_nothing_is_overwritten(kind, tmp_path):
    sink = created(tmp_path, kind, (2, 8, 8, 8), "float32")
    sink[0:2, 0:8, 0:8, 0:8] = np.ones((2, 8, 8, 8), "float32")
    identity = sink.fingerprint()
    sink.close()
    with pytest.raises(
        FileError, match=r"out.*exists and is not overwritten.*another name; resume=True goes on only where records"
    ):
        created(tmp_path, kind, (2, 8, 8, 8), "float32")
    again = created(tmp_path, kind, (2, 8, 8, 8), "float32", existing="open")
    assert again.fingerprint() == identity
    assert again[:].all()
    again.close()
    with pytest.raises(ShapeError, match="another shape"):
        created(tmp_path, kind, (2, 8, 8, 9), "float32", existing="open")
    with pytest.raises(InputTypeError, match="another dtype"):
        created(tmp_path, kind, (2, 8, 8, 8), "int16", existing="open")
    assert open_source(sink.locator)[:].all()


@pytest.mark.parametrize("kind", sorted(set(PATHS) - {"npy"}))
def test_another_output_at_the_same_place_is_another(kind, tmp_path):
    prints = set()
    for name in ("first", "second"):
        (tmp_path / "here").mkdir()
        sink = created(tmp_path / "here", kind, (2, 8, 8, 8), "float32", existing="open")
        prints.add(sink.fingerprint())
        sink.close()
        (tmp_path / "here").rename(tmp_path / name)
    assert len(prints) == 2


def test_what_else_lies_there_stays(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = numbered((4, 5))
    create_sink(f"{tmp_path}/a.h5:out", (1, 4, 5), "float32", spatial="yx").close()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["raw"], numbered((4, 5)))
        assert file["out"].shape == (1, 4, 5)
    zarr.create_group(tmp_path / "a.zarr").create_array("raw", data=numbered((4, 5)))
    create_sink(f"{tmp_path}/a.zarr/out", (1, 4, 5), "float32", spatial="yx").close()
    np.testing.assert_array_equal(zarr.open(tmp_path / "a.zarr")["raw"][:], numbered((4, 5)))
    for path in ("a.h5:raw", "a.zarr", "a.zarr/raw"):
        with pytest.raises(FileError, match="not overwritten"):
            create_sink(f"{tmp_path}/{path}", (1, 4, 5), "float32", spatial="yx")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(FileError, match=r"text\.h5.*for writing"):
        create_sink(f"{tmp_path}/text.h5:out", (1, 4, 5), "float32", spatial="yx")
    assert (tmp_path / "text.h5").read_text() == "no HDF5"


def test_the_file_of_the_raw_volume(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = numbered((4, 5, 6))
    before = (tmp_path / "a.h5").read_bytes()
    source = open_source(tmp_path / "a.h5")
    with pytest.raises(FileError, match="another file than the raw volume's"):
        create_sink(f"{tmp_path}/a.h5:out", (1, 4, 5, 6), "float32")
    assert (tmp_path / "a.h5").read_bytes() == before and source[:].any()


@pytest.mark.parametrize("kind", sorted(set(PATHS) - {"precomputed"}))  # tensorstore flushes files itself
def test_flush_has_everything_put_on_disk(kind, tmp_path, monkeypatch):
    sink = created(tmp_path, kind, (2, 16, 16, 16), "float32")
    synced, fsync = set(), os.fsync

    def watched(handle):
        fsync(handle)
        synced.add(Path(f"/proc/self/fd/{handle}").resolve())

    monkeypatch.setattr(os, "fsync", watched)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    sink[0:2, 3:9, 0:16, 0:5] = np.ones((2, 6, 16, 5), "float32")
    sink.flush()
    changed = {p for p in tmp_path.rglob("*") if before.get(p) != p.stat().st_mtime_ns}
    assert changed and changed <= synced
    synced.clear()
    sink.flush()
    assert not kind.startswith("zarr") or not synced
    sink.close()


@pytest.mark.parametrize("kind", ["zarr", "zarr sharded", "hdf5", "npy", "tif", "nifti", "precomputed"])
def test_many_threads_write_at_once(kind, tmp_path):
    shape = (2, 16, 32, 32)
    name, options = PATHS[kind]
    sink = create_sink(f"{tmp_path}/{name}", shape, "float32", **({"chunks": (1, 4, 8, 8)} | options))
    unit = sink.unit_of_write or (1, 3, 5, 7)
    expected = numbered(shape, "float32")
    starts = [range(0, n, u) for n, u in zip(shape, unit, strict=True)]
    tiles = [
        tuple(slice(a, min(a + u, n)) for a, u, n in zip(p, unit, shape, strict=True))
        for p in np.array(np.meshgrid(*starts)).reshape(4, -1).T
    ]

    def write(tile):
        sink[tile] = expected[tile]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, tiles))
    sink.close()
    np.testing.assert_array_equal(open_source(sink.locator)[:], expected)


def test_huge_outputs_are_made_at_once(tmp_path):
    shape = (2, 2048, 3000, 6000)
    for name in ("a.zarr", "a.h5:out", "a.npy", "a.tif", "a.nii", "a.mrc", "a.nrrd", "a.precomputed"):
        sink = create_sink(f"{tmp_path}/{name}", shape, "float32")
        where = (slice(1, 2), slice(2040, 2048), slice(2990, 3000), slice(5990, 6000))
        sink[where] = np.ones((1, 8, 10, 10), "float32")
        assert sink[where].all() and not sink[0:1, 0:2, 0:2, 0:2].any()
        sink.close()
    assert sum(p.stat().st_blocks for p in tmp_path.rglob("*")) * 512 < 100e6


def test_a_full_disk_is_an_error(tmp_path):
    code = (
        "import errno, resource, sys, numpy as np; from neuromancer.volumes import create_sink\n"
        "from neuromancer.errors import FileError\n"
        "for name in ('a.npy', 'a.zarr', 'a.tif', 'a.h5:out'):\n"
        "    sink = create_sink(f'{sys.argv[1]}/{name}', (1, 64, 64, 64), 'float32', compression=None)\n"
        "    limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))\n"
        "    try:\n"
        "        sink[0:1, 8:64, 0:64, 0:64] = np.ones((1, 56, 64, 64), 'float32'); print('written', name)\n"
        "    except FileError as error:\n"
        "        print('cannot be written' in str(error) and name[:5] in str(error), error.errno == errno.EFBIG)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"] * 8, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("a.npy", {"compression": "gzip"}, ArgumentError, "does not support compression"),
        ("a.tif", {"shards": True}, ArgumentError, "require zarr"),
        ("a.nii", {"axes": "zyxc"}, ArgumentError, "has an order of axes.*xyzc"),
        ("a.mrc", {"axes": "xyzc"}, ArgumentError, "has an order of axes.*czyx"),
        ("a.nii", {"compression": "gzip"}, ArgumentError, "does not support compression"),
        ("a.nrrd", {"compression": "zstd"}, ArgumentError, "unknown compression for NRRD"),
        ("a.mrc", {"dtype": "uint8"}, InputTypeError, "MRC does not support this dtype; got uint8; expected .*uint16"),
        ("a.nii", {"dtype": "float16"}, InputTypeError, "NIfTI does not support this dtype"),
        ("a.nii:b", {}, ArgumentError, "single, unnamed array"),
        ("a.precomputed", {"dtype": "float64"}, InputTypeError, "precomputed does not support this dtype"),
        ("a.nii", {"orientation": [(1, 0, 0), (1, 0, 0), (0, 0, 1)]}, ArgumentError, "not an orientation"),
        ("a.zarr", {"ome_version": "0.4"}, ArgumentError, "nearest valid: multiscale=True"),
        ("a.zarr", {"ome_version": "0.3", "multiscale": True}, ArgumentError, r"nearest valid: 0\.[45]"),
        ("a.ims", {}, FileError, "cannot write this file format"),
        ("a.h5:b", {"multiscale": True}, ArgumentError, "require zarr"),
        ("a.h5:b", {"compression": "blosc"}, ArgumentError, "unknown compression for HDF5"),
        ("a.zarr", {"compression": "lzf"}, ArgumentError, "unknown compression for zarr"),
        ("a.zarr", {"chunks": (4, 4)}, ArgumentError, "not a block shape"),
        ("a.zarr", {"chunks": (1, 4, 4, 4), "shards": (1, 6, 8, 8)}, ArgumentError, r"nearest valid: \(1, 8, 8, 8\)"),
        ("a.zarr", {"voxel_size": (1, 2)}, ArgumentError, "voxel_size"),
        ("a.zarr", {"voxel_size": (1, 0, 2)}, ArgumentError, "positive"),
        ("a.zarr", {"axes": "zyx"}, ArgumentError, "for 2 channels"),
        ("a.zarr", {"axes": "czy"}, ArgumentError, "not the axes"),
        ("a.zarr", {"existing": "replace"}, ArgumentError, "unknown choice"),
        ("a.tif", {"dtype": "float16"}, InputTypeError, "does not support this dtype"),
        ("a.zarr", {"shape": (8, 8, 8)}, ShapeError, "not a valid output shape"),
        ("nowhere/a.npy", {}, FileError, "no such folder"),
        ("a.png", {}, FileError, "unknown file format"),
        ("a.n5/raw", {}, FileError, "cannot write this file format"),
    ],
)
def test_what_cannot_be_made(tmp_path, name, options, error, says):
    options = dict(options)
    shape, dtype = options.pop("shape", (2, 8, 8, 8)), options.pop("dtype", "float32")
    with pytest.raises(error, match=says):
        create_sink(f"{tmp_path}/{name}", shape, dtype, **options)
    assert not list(tmp_path.iterdir())


def test_arrays_that_do_not_fit(tmp_path):
    with pytest.raises(ShapeError, match="another shape"):
        create_sink(np.zeros((2, 3, 4, 6)), (2, 3, 4, 5), float)
    with pytest.raises(InputTypeError, match="another dtype"):
        create_sink(np.zeros((2, 3, 4, 5), int), (2, 3, 4, 5), float)
    with pytest.raises(InputTypeError, match="is not an output"):
        create_sink(object(), (2, 3, 4, 5), float)
    fixed = np.zeros((3, 4, 5))
    fixed.flags.writeable = False
    with pytest.raises(InputTypeError, match="cannot be written to"):
        create_sink(fixed, (1, 3, 4, 5), float)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["out"] = np.zeros((3, 4, 5))
    with h5py.File(tmp_path / "a.h5") as file, pytest.raises(FileError, match="for reading only"):
        create_sink(file["out"], (1, 3, 4, 5), float)
    with pytest.raises(FileError, match="no such output"):
        open_sink(create_sink(tmp_path / "b.npy", (1, 3, 4, 5), float).locator.__class__("npy", f"{tmp_path}/c.npy"))


@given(shape=st.tuples(st.integers(1, 5), *[st.integers(1, 5000)] * 3), itemsize=st.sampled_from(["u1", "f4", "f8"]))
def test_chunks_are_neither_large_nor_tiny(shape, itemsize):
    chunks = chunks_for(shape, itemsize)
    size = np.prod(chunks) * np.dtype(itemsize).itemsize
    assert all(1 <= c <= max(16, n + 15) for c, n in zip(chunks, shape, strict=True))
    assert size <= 8 << 20
    whole = np.prod(shape[1:]) * np.dtype(itemsize).itemsize
    assert size >= min(whole, 1 << 18)


def test_results_in_the_coordinates_of_the_data(tmp_path):
    import dask.array
    import xarray

    coords = {"z": [10.0, 12.0, 14.0, 16.0], "x": ("x", np.arange(6) * 0.5 - 1, {"units": "nm"}), "time": 3}
    raw = xarray.DataArray(np.zeros((6, 5, 4, 1)), dims=("x", "y", "z", "channel"), coords=coords, name="em")
    source = open_source(raw, spatial="zyx")
    assert source.shape == (1, 4, 5, 6) and source.voxel_size == (2.0, None, 0.5) and source.offset == (10.0, 0.0, -1.0)
    values = numbered((2, 3, 4, 5), "float32")
    sink = create_sink(tmp_path / "out.zarr", values.shape, "float32")
    sink[:] = values
    for data in (values, dask.array.from_array(values, chunks=2), sink):
        found = result_array(raw, data, (1, 0, 1), "zyx", name="probs")
        assert found.dims == ("channel", "z", "y", "x") and found.name == "probs"
        assert found.z.values.tolist() == [12, 14, 16] and found.x.values.tolist() == [-0.5, 0, 0.5, 1, 1.5]
        assert found.x.attrs == {"units": "nm"} and found.time.item() == 3 and "y" not in found.coords
        assert (data is values) == isinstance(found.data, np.ndarray)
        np.testing.assert_array_equal(found.sel(z=14.0, x=0.5).values, values[:, 1, :, 2])
    outside = result_array(raw, np.zeros((1, 4, 5, 6)), (-1, 0, 2))
    assert outside.z.values.tolist() == [8, 10, 12, 14] and outside.x.values.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    with pytest.raises(ShapeError, match="does not fit"):
        result_array(raw, np.zeros((4, 5, 6)), (0, 0, 0))
    assert not raw.values.any()


def test_remote_outputs():
    path = "memory://out/a.zarr/probs"
    sink = create_sink(path, (1, 4, 5, 6), "float32", chunks=(1, 2, 2, 2), **{"voxel_size": (3, 2, 1)})
    sink[:] = numbered((1, 4, 5, 6), "float32")
    sink.close()
    found = open_source(path)
    assert found.voxel_size == (3, 2, 1)
    np.testing.assert_array_equal(found[:], numbered((1, 4, 5, 6), "float32"))
    np.testing.assert_array_equal(open_sink(sink.locator)[:], found[:])
    with pytest.raises(FileError, match="not overwritten"):
        create_sink(path, (1, 4, 5, 6), "float32")
    assert create_sink(path, (1, 4, 5, 6), "float32", existing="open")[:].any()


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.zarr", "a.tif", None])
def test_values_that_do_not_fit_are_refused_and_not_wrapped(tmp_path, name):
    if name == "a.tif":
        pytest.importorskip("tifffile")
    shape = (1, 2, 3, 4)
    wrong = [("i1", 300, "i8"), ("i2", 70_000, "i4"), ("u1", -1, "i8"), ("f4", 1e39, "f8"), ("u1", 1.5, "f8")]
    right = [("i1", 3, "i8"), ("u1", 3, "i8"), ("f4", 0.1, "f8"), ("f4", np.inf, "f8"), ("f4", 3, ">i4")]
    for k, (dtype, value, other) in enumerate(wrong + right):
        (tmp_path / str(k)).mkdir()
        out = np.zeros(shape, dtype) if name is None else tmp_path / str(k) / name
        sink = create_sink(out, shape, dtype)
        block = np.full(shape, value, other)
        if k < len(wrong):
            with pytest.raises((ArgumentError, InputTypeError)):
                sink[:, :, :, :] = block
            assert not sink[:, :, :, :].any()
        else:
            sink[:, :, :, :] = block
            np.testing.assert_array_equal(sink[:, :, :, :], block.astype(dtype))
        sink.close()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("abc", "f4"),
        (None, "f4"),
        (5, "f4"),
        ((1, 2.5, 3, 4), "f4"),
        ((1, 0, 3, 4), "f4"),
        ((1, 10**12, 10**12, 10**12), "f4"),
        *(((1, 2, 3, 4), dtype) for dtype in ("xyz", "U5", complex, object, "M8[s]", "V4", None, [("a", "f4")], 5)),
    ],
)
def test_what_no_output_can_be(tmp_path, shape, dtype):
    for name in ("a.npy", "a.h5"):
        with pytest.raises((ShapeError, InputTypeError)):
            create_sink(tmp_path / name, shape, dtype)
    assert not list(tmp_path.iterdir())


def test_a_view_of_a_memory_map_is_made_durable(tmp_path, monkeypatch):
    mapped = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", "float32", (1, 4, 4))
    sink = create_sink(np.asarray(mapped), (1, 4, 4), "float32", spatial="yx")
    flushed = []
    monkeypatch.setattr(
        "neuromancer.volumes.flat.mapping_of", lambda array: (SimpleNamespace(flush=lambda: flushed.append(array)), 0)
    )
    sink.flush()
    assert len(flushed) == 1 and np.shares_memory(flushed[0], mapped)
