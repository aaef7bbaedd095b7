"""Copies of images between the channels-last and the contiguous memory format, on the CPU in single precision.

torch copies value by value. Here squares of as many values as a vector has are transposed in registers.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise, product
from math import prod
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.threads import each

LEAST = 1 << 14
"""Minimum number of values: below, torch is as fast."""
SHARE = 1 << 17
"""Minimum number of values per thread."""


def to_channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return an image (b, c, *spatial) in the channels-last memory format."""
    b, c, *spatial = x.shape
    if not _pays(x) or x.movedim(1, -1).is_contiguous():
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    result = empty(b, *spatial, c).movedim(-1, 1)
    copy_to(result, x)
    return result


def to_contiguous(x: torch.Tensor) -> torch.Tensor:
    """Return an image (b, c, *spatial) as a contiguous one."""
    if not _pays(x) or x.is_contiguous():
        return x.contiguous()
    result = empty(*x.shape)
    copy_to(result, x)
    return result


def laid_out_like(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return `x` in the memory format of another image of the same shape, a contiguous or a channels-last one."""
    if x.stride() == other.stride():
        return x
    if x.ndim > 2 and other.is_contiguous():
        return to_contiguous(x)
    if x.ndim > 2 and other.movedim(1, -1).is_contiguous():
        return to_channels_last(x)
    return torch.empty_strided(x.shape, other.stride(), dtype=x.dtype, device=x.device).copy_(x)


def _pays(x: torch.Tensor) -> bool:
    lanes = _lanes()
    return _in_reach(x) and x.numel() >= LEAST and x.shape[1] >= lanes and prod(x.shape[2:]) >= lanes


def _in_reach(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32


def copy_to(y: torch.Tensor, x: torch.Tensor) -> None:
    """Copy an image (b, c, *spatial) to another one of its shape; both may be parts of larger images."""
    runs = _runs(x, y)
    voxels, x_step, y_step = runs.pop()
    columns_first = x_step == y.stride(1) == 1
    rows_first = y_step == x.stride(1) == 1
    if columns_first == rows_first or voxels < _lanes() or not (_pays(x) and _in_reach(y)):
        y.copy_(x)
        return
    matrices, x_apart, y_apart = runs.pop() if runs else (1, 0, 0)
    rows_apart = (x.stride(1), y_step) if columns_first else (x_step, y.stride(1))
    run, threads = _function(columns_first), max(1, min(torch.get_num_threads(), x.numel() // SHARE))
    across, along = (threads, 1) if matrices >= threads else (1, min(threads, voxels // _lanes()))
    tasks = product(_shares(matrices, across), _shares(voxels, along), product(*(range(n) for n, _, _ in runs)))

    def task(part: tuple[tuple[int, int], tuple[int, int], tuple[int, ...]]) -> None:
        (matrix, last), (first, end), places = part
        source = matrix * x_apart + first * x_step + sum(k * step for k, (_, step, _) in zip(places, runs, strict=True))
        target = matrix * y_apart + first * y_step + sum(k * step for k, (_, _, step) in zip(places, runs, strict=True))
        size = (x.shape[1], end - first) if columns_first else (end - first, x.shape[1])
        addresses = x.data_ptr() + 4 * source, y.data_ptr() + 4 * target
        run(*addresses, *size, *rows_apart, last - matrix, x_apart, y_apart)

    each(task, tasks, threads)


def _runs(x: torch.Tensor, y: torch.Tensor) -> list[tuple[int, int, int]]:
    """Return the axes of two images but for the channels: (length, distance in x, in y), joined where possible."""
    runs: list[tuple[int, int, int]] = []
    for k in (0, *range(2, x.ndim)):
        run = (x.shape[k], x.stride(k), y.stride(k))
        if runs and all(before == run[0] * step for before, step in zip(runs[-1][1:], run[1:], strict=True)):
            run = (runs.pop()[0] * run[0], *run[1:])
        if run[0] != 1:
            runs.append(run)
    return runs or [(1, 1, 1)]


def _shares(count: int, parts: int) -> list[tuple[int, int]]:
    return list(pairwise(count * k // parts for k in range(parts + 1)))


@cache
def _lanes() -> int:
    from neuromancer.engine.pytensor.kernels.native import vectors

    return vectors().lanes


@cache
def _function(columns_first: bool) -> Any:
    from neuromancer.engine.pytensor.kernels.transposition import compiled

    return compiled(columns_first)
