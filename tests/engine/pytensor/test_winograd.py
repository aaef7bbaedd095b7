"""Winograd convolution agrees with direct convolution, whatever the tiles."""

from __future__ import annotations

import os
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d, conv3d

from neuromancer.engine.pytensor.kernels import cook_toom, winograd
from neuromancer.engine.pytensor.kernels.cook_toom import matrices
from neuromancer.engine.pytensor.kernels.epilogue import CHANNEL, FULL, Epilogue
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.joining import Parts
from neuromancer.engine.pytensor.kernels.layout import to_channels_last
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.speed import Speed

DIRECT = {2: conv2d, 3: conv3d}


@pytest.mark.parametrize("size", list(cook_toom.POINTS))
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 6])
def test_matrices_are_a_correlation(taps, size):
    a, g, b = matrices(taps, size)
    rng = np.random.default_rng(taps)
    x, w = rng.standard_normal(size), rng.standard_normal(taps)
    np.testing.assert_allclose(a @ ((g @ w) * (b @ x)), np.correlate(x, w, "valid"), atol=1e-12)


def test_every_tile_size_has_a_cost():
    assert set(winograd.TRANSFORM) == set(cook_toom.POINTS)


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


def padded(x_shape, pad):
    return (*x_shape[:2], *(n + 2 * p for n, p in zip(x_shape[2:], pad, strict=True)))


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.booleans(), st.integers(1, 3), st.sampled_from([1, winograd.MOST_ROWS]), st.data())
def test_agrees_with_direct(geometry, with_bias, threads, rows, data):
    x_shape, w_shape, dilation, pad = geometry
    sizes = [6, 7] if min(winograd.split(k, 7)[1] for k in w_shape[-2:]) >= 4 else [6]
    deep = [1, winograd.DEEP] if winograd.is_deep(w_shape, dilation) else [1]
    size, deep = data.draw(st.sampled_from(sizes)), data.draw(st.sampled_from(deep))
    generator = torch.Generator().manual_seed(0)
    x, w = torch.rand(x_shape, generator=generator), torch.randn(w_shape, generator=generator)
    bias = torch.randn(w_shape[0], generator=generator) if with_bias else None
    expected = DIRECT[x.ndim - 2](
        x.double(), w.double(), None if bias is None else bias.double(), dilation=dilation, padding=pad
    )
    before, winograd.MOST_ROWS = winograd.MOST_ROWS, rows
    used = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        tiling = winograd.Tiling(padded(x_shape, pad), w_shape, dilation, size, deep)
        y = tiling.conv(x, tiling.transformed(w), bias, pad)
    finally:
        winograd.MOST_ROWS = before
        torch.set_num_threads(used)
    assert y.shape == expected.shape
    assert y.is_contiguous(memory_format=torch.channels_last if y.ndim == 4 else torch.channels_last_3d) or 1 in y.shape
    assert (y.double() - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("deep", [1, winograd.DEEP])
def test_an_image_may_come_in_parts(deep):
    x, w = torch.randn(2, 50, 7, 20, 23), torch.randn(16, 50, 3, 3, 3)
    tiling = winograd.Tiling(padded(x.shape, (1, 1, 1)), tuple(w.shape), (1, 1, 1), 6, deep)
    u, expected = tiling.transformed(w), conv3d(x, w, padding=1)
    for sizes in ([17, 33], [16, 16, 18], [3, 47]):  # those with few channels are joined
        y = tiling.conv(Parts(x.split(sizes, dim=1)), u, None, (1, 1, 1))
        assert torch.equal(y, tiling.conv(x, u, None, (1, 1, 1)))
        assert (y - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("x_shape", "deep"), [((2, 20, 9, 21, 30), 1), ((1, 20, 9, 21, 30), 6), ((2, 20, 21, 30), 1)])
def test_epilogue_is_computed_on_every_value(x_shape, deep):
    ndim = len(x_shape) - 2
    x, w, bias = torch.randn(x_shape), torch.randn(35, 20, *(3,) * ndim), torch.randn(35)
    tiling = winograd.Tiling(x_shape, tuple(w.shape), (1,) * ndim, 6, deep)
    sums = tiling.conv(x, tiling.transformed(w), bias, (0,) * ndim)
    residual = to_channels_last(torch.randn(sums.shape))
    slopes = torch.randn(1, 35, *(1,) * ndim)
    conv, slope, other = (Expression.operand(k) for k in range(3))
    leaky = Expression("maximum", conv, Expression("mul", conv, slope))
    epilogue = Epilogue(Expression("add", other, leaky), (CHANNEL, FULL))
    assert tiling.fits(epilogue, [slopes, residual]) and not tiling.fits(epilogue, [slopes, residual[..., :-1]])
    assert not tiling.fits(epilogue, [slopes, residual.contiguous()])  # of another memory format
    found = tiling.conv(x, tiling.transformed(w), bias, (0,) * ndim, epilogue, [slopes, residual])
    torch.testing.assert_close(found, residual + torch.maximum(sums, sums * slopes))


@pytest.mark.parametrize(("size", "deep"), [(7, 1), (6, winograd.DEEP)])
def test_result_does_not_depend_on_threads(size, deep):
    x, w = torch.randn(1, 20, 6, 70, 70), torch.randn(30, 20, 2, 4, 4)
    tiling = winograd.Tiling(tuple(x.shape), tuple(w.shape), (1, 2, 2), size, deep)
    u = tiling.transformed(w)
    used = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(tiling.conv(x, u, None, (0, 0, 0)))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(used)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "size"),
    [
        ((1, 40, 10, 60, 60), (80, 40, 4, 4, 4), (7, 1)),
        ((1, 40, 21, 36, 36), (80, 40, 4, 5, 5), (7, 1)),
        ((8, 64, 66, 66), (64, 64, 3, 3), (6, 1)),
        ((1, 64, 34, 34, 34), (64, 64, 3, 3, 3), (6, 6)),
        ((1, 40, 10, 60, 60), (80, 40, 4, 6, 6), (6, 6)),
        ((1, 80, 12, 60, 60), (80, 80, 9, 9, 7), (6, 1)),
        ((1, 40, 10, 60, 60), (80, 40, 4, 1, 4), None),
        ((1, 15, 10, 60, 60), (80, 15, 4, 4, 4), None),
        ((1, 40, 10, 60, 60), (15, 40, 4, 4, 4), None),
        ((1, 40, 60), (80, 40, 4), None),
    ],
)
def test_larger_tiles_where_they_pay(x_shape, w_shape, size):
    tiling = winograd.best_tiling(x_shape, w_shape, (1,) * (len(x_shape) - 2), True, Speed())
    assert (tiling and tiling.key) == size


@pytest.mark.parametrize("deep", [1, winograd.DEEP])
def test_memory_is_what_a_plan_is_told(deep, monkeypatch):
    tiling = winograd.Tiling((2, 40, 6, 50, 50), (30, 40, 2, 4, 4), (1, 1, 2), 6, deep)
    w = torch.randn(30, 40, 2, 4, 4)
    assert tiling.transformed(w).nbytes == tiling.prepared
    sizes = []
    empty = winograd.empty
    monkeypatch.setattr(winograd, "empty", lambda *shape: sizes.append(4 * prod(shape)) or empty(*shape))
    used = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        y = tiling.conv(torch.randn(2, 40, 6, 50, 50), tiling.transformed(w), None, (0, 0, 0))
        assert sum(sizes) == tiling.scratch + y.nbytes
    finally:
        torch.set_num_threads(used)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_works_after_fork():
    # torch's own threads do not survive a fork, so the kernel must not use them in the child
    x = torch.randn(1, 20, 6, 70, 70).contiguous(memory_format=torch.channels_last_3d)
    tiling = winograd.Tiling(tuple(x.shape), (30, 20, 2, 4, 4), (1, 2, 2), 6)
    u = tiling.transformed(torch.randn(30, 20, 2, 4, 4))
    used = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = tiling.conv(x, u, None, (0, 0, 0))
        child = os.fork()
        if child == 0:
            torch.set_num_threads(2)
            y = tiling.conv(x, u, None, (0, 0, 0))
            os._exit(0 if y.numpy().tobytes() == expected.numpy().tobytes() else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(used)
