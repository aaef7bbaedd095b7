"""Maxima over all axes in one pass equal those taken axis by axis, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import pool
from neuromancer.engine.pytensor.kernels.conv import channels_last
from neuromancer.engine.pytensor.kernels.simd import LANES

INF = float("inf")


@pytest.fixture
def passes(monkeypatch):
    """Windows pooled in one pass, which is used for arrays of any size."""
    done, one_pass = [], pool.max_pool_one_pass
    monkeypatch.setattr(pool, "ONE_PASS", 1)
    monkeypatch.setattr(pool, "max_pool_one_pass", lambda x, size, *rest: done.append(size) or one_pass(x, size, *rest))
    return done


@pytest.fixture
def threads():
    """Setter of the number of threads, which is restored afterwards."""
    used = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(used)


def image(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return channels_last(torch.randn(shape, generator=generator))


@st.composite
def windows(draw):
    """Shape of x, window size (few, as each is compiled), dilation."""
    size = draw(st.sampled_from([(2, 2), (1, 3), (3, 2), (2, 2, 2), (1, 2, 3), (3, 1, 2), (2, 3, 1)]))
    dilation = tuple(draw(st.integers(1, 4)) for _ in size)
    out = [draw(st.integers(1, 12)) for _ in size]
    spatial = [n + d * (k - 1) for n, d, k in zip(out, dilation, size, strict=True)]
    return (draw(st.integers(1, 3)), draw(st.integers(1, 20)), *spatial), size, dilation


@settings(max_examples=150, deadline=None)
@given(windows(), st.integers(1, 3), st.sampled_from([0.0, 0.1, 0.9]), st.integers(0, 99))
@example(((3, 16, 5, 1), (3, 2), (2, 1)), 2, 0.0, 0)
@example(((2, 16, 5, 7, 3), (2, 2, 2), (4, 3, 2)), 3, 0.1, 0)
@example(((1, 1, 2, 17), (2, 2), (1, 1)), 1, 0.1, 0)
def test_bit_for_bit(geometry, threads, share, seed):
    (batch, channels, *spatial), size, dilation = geometry
    spatial = [max(n, d * (k - 1) + 1) for n, k, d in zip(spatial, size, dilation, strict=True)]
    x = image(batch, channels, *spatial, seed=seed)
    special = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share
    values = torch.tensor([float("nan"), -INF, INF])[torch.arange(x.numel()) % 3].view(x.shape)
    x = torch.where(special, values, x)
    x = channels_last(x)
    if (spatial[-1] - dilation[-1] * (size[-1] - 1)) * channels < LANES:
        assert not pool.fits_one_pass(x, size, (1,) * len(size), dilation)
        return
    used = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = pool.max_pool_one_pass(x, size, dilation)
    finally:
        torch.set_num_threads(used)
    expected = pool.max_pool_by_axis(x, size, (1,) * len(size), dilation)
    assert y.shape == expected.shape and channels_last(y) is y
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    known = ~expected.isnan()
    assert y[known].numpy().tobytes() == expected[known].numpy().tobytes()


@pytest.mark.parametrize("place", [(0, 0, 0), (2, 2, 2), (3, 4, 5), (5, 6, 8)])
def test_nan_reaches_every_window_that_sees_it(place, passes):
    x = image(1, 20, 6, 7, 9)
    x[(0, 3, *place)] = float("nan")
    y = pool.max_pool_values(x, (2, 2, 2), (1, 1, 1), (2, 1, 3))
    assert passes == [(2, 2, 2)]
    expected = torch.full(y.shape, False)
    for z, r, c in np.ndindex(y.shape[2:]):
        expected[0, 3, z, r, c] = all(p in (a, a + d) for p, a, d in zip(place, (z, r, c), (2, 1, 3), strict=True))
    assert torch.equal(y.isnan(), expected)


def test_nothing_is_larger_than_minus_infinity(passes):
    x = channels_last(torch.full((1, 16, 6, 7), -INF))
    assert torch.equal(pool.max_pool_values(x, (2, 2), (1, 1), (1, 1)), torch.full((1, 16, 5, 6), -INF))
    assert passes == [(2, 2)]


@pytest.mark.parametrize("ndim", [2, 3])
def test_result_is_that_of_torch_and_keeps_the_format(ndim, passes, threads):
    x = image(2, 5, *(8, 9, 10)[:ndim])
    torch_pool = torch.nn.functional.max_pool2d if ndim == 2 else torch.nn.functional.max_pool3d
    expected = torch_pool(x, 2, 1, dilation=2)
    for count in (1, 2, 3):
        threads(count)
        y = pool.max_pool_values(x, (2,) * ndim, (1,) * ndim, (2,) * ndim)
        assert torch.equal(y, expected) and torch.get_num_threads() == count
        rows = expected.movedim(1, -1).contiguous()
        assert y.stride() == rows.movedim(-1, 1).stride(), "channels last"
    assert passes == [(2,) * ndim] * 3


@pytest.mark.parametrize(
    ("x", "size", "stride"),
    [
        (image(1, 16, 9, 9, 9), (2, 2, 2), (2, 1, 1)),
        (image(1, 16, 9, 9), (2, 2), (2, 2)),
        (image(1, 16, 9, 9, 9).contiguous(), (2, 2, 2), (1, 1, 1)),
        (image(1, 16, 9, 9, 18)[..., ::2], (2, 2, 2), (1, 1, 1)),
        (image(1, 32, 9, 9)[:, :16], (2, 2), (1, 1)),
        (image(1, 16, 9, 9).double(), (2, 2), (1, 1)),
        (image(1, 16, 9, 9, 9), (1, 2, 1), (1, 1, 1)),
        (image(1, 16, 9, 9, 9), (1, 1, 1), (1, 1, 1)),
        (image(1, 7, 9, 3), (2, 2), (1, 1)),
        (image(0, 16, 9, 9), (2, 2), (1, 1)),
        (torch.randn(1, 16, 9), (2,), (1,)),
        (torch.empty(1, 16, 9, 9, device="meta"), (2, 2), (1, 1)),
    ],
)
def test_others_go_axis_by_axis(x, size, stride, passes):
    y = pool.max_pool_values(x, size, stride, (1,) * len(size))
    assert not passes
    if x.device.type == "cpu" and len(x):
        assert torch.equal(y, pool.max_pool(x, size, stride, (1,) * len(size))[0])


def test_small_arrays_go_axis_by_axis():
    x = image(1, 16, 20, 20)
    assert not pool.fits_one_pass(x, (2, 2), (1, 1), (1, 1))
    large = torch.empty(pool.ONE_PASS // 4 // 16, 16).view(1, -1, 64, 16).movedim(-1, 1)
    assert pool.fits_one_pass(large, (2, 2), (1, 1), (1, 1))
    assert not pool.fits_one_pass(large[:, :, 1:], (2, 2), (1, 1), (1, 1))


def test_window_that_does_not_fit_raises(passes):
    with pytest.raises(RuntimeError, match="a window of 9 is larger than the input of 8"):
        pool.max_pool_values(image(1, 16, 8, 30), (3, 2), (1, 1), (4, 1))
