"""Runs of sliding-window predictions: memory, restarts, shards and workers change nothing in the values."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import volumes
from neuromancer.dense.resume import Journal
from neuromancer.errors import FileError
from tests.dense.stores import H5Sink, NpySink, NpySource, Recording
from tests.dense.test_sliding import whole_net

ROOT = Path(__file__).parents[2]
SPAWN = multiprocessing.get_context("spawn")
WINDOW = nm.SlidingWindow((4, 8, 8), (0.5, 0.5, 0.25), mirror=(2,))
SHAPE = (2, 27, 30, 33)


@pytest.fixture(scope="module")
def node():
    return whole_net(3, 1, 2)


@pytest.fixture(scope="module")
def raw():
    return np.random.default_rng(0).integers(0, 256, (1, *SHAPE[1:])).astype("uint8")


@pytest.fixture(scope="module")
def want(node, raw):
    return node.predict_dense(raw, sliding_window=WINDOW)


@pytest.fixture
def path(raw, tmp_path):
    np.save(tmp_path / "raw.npy", raw)
    return tmp_path / "raw.npy"


def sink_of(tmp_path, kind):
    if kind == "npy":
        return NpySink(tmp_path / "out.npy", SHAPE, "float32", (2, 4, 8, 8))
    return H5Sink(tmp_path / "out.h5", SHAPE, "float32", (2, 4, 8, 8))


# ---- memory
@pytest.fixture(scope="module")
def least(node, raw):
    """Memory that suffices, but not for the sums."""
    return next(m for m in range(50_000, 10**7, 10_000) if _fits(node, raw, m))


def test_sums_in_a_file_are_the_same(node, raw, want, path, tmp_path, least):
    plan = node.plan_dense(raw, sliding_window=WINDOW, memory=least)
    assert plan.spilled and plan.memory * 1.25 <= least and "in a scratch file" in str(plan)
    assert not node.plan_dense(raw, sliding_window=WINDOW).spilled
    np.testing.assert_array_equal(node.predict_dense(raw, sliding_window=WINDOW, memory=least), want)
    out = node.predict_dense(path, sliding_window=WINDOW, memory="300kB", out=tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(out), want)
    assert sorted(p.name for p in (tmp_path / "a.npy.progress").iterdir()) == ["run.json"]


def _fits(node, raw, memory):
    try:
        node.plan_dense(raw, sliding_window=WINDOW, memory=memory)
    except nm.errors.ArgumentError:
        return False
    return True


def test_pages_of_the_file_may_go_at_any_time(node, raw, want, monkeypatch, least):
    monkeypatch.setattr("neuromancer.dense.sliding.sums.RESIDENT", 1)
    np.testing.assert_array_equal(node.predict_dense(raw, sliding_window=WINDOW, memory=least), want)


def test_no_room_for_the_file(node, raw, monkeypatch, least):
    def full(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(FileError, match=r"no room for the sums.*No space left.*free space"):
        node.predict_dense(raw, sliding_window=WINDOW, memory=least)


def test_memory_does_not_grow_with_the_image():
    code = """
import resource, numpy as np, neuromancer as nm
from tests.dense.test_sliding import whole_net
class Zeros:
    shape, dtype, chunks, voxel_size, unit, locator = (1, 2500, 700, 8), np.dtype("uint8"), None, None, None, None
    def __getitem__(self, where):
        return np.zeros([len(range(*s.indices(n))) for s, n in zip(where, self.shape)], "uint8")
    def fingerprint(self): return ""
    def close(self): pass
class Nowhere:
    shape, dtype, unit_of_write, exclusive, locator = (2, 2500, 700, 8), np.dtype("float32"), None, True, None
    def __setitem__(self, where, values): pass
    def flush(self): pass
    def fingerprint(self): return ""
    def close(self): pass
node = whole_net(3, 1, 2)
window = nm.SlidingWindow((64, 64, 8), 0.25)
node.predict_dense(np.zeros((1, 64, 64, 8), "uint8"), sliding_window=window)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
node.predict_dense(Zeros(), out=Nowhere(), sliding_window=window, memory="30MB")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert not run.returncode, run.stderr
    assert int(run.stdout) * 1024 < 50e6  # the result has 112 MB


# ---- restarts
class Ends(Recording):
    """Result that is interrupted after some writes."""

    def __init__(self, shape, room, **kwargs):
        super().__init__(shape, **kwargs)
        self.room = room

    def __setitem__(self, where, values):
        if not self.room:
            raise KeyboardInterrupt
        self.room -= 1
        super().__setitem__(where, values)


@pytest.mark.parametrize("room", [0, 1, 5, 11])
def test_a_restart_does_only_what_is_missing(node, raw, want, tmp_path, room):
    first = Ends(SHAPE, room, unit=(2, 4, 8, 16))
    options = {"sliding_window": WINDOW, "journal": tmp_path / "j"}
    with pytest.raises(KeyboardInterrupt):
        node.predict_dense(raw, out=first, memory="900kB", **options)
    second = Recording(SHAPE, unit=(2, 4, 8, 16))
    node.predict_dense(raw, out=second, resume=True, **options)
    assert (first.count + second.count == 1).all() and first.count.any() == (room > 0)
    np.testing.assert_array_equal(first.array + second.array, want)


@pytest.mark.parametrize(
    ("what", "window"),
    [
        ("options", None),
        ("options", nm.SlidingWindow((4, 8, 8), (0.5, 0.5, 0.5), mirror=(2,))),
        ("options", nm.SlidingWindow((4, 8, 8), (0.5, 0.5, 0.25))),
        ("options", nm.SlidingWindow((4, 8, 8), (0.5, 0.5, 0.25), sigma=0.2, mirror=(2,))),
    ],
)
def test_another_window_is_another_prediction(raw, tmp_path, what, window):
    node = nm.Conv(nm.Input((None, 1, 4, 8, 8), "b,f,z,y,x", print_repr=False), 1, (1, 1, 1), print_repr=False)
    node.predict_dense(raw, out=tmp_path / "a.npy", sliding_window=WINDOW)
    with pytest.raises(FileError, match=f"another .*{what}"):
        node.predict_dense(raw, out=tmp_path / "a.npy", sliding_window=window, resume=True)


SLOW = """
import os, sys, time, numpy as np, neuromancer as nm
model = nm.modelload(sys.argv[1])
def slow(values):
    time.sleep(0.01)
    return values
window = nm.SlidingWindow((4, 8, 8), (0.5, 0.5, 0.25), mirror=(2,))
print("ready", flush=True)
model["scores"].predict_dense(
    sys.argv[2], out=sys.argv[3], sliding_window=window, reduce=slow, resume=True, progress=False,
    store={"chunks": (2, 4, 8, 8)}, memory="1MB",
)
"""


def test_a_kill_at_any_moment_loses_nothing(raw, path, tmp_path):
    model = nm.model_manager.newmodel("killed")
    node = whole_net(3, 1, 2)
    want = node.predict_dense(raw, sliding_window=WINDOW)
    model.save(tmp_path / "model.h5")
    nm.model_manager.delmodel("killed")
    command = [sys.executable, "-c", SLOW, str(tmp_path / "model.h5"), str(path), str(tmp_path / "out.zarr")]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for wait in (0.5,):
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    with closing(volumes.open_source(tmp_path / "out.zarr")) as found:
        np.testing.assert_array_equal(found[:, :, :, :], want)


# ---- shards and workers
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards(node, raw, want, tmp_path, order):
    for i in order:
        sink = sink_of(tmp_path, "npy")
        node.predict_dense(raw, out=sink, sliding_window=WINDOW, shard=(i, 3))
        assert Journal.find(tmp_path / "out.npy.progress").header["complete"] == (i == order[-1])
        sink.close()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), want)


@pytest.mark.parametrize("memory", [None, "2MB"])
def test_threads(node, raw, want, tmp_path, memory):
    with ThreadPoolExecutor(3) as pool:
        got = node.predict_dense(raw, sliding_window=WINDOW, executor=pool, memory=memory)
        np.testing.assert_array_equal(got, want)
        sink = sink_of(tmp_path, "h5")
        node.predict_dense(raw, out=sink, sliding_window=WINDOW, executor=pool, memory=memory)
    np.testing.assert_array_equal(sink[...], want)
    sink.close()


def test_processes(raw, path, tmp_path):
    """Only the main process writes to HDF5; a worker whose sums do not fit into memory has its own file."""
    node = whole_net(3, 1, 2)
    want = node.predict_dense(raw, sliding_window=WINDOW)
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        for kind, memory in (("npy", "900kB"), ("h5", None)):
            sink = sink_of(tmp_path, kind)
            node.predict_dense(
                NpySource(path),
                out=sink,
                sliding_window=WINDOW,
                executor=pool,
                memory=memory,
                mask=np.ones((27, 30, 33)),
            )
            np.testing.assert_array_equal(sink[...], want)
            folder = tmp_path / f"out.{kind}.progress"
            assert sorted(p.name for p in folder.iterdir()) == ["run.json"]
            sink.close()


def test_tasks_are_whole_bands(node, raw):
    plan = node.plan_dense(raw, sliding_window=WINDOW, chunks=(2, 4, 8, 16))
    for size in (1, 3, 50):
        tasks = list(plan.tasks(iter(plan.indices()), size))
        assert [i for task in tasks for i in task] == list(plan.indices())
        bands = [{i // plan.tiles_per_band for i in task} for task in tasks]
        assert all(not a & b for a, b in pairwise(bands))
    parts = [plan.shard(i, 5) for i in range(5)]
    assert [i for part in parts for i in part.indices()] == list(plan.indices())
    assert all(part.first % plan.tiles_per_band == 0 for part in parts)
