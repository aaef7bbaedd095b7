"""The selection of torch's convolution kernels changes nothing but speed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.engine.pytensor.kernels import conv as kernels


@st.composite
def geometries(draw):
    ndim = draw(st.integers(2, 3))
    axes = [
        (draw(st.integers(1, 4)), draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(0, 2)))
        for _ in range(ndim)
    ]
    kernel, stride, dilation, pad = (tuple(a) for a in zip(*axes, strict=True))
    windows = draw(st.tuples(*[st.integers(1, 6)] * ndim))
    rest = draw(st.tuples(*[st.integers(0, s - 1) for s in stride]))
    sizes = tuple(
        max(1, (n - 1) * s + d * (k - 1) + 1 - 2 * p + r)
        for n, s, d, k, p, r in zip(windows, stride, dilation, kernel, pad, rest, strict=True)
    )
    batch, channels, outputs = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 5])), draw(st.integers(1, 4))
    return (batch, channels, *sizes), (outputs, channels, *kernel), (stride, dilation, pad)


@settings(max_examples=150, deadline=None)
@given(geometries(), st.booleans(), st.booleans(), st.integers(0, 99))
def test_single_precision_agrees_with_double(geometry, last_x, last_gy, seed):
    x_shape, w_shape, options = geometry
    torch.manual_seed(seed)
    x, w, b = torch.randn(x_shape), torch.randn(w_shape), torch.randn(w_shape[0])
    y = kernels.conv(x.double(), w.double(), b.double(), *options)
    gy = torch.randn(y.shape)
    wanted = [
        y,
        kernels.conv_grad_input(gy.double(), x.double(), w.double(), *options),
        kernels.conv_grad_kernel(gy.double(), x.double(), w.double(), *options),
    ]
    if last_x:
        x, w = kernels.channels_last(x), kernels.channels_last(w)
    if last_gy:
        gy = kernels.channels_last(gy)
    got = [
        kernels.conv(x, w, b, *options),
        kernels.conv_grad_input(gy, x, w, *options),
        kernels.conv_grad_kernel(gy, x, w, *options),
    ]
    for value, expected in zip(got, wanted, strict=True):
        assert value.shape == expected.shape
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(geometries(), st.booleans(), st.booleans(), st.booleans())
def test_operands_may_be_strided_views(geometry, part_x, part_w, part_b):
    x_shape, w_shape, options = geometry
    torch.manual_seed(0)

    def operand(shape, part):
        larger = torch.randn([2 * n + 1 for n in shape] if part else shape)
        return larger[tuple(slice(1, None, 2) for _ in shape)] if part else larger

    x, w, b = operand(x_shape, part_x), operand(w_shape, part_w), operand(w_shape[:1], part_b)
    y = kernels.conv(x, w, b, *options)
    torch.testing.assert_close(
        y.double(), kernels.conv(x.double(), w.double(), b.double(), *options), rtol=1e-4, atol=1e-4
    )
    gy = operand(y.shape, part_x)
    for gradient in (kernels.conv_grad_input, kernels.conv_grad_kernel):
        wanted = gradient(gy.double(), x.double(), w.double(), *options)
        torch.testing.assert_close(gradient(gy, x, w, *options).double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((1, 1, 1, 2), (16, 1, 3, 2), ((1, 3), (1, 1), (2, 0))),
        ((1, 1, 7, 2), (3, 1, 4, 2), ((1, 3), (2, 1), (2, 0))),
        ((1, 1, 1, 1), (24, 1, 1, 3), ((1, 3), (3, 1), (2, 2))),
        ((1, 1, 5, 3), (1, 1, 4, 3), ((1, 2), (1, 1), (0, 0))),
        ((2, 1, 10, 8, 4), (2, 1, 4, 4, 3), ((3, 1, 3), (3, 2, 1), (0, 0, 0))),
    ],
)
def test_single_strided_window_along_the_last_axis(x_shape, w_shape, options):
    for _ in range(20):
        torch.full((4000,), 1e9)
        x, w = torch.randn(x_shape), torch.randn(w_shape)
        wanted = kernels.conv(x.double(), w.double(), None, *options)
        torch.testing.assert_close(kernels.conv(x, w, None, *options).double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 4, 5, 6), (3, 1, 1, 1), (1, 4, 2, 2, 2), (2, 3, 4)])
def test_channels_last_keeps_values(shape):
    x = torch.randn(shape)
    y = kernels.channels_last(x)
    assert torch.equal(x, y)
    assert len(shape) == 3 or y.stride(1) == 1
    assert kernels.channels_last(y).stride() == y.stride()


def test_one_channel_comes_out_channels_last():
    x, w = torch.randn(1, 1, 9, 9, 9), kernels.channels_last(torch.randn(4, 1, 3, 3, 3))
    y = kernels.conv(x, w, None, (1, 1, 1), (1, 1, 1), (0, 0, 0))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("shape", [(2, 20, 7, 9), (1, 33, 3, 5, 4)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_kernels_of_one_voxel_are_matrix_products(shape, with_bias, monkeypatch):
    calls = []
    pointwise = kernels.pointwise
    monkeypatch.setattr(kernels, "pointwise", lambda *a: calls.append(1) or pointwise(*a))
    ones = (1,) * (len(shape) - 2)
    x, w = kernels.channels_last(torch.randn(shape)), torch.randn(17, shape[1], *ones)
    bias = torch.randn(17) if with_bias else None
    expected = torch.einsum("bi...,oi->bo...", x.double(), w.flatten(1).double())
    if bias is not None:
        expected += bias.double().view(-1, *ones)
    y = kernels.conv(x, w, bias, ones, ones, (0,) * len(ones))
    assert calls == [1] and y.is_contiguous(memory_format=kernels.CHANNELS_LAST[x.ndim])
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5)
    kernels.conv(x, w, bias, (2,) * len(ones), ones, (0,) * len(ones))
    kernels.conv(x.contiguous(), w, bias, ones, ones, (0,) * len(ones))
    assert calls == [1]


@pytest.mark.parametrize(("w_shape", "stride", "groups"), [((17, 20, 1, 1), 1, 1), ((20, 1, 3, 3), 2, 20)])
def test_large_images_come_in_any_memory_format(w_shape, stride, groups, monkeypatch):
    monkeypatch.setattr(kernels, "LARGE", 1 << 16)
    x, w = torch.randn(1, 20, 40, 44), kernels.channels_last(torch.randn(w_shape))
    options = (None, (stride, stride), (1, 1), (0, 0), groups)
    expected = kernels.conv(kernels.channels_last(x), w, *options)
    found = kernels.conv(x, w, *options)
    assert torch.equal(found, expected) and found.stride() == expected.stride()
