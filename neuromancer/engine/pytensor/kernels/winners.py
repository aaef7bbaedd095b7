"""Max-pooling over adjacent windows that remembers the winners, and its gradient, on the CPU in single precision.

The position of a maximum is a byte: the number of the element within its window. The positions that torch stores take
eight bytes, twice the memory of the maxima themselves.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels.layout import laid_out_like
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.threads import each

Ints = tuple[int, ...]

MOST, WIDEST = 64, 4
"""Maximum number of elements of a window, and of its width."""
SHARE = 1 << 17
"""Minimum number of values per thread."""


def applies(x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints) -> bool:
    """Return whether `pool` can pool an image."""
    if (
        x.device.type != "cpu"
        or x.dtype != torch.float32
        or not (tuple(size) == tuple(stride) and set(dilation) == {1})
    ):
        return False
    vector, width = (x.shape[1], 1) if _is_last(x) else (x.shape[-1] // size[-1], size[-1])
    formatted = _is_last(x) or x.is_contiguous()
    windows = [n // k for n, k in zip(x.shape[2:], size, strict=True)]
    return formatted and min(windows) > 0 and prod(size) <= MOST and width <= WIDEST and vector >= _lanes()


def pool(x: torch.Tensor, size: Ints) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maxima of windows side by side and the number of the winner in each, uint8, in the format of x."""
    spatial = [n // k for n, k in zip(x.shape[2:], size, strict=True)]
    if _is_last(x):
        maxima = empty(x.shape[0], *spatial, x.shape[1]).movedim(-1, 1)
    else:
        maxima = empty(*x.shape[:2], *spatial)
    numbers = torch.empty_like(maxima, dtype=torch.uint8)
    _run(False, x, maxima, numbers, size)
    return maxima, numbers


def gradient(gy: torch.Tensor, numbers: torch.Tensor, spatial: Ints, size: Ints) -> torch.Tensor:
    """Return the gradient for an image of a size: each element of `gy` goes to the winner of its window."""
    gy = laid_out_like(gy, numbers)
    if _is_last(numbers):
        result = empty(gy.shape[0], *spatial, gy.shape[1]).movedim(-1, 1)
    else:
        result = empty(*gy.shape[:2], *spatial)
    if any(n % k for n, k in zip(spatial, size, strict=True)):
        result.zero_()  # the rest beside the last window
    _run(True, result, gy, numbers, size)
    return result


def flat_index(numbers: torch.Tensor, spatial: Ints, size: Ints) -> torch.Tensor:
    """Return the winners as flat indices into the spatial axes of an image, as torch does."""
    index = torch.zeros(numbers.shape, dtype=torch.int64)
    rest = numbers.to(torch.int64)
    places = []
    for k in reversed(size):
        places.append(rest % k)
        rest = rest // k
    for axis, (n, k, place) in enumerate(zip(spatial, size, reversed(places), strict=True)):
        along = [-1 if a == axis + 2 else 1 for a in range(numbers.ndim)]
        index = index * n + torch.arange(numbers.shape[axis + 2]).view(along) * k + place
    return index


def _is_last(x: torch.Tensor) -> bool:
    return x.movedim(1, -1).is_contiguous() and x.shape[1] > 1


def _run(back: bool, x: torch.Tensor, pooled: torch.Tensor, numbers: torch.Tensor, size: Ints) -> None:
    """Run the machine code: images as (images, z, y, x, values of a vector)."""
    z, y, w = (1,) * (3 - len(size)) + tuple(size)
    lengths = (*(1,) * (5 - x.ndim), *x.shape[2:])
    outputs = (*(1,) * (5 - x.ndim), *pooled.shape[2:])
    if _is_last(pooled) and _is_last(x):
        images, lengths, outputs, taps = x.shape[0], (*lengths, x.shape[1]), (*outputs, x.shape[1]), (z, y, w, 1)
    else:
        images, taps = x.shape[0] * x.shape[1], (z, y, 1, w)
        lengths, outputs = (*lengths[:2], 1, lengths[2]), (*outputs[:2], 1, outputs[2])
    run = _function(back, taps)
    rows = images * prod(outputs[:2])
    threads = max(1, min(torch.get_num_threads(), x.numel() // SHARE, rows))
    bounds = [rows * k // threads for k in range(threads + 1)]
    arrays = (x.data_ptr(), pooled.data_ptr(), numbers.data_ptr())
    each(lambda part: run(*arrays, *part, *lengths, *outputs), list(pairwise(bounds)), threads)


@cache
def _lanes() -> int:
    from neuromancer.engine.pytensor.kernels.native import vectors

    return vectors().lanes


@cache
def _function(back: bool, taps: Ints) -> Any:
    from neuromancer.engine.pytensor.kernels import winners_code

    return (winners_code.scattered if back else winners_code.pooled)(taps)
