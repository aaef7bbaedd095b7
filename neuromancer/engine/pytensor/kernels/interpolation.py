"""Kernels that resize the spatial axes of (batch, channels, *spatial), and their adjoints."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from neuromancer.engine.pytensor.kernels.linear_resize import is_suitable, linear_resize

Ints = tuple[int, ...]

MODES = {"nearest": ("nearest",) * 3, "linear": ("linear", "bilinear", "trilinear")}
_aten = torch.ops.aten
_NEAREST_GRAD = (
    _aten.upsample_nearest1d_backward,
    _aten.upsample_nearest2d_backward,
    _aten.upsample_nearest3d_backward,
)
_LINEAR_GRAD = (
    _aten.upsample_linear1d_backward,
    _aten.upsample_bilinear2d_backward,
    _aten.upsample_trilinear3d_backward,
)


def resize(x: torch.Tensor, sizes: Ints, mode: str, align_corners: bool) -> torch.Tensor:
    """Resize every spatial axis of `x`."""
    if mode == "linear" and is_suitable(x, sizes):
        return linear_resize(x, sizes, align_corners)
    torch_mode = MODES[mode][len(sizes) - 1]
    return interpolate(x, size=list(sizes), mode=torch_mode, align_corners=align_corners if mode == "linear" else None)


def resize_grad(gy: torch.Tensor, shape: Ints, mode: str, align_corners: bool) -> torch.Tensor:
    """Apply the adjoint of `resize` for an input of this shape."""
    sizes, which = list(gy.shape[2:]), gy.ndim - 3
    if mode == "nearest":
        return _NEAREST_GRAD[which](gy, sizes, list(shape))
    return _LINEAR_GRAD[which](gy, sizes, list(shape), align_corners)
