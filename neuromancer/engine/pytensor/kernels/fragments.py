"""Dilated convolutions on a GPU: as they are, or as plain ones of fragments in the batch, whichever is faster.

A convolution dilated by d reads every d-th voxel. So the voxels 0, d, 2d, ..., those from 1 on, and so forth are images
of their own (fragments), on each of which the convolution is a plain one. cuDNN is fast at plain ones; whether that
makes up for moving the voxels is measured once for every kind of layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad as zero_pad

from neuromancer.engine.common.costs import direct_conv_cost

Ints = tuple[int, ...]
Run = Callable[[], torch.Tensor]

MOST = 2**31 - 1
"""Values of an image, as input or result, with which cuDNN can deal."""

_aten_conv = torch.ops.aten.convolution


def effective(dilation: Ints, taps: Ints) -> Ints:
    """The dilation with 1 where the kernel is one voxel long, which nothing spreads."""
    return tuple(d if k > 1 else 1 for d, k in zip(dilation, taps, strict=True))


def dilated(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, dilation: Ints) -> torch.Tensor:
    """The convolution without padding or stride as torch computes it."""
    n = len(dilation)
    return _aten_conv(x, w, bias, [1] * n, [0] * n, dilation, False, [0] * n, 1)


def in_fragments(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, dilation: Ints) -> torch.Tensor:
    """The same convolution, of fragments."""
    windows = [n - d * (k - 1) for n, d, k in zip(x.shape[2:], dilation, w.shape[2:], strict=True)]
    y = joined(dilated(split(x, dilation), w, bias, (1,) * len(dilation)), dilation)
    return y[(..., *(slice(n) for n in windows))]


def split(x: torch.Tensor, dilation: Ints) -> torch.Tensor:
    """Fragments of (b, c, *spatial) in the batch axis, in the memory format of x; zeros make them equally long."""
    ends = [-n % d for n, d in zip(x.shape[2:], dilation, strict=True)]
    last = _is_channels_last(x)
    x = zero_pad(x, [n for end in reversed(ends) for n in (0, end)]) if any(ends) else x
    n = len(dilation)
    parts = x.reshape(*x.shape[:2], *chain(*((m // d, d) for m, d in zip(x.shape[2:], dilation, strict=True))))
    phases, within = [3 + 2 * k for k in range(n)], [2 + 2 * k for k in range(n)]
    order = [*phases, 0, *within, 1] if last else [*phases, 0, 1, *within]
    moved = parts.permute(order).flatten(0, n)
    return moved.contiguous().movedim(-1, 1) if last else moved.contiguous()


def joined(y: torch.Tensor, dilation: Ints) -> torch.Tensor:
    """The reverse of `split`, with its zeros."""
    n, last = len(dilation), _is_channels_last(y)
    parts = (y.movedim(1, -1) if last else y).unflatten(0, (*dilation, -1))
    first = n + 1 if last else n + 2
    spatial = list(chain(*((first + k, k) for k in range(n))))
    order = [n, *spatial, first + n] if last else [n, n + 1, *spatial]
    whole = parts.permute(order).contiguous()
    for axis in range(1 if last else 2, n + (1 if last else 2)):
        whole = whole.flatten(axis, axis + 1)
    return whole.movedim(-1, 1) if last else whole


def _is_channels_last(x: torch.Tensor) -> bool:
    """By the strides, which stay when something is cut off."""
    return x.shape[1] > 1 and x.stride(1) == 1


class Trials:
    """Of several ways to the same result the fastest for every kind of work, found out once.

    Parameters
    ----------
    seconds : callable
        Time that a way takes.
    """

    def __init__(self, seconds: Callable[[Run], float]) -> None:
        self.seconds = seconds
        self.chosen: dict[Any, int] = {}

    def __call__(self, kind: Any, ways: Sequence[Run]) -> torch.Tensor:
        """The result, by the fastest way; one for which the device lacks memory or a kernel is not taken."""
        if kind not in self.chosen:
            times, failure = {}, None
            for number, way in enumerate(ways):
                try:
                    times[number] = self.seconds(way)
                except RuntimeError as error:
                    failure = error
            if failure is not None and not times:
                raise failure
            self.chosen[kind] = min(times, key=lambda number: times[number])
        return ways[self.chosen[kind]]()


def on_the_device(way: Run) -> float:
    """Seconds by the clock of the GPU, the second time."""
    stream = torch.cuda.current_stream(way().device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record(stream)
    way()
    end.record(stream)
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


trials = Trials(on_the_device)


def conv(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, dilation: Ints) -> torch.Tensor:
    """A convolution without padding or stride on a GPU, by the faster way."""
    dilation = effective(dilation, tuple(w.shape[2:]))
    if max(dilation) == 1:
        return dilated(x, w, bias, dilation)
    # what is as large up to a factor of two is taken for alike, so that tiles at an image's end need no trials
    sizes = tuple(int(n).bit_length() for n in (x.shape[0], *x.shape[2:]))
    kind = (str(x.device), x.dtype, sizes, tuple(w.shape), dilation, w.is_contiguous())
    return trials(kind, [partial(way, x, w, bias, dilation) for way in (dilated, in_fragments)])


def conv_cost(x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str) -> tuple[float, float, float]:
    """What a convolution without padding costs on a GPU; see the interface of engines.

    Beside input and result there may be a copy of each: in fragments, in another memory format or precision. Before it
    is cut into fragments an input is made longer. An image that is too large for cuDNN is unfolded by torch, into a
    value for every tap of every window.
    """
    spread = max(effective(dilation, w_shape[2:])) > 1
    windows = prod(n - d * (k - 1) for n, d, k in zip(x_shape[2:], dilation, w_shape[2:], strict=True))
    values = prod(x_shape) * (1 + spread) + x_shape[0] * w_shape[0] * windows
    if max(prod(x_shape[1:]), w_shape[0] * windows) > MOST:
        values += prod(w_shape[1:]) * windows
    products = direct_conv_cost(x_shape, w_shape, dilation, dtype)[0]
    return products, 0.0, float(values * np.dtype(dtype).itemsize)
