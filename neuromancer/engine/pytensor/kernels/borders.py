"""Kernels that extend the spatial axes of (batch, channels, *spatial) beyond their ends, and their adjoints.

With a dilation d, an axis is d interleaved axes (every d-th element), each of which is extended by itself: that is how
dense prediction sees an axis that was subsampled by d.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn.functional import pad as torch_pad

from neuromancer.engine.common.arguments import check_reflected

Ints = tuple[int, ...]


@lru_cache(maxsize=1024)
def sources(n: int, before: int, after: int, mode: str, dilation: int) -> torch.Tensor:
    """Return the positions, on an axis of length `n`, whose values the extended axis has.

    Examples
    --------
    >>> sources(4, 2, 1, "reflect", 1).tolist(), sources(4, 1, 1, "replicate", 2).tolist()
    ([2, 1, 0, 1, 2, 3, 2], [0, 1, 0, 1, 2, 3, 2, 3])
    """
    place = torch.arange(-before * dilation, n + after * dilation)
    phase = place.remainder(dilation)
    step = (place - phase).div(dilation, rounding_mode="floor")
    last = (n - 1 - phase).div(dilation, rounding_mode="floor")
    if mode == "reflect":
        step = step.abs()
        step = last - (last - step).abs()
    step = torch.minimum(step.clamp_min(0), last)
    return step * dilation + phase


def extend(x: torch.Tensor, before: Ints, after: Ints, mode: str, value: float, dilation: Ints) -> torch.Tensor:
    """Extend every spatial axis of `x`."""
    if mode == "reflect":
        check_reflected("Pad", tuple(x.shape[2:]), dilation, before, after)
    if mode == "constant" or set(dilation) == {1}:
        widths = [n * d for a, b, d in zip(before, after, dilation, strict=True) for n in (b, a)][::-1]
        return torch_pad(x, widths, mode, value if mode == "constant" else None)
    for axis, (a, b, d) in enumerate(zip(before, after, dilation, strict=True), 2):
        if a or b:
            x = x.index_select(axis, sources(x.shape[axis], a, b, mode, d).to(x.device))
    return x


def fold(gy: torch.Tensor, shape: Ints, before: Ints, after: Ints, mode: str, dilation: Ints) -> torch.Tensor:
    """Apply the adjoint of `extend`: add what was computed beyond the ends to the elements that it was copied from."""
    for axis, (a, b, d) in enumerate(zip(before, after, dilation, strict=True), 2):
        n = shape[axis]
        gx = gy.narrow(axis, a * d, n)
        if mode != "constant" and (a or b):
            gx = gx.clone()
            places = sources(n, a, b, mode, d).to(gy.device)
            for start, length in ((0, a * d), (a * d + n, b * d)):
                gx.index_add_(axis, places[start : start + length], gy.narrow(axis, start, length))
        gy = gx
    return gy
