"""Kernel gradients by the Cook-Toom algorithm agree with direct ones, whatever the tiles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import conv_algorithm, winograd_gradient
from neuromancer.engine.pytensor.kernels.conv import conv_grad_kernel
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.winograd_gradient import KernelGradient


@st.composite
def convolutions(draw):
    ndim = draw(st.integers(2, 3))
    taps = [draw(st.integers(1, 4)) for _ in range(ndim - 2)] + [draw(st.integers(2, 9)) for _ in range(2)]
    dilation = tuple(draw(st.integers(1, 4)) for _ in range(ndim))
    out = [draw(st.integers(1, 4)) for _ in range(ndim - 2)] + [draw(st.integers(1, 15)) for _ in range(2)]
    sizes = [n + d * (k - 1) for n, d, k in zip(out, dilation, taps, strict=True)]
    pad = tuple(draw(st.integers(0, min(4, (n - 1) // 2))) for n in sizes)
    sizes = [n - 2 * p for n, p in zip(sizes, pad, strict=True)]
    n_in, n_out, batch = draw(st.integers(LANES, 50)), draw(st.integers(LANES, 40)), draw(st.integers(1, 2))
    return (batch, n_in, *sizes), (n_out, n_in, *taps), (batch, n_out, *out), dilation, pad


def padded(x_shape, pad):
    return (*x_shape[:2], *(n + 2 * p for n, p in zip(x_shape[2:], pad, strict=True)))


def direct(x, gy, w_shape, dilation, pad):
    ones, zeros = [1] * len(pad), [0] * len(pad)
    x, gy, w = x.double(), gy.double(), torch.zeros(w_shape, dtype=torch.float64)
    backward = torch.ops.aten.convolution_backward
    return backward(gy, x, w, None, ones, pad, dilation, False, zeros, 1, [False, True, False])[1]


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(1, 3), st.sampled_from([1, winograd_gradient.CHUNK]), st.booleans())
def test_agrees_with_direct(geometry, threads, chunk, contiguous):
    x_shape, w_shape, y_shape, dilation, pad = geometry
    generator = torch.Generator().manual_seed(0)
    x, gy = torch.rand(x_shape, generator=generator), torch.randn(y_shape, generator=generator)
    if not contiguous:
        x, gy = (v.movedim(1, -1).contiguous().movedim(-1, 1) for v in (x, gy))
    before = winograd_gradient.CHUNK, winograd_gradient.SHARE, torch.get_num_threads()
    winograd_gradient.CHUNK, winograd_gradient.SHARE = chunk, 1e4
    torch.set_num_threads(threads)
    try:
        gw = KernelGradient(padded(x_shape, pad), w_shape, dilation).gradient(x, gy, pad)
    finally:
        winograd_gradient.CHUNK, winograd_gradient.SHARE = before[:2]
        torch.set_num_threads(before[2])
    expected = direct(x, gy, w_shape, dilation, pad)
    assert gw.shape == expected.shape and gw.movedim(1, -1).is_contiguous()
    assert (gw.double() - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1.0)


def test_result_does_not_depend_on_threads():
    x, gy = torch.randn(1, 40, 6, 70, 70), torch.randn(1, 60, 5, 67, 67)
    way = KernelGradient((1, 40, 6, 70, 70), (60, 40, 2, 4, 4), (1, 1, 1))
    assert way.parts > 4
    used = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(way.gradient(x, gy, (0, 0, 0)))
    torch.set_num_threads(used)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_as_precise_as_direct_in_long_sums():
    x, gy = torch.rand(1, 16, 130, 130), torch.rand(1, 16, 128, 128)
    expected = direct(x, gy, (16, 16, 3, 3), (1, 1), (0, 0))
    scale = expected.abs().max()
    gw = KernelGradient((1, 16, 130, 130), (16, 16, 3, 3), (1, 1)).gradient(x, gy, (0, 0))
    theirs = conv_grad_kernel(gy, x, torch.zeros(16, 16, 3, 3), (1, 1), (1, 1), (0, 0))
    assert (gw - expected).abs().max() / scale < max(2e-6, 2 * (theirs - expected).abs().max() / scale)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "stride", "groups", "chosen"),
    [
        ((1, 40, 23, 39, 39), (80, 40, 4, 4, 4), (1, 1, 1), 1, True),
        ((4, 64, 130, 130), (64, 64, 3, 3), (1, 1), 1, True),
        ((4, 64, 130, 130), (64, 64, 3, 3), (2, 2), 1, False),
        ((4, 64, 130, 130), (64, 32, 3, 3), (1, 1), 2, False),
        ((1, 256, 8, 8, 8), (256, 256, 3, 3, 3), (1, 1, 1), 1, False),
        ((1, 1, 92, 92, 92), (32, 1, 3, 3, 3), (1, 1, 1), 1, False),
        ((1, 64, 42, 42), (64, 64, 1, 3), (1, 1), 1, False),
        ((1, 64, 42), (64, 64, 3), (1,), 1, False),
        ((0, 64, 42, 42), (64, 64, 3, 3), (1, 1), 1, False),
    ],
)
def test_used_where_it_pays(x_shape, w_shape, stride, groups, chosen):
    found = conv_algorithm.gradient_for(x_shape, w_shape, stride, (1,) * len(stride), groups)
    assert (found is not None) == chosen
