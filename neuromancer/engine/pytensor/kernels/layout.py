"""Copies of images between the channels-last and the contiguous memory format, on the CPU in single precision.

torch copies value by value. Here squares of as many values as a vector has are transposed in registers.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
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
    """Return an image (b, c, *spatial), fastest a contiguous one, in the channels-last memory format."""
    b, c, *spatial = x.shape
    if not _pays(x) or not x.is_contiguous() or x.movedim(1, -1).is_contiguous():
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    result = empty(b, *spatial, c)
    _transpose(x, result, b, (c, prod(spatial)), columns_first=True)
    return result.movedim(-1, 1)


def to_contiguous(x: torch.Tensor) -> torch.Tensor:
    """Return an image (b, c, *spatial), fastest one in the channels-last memory format, as a contiguous one."""
    b, c, *spatial = x.shape
    if not _pays(x) or x.is_contiguous() or not x.movedim(1, -1).is_contiguous():
        return x.contiguous()
    result = empty(b, c, *spatial)
    _transpose(x, result, b, (prod(spatial), c), columns_first=False)
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
    in_reach = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() >= LEAST
    return in_reach and x.shape[1] >= lanes and prod(x.shape[2:]) >= lanes


def _transpose(x: torch.Tensor, y: torch.Tensor, batch: int, shape: tuple[int, int], columns_first: bool) -> None:
    """Transpose matrices of a shape; threads divide the longer axis, the columns if `columns_first`."""
    rows, columns = shape
    run = _function(columns_first)
    longer, lanes = (columns if columns_first else rows), _lanes()
    threads = max(1, min(torch.get_num_threads(), rows * columns // SHARE, longer // lanes))
    bounds = [longer * k // threads for k in range(threads + 1)]
    tasks = [(4 * image * rows * columns, *part) for image in range(batch) for part in pairwise(bounds)]

    def task(part: tuple[int, int, int]) -> None:
        offset, first, end = part
        source = x.data_ptr() + offset + 4 * first * (1 if columns_first else columns)
        target = y.data_ptr() + offset + 4 * first * (rows if columns_first else 1)
        size = (rows, end - first) if columns_first else (end - first, columns)
        run(source, target, *size, columns, rows)

    each(task, tasks, threads)


@cache
def _lanes() -> int:
    from neuromancer.engine.pytensor.kernels.native import vectors

    return vectors().lanes


@cache
def _function(columns_first: bool) -> Any:
    from neuromancer.engine.pytensor.kernels.transposition import compiled

    return compiled(columns_first)
