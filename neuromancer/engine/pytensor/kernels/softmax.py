"""Softmax over a few channels, in one pass over memory: channels are operands of elementwise expressions."""

from __future__ import annotations

from functools import cache, reduce

import torch

from neuromancer.engine.pytensor.kernels.elementwise import Elementwise
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.row_layout import SHARE

MOST = 16
"""Maximum number of channels: all are held in registers."""


def is_suitable(x: torch.Tensor) -> bool:
    """Return whether a tensor (b, c, ...) is large, has few channels, and does not have them last in memory."""
    fits = x.device.type == "cpu" and x.dtype is torch.float32 and x.ndim > 2 and 1 < x.shape[1] <= MOST
    return fits and x.stride(-1) == 1 and x.numel() >= SHARE


def softmax(x: torch.Tensor, logarithm: bool) -> torch.Tensor:
    """Return the softmax over axis 1, or its logarithm, of a suitable tensor."""
    result = empty(*x.shape)
    for image, out in zip(x, result, strict=True):
        _function(x.shape[1], logarithm)(image.unbind(), into=out.unbind())
    return result


@cache
def _function(channels: int, logarithm: bool) -> Elementwise:
    scores = [Expression.operand(k) for k in range(channels)]
    largest = reduce(lambda a, b: Expression("maximum", a, b), scores)
    shifted = [Expression("sub", score, largest) for score in scores]
    powers = [Expression("exp", score) for score in shifted]
    total = reduce(lambda a, b: Expression("add", a, b), powers)
    if logarithm:
        return Elementwise(*(Expression("sub", score, Expression("log", total)) for score in shifted))
    inverse = Expression("reciprocal", total)
    return Elementwise(*(Expression("mul", power, inverse) for power in powers))
