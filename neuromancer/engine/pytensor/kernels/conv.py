"""Convolution kernels: cross-correlation in one to three dimensions, its gradients, and its transpose.

Layouts: x (batch, channels, *spatial), w (n_out, n_in, *kernel); for the transpose w is (n_in, n_out, *kernel).

torch dispatches convolutions that it considers small to its own slow kernels instead of oneDNN's, and does not treat
images of one channel as channels-last. On the CPU either makes a convolution several times slower, so the kernel is
selected here, for the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch.nn.functional import pad as zero_pad

from neuromancer.engine.pytensor.kernels import fragments
from neuromancer.engine.pytensor.kernels.epilogue import Epilogue
from neuromancer.engine.pytensor.kernels.layout import to_channels_last
from neuromancer.engine.pytensor.kernels.matrix import is_faster, product
from neuromancer.engine.pytensor.kernels.memory import LARGE, empty, reserve

Ints = tuple[int, ...]

_conv = torch.ops.aten.convolution
_conv_backward = torch.ops.aten.convolution_backward
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
WIDE = 16
"""Minimum number of channels for computing a pointwise convolution as a matrix product."""
SMALL = 20480
"""torch considers an input small if batch, channels and the first two spatial axes have at most this many elements."""


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return `x` in the channels-last memory format, in which CPU convolutions are fastest."""
    memory_format = CHANNELS_LAST.get(x.ndim)
    if memory_format is None:
        return x
    if not x.is_contiguous(memory_format=memory_format):
        return to_channels_last(x)
    if x.shape[1] == 1 and x.stride(1) != 1:
        # With one channel, both formats have the same memory; torch tells them apart by the stride of the channel axis.
        strides = list(x.stride())
        strides[1] = 1
        return x.as_strided(x.shape, strides)
    return x


def _has_fast_kernels(x: torch.Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim in CHANNELS_LAST
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()
    )


def _considered_small(x: torch.Tensor, w: torch.Tensor) -> bool:
    """True if torch would use its slow kernels for the gradients, although oneDNN supports them."""
    return (
        _has_fast_kernels(x)
        and x.shape[0] == 1
        and x.shape[:4].numel() <= SMALL
        and w.shape[2:].numel() > 1
        and not (w.shape[-1] > 3 and w.shape[-2] > 3)
    )


def _padded(x: torch.Tensor, ends: list[tuple[int, int]]) -> torch.Tensor:
    """Pad the ends (before, after) of every spatial axis with zeros."""
    return zero_pad(x, [n for end in reversed(ends) for n in end])


def _has_empty_windows(w: torch.Tensor, dilation: Ints, pad: Ints) -> bool:
    """True if some windows lie entirely in the padding."""
    return any(p > d * (k - 1) for p, d, k in zip(pad, dilation, w.shape[2:], strict=True))


def _without_empty_windows(x: torch.Tensor, w: torch.Tensor, dilation: Ints, pad: Ints) -> tuple[torch.Tensor, Ints]:
    """Pad x explicitly if some windows lie entirely in the padding: for these, oneDNN reads out of bounds."""
    if _has_empty_windows(w, dilation, pad):
        return _padded(x, [(p, p) for p in pad]), (0,) * len(pad)
    return x, pad


def _without_last_stride(
    x: torch.Tensor, w: torch.Tensor, stride: Ints, dilation: Ints, pad: Ints
) -> tuple[torch.Tensor, Ints, Ints]:
    """Return x, stride and padding without a stride along the last axis if only one window fits there.

    oneDNN 3.12 reads out of bounds for one channel and a single strided window along the last axis.
    """
    extent = dilation[-1] * (w.shape[-1] - 1) + 1
    if stride[-1] == 1 or x.shape[-1] + 2 * pad[-1] >= extent + stride[-1]:
        return x, stride, pad
    x = _padded(x, [(p, p) for p in pad]).narrow(-1, 0, extent)
    return x, (*stride[:-1], 1), (0,) * len(pad)


def conv(
    x: torch.Tensor,
    w: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Ints,
    dilation: Ints,
    pad: Ints,
    groups: int = 1,
) -> torch.Tensor:
    """Cross-correlate `x` with `w` and add `bias` (n_out,) if given."""
    x, pad = _without_empty_windows(x, w, dilation, pad)
    if _has_fast_kernels(x):
        if 4 * x.numel() >= LARGE and channels_last(w) is w:
            x = channels_last(x)  # torch would copy it value by value, to memory that is new each time
        if groups == 1 and _is_pointwise(x, w, stride, pad):
            return pointwise(x, w, bias)
        if x.shape[1] == 1:
            x, stride, pad = _without_last_stride(x, w, stride, dilation, pad)
            x = channels_last(x)
        # torch passes the bias to oneDNN as it is, and oneDNN ignores its stride
        bias = None if bias is None else bias.contiguous()
        reserve.make_room(4 * _size(x, w, stride, dilation, pad))
        return torch.ops.aten.mkldnn_convolution(x, w, bias, pad, stride, dilation, groups)
    if x.device.type == "cuda" and groups == 1 and set(stride) == {1} and set(pad) == {0}:
        return fragments.conv(x, w, bias, dilation)
    return _conv(x, w, bias, stride, pad, dilation, False, [0] * len(stride), groups)


def _size(x: torch.Tensor, w: torch.Tensor, stride: Ints, dilation: Ints, pad: Ints) -> int:
    """Return the number of values of the result."""
    per_axis = zip(x.shape[2:], w.shape[2:], stride, dilation, pad, strict=True)
    return x.shape[0] * w.shape[0] * prod((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, d, p in per_axis)


def _is_pointwise(x: torch.Tensor, w: torch.Tensor, stride: Ints, pad: Ints) -> bool:
    """True for pointwise convolutions with enough channels for a matrix product to be faster."""
    return (
        w.shape[2:].numel() == 1
        and min(w.shape[:2]) >= WIDE
        and set(stride) == {1}
        and set(pad) == {0}
        and x.is_contiguous(memory_format=CHANNELS_LAST[x.ndim])
    )


def pointwise(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve x with kernels of one voxel, as a matrix product; the result is channels-last."""
    rows, matrix = _matrices(x, w)
    if is_faster(rows, matrix):
        result = product(rows, matrix, bias)
    else:
        result = empty(len(rows), w.shape[0])
        torch.mm(rows, matrix, out=result) if bias is None else torch.addmm(bias, rows, matrix, out=result)
    return _image(result, x)


def _matrices(x: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image as a matrix (voxels, n_in), and a kernel of one voxel as (n_in, n_out)."""
    return x.movedim(1, -1).reshape(-1, x.shape[1]), w.flatten(1).T


def _image(voxels: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return a matrix (voxels, n_out) as an image of the size of x, channels-last."""
    return voxels.view(x.shape[0], *x.shape[2:], -1).movedim(-1, 1)


def pointwise_with(
    x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, stride: Ints, pad: Ints, groups: int,
    epilogue: Epilogue, operands: Sequence[torch.Tensor],
) -> torch.Tensor | None:  # fmt: skip
    """Return the result of `conv` with an epilogue, if that is computed with the products; None if it is not."""
    shape = (x.shape[0], w.shape[0], *x.shape[2:])
    if groups > 1 or not _has_fast_kernels(x) or not epilogue.fits(shape, operands, dense=True):
        return None
    x = channels_last(x)
    if not _is_pointwise(x, w, stride, pad):
        return None
    rows, matrix = _matrices(x, w)
    return _image(product(rows, matrix, bias, epilogue, operands), x) if is_faster(rows, matrix) else None


def conv_transpose(
    x: torch.Tensor,
    w: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Ints,
    dilation: Ints,
    pad: Ints,
    groups: int = 1,
    output_padding: Ints | None = None,
) -> torch.Tensor:
    """Apply the adjoint of `conv` to `x`, at full output size, and add `bias` (n_out,) if given."""
    return _conv(x, w, bias, stride, pad, dilation, True, output_padding or [0] * len(stride), groups)


def conv_grad_input(
    gy: torch.Tensor, x: torch.Tensor, w: torch.Tensor, stride: Ints, dilation: Ints, pad: Ints, groups: int = 1
) -> torch.Tensor:
    """Return the gradient of ``sum(gy * conv(x, w))`` with respect to x."""
    if _has_empty_windows(w, dilation, pad):
        padded, no_pad = _without_empty_windows(x, w, dilation, pad)
        gx = conv_grad_input(gy, padded, w, stride, dilation, no_pad, groups)
        return gx[(..., *(slice(p, p + n) for p, n in zip(pad, x.shape[2:], strict=True)))]
    rest = [d * (k - 1) - p for d, k, p in zip(dilation, w.shape[2:], pad, strict=True)]
    if groups == 1 and _considered_small(x, w) and set(stride) == {1} and min(rest) >= 0:
        spatial = tuple(range(2, w.ndim))
        return conv(gy, channels_last(w.transpose(0, 1).flip(spatial)), None, stride, dilation, tuple(rest))
    no_padding, wanted = [0] * len(stride), [True, False, False]
    return _conv_backward(gy, x, w, None, stride, pad, dilation, False, no_padding, groups, wanted)[0]


def conv_grad_kernel(
    gy: torch.Tensor, x: torch.Tensor, w: torch.Tensor, stride: Ints, dilation: Ints, pad: Ints, groups: int = 1
) -> torch.Tensor:
    """Return the gradient of ``sum(gy * conv(x, w))`` with respect to w, of which only the shape is used."""
    x, pad = _without_empty_windows(x, w, dilation, pad)
    if _considered_small(x, w):
        gy, x = _split_in_two(gy, x, w, stride, dilation, pad)
        pad = (0,) * len(pad)
    if x.shape[1] == 1 and _has_fast_kernels(x):
        x, gy = channels_last(x), channels_last(gy)
    no_padding, wanted = [0] * len(stride), [False, True, False]
    return _conv_backward(gy, x, w, None, stride, pad, dilation, False, no_padding, groups, wanted)[1]


def _split_in_two(
    gy: torch.Tensor, x: torch.Tensor, w: torch.Tensor, stride: Ints, dilation: Ints, pad: Ints
) -> tuple[torch.Tensor, torch.Tensor]:
    """Split one image into a batch of two along a spatial axis, without padding; the kernel gradient sums over both.

    torch never considers a batch of two small.
    """
    lengths = gy.shape[2:]
    # halves along the first axis are contiguous, so they need no copy
    axis = max(range(len(lengths)), key=lambda k: (lengths[k] % 2 == 0, k == 0, lengths[k]))
    odd = lengths[axis] % 2
    half = (lengths[axis] + odd) // 2
    if any(pad) or odd:
        ends = [(p, p + (s if odd and k == axis else 0)) for k, (p, s) in enumerate(zip(pad, stride, strict=True))]
        x = _padded(x, ends)
    if odd:
        gy = zero_pad(gy, [0, 0] * (len(lengths) - 1 - axis) + [0, 1])
    extent = (half - 1) * stride[axis] + dilation[axis] * (w.shape[axis + 2] - 1) + 1
    return (
        gy.unflatten(axis + 2, (2, half)).movedim(axis + 2, 0).squeeze(1),
        torch.cat([x.narrow(axis + 2, start, extent) for start in (0, half * stride[axis])]),
    )
