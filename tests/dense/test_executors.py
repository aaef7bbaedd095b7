"""Tiles run by threads, processes, shards and a cluster: identical results, even if workers die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.dense.resume import Journal
from neuromancer.errors import ArgumentError, FileError, PredictionError
from tests.dense.nets import image, volume_net
from tests.dense.stores import H5Sink, NpySink, NpySource

TILE = (2, 8, 8)
SPAWN = multiprocessing.get_context("spawn")


def half(values):
    return values * np.float32(0.5)


def half_once(values):
    """Kill the process on the first call, while a marker file is absent."""
    mark = os.environ["NEUROMANCER_TEST_MARK"]
    if values.shape[-1] > 1:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return half(values)
        os.kill(os.getpid(), signal.SIGKILL)
    return half(values)


def quarter(x):
    """Functor that is sent to workers with the model."""
    return x / 4


def device_name(values):
    """A number that depends on the device."""
    return np.full_like(values, sum(map(ord, nm.config.device)))


def slow_half(values):
    time.sleep(0.03)
    return half(values)


@pytest.fixture(scope="module")
def workers():
    """Two processes that several cases share, as each takes seconds to start; their device is that of their caller."""
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        patch.delenv("NEUROMANCER_DEVICE", raising=False)
        list(pool.map(half, range(8)))  # start both before the environment is restored
        patch.undo()
        yield pool


@pytest.fixture
def raw(tmp_path):
    array = image(1, 12, 40, 44)
    np.save(tmp_path / "raw.npy", array)
    return array


def check(sink, want):
    np.testing.assert_array_equal(np.asarray(sink.array), want)
    sink.close()


def sink_of(tmp_path, kind, shape=(2, 9, 35, 39)):
    if kind == "npy":
        return NpySink(tmp_path / "out.npy", shape, "float32", (2, 2, 8, 8))
    return H5Sink(tmp_path / "out.h5", shape, "float32", (2, 2, 8, 8))


@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_threads(raw, tmp_path, kind):
    node = volume_net()
    want = node.predict_dense(raw, tile=TILE)
    with ThreadPoolExecutor(3) as pool:
        sink = sink_of(tmp_path, kind)
        node.predict_dense(raw, out=sink, tile=TILE, executor=pool)
        assert node.predict_dense(raw, tile=TILE, executor=pool).shape == want.shape
    check(sink, want)


@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_processes(raw, tmp_path, kind, workers):
    """Only the main process writes to HDF5."""
    node = nm.ApplyFunc(volume_net(), quarter, name="quarter")
    want = node.predict_dense(raw, tile=TILE, reduce=half)
    sink = sink_of(tmp_path, kind)
    models = list(nm.model_manager.models)
    node.predict_dense(
        NpySource(tmp_path / "raw.npy"), out=sink, tile=TILE, executor=workers, reduce=half, mask=np.ones((6, 20, 22))
    )
    assert list(nm.model_manager.models) == models
    folder = tmp_path / f"out.{kind}.progress"
    assert Journal.find(folder).header["complete"]
    assert sorted(p.name for p in folder.iterdir()) == ["run.json"]
    check(sink, want)


def test_functions_that_workers_cannot_import(raw, tmp_path):
    node = nm.ApplyFunc(volume_net(), nm.register_functor(lambda x: x / 4, name="quarter of a lambda"), name="quarter")
    refused = pytest.raises(ArgumentError, match="'functor': other processes cannot import")
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool, refused:
        node.predict_dense(tmp_path / "raw.npy", tile=TILE, executor=pool)


def test_processes_run_on_the_device_of_this_one_or_of_their_environment(raw, tmp_path, monkeypatch, workers):
    monkeypatch.delenv("NEUROMANCER_DEVICE", raising=False)
    monkeypatch.setattr(nm.config, "device", "auto")
    node, options = volume_net(), {"tile": (9, 35, 39), "reduce": device_name}
    values = node.predict_dense(tmp_path / "raw.npy", executor=workers, **options)
    assert (values == sum(map(ord, "auto"))).all()
    monkeypatch.setenv("NEUROMANCER_DEVICE", "cpu")
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        values = node.predict_dense(tmp_path / "raw.npy", executor=pool, **options)
    assert (values == sum(map(ord, "cpu"))).all()


def test_processes_share_the_memory_that_is_free(raw, tmp_path, monkeypatch, workers):
    budgets = []
    monkeypatch.setattr("neuromancer.dense.run.memory_budget", lambda: budgets.append(1) or 4_000_000)
    node = volume_net()
    node.predict_dense(tmp_path / "raw.npy", out=tmp_path / "alone.h5")
    node.predict_dense(tmp_path / "raw.npy", out=tmp_path / "both.h5", executor=workers)
    tiles = [Journal.find(tmp_path / f"{name}.h5.progress").header["tiles"] for name in ("alone", "both")]
    assert budgets and tiles[1] > tiles[0]


def test_a_lost_process(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMANCER_TEST_MARK", str(tmp_path / "mark"))
    node = volume_net()
    want = node.predict_dense(raw, tile=TILE, reduce=half)
    source = NpySource(tmp_path / "raw.npy")
    options = {"tile": TILE, "reduce": half_once}
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool, pytest.raises(PredictionError, match="takes no more tasks"):
        node.predict_dense(source, out=NpySink(tmp_path / "a.npy", want.shape, "float32"), executor=pool, **options)
    (tmp_path / "mark").unlink()
    sink = NpySink(tmp_path / "b.npy", want.shape, "float32")
    node.predict_dense(source, out=sink, executor=lambda: ProcessPoolExecutor(1, mp_context=SPAWN), **options)
    check(sink, want)


def test_errors_of_workers_come_back(raw, tmp_path):
    node = volume_net()
    values = raw.astype("float32")
    values[0, 10:, 36:, 40:] = np.nan
    np.save(tmp_path / "nan.npy", values)
    sink = sink_of(tmp_path, "npy")
    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(PredictionError, match=r"values that are not a number, in tile \d+"):
            node.predict_dense(NpySource(tmp_path / "nan.npy"), out=sink, tile=TILE, executor=pool)
        done = len(Journal.find(tmp_path / "out.npy.progress").done())
        with pytest.warns(UserWarning, match=r"\d of .* tiles could not be predicted"):
            node.predict_dense(
                NpySource(tmp_path / "nan.npy"), out=sink, tile=TILE, executor=pool, resume=True, on_error="skip"
            )
    assert 0 < done <= len(Journal.find(tmp_path / "out.npy.progress").done())
    assert 121 <= len(Journal.find(tmp_path / "out.npy.progress").done()) < 125


def test_what_cannot_travel(raw, tmp_path):
    node = volume_net()
    sink = sink_of(tmp_path, "npy")
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        with pytest.raises(ArgumentError, match="cannot open the image"):
            node.predict_dense(raw, out=sink, executor=pool, journal=tmp_path / "a")
        with pytest.raises(ArgumentError, match="cannot import this function"):
            node.predict_dense(
                NpySource(tmp_path / "raw.npy"), out=sink, executor=pool, reduce=lambda v: v, journal=tmp_path / "b"
            )
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        with pytest.raises(ArgumentError, match=r"forked processes hang.*'spawn'"):
            node.predict_dense(NpySource(tmp_path / "raw.npy"), out=sink, executor=pool)
    with pytest.raises(ArgumentError, match="not an executor"):
        node.predict_dense(NpySource(tmp_path / "raw.npy"), out=sink, executor=3)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards(raw, tmp_path, order):
    node = volume_net()
    want = node.predict_dense(raw, tile=TILE)
    for i in order:
        sink = sink_of(tmp_path, "npy")
        node.predict_dense(raw, out=sink, tile=TILE, shard=(i, 3))
        folder = tmp_path / "out.npy.progress"
        assert Journal.find(folder).header["complete"] == (i == order[-1])
        if i != order[-1]:
            assert (np.asarray(sink.array) != want).any()
    check(sink, want)
    with pytest.raises(ArgumentError, match="no such shard"):
        node.predict_dense(raw, out=sink, tile=TILE, shard=(3, 3))
    with pytest.raises(ArgumentError, match="shard and resume require out"):
        node.predict_dense(raw, shard=(0, 2))


def test_shards_at_the_same_time_make_one_result(raw, tmp_path):
    node = volume_net()
    want = node.predict_dense(raw, tile=TILE)
    errors = []
    sink_of(tmp_path, "npy").close()

    def do(i):
        try:
            node.predict_dense(raw, out=sink_of(tmp_path, "npy"), tile=TILE, shard=(i, 4))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), want)
    assert Journal.find(tmp_path / "out.npy.progress").header["complete"]


def test_a_result_that_another_shard_made_meanwhile_is_not_made_again(raw, tmp_path, monkeypatch):
    node, find = volume_net(), Journal.find
    want = node.predict_dense(raw, tile=TILE)
    others = []

    def late(folder):
        found = find(folder)
        if not others:  # another shard starts and ends between our check and our start
            others.append(folder)
            node.predict_dense(raw, out=sink_of(tmp_path, "npy"), tile=TILE, shard=(0, 2))
        return found

    monkeypatch.setattr(Journal, "find", late)
    node.predict_dense(raw, out=sink_of(tmp_path, "npy"), tile=TILE, shard=(1, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), want)
    assert find(tmp_path / "out.npy.progress").header["complete"]


def test_another_shard_that_never_finishes_making_the_result(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("neuromancer.dense.creation_lock.WAIT", 0.2)
    folder = tmp_path / "out.npy.progress"
    folder.mkdir()
    (folder / "making").write_text("elsewhere 1")
    with pytest.raises(FileError, match=r"does not finish; got 'elsewhere 1'|does not finish; got elsewhere 1"):
        volume_net().predict_dense(raw, out=sink_of(tmp_path, "npy"), tile=TILE, shard=(1, 4))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning:distributed")
def test_a_dask_cluster_that_loses_a_worker(raw, tmp_path):
    distributed = pytest.importorskip("distributed")
    node = volume_net()
    want = node.predict_dense(raw, tile=TILE, reduce=half)
    sink = sink_of(tmp_path, "npy")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = client.run(os.getpid)

        def kill():
            while not any(busy := {address: tasks for address, tasks in client.processing().items() if tasks}):
                time.sleep(0.02)
            os.kill(pids[next(iter(busy))], signal.SIGKILL)
            killed.append(not finished)

        killed, finished = [], []
        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        node.predict_dense(NpySource(tmp_path / "raw.npy"), out=sink, tile=TILE, executor=client, reduce=slow_half)
        finished.append(True)
        thread.join(30)
        assert killed == [True]
    check(sink, want)


class Losing(Executor):
    """Executor that runs tasks immediately, but loses the first ones."""

    def __init__(self, times):
        self.times = times

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.times -= 1
        if self.times >= 0:
            future.set_exception(RuntimeError("the worker is gone"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_task_is_given_out_as_often_as_retries_say(raw, tmp_path, retries):
    node, options = volume_net(), {"tile": (9, 35, 39), "retries": retries}
    got = node.predict_dense(tmp_path / "raw.npy", executor=Losing(retries), **options)
    np.testing.assert_array_equal(got, node.predict_dense(raw))
    with pytest.raises(PredictionError, match=f"lost {retries + 1} times"):
        node.predict_dense(tmp_path / "raw.npy", executor=Losing(retries + 1), **options)
