"""Dilated convolutions as plain ones of fragments, and the choice between the two."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer import engine as E
from neuromancer.engine.pytensor import costs
from neuromancer.engine.pytensor.kernels import conv as kernels
from neuromancer.engine.pytensor.kernels import fragments
from neuromancer.engine.pytensor.kernels.conv import channels_last


@st.composite
def layers(draw):
    """Draw shapes of x and w and a dilation for which at least one window fits."""
    n = draw(st.integers(1, 3))
    taps, dilation = (draw(st.tuples(*[st.integers(1, 4)] * n)) for _ in range(2))
    room = draw(st.tuples(*[st.integers(1, 7)] * n))
    sizes = [d * (k - 1) + r for k, d, r in zip(taps, dilation, room, strict=True)]
    batch, n_in, n_out = (draw(st.integers(1, 3)) for _ in range(3))
    return (batch, n_in, *sizes), (n_out, n_in, *taps), dilation


@settings(max_examples=150, deadline=None)
@given(layers(), st.booleans(), st.booleans())
def test_fragments_give_the_dilated_convolution(layer, with_bias, last):
    x_shape, w_shape, dilation = layer
    torch.manual_seed(0)
    x, w = torch.randn(x_shape, dtype=torch.float64), torch.randn(w_shape, dtype=torch.float64)
    x, w = (channels_last(x), channels_last(w)) if last else (x, w)
    bias = torch.randn(w_shape[0], dtype=torch.float64) if with_bias else None
    want = fragments.dilated(x, w, bias, dilation)
    torch.testing.assert_close(fragments.in_fragments(x, w, bias, dilation), want, rtol=1e-12, atol=1e-12)
    spread = fragments.effective(dilation, w_shape[2:])
    torch.testing.assert_close(fragments.in_fragments(x, w, bias, spread), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("last", [False, True])
def test_fragments_keep_the_memory_format(last):
    x = torch.arange(2 * 3 * 5 * 4 * 6.0).view(2, 3, 5, 4, 6)
    x = channels_last(x) if last else x
    parts = fragments.split(x, (2, 1, 3))
    assert parts.shape == (12, 3, 3, 4, 2)
    assert parts.is_contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)
    back = fragments.joined(parts, (2, 1, 3))
    assert torch.equal(back[:, :, :5], x)
    assert back.is_contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)
    phase = parts.view(2, 1, 3, 2, 3, 3, 4, 2)[1, 0, 2, 1]  # the fragment of the second image that starts at (1, 0, 2)
    assert torch.equal(phase[:, :2], x[1, :, 1::2, :, 2::3])
    cut = fragments.split(x[:, :, :4, 1:], (2, 1, 1))
    assert cut.is_contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


# ---- choosing
def test_the_second_run_is_timed_on_the_current_stream(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            log.append(f"event on {stream}")

        def synchronize(self):
            log.append("host waits")

        def elapsed_time(self, end):
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    assert fragments.on_the_device(lambda: log.append("run") or torch.zeros(1)) == 0.25
    assert log == ["run", "event on the stream of cpu", "run", "event on the stream of cpu", "host waits"]


class Clock:
    """Returns fixed times instead of measuring; an exception in place of a time is raised."""

    def __init__(self, *times):
        self.times, self.asked = times, 0

    def __call__(self, way):
        time = self.times[self.asked % len(self.times)]
        self.asked += 1
        if isinstance(time, Exception):
            raise time
        return time


def results(calls):
    return [lambda: calls.append("as it is") or "as it is", lambda: calls.append("fragments") or "fragments"]


@pytest.mark.parametrize(("times", "wanted"), [((1.0, 2.0), "as it is"), ((2.0, 1.0), "fragments")])
def test_the_faster_one_is_chosen_once_per_kind(times, wanted):
    clock, calls = Clock(*times), []
    trials = fragments.Trials(clock)
    for _ in range(3):
        assert trials("some layer", results(calls)) == wanted
    assert clock.asked == 2 and calls == [wanted] * 3
    trials("another layer", results(calls))
    assert clock.asked == 4


def test_one_that_runs_out_of_memory_is_not_chosen():
    lack = torch.OutOfMemoryError("CUDA out of memory")
    assert fragments.Trials(Clock(1.0, lack))("layer", results([])) == "as it is"
    assert fragments.Trials(Clock(lack, 1.0))("layer", results([])) == "fragments"
    neither = fragments.Trials(Clock(lack, lack))
    with pytest.raises(torch.OutOfMemoryError):
        neither("layer", results([]))
    assert not neither.chosen


def test_sizes_within_a_factor_of_two_are_of_one_kind(monkeypatch):
    clock = Clock(2.0, 1.0)
    monkeypatch.setattr(fragments, "trials", fragments.Trials(clock))
    w = torch.randn(2, 3, 3, 3)
    for size, asked in ((40, 2), (63, 2), (33, 2), (64, 4)):
        x = torch.randn(1, 3, size, 40)
        torch.testing.assert_close(fragments.conv(x, w, None, (2, 2)), fragments.dilated(x, w, None, (2, 2)))
        assert clock.asked == asked
    fragments.conv(x.double(), w.double(), None, (2, 2))
    assert clock.asked == 6
    fragments.conv(x, channels_last(w), None, (2, 2))
    assert clock.asked == 8
    pointwise = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(
        fragments.conv(x, pointwise, None, (2, 2)), fragments.dilated(x, pointwise, None, (2, 2))
    )
    assert clock.asked == 8, "nothing is dilated"


class OnGpu:
    """Stands in for a tensor on a GPU until torch computes with it."""

    device, dtype = torch.device("cuda"), torch.float32

    def __init__(self, *shape):
        self.shape, self.ndim = torch.Size(shape), len(shape)

    def numel(self):
        return self.shape.numel()


@pytest.mark.parametrize(
    ("stride", "dilation", "pad", "ours"),
    [((1, 1), (2, 2), (0, 0), True), ((2, 1), (1, 2), (0, 0), False), ((1, 1), (2, 2), (1, 1), False)],
)
def test_convolutions_without_stride_and_padding_use_fragments(monkeypatch, stride, dilation, pad, ours):
    monkeypatch.setattr(fragments, "conv", lambda *a: "here")
    monkeypatch.setattr(kernels, "_conv", lambda *a: "torch")
    x, w = OnGpu(1, 3, 9, 9), torch.randn(2, 3, 3, 3)
    assert kernels.conv(x, w, None, stride, dilation, pad) == ("here" if ours else "torch")


def test_a_plan_for_a_gpu_has_room_for_copies(monkeypatch):
    layer = ((1, 20, 9, 40, 40), (30, 20, 3, 3, 3), (1, 2, 2), "float32")
    monkeypatch.setattr(costs, "resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some GPU")
    seconds, kept, scratch = E.conv_cost(*layer)
    out = 7 * 36 * 36
    assert seconds == out * 20 * 30 * 27 * E.unit_costs("float32").product and kept == 0
    assert scratch == 4 * (2 * 20 * 9 * 40 * 40 + 30 * out)
    assert E.conv_cost((1, 20, 9, 40, 40), (30, 20, 3, 1, 1), (1, 2, 2), "float32")[2] == 4 * 1600 * (180 + 210)
    large = E.conv_cost((1, 100, 300, 300, 300), (10, 100, 2, 2, 2), (1, 1, 1), "float32")[2]
    assert large == 4 * (100 * 300**3 + 10 * 299**3 + 800 * 299**3), "too large for cuDNN"
