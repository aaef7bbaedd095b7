"""Pooling kernels over valid windows in one to three dimensions, on (batch, channels, *spatial)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from math import ceil
from types import ModuleType
from typing import Any

import numpy as np
import torch

from neuromancer.config import config
from neuromancer.engine.pytensor.devices import resolve_device
from neuromancer.engine.pytensor.kernels import winners
from neuromancer.engine.pytensor.kernels.conv import CHANNELS_LAST
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.threads import each

Ints = tuple[int, ...]

ONE_PASS = 1 << 25
"""Minimum size in bytes for sliding over all axes in one pass; smaller arrays stay in the caches between axes."""

WORTH_CODE = 1 << 18
"""Minimum size in bytes of a contiguous array for which machine code is faster than torch's functions."""

_aten = torch.ops.aten
_MAX = {2: _aten.max_pool2d_with_indices, 3: _aten.max_pool3d_with_indices}
_MAX_GRAD = {2: _aten.max_pool2d_with_indices_backward, 3: _aten.max_pool3d_with_indices_backward}
_AVERAGE = {2: _aten.avg_pool2d, 3: _aten.avg_pool3d}
_AVERAGE_GRAD = {2: _aten.avg_pool2d_backward, 3: _aten.avg_pool3d_backward}


def _unit_axis(tensors: tuple[torch.Tensor, ...], *sizes: Ints) -> tuple[tuple[torch.Tensor, ...], list[Ints]]:
    """Insert a spatial axis of length 1 into tensors and sizes: torch pools 1-D images with its 2-D kernels."""
    return tuple(t.unsqueeze(2) for t in tensors), [(1, *size) for size in sizes]


def max_pool(x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maxima of all windows and their positions.

    These are flat indices into the spatial axes of `x` (int64), or numbers within the windows (uint8, see `winners`).
    """
    if winners.applies(x, size, stride, dilation):
        return winners.pool(x, size)
    if len(size) == 1:
        (x,), (size, stride, dilation) = _unit_axis((x,), size, stride, dilation)
        values, index = max_pool(x, size, stride, dilation)
        return values.squeeze(2), index.squeeze(2)
    return _MAX[len(size)](x, size, stride, [0] * len(size), dilation, False)


def max_pool_values(x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints) -> torch.Tensor:
    """Return the maxima of all windows, without positions: in one pass over large arrays, else axis by axis."""
    if 4 * x.numel() >= WORTH_CODE and len(size) > 1 and _rows().can_pool(x, stride):
        return _rows().max_pool_rows(x, size, stride, dilation)
    if fits_one_pass(x, size, stride, dilation):
        return max_pool_one_pass(x, size, dilation)
    return max_pool_by_axis(x, size, stride, dilation)


def max_pool_by_axis(x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints) -> torch.Tensor:
    """Return the maxima of all windows, reduced axis by axis.

    The maximum over a box is the maximum of shifted slices along one axis after the other. That runs at memory speed
    and costs ``sum(size)`` comparisons instead of ``prod(size)``: several times faster than torch's pooling on a CPU,
    most of all with dilation.
    """
    for axis in range(len(size)):
        x = _slide(x, axis + 2, size[axis], stride[axis], dilation[axis], torch.maximum)
    return x


def _rows() -> ModuleType:
    """Return the module for contiguous images; imported on demand, as importing llvmlite takes time."""
    return import_module("neuromancer.engine.pytensor.kernels.row_pool")


def fits_one_pass(x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints) -> bool:
    """True for windows over several axes of a large channels-last array that `max_pool_one_pass` can handle."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim in CHANNELS_LAST
        and set(stride) == {1}
        and sum(k > 1 for k in size) > 1
        and 4 * x.numel() >= ONE_PASS
        and x.is_contiguous(memory_format=CHANNELS_LAST[x.ndim])
        and (x.shape[-1] - dilation[-1] * (size[-1] - 1)) * x.shape[1] >= LANES
    )


def max_pool_one_pass(x: torch.Tensor, size: Ints, dilation: Ints) -> torch.Tensor:
    """Return the maxima of all windows of a channels-last array; threads divide the first axis."""
    spatial = [len(range(n)[taps[0]]) for n, taps in zip(x.shape[2:], _all_taps(x, size, dilation), strict=True)]
    result = empty(x.shape[0], *spatial, x.shape[1])
    channels, threads = x.shape[1], torch.get_num_threads()
    # a batch of 2-D images is one volume whose windows cover a single plane
    whole = (x.shape[0], -1, *x.shape[-2:-1]) if x.ndim == 5 else (1, *x.shape[:1], *x.shape[-2:-1])
    sources = x.movedim(1, -1).numpy().reshape(*whole, x.shape[-1] * channels)
    targets = result.numpy().reshape(whole[0], -1, spatial[-2], spatial[-1] * channels)
    window, (dz, dy, dx) = ((1, *axes) if x.ndim == 4 else axes for axes in (size, dilation))
    run = import_module("neuromancer.engine.pytensor.kernels.maxima").compiled(*window)
    numbers = (*sources.shape[2:], *targets.shape[2:], dz, dy, dx * channels)
    depth = targets.shape[1]
    length = ceil(depth / (4 * threads))
    for source, target in zip(sources, targets, strict=True):

        def part(first: int, source: Any = source, target: Any = target) -> None:
            row = np.empty(source.shape[-1], np.float32)
            arrays = (source.ctypes.data, target.ctypes.data, row.ctypes.data)
            run(*arrays, *numbers, first, min(first + length, depth))

        each(part, range(0, depth, length), threads)
    return result.movedim(-1, 1)


def _all_taps(x: torch.Tensor, size: Ints, dilation: Ints) -> list[list[slice]]:
    return [_taps(n, k, 1, d) for n, k, d in zip(x.shape[2:], size, dilation, strict=True)]


def pool_copies(axes: int, dtype: str) -> int:
    """Return the number of arrays in use in addition to the pooled one, on the configured device.

    See `engine.interface`.
    """
    in_one_pass = dtype == "float32" and resolve_device(config.device).type == "cpu"
    return min(axes, 1 if in_one_pass else 2)


def max_pool_grad(
    gy: torch.Tensor, x: torch.Tensor, index: torch.Tensor, size: Ints, stride: Ints, dilation: Ints
) -> torch.Tensor:
    """Return the gradient: each element of `gy` goes to the position in `x` of the maximum of its window.

    Only shape and memory format of `x` are used; it may be on device 'meta'.
    """
    if index.dtype == torch.uint8:
        return winners.gradient(gy, index, tuple(x.shape[2:]), size)
    if x.device != gy.device:
        x = torch.empty_strided(x.shape, x.stride(), dtype=gy.dtype, device=gy.device)
    if len(size) == 1:
        (gy, x, index), (size, stride, dilation) = _unit_axis((gy, x, index), size, stride, dilation)
        return max_pool_grad(gy, x, index, size, stride, dilation).squeeze(2)
    return _MAX_GRAD[len(size)](gy, x, size, stride, [0] * len(size), dilation, False, index)


def take_winners(x: torch.Tensor, index: torch.Tensor, size: Ints) -> torch.Tensor:
    """Read `x` at the positions of the maxima, (batch, channels, *pooled)."""
    if index.dtype == torch.uint8:
        index = winners.flat_index(index, tuple(x.shape[2:]), size)
    return x.flatten(2).gather(2, index.flatten(2)).view(index.shape)


def average_pool(x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints, divisor: int) -> torch.Tensor:
    """Return the sums of all windows, divided by `divisor`."""
    if any(d != 1 for d in dilation):
        for axis in range(len(size)):
            x = _slide(x, axis + 2, size[axis], stride[axis], dilation[axis], torch.add)
        return x if divisor == 1 else x / divisor
    if len(size) == 1:
        (x,), (size, stride, dilation) = _unit_axis((x,), size, stride, dilation)
        return average_pool(x, size, stride, dilation, divisor).squeeze(2)
    return _AVERAGE[len(size)](x, size, stride, [0] * len(size), False, True, divisor)


def average_pool_grad(
    gy: torch.Tensor, x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints, divisor: int
) -> torch.Tensor:
    """Return the gradient: each element of `gy` is spread over its window.

    Only shape and memory format of `x` are used; it may be on device 'meta'.
    """
    if x.device != gy.device:
        x = torch.empty_strided(x.shape, x.stride(), dtype=gy.dtype, device=gy.device)
    if any(d != 1 for d in dilation):
        for axis in reversed(range(len(size))):
            gy = _unslide(gy, axis + 2, x.shape[axis + 2], size[axis], stride[axis], dilation[axis])
        return gy if divisor == 1 else gy / divisor
    if len(size) == 1:
        (gy, x), (size, stride, dilation) = _unit_axis((gy, x), size, stride, dilation)
        return average_pool_grad(gy, x, size, stride, dilation, divisor).squeeze(2)
    return _AVERAGE_GRAD[len(size)](gy, x, size, stride, [0] * len(size), False, True, divisor)


def _taps(n: int, size: int, stride: int, dilation: int) -> list[slice]:
    """Return the slices of an axis of length `n` that hold the first, second, ... element of every window."""
    span = n - dilation * (size - 1)
    if span < 1:
        raise RuntimeError(f"a window of {dilation * (size - 1) + 1} is larger than the input of {n}")
    return [slice(i * dilation, i * dilation + span, stride) for i in range(size)]


def _slide(
    x: torch.Tensor, axis: int, size: int, stride: int, dilation: int, combine: Callable[..., Any]
) -> torch.Tensor:
    """Combine the elements of every window along one axis."""
    if size == 1 and stride == 1:
        return x
    lead = (slice(None),) * axis
    first, *rest = _taps(x.shape[axis], size, stride, dilation)
    result = x[(*lead, first)]
    for k, tap in enumerate(rest):
        target = result if k else _like(result)
        result = combine(result, x[(*lead, tap)], out=target)
    return result


def _like(x: torch.Tensor) -> torch.Tensor | None:
    """Allocate a result of the shape and the memory format of x; None where torch allocates it as well."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.ndim not in CHANNELS_LAST:
        return None
    last = [0, *range(2, x.ndim), 1]
    if any(x.stride(a) < x.stride(b) for a, b in pairwise(last)):
        return None
    return empty(*(x.shape[k] for k in last)).movedim(-1, 1)


def _unslide(gy: torch.Tensor, axis: int, n: int, size: int, stride: int, dilation: int) -> torch.Tensor:
    """Adjoint of summing `_slide`: add `gy` to every element of its window on an axis of length `n`."""
    if size == 1 and stride == 1:
        return gy
    shape = list(gy.shape)
    shape[axis] = n
    result = gy.new_zeros(shape)
    lead = (slice(None),) * axis
    for tap in _taps(n, size, stride, dilation):
        result[(*lead, tap)] += gy
    return result
