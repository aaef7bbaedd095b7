"""Convolution kernels: cross-correlation in one to three dimensions, its gradients, and its transpose.

Layouts: x (batch, channels, *spatial), w (n_out, n_in, *kernel); for the transpose w is (n_in, n_out, *kernel).
"""

from __future__ import annotations

import torch

Ints = tuple[int, ...]

_conv = torch.ops.aten.convolution
_conv_backward = torch.ops.aten.convolution_backward
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(w: torch.Tensor) -> torch.Tensor:
    """Return `w` in the memory format in which CPU convolutions are fastest (values and shape unchanged)."""
    memory_format = CHANNELS_LAST.get(w.ndim)
    return w if memory_format is None else w.contiguous(memory_format=memory_format)


def conv(
    x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, stride: Ints, dilation: Ints, pad: Ints
) -> torch.Tensor:
    """Cross-correlate `x` with `w` and add `bias` (n_out,) if given."""
    return _conv(x, w, bias, stride, pad, dilation, False, [0] * len(stride), 1)


def conv_transpose(
    x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, stride: Ints, dilation: Ints, pad: Ints
) -> torch.Tensor:
    """Adjoint of `conv` applied to `x`, at full output size, plus `bias` (n_out,) if given."""
    return _conv(x, w, bias, stride, pad, dilation, True, [0] * len(stride), 1)


def conv_grad(
    gy: torch.Tensor,
    x: torch.Tensor,
    w: torch.Tensor,
    stride: Ints,
    dilation: Ints,
    pad: Ints,
    wanted: tuple[bool, bool, bool],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of ``sum(gy * conv(x, w, bias))`` for x, w and bias, as far as `wanted` (None otherwise)."""
    bias_sizes = [w.shape[0]] if wanted[2] else None
    return _conv_backward(gy, x, w, bias_sizes, stride, pad, dilation, False, [0] * len(stride), 1, list(wanted))
