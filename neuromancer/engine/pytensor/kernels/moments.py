"""Sums of deviations from a value that is computed after the pass over memory."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.sums import Sums

ORIGIN, FIRST, SECOND, COUNT = range(4)
"""Rows of the array from `raw_moments`: an origin, sums of deviations from it and of their squares, their number."""


@cache
def _sums(axes: tuple[int, ...]) -> Sums:
    deviation = Expression("sub", Expression.operand(0), Expression.operand(1))
    return Sums(deviation, deviation, axes=axes, squared=(False, True))


def raw_moments(x: torch.Tensor, axes: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums of x over some axes, and what `centred_sums` needs, (4, *rest) in float64.

    The origin is a value of x, so that neither a large mean nor float32 costs digits of the variance (shifted data in
    Chan, Golub & LeVeque 1983). It is in the middle: margins of an image may be filled with another number.
    """
    middle = x
    for axis in axes:
        middle = middle.narrow(axis, x.shape[axis] // 2, min(x.shape[axis], 1))
    middle = torch.where(middle.isfinite(), middle, 0) if middle.numel() else x.new_zeros([1] * x.ndim)
    first, second = _sums(axes).exact((x, middle))
    rest = first.numpy()
    raw = np.empty((4, *rest.shape))
    raw[ORIGIN] = np.broadcast_to(middle.numpy().squeeze(axes), rest.shape)
    raw[FIRST], raw[SECOND] = rest, second.numpy()
    raw[COUNT] = x.numel() / max(rest.size, 1)
    total = raw[COUNT] * raw[ORIGIN] + raw[FIRST]
    with np.errstate(over="ignore"):
        return _rounded(total), torch.from_numpy(raw)


def centred_sums(raw: torch.Tensor, center: torch.Tensor, axes: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sums of ``x - center`` and of its squares, in float32; `center` has length 1 along the axes."""
    values = raw.numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        shift = values[ORIGIN] - center.numpy().squeeze(axes)
        shifted = values[COUNT] * shift
        first = shifted + values[FIRST]
        second = np.maximum(values[SECOND] + shift * (2 * values[FIRST] + shifted), 0)
        return _rounded(first), _rounded(second)


def _rounded(values: Any) -> torch.Tensor:
    """Return numbers as a float32 tensor; numpy's operations on arrays without axes return scalars."""
    return torch.from_numpy(np.asarray(values, np.float32))
