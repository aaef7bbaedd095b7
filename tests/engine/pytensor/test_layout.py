"""Images change between the contiguous and the channels-last memory format."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import layout


def last(x):
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 3),
    st.booleans(),
)
def test_both_directions(batch, channels, spatial, threads, transpose_all):
    x = torch.randn(batch, channels, *spatial)
    before = layout.LEAST, layout.SHARE, torch.get_num_threads()
    layout.LEAST, layout.SHARE = (1, 1) if transpose_all else before[:2]
    torch.set_num_threads(threads)
    try:
        there = layout.to_channels_last(x)
        back = layout.to_contiguous(last(x))
    finally:
        layout.LEAST, layout.SHARE = before[:2]
        torch.set_num_threads(before[2])
    assert torch.equal(there, x) and there.movedim(1, -1).is_contiguous()
    assert torch.equal(back, x) and back.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laid_out_like_another(dtype):
    x = torch.randn(2, 20, 30, 40, dtype=dtype)
    strided = torch.randn(2, 20, 40, 30, dtype=dtype).transpose(2, 3)
    for other in (x, last(x), strided):
        for image in (x, last(x), x[:, :, ::2].repeat_interleave(2, 2)):
            result = layout.laid_out_like(image, other)
            assert torch.equal(result, image) and result.stride() == other.stride()
    assert layout.laid_out_like(x, x) is x
