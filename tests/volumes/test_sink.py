"""Sinks for open arrays: casts, shapes, identity and threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, FileError, InputTypeError, ShapeError
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.sink import FSYNC_THREADS, ArraySink, FileSink, ForeignSink, fsync_all, require_same

LAYOUT = Layout("yxf", "yx")


def sink_into(array, **options):
    return ArraySink(array, LAYOUT, "out", **options)


@pytest.mark.parametrize(("stored", "given"), [("float32", "float64"), ("uint8", "int64"), ("float32", "uint8")])
def test_values_are_cast_to_the_dtype_of_the_output(stored, given):
    array = np.zeros((4, 3, 2), stored)
    sink = sink_into(array)
    values = np.arange(12).reshape(1, 4, 3).astype(given)
    sink[1:2, 0:4, 0:3] = values
    np.testing.assert_array_equal(array[..., 1], values[0])
    assert not array[..., 0].any() and sink[:].dtype == stored
    np.testing.assert_array_equal(sink[1:2], values)


@pytest.mark.parametrize(
    ("stored", "values", "error"),
    [
        ("uint8", np.full((1, 1, 1), 256), ArgumentError),
        ("uint8", np.full((1, 1, 1), -1), ArgumentError),
        ("uint8", np.ones((1, 1, 1)), InputTypeError),
        ("bool", np.ones((1, 1, 1), "uint8"), InputTypeError),
        ("float32", np.full((1, 1, 1), 1e300), ArgumentError),
        ("float32", np.ones((1, 1, 1), complex), InputTypeError),
        ("float32", np.ones((1, 1)), ShapeError),
        ("float32", np.ones((1, 2, 1)), ShapeError),
    ],
)
def test_values_that_do_not_fit_leave_the_output_unchanged(stored, values, error):
    array = np.zeros((4, 3, 2), stored)
    with pytest.raises(error) as caught:
        sink_into(array)[0:1, 0:1, 0:1] = values
    assert caught.value.node == "out" and not array.any()


def test_an_empty_block_is_not_written():
    class Fixed(np.ndarray):
        def __setitem__(self, where, values):
            raise AssertionError

    array = np.zeros((4, 3, 2)).view(Fixed)
    sink_into(array)[0:1, 2:2, 0:3] = np.zeros((1, 0, 3))
    with pytest.raises(FileError, match="'out'"):
        sink_into(array)[0:1, 0:1, 0:1] = np.zeros((1, 1, 1))


def test_write_units_are_in_the_order_of_the_view():
    assert sink_into(np.zeros((4, 3, 2)), chunks=(2, 3, np.int64(1))).unit_of_write == (1, 2, 3)
    assert sink_into(np.zeros((4, 3, 2))).unit_of_write is None
    no_channels = ArraySink(np.zeros((4, 3)), Layout("xy", "yx"), "out", chunks=(2, 3))
    assert no_channels.shape == (1, 3, 4) and no_channels.unit_of_write == (1, 3, 2)


def test_the_fingerprint_identifies_the_output_and_not_its_values():
    def sink(shape=(4, 3, 2), dtype="float32", layout=LAYOUT, identity="", path="a.npy"):
        return ArraySink(np.zeros(shape, dtype), layout, "out", None, Locator("npy", path), identity)

    first = sink()
    before = first.fingerprint()
    first[:] = np.ones(first.shape, "float32")
    assert first.fingerprint() == before == sink().fingerprint()
    others = [
        sink((4, 3, 3)),
        sink(dtype="float64"),
        sink(layout=Layout("xyf", "yx")),
        sink(identity="7"),
        sink(path="b.npy"),
        ForeignSink(first.array, LAYOUT, "out", None, first.locator),
    ]
    assert len({before, *(other.fingerprint() for other in others)}) == 7


def test_foreign_arrays_are_written_by_one_thread_at_a_time():
    class Slow:
        shape, dtype, inside, most = (4, 3, 2), np.dtype("float32"), 0, 0

        def __setitem__(self, where, values):
            self.inside += 1
            self.most = max(self.most, self.inside)
            event.wait(0.01)
            self.inside -= 1

    event, array = threading.Event(), Slow()
    sink = ForeignSink(array, LAYOUT, "out")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: sink.__setitem__(slice(0, 1), np.full((1, 4, 3), k, "float32")), range(8)))
    assert array.most == 1


def test_the_path_of_a_file_is_that_of_its_locator():
    array = np.zeros((4, 3, 2))
    assert FileSink(array, LAYOUT, "b.npy", locator=Locator("npy", "a.npy")).path == Path("a.npy")
    assert FileSink(array, LAYOUT, "b.npy").path == Path("b.npy")


@pytest.mark.parametrize("n", [0, 1, FSYNC_THREADS, 3 * FSYNC_THREADS])
def test_every_file_is_flushed_once(tmp_path, monkeypatch, n):
    paths = [tmp_path / str(k) for k in range(n)]
    for path in paths:
        path.touch()
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_ino))
    fsync_all([*paths, tmp_path / "gone"])
    assert sorted(flushed) == sorted(path.stat().st_ino for path in paths)


def test_an_existing_output_has_the_same_shape_and_dtype():
    require_same((1, 2), np.dtype("f4"), [1, 2], np.dtype("float32"), "out")
    with pytest.raises(ShapeError) as caught:
        require_same((1, 2), np.dtype("f4"), (2, 1), np.dtype("f4"), "out")
    assert (caught.value.got, caught.value.expected) == ((1, 2), (2, 1))
    with pytest.raises(InputTypeError) as caught:
        require_same((1, 2), np.dtype("f4"), (1, 2), np.dtype("f8"), "out")
    assert (caught.value.got, caught.value.expected) == ("float32", "float64")
