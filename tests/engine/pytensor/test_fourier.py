"""Fourier convolution agrees with direct convolution, whatever the tiles."""

from __future__ import annotations

import os
import tracemalloc
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d, conv3d

from neuromancer.engine.pytensor.kernels import fourier, memory
from neuromancer.engine.pytensor.kernels.fourier import Tiling, best_tiling, columns
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.speed import TYPICAL, Speed

DIRECT = {2: conv2d, 3: conv3d}
SIZES = 6, 8, 10, 12
"""Tile sizes of each radix; few, as each has to be compiled."""


@pytest.fixture
def threads():
    """Setter of the number of threads, which is restored afterwards."""
    used = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(used)


def padded(x_shape, pad):
    return (*x_shape[:2], *(n + 2 * p for n, p in zip(x_shape[2:], pad, strict=True)))


def operands(x_shape, w_shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) for shape in (x_shape, w_shape, w_shape[:1]))


def run(x, w, bias, dilation, pad, sizes):
    tiling = Tiling(padded(tuple(x.shape), pad), tuple(w.shape), dilation, sizes)
    return tiling.conv(x, tiling.transformed(w), bias, pad)


@st.composite
def convolutions(draw):
    """Shapes of x and w, dilation, padding and tile size (z, y, x)."""
    ndim = draw(st.integers(2, 3))
    taps = draw(
        st.lists(st.sampled_from([1, 2, 3, 4, 5, 7, 9] if ndim == 2 else [1, 2, 3, 4, 5]), min_size=ndim, max_size=ndim)
    )
    if draw(st.integers(0, 9)) == 0:
        taps[draw(st.integers(0, ndim - 1))] = 9
    dilation = tuple(draw(st.integers(1, 3)) for _ in taps)
    out = [draw(st.integers(1, 17 if ndim == 2 else 9)) for _ in taps]
    sizes = [n + d * (k - 1) for n, d, k in zip(out, dilation, taps, strict=True)]
    pad = tuple(draw(st.integers(0, min(4, (n - 1) // 2))) for n in sizes)
    sizes = [n - 2 * p for n, p in zip(sizes, pad, strict=True)]
    tiles = [1 if k == 1 else draw(st.sampled_from([n for n in SIZES if n >= k])) for k in taps]
    n_in, n_out = (draw(st.integers(1, 40)) for _ in range(2))
    shapes = (draw(st.integers(1, 2)), n_in, *sizes), (n_out, n_in, *taps)
    return *shapes, dilation, pad, (1,) * (3 - ndim) + tuple(tiles)


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.booleans(), st.integers(1, 3), st.sampled_from([1, 1 << 19, 1 << 29]), st.booleans())
@example(((1, 20, 14, 14, 14), (20, 20, 3, 3, 3), (2, 1, 1), (1, 0, 2), (6, 8, 10)), True, 2, 1, True)
@example(((1, 3, 30, 10, 12), (3, 3, 2, 1, 5), (1, 1, 2), (0, 0, 0), (6, 1, 8)), True, 1, 1 << 19, True)
@example(((3, 17, 40, 9), (33, 17, 9, 1), (3, 1), (4, 4), (1, 12, 1)), False, 3, 1 << 19, False)
def test_agrees_with_direct(geometry, with_bias, threads, chunk, small):
    x_shape, w_shape, dilation, pad, sizes = geometry
    x, w, bias = operands(x_shape, w_shape)
    bias = bias if with_bias else None
    expected = DIRECT[x.ndim - 2](
        x.double(), w.double(), None if bias is None else bias.double(), dilation=dilation, padding=pad
    )
    used = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fourier, "CHUNK", chunk)
        if small:
            patch.setattr(fourier, "SCRATCH", 1)
        torch.set_num_threads(threads)
        try:
            y = run(x, w, bias, dilation, pad, sizes)
        finally:
            torch.set_num_threads(used)
    assert y.shape == expected.shape and y.dtype == torch.float32
    assert y.is_contiguous(memory_format=torch.channels_last if y.ndim == 4 else torch.channels_last_3d)
    assert (y.double() - expected).abs().max() <= 2e-6 * expected.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("last", [False, True])
def test_operands_may_be_strided_views(last):
    x, w, bias = (torch.randn(shape)[:, ::2] for shape in ((1, 40, 13, 14), (20, 40, 5, 3), (20, 2)))
    bias = bias[:, 0]
    x = x.to(memory_format=torch.channels_last) if last else x
    expected = conv2d(x.double(), w.double(), bias.double())
    y = run(x, w, bias, (1, 1), (0, 0), (1, 8, 6))
    assert (y.double() - expected).abs().max() <= 2e-6 * expected.abs().max()


def test_result_does_not_depend_on_threads_or_memory(threads, monkeypatch):
    x, w, bias = operands((2, 20, 14, 25, 30), (30, 20, 2, 4, 4))
    results = []
    for count in (1, 2, 3):
        for scratch in (1, fourier.SCRATCH):
            monkeypatch.setattr(fourier, "SCRATCH", scratch)
            threads(count)
            results.append(run(x, w, bias, (1, 2, 2), (1, 0, 0), (6, 8, 10)))
            assert torch.get_num_threads() == count
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_tiles_at_a_time_do_not_depend_on_threads(threads):
    steps = set()
    for count in (1, 2, 3):
        threads(count)
        steps.add(Tiling((1, 80, 100, 100, 100), (80, 80, 3, 3, 3), (1, 1, 1), (8, 8, 8)).step)
    assert len(steps) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_reach_all_windows_that_see_them(value):
    x, w, _ = operands((1, 20, 9, 11, 12), (7, 20, 2, 3, 3))
    whole = run(x, w, None, (1, 2, 1), (0, 0, 0), (6, 8, 8))
    x[0, 13, 4, 5, 6] = value
    y = run(x, w, None, (1, 2, 1), (0, 0, 0), (6, 8, 8))
    seen = ~conv3d(x.double(), w.double(), dilation=(1, 2, 1)).isfinite()
    assert seen.any() and not y[seen].isfinite().any()
    # other tiles are not affected
    far = y[:, :, :, 1::2]
    assert far.isnan().any() or torch.equal(far[..., 6:], whole[:, :, :, 1::2][..., 6:])
    assert y.isfinite().any()


def test_padded_groups_of_channels_do_not_leak():
    """Groups of channels are filled up with those of the voxel before, which may be NaN."""
    x, w, _ = operands((1, 17, 30, 30), (16, 17, 3, 3))
    x[:, 5, :, 20:] = float("nan")
    y = run(x, w, None, (1, 1), (0, 0), (1, 8, 8))
    assert y[..., :12].isfinite().all() and y[..., 18:].isnan().all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_works_after_fork(threads):
    # torch's own threads do not survive a fork, so the kernel must not use them in the child
    x, w, bias = operands((1, 20, 6, 30, 30), (30, 20, 2, 4, 4))
    x = x.contiguous(memory_format=torch.channels_last_3d)
    tiling = Tiling(tuple(x.shape), tuple(w.shape), (1, 2, 2), (6, 8, 10))
    u = tiling.transformed(w)
    threads(2)
    expected = tiling.conv(x, u, bias, (0, 0, 0))
    child = os.fork()
    if child == 0:
        torch.set_num_threads(2)
        y = tiling.conv(x, u, bias, (0, 0, 0))
        os._exit(0 if y.numpy().tobytes() == expected.numpy().tobytes() else 1)
    assert os.waitpid(child, 0)[1] == 0


# ---- frequencies of a plane
@pytest.mark.parametrize("ny", [1, *fourier.SIZES])
@pytest.mark.parametrize("nx", [1, *fourier.SIZES])
def test_stored_frequencies_are_half_of_a_plane_and_the_self_conjugate_ones(ny, nx):
    numbers = columns(ny, nx)
    assert numbers.shape == (ny * (nx // 2 + 1),)
    stored = np.flatnonzero(numbers >= 0)
    assert numbers[stored].tolist() == list(range(len(stored))) and set(numbers[numbers < 0]) <= {-1}
    points = [divmod(int(k), nx // 2 + 1) for k in stored]
    with_conjugates = {*points, *((-y % ny, -x % nx) for y, x in points)}
    assert with_conjugates == {(y, x) for y in range(ny) for x in range(nx)}
    self_conjugate = sum((-y % ny, -x % nx) == (y, x) for y, x in points)
    assert 2 * len(points) - self_conjugate == ny * nx, "no frequency is stored together with its conjugate"


# ---- selection
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "dilation"),
    [
        ((1, 80, 52, 52, 52), (80, 80, 5, 5, 5), (1, 1, 1)),
        ((1, 40, 20, 30, 40), (30, 40, 3, 1, 5), (1, 2, 1)),
        ((3, 30, 60, 40), (90, 30, 1, 4), (1, 2)),
    ],
)
def test_sizes_fit_and_points_are_counted(x_shape, w_shape, dilation):
    tiling = best_tiling(x_shape, w_shape, dilation, True, Speed())
    taps = (1,) * (5 - len(w_shape)) + w_shape[2:]
    assert all(n == 1 if k == 1 else n in fourier.SIZES and n > k for n, k in zip(tiling.sizes, taps, strict=True))
    assert tiling.points == tiling.sizes[0] * (columns(*tiling.sizes[1:]) >= 0).sum()
    batch = 1 if len(w_shape) == 4 else x_shape[0]
    products = 4 * batch * tiling.tiles * tiling.points * w_shape[1] * tiling.room[1]
    assert tiling.units["fourier_product"] == products
    # where transforms are free, a tiling has the fewest products
    free = Speed({"fourier": {kind: 0.0 for kind in TYPICAL["fourier"]} | {"fourier_product": 1e-12}})
    assert best_tiling(x_shape, w_shape, dilation, True, free).units["fourier_product"] <= products


@pytest.mark.parametrize(
    ("x_shape", "w_shape"),
    [
        ((1, 80, 40, 40, 40), (80, 80, 1, 1, 1)),
        ((1, 80, 40, 40), (80, 80, 1, 1)),
        ((0, 80, 40, 40, 40), (80, 80, 3, 3, 3)),
        ((0, 80, 40, 40), (80, 80, 3, 3)),
        ((1, 80, 40, 2, 40), (80, 80, 3, 3, 3)),
        ((1, 80, 40, 2), (80, 80, 3, 3)),
        ((1, 80, 40, 99), (80, 80, 3, 24)),
    ],
)
def test_nothing_to_transform(x_shape, w_shape):
    assert best_tiling(x_shape, w_shape, (1,) * (len(x_shape) - 2), True, Speed()) is None


def test_a_kernel_takes_no_more_memory_than_images_do(monkeypatch):
    layer = (1, 200, 16, 16, 16), (200, 200, 5, 5, 5), (1, 1, 1), True, Speed()
    best_tiling.cache_clear()
    data = 4 * (200 * 16**3 + 208 * 12**3)
    tilings = {}
    try:
        for free in (16 << 20, 1 << 31):
            monkeypatch.setattr(fourier, "FREE", free)
            tilings[free] = best_tiling(*layer)
            best_tiling.cache_clear()
        first, other = tilings.values()
        assert other is not None and other.prepared > fourier.SHARE * data + (16 << 20)
        assert first is None or first.prepared <= fourier.SHARE * data + (16 << 20)
        monkeypatch.setattr(fourier, "FREE", 0)
        monkeypatch.setattr(fourier, "SHARE", 0.0)
        assert best_tiling(*layer) is None
    finally:
        best_tiling.cache_clear()


@pytest.mark.parametrize("size", [20, 200])
def test_memory_at_a_time_is_limited(size, monkeypatch):
    monkeypatch.setattr(fourier, "CHUNK", 64 << 20)
    tiling = Tiling((1, 80, size, size, size), (80, 80, 5, 5, 5), (1, 1, 1), (12, 12, 12))
    assert 1 <= tiling.step <= tiling.tiles
    assert 8 * tiling.points * tiling.step * 160 <= 64 << 20
    times = -(-tiling.tiles // tiling.step)
    assert tiling.step * times - tiling.tiles < times, "chunks of about the same size"


@pytest.mark.parametrize("n_out", [3, 20])
@pytest.mark.parametrize("chunk", [1 << 19, 1 << 29])
def test_plans_are_told_of_all_memory(n_out, chunk, threads, monkeypatch):
    monkeypatch.setattr(fourier, "CHUNK", chunk)
    monkeypatch.setattr(fourier, "SCRATCH", 1 << 16)
    monkeypatch.setattr(memory, "LARGE", 1 << 60)  # tracemalloc does not see memory of the reserve
    threads(2)
    x, w, bias = operands((2, 20, 20, 20, 20), (n_out, 20, 3, 3, 3))
    x = x.contiguous(memory_format=torch.channels_last_3d)
    tiling = Tiling(tuple(x.shape), tuple(w.shape), (1, 1, 1), (6, 8, 8))
    u = tiling.transformed(w)
    assert u.nbytes == tiling.prepared
    tiling.conv(x, u, bias, (0, 0, 0))
    tracemalloc.start()
    y = tiling.conv(x, u, bias, (0, 0, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    planned = tiling.scratch + y.nbytes
    assert planned - (1 << 16) <= peak <= planned + 2 * fourier.SCRATCH + (1 << 16)


def test_few_channels_are_filled_up():
    tiling = Tiling((1, 5, 20, 20), (3, 5, 3, 3), (1, 1), (1, 6, 6))
    assert tiling.room == (LANES, LANES) and tiling.prepared == 8 * tiling.points * 5 * LANES


def test_large_kernels_cost_little_more_than_small_ones():
    tilings = [
        best_tiling((1, 80, 47 + k, 47 + k, 47 + k), (80, 80, k, k, k), (1, 1, 1), True, Speed()) for k in (3, 5, 7, 9)
    ]
    assert all(isinstance(tiling, Tiling) for tiling in tilings)
    direct = [80 * 80 * 48**3 * k**3 for k in (3, 5, 7, 9)]
    direct = [products * TYPICAL["basic"]["direct"] for products in direct]
    shares = [Speed().seconds(tiling.units) / seconds for tiling, seconds in zip(tilings, direct, strict=True)]
    assert shares == sorted(shares, reverse=True) and shares[0] < 0.6 and shares[-1] < 0.1
    assert all(t.prepared <= fourier.SHARE * 4 * 160 * prod(t.out) * 2 + fourier.FREE for t in tilings)
