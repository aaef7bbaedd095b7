"""Tiles that are begun before the one before them is finished, as on a GPU: the same results, errors and records.

A stand-in computes a call only when its result is asked for, so that whatever waits in between would be seen.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.dense import Threads
from neuromancer.dense.network import dense_network
from neuromancer.dense.pipeline import Pipeline
from neuromancer.dense.plan_builder import Buffers
from neuromancer.dense.resume import Journal
from neuromancer.errors import IncompleteWarning, OutOfMemoryError, PredictionError
from tests.dense.nets import image, plane_net, volume_net
from tests.dense.stores import NpySource, Recording


class Device:
    """Device that runs two calls at once, logs calls started (+n) and fetched (-n), and fails on request."""

    def __init__(self, monkeypatch):
        self.log, self.started = [], 0
        self.fails_at_start, self.fails_at_result = {}, {}
        self.most = None
        device = self

        class Later:
            def __init__(self, function, args):
                device.started += 1
                self.number, self.function, self.args = device.started, function, args
                device.check(args, device.fails_at_start, self.number)
                device.log.append(self.number)

            def result(self):
                device.log.append(-self.number)
                device.check(self.args, device.fails_at_result, self.number)
                return self.function(*self.args)

        monkeypatch.setattr(E, "calls_under_way", lambda: 2)
        monkeypatch.setattr(E.CompiledFunction, "start", lambda function, *args: Later(function, args))

    def check(self, args, fails, number):
        if number in fails:
            raise fails[number]
        if self.most is not None and fails is self.late_or_early and args[0].size > self.most:
            raise OutOfMemoryError("not enough memory", node="conv", got="a large block")

    late_or_early = None

    @property
    def under_way(self):
        """Maximum number of calls started and not yet fetched."""
        now, most = 0, 0
        for event in self.log:
            now += 1 if event > 0 else -1
            most = max(most, now)
        return most


@pytest.fixture
def device(monkeypatch):
    return Device(monkeypatch)


@pytest.fixture
def raw(tmp_path):
    array = image(1, 14, 40, 44)
    np.save(tmp_path / "raw.npy", array)
    return array


OPTIONS = [
    {},
    {"pad_raw": True},
    {"as_uint8": True},
    {"augment": "flips"},
    {"roi": [(2, 9), slice(5, 30), None]},
    {"skip_empty": "constant", "fill": 3},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("threads", [None, Threads(0, 0, 1, 1), Threads(1, 1, 2, 1)])
def test_the_results_are_the_same(monkeypatch, raw, options, threads):
    node = volume_net()
    want = node.predict_dense(raw, tile=(3, 16, 16), **options)
    device = Device(monkeypatch)
    sink = Recording(want.shape, want.dtype)
    node.predict_dense(raw, out=sink, tile=(3, 16, 16), threads=threads, **options)
    np.testing.assert_array_equal(sink.array, want)
    assert (sink.count == 1).all()
    np.testing.assert_array_equal(node.predict_dense(raw, tile=(3, 16, 16), **options), want)
    assert device.under_way == 2


def test_the_next_tile_is_begun_before_the_last_one_is_fetched(device, raw):
    node = volume_net()
    node.predict_dense(raw, tile=(3, 35, 39))
    assert device.log == [1, 2, -1, 3, -2, 4, -3, -4]


def test_stacks_and_several_nodes(monkeypatch, raw):
    plane, inner = plane_net(), volume_net()
    want = plane.predict_dense(raw, tile=(4, 20, 20)), nm.predict_dense([inner, inner.parent], raw, tile=(3, 16, 16))
    device = Device(monkeypatch)
    np.testing.assert_array_equal(plane.predict_dense(raw, tile=(4, 20, 20)), want[0])
    for found, wanted in zip(nm.predict_dense([inner, inner.parent], raw, tile=(3, 16, 16)), want[1], strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert device.under_way == 2


@pytest.mark.parametrize("when", ["fails_at_start", "fails_at_result"])
def test_an_error_names_its_tile_and_keeps_those_before(device, raw, tmp_path, when):
    node = volume_net()
    sink = Recording((2, 11, 35, 39))
    getattr(device, when)[3] = RuntimeError("it broke")
    with pytest.raises(PredictionError, match=r"it broke, in tile 2 \("):
        node.predict_dense(raw, out=sink, tile=(3, 35, 39), journal=tmp_path / "j")
    assert (sink.count[:, :6] == 1).all() and not sink.count[:, 6:].any()
    assert list(Journal.find(tmp_path / "j").done().missing(range(4))) == [2, 3]


@pytest.mark.parametrize("when", ["fails_at_start", "fails_at_result"])
def test_a_tile_that_is_skipped_is_filled_and_the_others_are_not(device, raw, when):
    node = volume_net()
    getattr(device, when)[2] = RuntimeError("it broke")
    with pytest.warns(IncompleteWarning, match=r"1 of 4 tiles.*tile 1 .*RuntimeError: it broke"):
        found = node.predict_dense(raw, tile=(3, 35, 39), on_error="skip", fill=7)
    assert (found[:, 3:6] == 7).all() and (found[:, :3] < 1).all() and (found[:, 6:] < 1).all()


def test_a_tile_that_cannot_be_read(device, raw, tmp_path):
    class Unreadable(NpySource):
        def __getitem__(self, where):
            if where[1].start == 3:
                raise OSError(5, "Input/output error")
            return super().__getitem__(where)

    sink = Recording((2, 11, 35, 39))
    with pytest.raises(OSError, match=r"tile 1 .*cannot be read"):
        volume_net().predict_dense(Unreadable(tmp_path / "raw.npy"), out=sink, tile=(3, 35, 39))
    assert (sink.count[:, :3] == 1).all() and not sink.count[:, 3:].any()


@pytest.mark.parametrize("when", ["fails_at_start", "fails_at_result"])
def test_what_is_too_large_is_halved(monkeypatch, raw, caplog, when):
    node = volume_net()
    want = node.predict_dense(raw)
    device = Device(monkeypatch)
    device.late_or_early, device.most = getattr(device, when), 1500
    np.testing.assert_allclose(node.predict_dense(raw, tile=(3, 16, 39)), want, rtol=1e-5, atol=1e-6)
    assert "not enough memory for tile 0" in caplog.text
    assert device.under_way <= 2
    device.most = 0
    with pytest.raises(OutOfMemoryError, match="not enough memory"):
        node.predict_dense(raw, tile=(3, 16, 39))


def test_values_that_are_no_numbers(device, raw):
    values = raw.astype("float32")
    values[0, 8, 20, 20] = np.nan
    with pytest.raises(PredictionError, match=r"values that are not a number, in tile 1 \("):
        volume_net().predict_dense(values, tile=(3, 35, 39), on_nan="error")


def test_resuming_and_progress(device, raw, tmp_path):
    node, path = volume_net(), tmp_path / "out.npy"
    want = node.predict_dense(raw, tile=(3, 35, 39))
    device.fails_at_result[device.started + 2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        node.predict_dense(raw, out=path, tile=(3, 35, 39), store={"chunks": (2, 1, 35, 39)})
    before = device.started
    node.predict_dense(raw, out=path, tile=(3, 35, 39), resume=True)
    np.testing.assert_array_equal(np.load(path), want)
    assert device.started - before == 3, "one tile was done"


def test_progress_counts_every_voxel_once(device, raw, monkeypatch):
    voxels, plain = [], Pipeline.__init__

    def counting(self, work, sinks, threads, commit=None, skip=False, progress=None):
        plain(self, work, sinks, threads, commit, skip, lambda n: voxels.append(n) or progress(n))

    monkeypatch.setattr(Pipeline, "__init__", counting)
    volume_net().predict_dense(raw, tile=(3, 35, 39))
    assert sum(voxels) == 11 * 35 * 39 and len(voxels) == 4


def test_threads_that_share_a_network_take_turns(device, raw):
    """Threads already overlap; more calls at once would exceed the memory of the plan."""
    want = volume_net().predict_dense(raw, tile=(3, 16, 16))
    device.log.clear()
    sink = Recording(want.shape)
    with ThreadPoolExecutor(3) as pool:
        node = volume_net()
        node.predict_dense(raw, out=sink, tile=(3, 16, 16), executor=pool)
    assert device.under_way == 1 and (sink.count == 1).all()


def test_a_plan_counts_what_is_under_way(monkeypatch, raw):
    node = volume_net()
    usual = node.plan_dense(raw)
    monkeypatch.setattr(E, "calls_under_way", lambda: 2)
    more = node.plan_dense(raw)
    assert more.tile_shape == usual.tile_shape
    # one input channel and two output channels: of the next tile on the device, of both tiles in page-locked memory
    assert more.memory - usual.memory == pytest.approx(3 * 4 * 3 * 14 * 40 * 44)
    assert Buffers() == Buffers(0, 0, 0, 0)


def test_one_call_at_a_time_on_the_cpu(raw, monkeypatch):
    log, plain = [], E.CompiledFunction.__call__
    monkeypatch.setattr(E.CompiledFunction, "__call__", lambda f, *args: log.append("computed") or plain(f, *args))
    node = volume_net()
    sink = Recording((2, 11, 35, 39))
    store = Recording.__setitem__
    monkeypatch.setattr(Recording, "__setitem__", lambda *args: log.append("stored") or store(*args))
    node.predict_dense(raw, out=sink, tile=(3, 35, 39), threads=Threads(0, 0, 1, 1))
    assert log == ["computed", "stored"] * 4
    assert dense_network([node]).form == "sliding"
