"""From store to store: same result as in memory, bounded memory, and recovery from all failures."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext

import numpy as np
import pytest

from neuromancer import engine as E
from neuromancer.dense import Threads
from neuromancer.dense.cache import CachedSource
from neuromancer.dense.resume import Journal
from neuromancer.errors import ArgumentError, FileError, InputTypeError, PredictionError, ShapeError
from tests.dense.nets import image, plane_net, volume_net
from tests.dense.stores import Full, H5Sink, NpySink, NpySource, Recording


@pytest.fixture
def raw(tmp_path):
    array = image(1, 14, 40, 44)
    np.save(tmp_path / "raw.npy", array)
    return array


def journal_of(path):
    return path.with_name(path.name + ".progress")


@pytest.mark.parametrize("tile", [(2, 8, 8), (4, 16, 40), (20, 40, 40)])
@pytest.mark.parametrize("kind", ["npy", "h5", "recording"])
def test_equals_the_prediction_in_memory(raw, tmp_path, tile, kind):
    node = volume_net()
    want = node.predict_dense(raw, tile=tile)
    source = NpySource(tmp_path / "raw.npy", chunks=(1, 4, 16, 16))
    unit = (2, 2, 8, 8)
    sink = {
        "npy": lambda: NpySink(tmp_path / "out.npy", want.shape, want.dtype, unit),
        "h5": lambda: H5Sink(tmp_path / "out.h5", want.shape, want.dtype, unit),
        "recording": lambda: Recording(want.shape, want.dtype, unit),
    }[kind]()
    assert node.predict_dense(source, out=sink, tile=tile) is sink
    np.testing.assert_array_equal(np.asarray(sink.array), want)
    if kind == "recording":
        assert (sink.count == 1).all() and sink.flushes
    sink.close()


@pytest.mark.parametrize(
    "options",
    [
        {"pad_raw": True},
        {"as_uint8": True},
        {"roi": [(2, 9), slice(5, 30), None]},
        {"pad_raw": True, "roi": [(0, 3), (30, 40), (1, 2)]},
        {"augment": "all"},
        {"reduce": [1, "uint16"]},
    ],
    ids=str,
)
def test_options_are_the_same_from_store_to_store(raw, tmp_path, options):
    node = volume_net()
    want = node.predict_dense(raw, tile=(4, 8, 8), **options)
    sink = Recording(want.shape, want.dtype, (1, 4, 8, 8))
    node.predict_dense(NpySource(tmp_path / "raw.npy", (1, 5, 7, 9)), out=sink, tile=(4, 8, 8), **options)
    np.testing.assert_array_equal(sink.array, want)
    assert (sink.count == 1).all()


def test_stack_from_store_to_store():
    node, raw = plane_net(), image(1, 13, 30, 31)
    want = node.predict_dense(raw)
    sink = Recording(want.shape, want.dtype, (2, 4, 12, 12))
    node.predict_dense(raw, out=sink, memory="2MB")
    np.testing.assert_allclose(sink.array, want, atol=1e-6)
    assert (sink.count == 1).all()
    part = node.predict_dense(raw, roi=[(3, 9), (1, 5), None])
    np.testing.assert_allclose(part, want[:, 3:9, 1:5], atol=1e-6)


def test_into_an_array(raw):
    node = volume_net()
    want = node.predict_dense(raw)
    out = np.zeros_like(want)
    assert node.predict_dense(raw, out=out) is out
    np.testing.assert_array_equal(out, want)
    with pytest.raises(ShapeError, match=r"does not fit its store; got \(2, 3, 3, 3\); expected \(2, 11, 35, 39\)"):
        node.predict_dense(raw, out=np.zeros((2, 3, 3, 3), "float32"))
    with pytest.raises(InputTypeError, match="another dtype than the result; got float64"):
        node.predict_dense(raw, out=np.zeros(want.shape))


def test_threads_change_nothing_and_writers_are_side_by_side(raw):
    node = volume_net()
    results = []
    for threads in (Threads(0, 0, 1, 1), Threads(1, 1, 1, 1), Threads(4, 3, 8, 6)):
        sink = Recording((2, 11, 35, 39), unit=(2, 2, 8, 8))
        node.predict_dense(raw, out=sink, tile=(2, 8, 8), threads=threads)
        results.append(sink.array)
        assert (sink.count == 1).all()
    assert all((r == results[0]).all() for r in results)


def test_input_and_output_hide_behind_computing(raw, tmp_path):
    """If reading, computing and writing take equally long, the total is little more than one of them."""
    node = volume_net()
    node.predict_dense(raw)

    class Slow(NpySource):
        def __getitem__(self, where):
            time.sleep(0.02)
            return super().__getitem__(where)

    def seconds(threads, path):
        sink = Recording((2, 11, 35, 39), unit=(2, 11, 8, 8), wait=0.02)
        start = time.perf_counter()
        node.predict_dense(Slow(path), out=sink, tile=(11, 8, 8), threads=threads)
        return time.perf_counter() - start

    path = tmp_path / "raw.npy"
    in_turn, together = seconds(Threads(0, 0, 1, 1), path), seconds(Threads(2, 2, 4, 4), path)
    assert in_turn > 25 * 0.04
    assert together < 0.6 * in_turn


def test_no_thread_outlives_a_prediction(raw):
    node = volume_net()
    before = threading.active_count()
    node.predict_dense(raw, out=Recording((2, 11, 35, 39)), tile=(2, 8, 8))
    with pytest.raises(FileError):
        node.predict_dense(raw, out=Full((2, 11, 35, 39), 3), tile=(2, 8, 8))
    assert threading.active_count() == before


def test_overlap_is_read_once(tmp_path, raw):
    node = volume_net()
    sink = Recording((2, 11, 35, 39))
    source = NpySource(tmp_path / "raw.npy", chunks=(1, 7, 10, 11))
    node.predict_dense(source, out=sink, tile=(11, 8, 8), memory="100MB")
    assert source.voxels == raw.size
    plain = NpySource(tmp_path / "raw.npy")
    node.predict_dense(plain, out=sink, tile=(11, 8, 8))
    assert plain.voxels > 1.5 * raw.size


def test_the_cache_is_bounded_and_right(tmp_path, raw):
    source = NpySource(tmp_path / "raw.npy", chunks=(1, 7, 20, 22))
    cached = CachedSource(source, 300_000)
    cached.block = (1, 5, 7, 9)
    rng = np.random.default_rng(0)

    def read_blocks(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            a = [int(rng.integers(0, n)) for n in raw.shape]
            b = [int(rng.integers(i + 1, n + 1)) for i, n in zip(a, raw.shape, strict=True)]
            where = tuple(slice(i, j) for i, j in zip(a, b, strict=True))
            np.testing.assert_array_equal(cached[where], raw[where])

    threads = [threading.Thread(target=read_blocks, args=(int(rng.integers(1000)),)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert 0 < cached.used <= 300_000


class Unreadable(NpySource):
    def __getitem__(self, where):
        if where[1].start >= 6:
            raise OSError(errno.EIO, "Input/output error")
        return super().__getitem__(where)


def test_an_unreadable_block_stops_with_the_tile_named(tmp_path, raw):
    node = volume_net()
    out = tmp_path / "out.npy"
    sink = NpySink(out, (2, 11, 35, 39), "float32")
    with pytest.raises(FileError, match=r"tile 6 \(6:8, 0:35, 0:20\).*cannot be read; got Input/output error") as info:
        node.predict_dense(Unreadable(tmp_path / "raw.npy"), out=sink, tile=(2, 35, 20))
    assert info.value.errno == errno.EIO
    done = Journal.find(journal_of(out)).done()
    assert [i in done for i in range(8)] == [True] * 6 + [False] * 2
    want = node.predict_dense(raw, tile=(2, 35, 20))
    np.testing.assert_array_equal(sink.array[:, :6], want[:, :6])
    node.predict_dense(NpySource(tmp_path / "raw.npy"), out=sink, tile=(2, 35, 20), resume=True)
    np.testing.assert_array_equal(sink.array, want)


def test_skipped_tiles_are_recorded_filled_and_tried_again(tmp_path, raw):
    node = volume_net()
    out = tmp_path / "out.npy"
    sink = NpySink(out, (2, 11, 35, 39), "float32")
    with pytest.warns(UserWarning, match=r"6 of 12 tiles could not be predicted: tile 6 .*Input/output error"):
        node.predict_dense(Unreadable(tmp_path / "raw.npy"), out=sink, tile=(2, 35, 20), on_error="skip", fill=7)
    want = node.predict_dense(raw, tile=(2, 35, 20))
    np.testing.assert_array_equal(sink.array[:, :6], want[:, :6])
    assert (np.asarray(sink.array[:, 6:]) == 7).all()
    journal = Journal.find(journal_of(out))
    assert sorted(journal.failures()) == [6, 7, 8, 9, 10, 11] and "tile 6" in journal.failures()[6]
    node.predict_dense(
        NpySource(tmp_path / "raw.npy"), out=sink, tile=(2, 35, 20), on_error="skip", fill=7, resume=True
    )
    np.testing.assert_array_equal(sink.array, want)
    assert Journal.find(journal_of(out)).header["complete"]


def test_a_full_disk(tmp_path, raw):
    node = volume_net()
    sink = Full((2, 11, 35, 39), 7)
    with pytest.raises(FileError, match=r"tile \d+ \(.*cannot be written; got No space left on device") as info:
        node.predict_dense(raw, out=sink, tile=(2, 8, 8), journal=tmp_path / "j")
    assert info.value.errno == errno.ENOSPC
    done = Journal.find(tmp_path / "j").done()
    assert len(done) == 7
    sink.room = 10**6
    node.predict_dense(raw, out=sink, tile=(2, 8, 8), journal=tmp_path / "j", resume=True)
    np.testing.assert_array_equal(sink.array, node.predict_dense(raw, tile=(2, 8, 8)))
    assert (sink.count == 1).all()


def test_a_disk_that_is_full_when_flushing_loses_no_tile(tmp_path, raw):
    class Flushless(Recording):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match="cannot be made durable"):
        volume_net().predict_dense(raw, out=Flushless((2, 11, 35, 39)), tile=(2, 8, 8), journal=tmp_path / "j")
    assert len(Journal.find(tmp_path / "j").done()) == 0


def test_not_a_number(tmp_path, raw):
    node, values = volume_net(), raw.astype("float32") / 255
    values[0, 8, 20, 20] = np.nan
    sink = Recording((2, 11, 35, 39))
    with pytest.raises(PredictionError, match=r"Softmax.*values that are not a number, in tile \d+ \(.*on_nan='keep'"):
        node.predict_dense(values, out=sink, tile=(3, 8, 8))
    node.predict_dense(values, out=sink, tile=(3, 8, 8), on_nan="keep")
    assert np.isnan(sink.array).any()
    assert np.isnan(node.predict_dense(values)).any()
    with pytest.raises(PredictionError):
        node.predict_dense(values, on_nan="error")
    wanted = np.ones(values.shape[1:], bool)
    wanted[3:12, 12:27, 12:27] = False
    assert not np.isnan(node.predict_dense(values, mask=wanted, on_nan="error")).any()
    with pytest.raises(PredictionError):
        node.predict_dense(values, mask=~wanted, on_nan="error")
    with pytest.raises(ArgumentError, match="unknown choice"):
        node.predict_dense(values, on_nan="whatever")


def test_the_memory_is_not_enough(raw):
    with pytest.raises(ArgumentError, match=r"does not fit into the memory; got 0.03 MB; expected at least [\d.]+ MB"):
        volume_net().predict_dense(raw, out=Recording((2, 11, 35, 39), unit=(2, 11, 35, 39)), memory=30_000)


def test_keyboard_interrupt_keeps_what_is_done(tmp_path, raw):
    node = volume_net()

    class Impatient(Recording):
        def __setitem__(self, where, values):
            super().__setitem__(where, values)
            if self.count.sum() > 5000:
                raise KeyboardInterrupt

    sink = Impatient((2, 11, 35, 39))
    with pytest.raises(KeyboardInterrupt):
        node.predict_dense(raw, out=sink, tile=(2, 8, 8), journal=tmp_path / "j", threads=Threads(0, 0, 1, 1))
    assert 0 < len(Journal.find(tmp_path / "j").done()) < 150


MEMORY = """
import resource, sys
import numpy as np
import neuromancer as nm
from neuromancer.dense.stores import MemorySource

class Virtual(MemorySource):
    chunks = (1, 32, 64, 64)
    def __init__(self, shape):
        self.shape, self.dtype = shape, np.dtype("uint8")
    def __getitem__(self, where):
        shape = [s.stop - s.start for s in where]
        return (np.arange(np.prod(shape), dtype="uint32") % 251).astype("uint8").reshape(shape)
    def fingerprint(self):
        return "virtual"

class Nothing:
    unit_of_write, exclusive, locator, dtype = (2, 16, 64, 64), True, None, np.dtype("float32")
    def __init__(self, shape):
        self.shape, self.voxels = shape, 0
    def __setitem__(self, where, values):
        self.voxels += values.size
    def flush(self):
        pass
    def fingerprint(self):
        return ""
    def close(self):
        pass

from tests.dense.nets import volume_net
node = volume_net()
node.predict_dense(np.zeros((1, 8, 12, 12), "uint8"))
peak = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
before = peak()
depth = int(sys.argv[2])
sink = Nothing((2, depth - 3, 635, 635))
node.predict_dense(Virtual((1, depth, 640, 640)), out=sink, memory=float(sys.argv[1]))
assert sink.voxels == 2 * (depth - 3) * 635 * 635
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_holds(tmp_path):
    """1.4 GB of image and result within 200 MB of memory (a quarter of them with Theano, which would take minutes)."""
    budget, depth = 200e6, 400 if E.NAME == "pytensor" else 100
    command = [sys.executable, "-c", MEMORY, str(budget), str(depth)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 20e6 < int(found.stdout.splitlines()[-1]) < budget


class Stopped(Exception):
    pass


class Waiting(ThreadPoolExecutor):
    """Every task has ended before the next one is submitted."""

    def submit(self, *arguments):
        future = super().submit(*arguments)
        wait([future])
        return future


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor, Waiting])
def test_a_function_is_told_the_progress_and_can_end_the_prediction(raw, tmp_path, pool):
    node, tile, told = volume_net(), (4, 16, 40), []
    want, out = node.predict_dense(raw, tile=tile), tmp_path / "out.npy"

    def stop(done, total):
        told.append((done, total))
        if done > total / 3:
            raise Stopped

    with nullcontext() if pool is None else pool(2) as executor:
        options = {"tile": tile, "executor": executor}
        with pytest.raises(Stopped):
            node.predict_dense(raw, progress=stop, out=out, **options)
        kept = Journal.find(journal_of(out)).done()
        voxels = want[0].size
        assert told[0] == (0, voxels) and len(told) > 1 and 0 < len(kept) < node.plan_dense(raw, tile=tile).count
        told.clear()
        node.predict_dense(raw, progress=lambda *numbers: told.append(numbers), out=out, resume=True, **options)
    assert told[0][0] == 0 and told[0][1] < voxels and abs(told[-1][0] - told[-1][1]) < voxels / 5
    np.testing.assert_array_equal(np.load(out), want)
