"""Calls that are started and finished later, with mocks of a GPU's streams."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.engine.pytensor import devices
from neuromancer.engine.pytensor.link.torch import transfers
from neuromancer.engine.pytensor.link.torch.transfers import Transfers
from neuromancer.errors import InputTypeError, OutOfMemoryError
from tests.dense.nets import image, volume_net
from tests.dense.stores import Recording

T = E.T


class Streams:
    """Mocks of streams and events that log how they are used."""

    def __init__(self, monkeypatch):
        self.log = []
        self.made = 0
        streams = self

        class Stream:
            def __init__(self, device=None):
                self.name = ("up", "down")[streams.made % 2]
                streams.made += 1

            def wait_stream(self, other):
                streams.log.append(f"{self.name} waits for {other.name}")

        class Event:
            def __init__(self, blocking):
                assert blocking

            def record(self, stream):
                streams.log.append(f"event after {stream.name}")

            def synchronize(self):
                streams.log.append("host waits")

        computing = Stream()
        computing.name, self.made = "compute", 0

        @contextmanager
        def stream(which):
            streams.log.append(f"on {which.name}")
            yield

        for name, value in (
            ("Stream", Stream),
            ("Event", Event),
            ("stream", stream),
            ("current_stream", lambda device: computing),
            ("synchronize", lambda device: streams.log.append("all wait")),
        ):
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(
            torch.Tensor, "record_stream", lambda tensor, which: streams.log.append(f"used on {which.name}")
        )
        monkeypatch.setattr(transfers, "page_locked", lambda shape, dtype: torch.empty(tuple(shape), dtype=dtype))
        monkeypatch.setattr(
            torch.accelerator, "empty_host_cache", lambda: streams.log.append("given back"), raising=False
        )


@pytest.fixture
def streams(monkeypatch):
    return Streams(monkeypatch)


def started_as_on_a_gpu(inputs, outputs):
    """Return a function on the CPU whose started calls take the code path of a GPU."""
    function = E.function(inputs, outputs, backend="torch")
    function.device = torch.device("cuda")
    function.transfers = Transfers(torch.device("cpu"), function.counters)
    return function


def test_a_started_call_waits_only_for_its_result(streams):
    x = E.tensor("x", (None, 3), "float32")
    f = started_as_on_a_gpu([x], x * 2)
    first = f.start(np.ones((2, 3)))
    assert streams.log == [
        "on up", "compute waits for up", "used on compute",  # in
        "down waits for compute", "on down", "used on down", "event after down",  # out
    ]  # fmt: skip
    second = f.start(np.full((4, 3), 5))
    assert "host waits" not in streams.log
    np.testing.assert_array_equal(first.result(), np.full((2, 3), 2, "float32"))
    np.testing.assert_array_equal(second.result(), np.full((4, 3), 10, "float32"))
    assert streams.log.count("host waits") == 2
    assert (f.counters.uploads, f.counters.downloads) == (2, 2)
    f.release()
    assert streams.log[-2:] == ["all wait", "given back"]


def test_results_own_their_memory_and_sizes_stay_on_the_host(streams):
    x, w = E.tensor("x", (None, 2, None, None), "float32"), E.tensor("w", (3, 2, 2, 2), "float32")
    with E.building():
        f = started_as_on_a_gpu([x, w], [E.conv(x, w), x, x.shape[3]])
    array, kernel = np.random.default_rng(0).random((1, 2, 5, 6), "float32"), np.ones((3, 2, 2, 2), "float32")
    y, same, size = f.start(array, kernel).result()
    np.testing.assert_allclose(y, E.function([x, w], E.conv(x, w))(array, kernel), rtol=1e-6)
    assert y.flags.c_contiguous and not np.shares_memory(same, array) and size == 6
    np.testing.assert_array_equal(same, array)
    with pytest.raises(InputTypeError, match="wrong number of arguments"):
        f.start(array)


def test_out_of_memory_is_an_error_of_the_package(streams, monkeypatch):
    x = E.tensor("x", (None,), "float32")
    f = started_as_on_a_gpu([x], x * 2)
    calls = []

    def lacking(shape, dtype):
        calls.append(shape)
        if len(calls) == fails:
            raise RuntimeError("CUDA error: out of memory")
        return torch.empty(tuple(shape), dtype=dtype)

    monkeypatch.setattr(transfers, "page_locked", lacking)
    for fails in (1, 2):  # noqa: B007 (read by `lacking`)
        calls.clear()
        with pytest.raises(OutOfMemoryError, match="not enough memory"):
            f.start(np.ones(4))
    np.testing.assert_array_equal(f.start(np.ones(4)).result(), np.full(4, 2))


@pytest.mark.parametrize(
    ("error", "lack"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_out_of_memory_is_recognised_by_its_message(error, lack):
    assert devices.is_lack_of_memory(error) is lack


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_on_other_devices_a_started_call_has_finished(device):
    config.device = device
    x = E.tensor("x", (None, 3), "float32")
    f = E.function([x], [x * 2, x + 1])
    started = f.start(np.ones((2, 3)))
    assert f.counters.uploads == 1, "computed"
    assert [r.shape for r in started.result()] == [(2, 3), (2, 3)]
    assert E.calls_under_way() == 1


def test_two_calls_are_in_flight_on_a_gpu(monkeypatch):
    monkeypatch.setattr(devices, "resolve_device", lambda name: torch.device("cuda"))
    assert E.calls_under_way() == 2


class LikeGpu:
    """Equals the CPU, where the tensors are, but has the type of a GPU."""

    type = "cuda"

    def __eq__(self, other):
        return other == torch.device("cpu")

    __hash__ = None


def test_dense_prediction_through_streams(streams, monkeypatch):
    """All but the GPU: parameters, tiles started ahead, page-locked results, and memory returned."""
    node, raw = volume_net(), image(1, 14, 40, 44)
    want = node.predict_dense(raw, tile=(3, 16, 39))
    plain = E.CompiledFunction.start

    def start(function, *args):
        if function.device.type == "cpu":
            function(*args)  # so that the parameters are uploaded
            function.device, function.transfers = LikeGpu(), Transfers(torch.device("cpu"), function.counters)
            streams.log.clear()
        return plain(function, *args)

    monkeypatch.setattr(E.CompiledFunction, "start", start)
    monkeypatch.setattr(E, "calls_under_way", lambda: 2)
    config.backend = "torch"
    sink = Recording(want.shape)
    node.predict_dense(raw, out=sink, tile=(3, 16, 39))
    np.testing.assert_allclose(sink.array, want, rtol=1e-5, atol=1e-6)
    tiles = [event for event in streams.log if event in ("on up", "host waits")]
    assert tiles == ["on up", *["on up", "host waits"] * (len(tiles) // 2 - 1), "host waits"] and len(tiles) == 24
    assert streams.log[-2:] == ["all wait", "given back"]
