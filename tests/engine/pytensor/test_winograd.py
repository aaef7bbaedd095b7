"""Convolution with fewer products agrees with a direct one, whatever the tiles, and is taken where it pays."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d, conv3d

from neuromancer import engine as E
from neuromancer.engine.pytensor.kernels import tiles, winograd
from neuromancer.engine.pytensor.kernels.tiles import matrices
from neuromancer.engine.pytensor.kernels.winograd import LANES
from neuromancer.engine.pytensor.link.torch.convolution import FewerProducts
from neuromancer.engine.pytensor.ops.conv import Conv

DIRECT = {2: conv2d, 3: conv3d}


@pytest.mark.parametrize("size", list(tiles.POINTS))
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 6])
def test_matrices_are_a_correlation(taps, size):
    a, g, b = matrices(taps, size)
    rng = np.random.default_rng(taps)
    x, w = rng.standard_normal(size), rng.standard_normal(taps)
    np.testing.assert_allclose(a @ ((g @ w) * (b @ x)), np.correlate(x, w, "valid"), atol=1e-12)


def test_choice_and_transforms_agree():
    assert set(tiles.POINTS) == set(winograd.TRANSFORM) and tiles.LANES == LANES


@st.composite
def convolutions(draw):
    ndim = draw(st.integers(2, 3))
    taps = [draw(st.integers(1, 4)) for _ in range(ndim - 2)] + [draw(st.integers(2, 9)) for _ in range(2)]
    dilation = tuple(draw(st.integers(1, 4)) for _ in range(ndim))
    out = [draw(st.integers(1, 4)) for _ in range(ndim - 2)] + [draw(st.integers(1, 15)) for _ in range(2)]
    sizes = [n + d * (k - 1) for n, d, k in zip(out, dilation, taps, strict=True)]
    pad = tuple(draw(st.integers(0, min(4, (n - 1) // 2))) for n in sizes)
    sizes = [n - 2 * p for n, p in zip(sizes, pad, strict=True)]
    channels = draw(st.integers(LANES, 50)), draw(st.integers(LANES, 40))
    return (draw(st.integers(1, 2)), channels[0], *sizes), (channels[1], channels[0], *taps), dilation, pad


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.booleans(), st.integers(1, 3), st.sampled_from([1, winograd.CHUNK]), st.booleans())
def test_agrees_with_direct(geometry, with_bias, threads, chunk, large):
    x_shape, w_shape, dilation, pad = geometry
    size = 7 if large and min(winograd.split(k, 7)[1] for k in w_shape[-2:]) >= 4 else 6
    generator = torch.Generator().manual_seed(0)
    x, w = torch.rand(x_shape, generator=generator), torch.randn(w_shape, generator=generator)
    bias = torch.randn(w_shape[0], generator=generator) if with_bias else None
    expected = DIRECT[x.ndim - 2](
        x.double(), w.double(), None if bias is None else bias.double(), dilation=dilation, padding=pad
    )
    before, winograd.CHUNK = winograd.CHUNK, chunk
    used = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = winograd.conv(x, winograd.transformed(w, size), bias, dilation, pad, w_shape[2:])
    finally:
        winograd.CHUNK = before
        torch.set_num_threads(used)
    assert y.shape == expected.shape
    assert y.is_contiguous(memory_format=torch.channels_last if y.ndim == 4 else torch.channels_last_3d) or 1 in y.shape
    assert (y.double() - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1.0)


def test_result_does_not_depend_on_threads():
    x, w = torch.randn(1, 20, 6, 70, 70), torch.randn(30, 20, 2, 4, 4)
    u = winograd.transformed(w, 7)
    used = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(winograd.conv(x, u, None, (1, 2, 2), (0, 0, 0), (2, 4, 4)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(used)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "expected"),
    [
        ((1, 40, 10, 60, 60), (80, 40, 4, 4, 4), {}, 6),
        ((1, 40, 21, 36, 36), (80, 40, 4, 5, 5), {}, 7),
        ((8, 64, 64, 64), (64, 64, 3, 3), {"pad": (1, 1)}, 6),
        ((1, 40, 10, 60, 60), (80, 40, 4, 4, 4), {"stride": (1, 2, 1)}, None),
        ((1, 40, 10, 60, 60), (80, 40, 4, 1, 4), {}, None),
        ((1, 40, 10, 60, 60), (80, 40, 4, 6, 6), {}, 6),
        ((1, 80, 12, 60, 60), (80, 80, 9, 9, 7), {}, 6),
        ((1, 1, 10, 60, 60), (80, 1, 4, 4, 4), {}, None),
        ((1, 40, 10, 4, 4), (80, 40, 4, 4, 4), {}, None),
        ((0, 40, 10, 60, 60), (80, 40, 4, 4, 4), {}, None),
        ((1, 40, 10, 3, 60), (80, 40, 4, 4, 4), {}, None),
    ],
)
def test_taken_where_it_pays(x_shape, w_shape, options, expected):
    ndim = len(x_shape) - 2
    geometry = {"stride": (1,) * ndim, "dilation": (1,) * ndim, "pad": (0,) * ndim, **options}
    x, w = torch.zeros(x_shape), torch.zeros(w_shape)
    assert winograd.tile_size(x, w, **geometry) == expected
    assert winograd.tile_size(x.double(), w.double(), **geometry) is None
    assert winograd.tile_size(x.to("meta"), w.to("meta"), **geometry) is None


def test_function_uses_it_and_follows_its_parameter():
    rng = np.random.default_rng(0)
    x = E.tensor("x", (None, 64, None, None), "float32")
    w = E.SharedVariable(rng.standard_normal((64, 64, 3, 3)).astype("float32"), "w")
    function = E.function([x], E.conv(x, w, pad=1))
    (form,) = [s.run for s in function.program.steps if s.node is not None and isinstance(s.node.op, Conv)]
    assert isinstance(form, FewerProducts)
    a = rng.standard_normal((2, 64, 40, 44)).astype("float32")
    for _ in range(2):
        expected = conv2d(torch.from_numpy(a), torch.from_numpy(w.get_value()), padding=1).numpy()
        np.testing.assert_allclose(function(a), expected, atol=1e-5 * np.abs(expected).max())
        kept = dict(form._kept)
        function(a)
        assert kept and all(form._kept[size] is kernel for size, kernel in kept.items())
        w.set_value(rng.standard_normal((64, 64, 3, 3)).astype("float32"))


@pytest.mark.parametrize("pad", [(0, 0), (2, 1)])
def test_training_uses_it_in_both_directions(pad, monkeypatch):
    rng = np.random.default_rng(0)
    shape = (2, 64, 60, 64)
    x = E.tensor("x", shape, "float32")
    w = E.SharedVariable(rng.standard_normal((72, 64, 3, 3)).astype("float32"), "w")
    y = E.conv(x, w, dilation=(1, 2), pad=pad)
    gx, gw = E.grad((y**2).sum(), [x, w])
    function = E.function([x], [y, gx], updates=[(w, (w - 1e-4 * gw).astype("float32"))])
    calls = []
    conv = winograd.conv
    monkeypatch.setattr(winograd, "conv", lambda *a: calls.append(1) or conv(*a))
    a = rng.standard_normal(shape).astype("float32")
    for _ in range(2):
        xt = torch.from_numpy(a).double().requires_grad_()
        wt = torch.from_numpy(w.get_value()).double().requires_grad_()
        yt = conv2d(xt, wt, dilation=(1, 2), padding=pad)
        (yt**2).sum().backward()
        for value, wanted in zip(function(a), (yt.detach(), xt.grad), strict=True):
            np.testing.assert_allclose(value, wanted, atol=1e-5 * float(wanted.abs().max()))
        wanted = (wt - 1e-4 * wt.grad).detach().numpy()
        np.testing.assert_allclose(w.get_value(), wanted, atol=1e-5 * np.abs(wanted).max())
    assert len(calls) == 4


def test_a_kernel_for_one_call_has_to_be_worth_its_transform():
    x, w = torch.zeros(1, 256, 14, 14), torch.zeros(256, 256, 3, 3)
    geometry = ((1, 1), (1, 1), (0, 0))
    assert winograd.tile_size(x, w, *geometry) == 6 and winograd.tile_size(x, w, *geometry, prepared=False) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_works_after_fork():
    # torch's own threads do not survive a fork, so nothing here may use them in the child
    x = torch.randn(1, 20, 6, 70, 70).contiguous(memory_format=torch.channels_last_3d)
    u = winograd.transformed(torch.randn(30, 20, 2, 4, 4), 6)
    used = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = winograd.conv(x, u, None, (1, 2, 2), (0, 0, 0), (2, 4, 4))
        child = os.fork()
        if child == 0:
            torch.set_num_threads(2)
            y = winograd.conv(x, u, None, (1, 2, 2), (0, 0, 0), (2, 4, 4))
            os._exit(0 if y.numpy().tobytes() == expected.numpy().tobytes() else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(used)
