"""Dilated convolution on a GPU: directly, or as an undilated one of fragments in the batch, whichever is faster.

A convolution dilated by d reads every d-th voxel. So the voxels 0, d, 2d, ..., those from 1 on, and so forth are images
of their own (fragments), and the convolution of each is not dilated. cuDNN is fast at these; whether that makes up for
rearranging the voxels is measured once per kind of layer.
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
"""Maximum number of values of an image, as input or result, that cuDNN supports."""

_aten_conv = torch.ops.aten.convolution


def effective(dilation: Ints, taps: Ints) -> Ints:
    """Return the dilation, set to 1 along axes with a single tap, where it has no effect."""
    return tuple(d if k > 1 else 1 for d, k in zip(dilation, taps, strict=True))


def dilated(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, dilation: Ints) -> torch.Tensor:
    """Compute a convolution without padding or stride by torch."""
    n = len(dilation)
    return _aten_conv(x, w, bias, [1] * n, [0] * n, dilation, False, [0] * n, 1)


def in_fragments(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, dilation: Ints) -> torch.Tensor:
    """Compute the same convolution on fragments."""
    windows = [n - d * (k - 1) for n, d, k in zip(x.shape[2:], dilation, w.shape[2:], strict=True)]
    y = joined(dilated(split(x, dilation), w, bias, (1,) * len(dilation)), dilation)
    return y[(..., *(slice(n) for n in windows))]


def split(x: torch.Tensor, dilation: Ints) -> torch.Tensor:
    """Split (b, c, *spatial) into fragments along the batch axis, zero-padded to equal sizes, in the same format."""
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
    """Join fragments; the inverse of `split`, including its zeros."""
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
    """True for channels-last strides, which crops keep."""
    return x.shape[1] > 1 and x.stride(1) == 1


class Trials:
    """Runs the fastest of several implementations, which is measured once per kind of layer.

    Parameters
    ----------
    seconds : callable
        Time that an implementation takes.
    """

    def __init__(self, seconds: Callable[[Run], float]) -> None:
        self.seconds = seconds
        self.chosen: dict[Any, int] = {}

    def __call__(self, kind: Any, implementations: Sequence[Run]) -> torch.Tensor:
        """Return the result of the fastest implementation, skipping those that run out of memory or lack a kernel."""
        if kind not in self.chosen:
            times, failure = {}, None
            for number, run in enumerate(implementations):
                try:
                    times[number] = self.seconds(run)
                except RuntimeError as error:
                    failure = error
            if failure is not None and not times:
                raise failure
            self.chosen[kind] = min(times, key=lambda number: times[number])
        return implementations[self.chosen[kind]]()


def on_the_device(run: Run) -> float:
    """Return the seconds that the second of two runs takes, by CUDA events."""
    stream = torch.cuda.current_stream(run().device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record(stream)
    run()
    end.record(stream)
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


trials = Trials(on_the_device)


def conv(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, dilation: Ints) -> torch.Tensor:
    """Compute a convolution without padding or stride on a GPU, in whichever form is faster."""
    dilation = effective(dilation, tuple(w.shape[2:]))
    if max(dilation) == 1:
        return dilated(x, w, bias, dilation)
    # sizes within a factor of two count as the same kind, so that smaller tiles at an image's border need no trials
    sizes = tuple(int(n).bit_length() for n in (x.shape[0], *x.shape[2:]))
    kind = (str(x.device), x.dtype, sizes, tuple(w.shape), dilation, w.is_contiguous())
    return trials(kind, [partial(form, x, w, bias, dilation) for form in (dilated, in_fragments)])


def conv_cost(x_shape: Ints, w_shape: Ints, dilation: Ints, dtype: str) -> tuple[float, float, float]:
    """Return the cost of a convolution without padding on a GPU; see `engine.interface`.

    The workspace may hold a copy of input and result (as fragments, in another memory format or precision), and the
    input padded for fragments. For images that are too large for cuDNN, torch uses im2col: a value for every tap of
    every window.
    """
    spread = max(effective(dilation, w_shape[2:])) > 1
    windows = prod(n - d * (k - 1) for n, d, k in zip(x_shape[2:], dilation, w_shape[2:], strict=True))
    values = prod(x_shape) * (1 + spread) + x_shape[0] * w_shape[0] * windows
    if max(prod(x_shape[1:]), w_shape[0] * windows) > MOST:
        values += prod(w_shape[1:]) * windows
    products = direct_conv_cost(x_shape, w_shape, dilation, dtype)[0]
    return products, 0.0, float(values * np.dtype(dtype).itemsize)
