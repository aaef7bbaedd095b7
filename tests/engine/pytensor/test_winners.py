"""Pooling that remembers the winners as bytes agrees with torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import pool, winners

FORWARD = {2: torch.ops.aten.max_pool2d_with_indices, 3: torch.ops.aten.max_pool3d_with_indices}
BACKWARD = {2: torch.ops.aten.max_pool2d_with_indices_backward, 3: torch.ops.aten.max_pool3d_with_indices_backward}


def last(x):
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


@st.composite
def pools(draw):
    ndim = draw(st.integers(2, 3))
    size = tuple(draw(st.integers(1, 4)) for _ in range(ndim))
    windows = [draw(st.integers(1, 5)) for _ in range(ndim - 1)] + [draw(st.integers(1, 40))]
    spatial = [n * k + draw(st.integers(0, k - 1)) for n, k in zip(windows, size, strict=True)]
    return (draw(st.integers(1, 2)), draw(st.integers(1, 40)), *spatial), size


@settings(max_examples=80, deadline=None)
@given(pools(), st.booleans(), st.integers(1, 3), st.booleans())
def test_agrees_with_torch(geometry, channels_last, threads, with_nan):
    shape, size = geometry
    ndim, ones, zeros = len(size), [1] * len(size), [0] * len(size)
    # many equal values: the first of them wins
    x = torch.randint(-2, 3, shape).float()
    if with_nan:
        x[torch.rand(shape) < 0.1] = float("nan")
    x = last(x) if channels_last else x
    used = torch.get_num_threads()
    torch.set_num_threads(threads)
    share, winners.SHARE = winners.SHARE, 1
    try:
        maxima, index = pool.max_pool(x, size, size, tuple(ones))
        expected, flat = FORWARD[ndim](x, size, size, zeros, ones, False)
        gy = torch.randn_like(maxima)
        gx = pool.max_pool_grad(gy, x.to("meta"), index, size, size, tuple(ones))
        picked = pool.take_winners(x, index, size)
    finally:
        torch.set_num_threads(used)
        winners.SHARE = share
    assert torch.equal(maxima.nan_to_num(9), expected.nan_to_num(9))
    assert torch.equal(gx, BACKWARD[ndim](gy, x, size, size, zeros, ones, False, flat))
    assert torch.equal(picked.nan_to_num(9), expected.nan_to_num(9))
    assert index.dtype == (torch.uint8 if winners.applies(x, size, size, tuple(ones)) else torch.int64)


@pytest.mark.parametrize("channels_last", [False, True])
def test_positions_take_a_byte_and_keep_the_format(channels_last):
    x = torch.randn(2, 32, 8, 64)
    x = last(x) if channels_last else x
    maxima, index = pool.max_pool(x, (2, 2), (2, 2), (1, 1))
    assert index.dtype == torch.uint8 and index.stride() == maxima.stride()
    gy = torch.randn(maxima.shape)
    gx = pool.max_pool_grad(gy if channels_last else last(gy), x, index, (2, 2), (2, 2), (1, 1))
    assert gx.stride() == x.stride() and torch.equal(pool.take_winners(gx, index, (2, 2)), gy)


def test_overlapping_windows_are_left_to_torch():
    _, index = pool.max_pool(torch.randn(1, 32, 40, 40), (3, 3), (2, 2), (1, 1))
    assert index.dtype == torch.int64
