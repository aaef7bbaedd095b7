"""Maxima over windows of contiguous images, computed along rows, are those of shifted slices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import pool, row_pool


@st.composite
def windows(draw):
    axes = [
        (draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3)))
        for _ in range(draw(st.integers(2, 3)))
    ]
    size, stride, dilation = (tuple(a[k] for a in axes) for k in range(3))
    lengths = [d * (k - 1) + 1 + draw(st.integers(0, 40)) for k, d in zip(size, dilation, strict=True)]
    return (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *lengths), size, stride, dilation


@settings(max_examples=80, deadline=None)
@given(windows(), st.integers(0, 10**6), st.booleans())
def test_agrees_with_slices(case, place, with_nan):
    shape, *window = case
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if with_nan:
        x.view(-1)[place % x.numel()] = float("nan")
    torch.testing.assert_close(
        row_pool.max_pool_rows(x, *window), pool.max_pool_by_axis(x, *window), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize(("stride", "fits"), [((2, 2), True), ((1, 1), True), ((1, 3), False), ((3, 1), True)])
def test_strides_with_code(stride, fits):
    assert row_pool.can_pool(torch.zeros(1, 3, 8, 8), stride) is fits


def test_other_formats_are_left_to_other_code():
    x = torch.zeros(2, 3, 8, 8)
    assert not row_pool.can_pool(x.contiguous(memory_format=torch.channels_last), (1, 1))
    assert not row_pool.can_pool(x.double(), (1, 1)) and not row_pool.can_pool(x[:, :, :, 1:], (1, 1))
    assert not row_pool.can_pool(x[:0], (1, 1)) and not row_pool.can_pool(x.to("meta"), (1, 1))
