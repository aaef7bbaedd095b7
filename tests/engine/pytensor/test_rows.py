"""Convolution along rows agrees with direct convolution, whatever the geometry, the format and the blocks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d, conv3d, conv_transpose2d, conv_transpose3d

from neuromancer.engine.pytensor.kernels import row_blocks, row_up, row_up_code, rows
from neuromancer.engine.pytensor.kernels.epilogue import CHANNEL, FULL, Epilogue
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.row_code import blocks, vectors_at_once
from neuromancer.engine.pytensor.kernels.rows import RowConv, TiledRowConv

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@st.composite
def convolutions(draw, strided=True):
    ndim = draw(st.integers(2, 3))
    axes = [
        (
            draw(st.integers(1, 4)),
            draw(st.integers(1, 3)) if strided else 1,
            draw(st.integers(1, 4)),
            draw(st.integers(0, 3)),
        )
        for _ in range(ndim)
    ]
    taps, stride, dilation, pad = (tuple(a[k] for a in axes) for k in range(4))
    extents = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(taps, dilation, pad, strict=True)]
    sizes = [n + draw(st.integers(0, 20)) for n in extents]
    groups, n_in, n_out = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 14))
    x_shape = (draw(st.integers(1, 2)), groups * n_in, *sizes)
    return x_shape, (groups * n_out, n_in, *taps), stride, dilation, pad, groups


def tensors(x_shape, w_shape, last):
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(shape, generator=generator) for shape in (x_shape, w_shape))
    return x.contiguous(memory_format=FORMATS[x.ndim]) if last else x, w, torch.randn(w_shape[0], generator=generator)


def padded(x_shape, pad):
    return (*x_shape[:2], *(n + 2 * p for n, p in zip(x_shape[2:], pad, strict=True)))


def agree(y, expected):
    return y.shape == expected.shape and (y.double() - expected).abs().max() <= 2e-5 * expected.abs().max().clamp(
        min=1.0
    )


@settings(max_examples=80, deadline=None)
@given(convolutions(), st.booleans(), st.booleans(), st.sampled_from([1 << 10, rows.BUFFER]))
def test_direct_agrees_with_torch(geometry, with_bias, last, buffer):
    x_shape, w_shape, stride, dilation, pad, groups = geometry
    x, w, b = tensors(x_shape, w_shape, last)
    bias = b if with_bias else None
    conv = conv2d if x.ndim == 4 else conv3d
    expected = conv(x.double(), w.double(), b.double() if with_bias else None, stride, pad, dilation, groups)
    before, rows.BUFFER = rows.BUFFER, buffer
    try:
        own = RowConv(padded(x_shape, pad), w_shape, stride, dilation, groups)
    finally:
        rows.BUFFER = before
    y = own.conv(x, own.transformed(w), bias, pad)
    assert agree(y, expected) and y.is_contiguous()


@settings(max_examples=60, deadline=None)
@given(convolutions(strided=False), st.booleans(), st.booleans())
def test_tiles_agree_with_torch(geometry, with_bias, last):
    x_shape, w_shape, stride, dilation, pad, groups = geometry
    x, w, b = tensors(x_shape, w_shape, last)
    conv = conv2d if x.ndim == 4 else conv3d
    expected = conv(x.double(), w.double(), b.double() if with_bias else None, stride, pad, dilation, groups)
    own = TiledRowConv(padded(x_shape, pad), w_shape, stride, dilation, groups)
    assert agree(own.conv(x, own.transformed(w), b if with_bias else None, pad), expected)


@st.composite
def up_convolutions(draw):
    ndim = draw(st.integers(2, 3))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(ndim))
    taps = tuple(draw(st.integers(1, 4)) for _ in range(ndim))
    extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
    pad = tuple(draw(st.integers(0, k // 2)) for k in taps)
    sizes = [draw(st.integers(3, 20)) for _ in range(ndim)]
    n_in, n_out = draw(st.integers(1, 8)), draw(st.integers(1, 14))
    return (draw(st.integers(1, 2)), n_in, *sizes), (n_in, n_out, *taps), stride, pad, extra


@settings(max_examples=60, deadline=None)
@given(up_convolutions(), st.booleans(), st.booleans())
def test_up_convolution_agrees_with_torch(geometry, with_bias, last):
    x_shape, w_shape, stride, pad, extra = geometry
    x, w, _ = tensors(x_shape, w_shape, last)
    bias = torch.linspace(-1, 1, w_shape[1]) if with_bias else None
    conv = conv_transpose2d if x.ndim == 4 else conv_transpose3d
    expected = conv(x.double(), w.double(), None if bias is None else bias.double(), stride, pad, extra)
    own = row_up.RowUpConv(x_shape, w_shape, tuple(expected.shape), stride, pad)
    assert agree(own.conv(x, own.transformed(w), bias), expected)


@pytest.mark.parametrize("kind", [RowConv, TiledRowConv, row_up.RowUpConv])
def test_epilogue_is_computed_on_every_value(kind):
    x, w, bias = tensors((2, 3, 9, 10, 37), (3, 8, 2, 2, 2) if kind is row_up.RowUpConv else (8, 3, 2, 2, 2), False)
    y, slope, other = (Expression.operand(k) for k in range(3))
    # other + (y if y > 0 else slope * y)
    leaky = Expression("select", Expression("gt", y, Expression.number(0.0)), y, Expression("mul", slope, y))
    epilogue = Epilogue(Expression("add", other, leaky), (CHANNEL, FULL))
    slopes, bias = torch.linspace(0, 1, 8).view(1, 8, 1, 1, 1), torch.linspace(-1, 1, 8)
    if kind is row_up.RowUpConv:
        plain = conv_transpose3d(x, w, bias, 2)
        own = kind(tuple(x.shape), tuple(w.shape), tuple(plain.shape), (2, 2, 2), (0, 0, 0))
    else:
        plain = conv3d(x, w, bias)
        own = kind(tuple(x.shape), tuple(w.shape), (1, 1, 1), (1, 1, 1))
    residual = torch.randn(plain.shape)
    assert own.fits(epilogue, [slopes, residual]) and not own.fits(epilogue, [slopes, residual[:1]])
    expected = residual + torch.where(plain > 0, plain, slopes * plain)
    found = own.conv(x, own.transformed(w), bias, (0, 0, 0), epilogue, [slopes, residual])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [RowConv, TiledRowConv])
def test_result_does_not_depend_on_threads(kind):
    x, w, bias = tensors((1, 5, 12, 40, 70), (20, 5, 3, 3, 3), False)
    own = kind(tuple(x.shape), tuple(w.shape), (1, 1, 1), (1, 2, 1))
    used, results = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(own.conv(x, own.transformed(w), bias, (0, 0, 0)))
    torch.set_num_threads(used)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("kind", [RowConv, TiledRowConv])
def test_values_behind_the_image_are_not_read(kind):
    """NaN around a crop must not reach the result."""
    whole = torch.full((1, 4, 20, 20, 50), float("nan"))
    x = whole[:, :, 3:15, 3:15, 3:40]
    x.normal_()
    w = torch.randn(7, 4, 3, 3, 3)
    own = kind((1, 4, 14, 14, 39), (7, 4, 3, 3, 3), (1, 1, 1), (1, 1, 1))
    y = own.conv(x, own.transformed(w), None, (1, 1, 1))
    torch.testing.assert_close(y, conv3d(x, w, None, 1, 1), atol=1e-4, rtol=1e-4)


def test_memory_is_what_a_plan_is_told():
    own = RowConv((1, 20, 40, 40, 300), (20, 20, 3, 3, 3), (1, 1, 1), (1, 1, 1))
    assert own.scratch <= torch.get_num_threads() * (rows.BUFFER + 4 * rows.SLACK)
    for kind in (RowConv, TiledRowConv):
        own = kind((1, 20, 40, 40, 300), (20, 20, 3, 3, 3), (1, 1, 1), (1, 1, 1))
        assert own.transformed(torch.zeros(20, 20, 3, 3, 3)).nbytes == own.prepared


@given(st.integers(1, 300))
def test_blocks_cover_all_outputs(n_out):
    sizes = blocks(n_out)
    assert sum(sizes) == n_out and max(sizes) - min(sizes) <= 1
    assert all(vectors_at_once(size) >= 1 for size in sizes)


def test_layers_with_different_numbers_of_channels_share_machine_code():
    ones = (1, 1, 1)
    few, many = (RowConv((1, 4, 9, 9, 60), (n, 4, 3, 3, 3), ones, ones) for n in (20, 200))
    assert few.function(row_blocks.PLAIN) is not many.function(row_blocks.PLAIN)  # blocks of 5, and of 5 and 6
    for kind in (RowConv, TiledRowConv):
        functions = {
            kind((1, 4, 9, 9, 60), (n, 4, 3, 3, 3), ones, ones).function(row_blocks.PLAIN) for n in (16, 58, 778)
        }
        assert len(functions) == 1
    up = {row_up_code.up(row_up_code.block_sizes(n), 2, row_up_code.PLAIN) for n in (16, 58, 778)}
    assert len(up) == 1


def test_wide_layers_agree_with_torch():
    for kind in (RowConv, TiledRowConv):
        x, w, b = tensors((1, 40, 8, 8, 8), (250, 40, 3, 3, 3), True)
        own = kind((1, 40, 10, 10, 10), w.shape, (1, 1, 1), (1, 1, 1))
        assert agree(
            own.conv(x, own.transformed(w), b, (1, 1, 1)), conv3d(x.double(), w.double(), b.double(), padding=1)
        )


def test_short_rows_are_left_to_torch():
    stride, ones, none = (2, 2), (1, 1), (0, 0)
    assert row_up.up_convolution((1, 4, 9, 40), (4, 4, 2, 2), (1, 4, 18, 80), stride, ones, none, 1) is not None
    assert row_up.up_convolution((1, 4, 9, 8), (4, 4, 2, 2), (1, 4, 18, 16), stride, ones, none, 1) is None
    assert row_up.up_convolution((1, 4, 9, 40), (4, 4, 2, 2), (1, 4, 18, 80), stride, (2, 2), none, 1) is None
