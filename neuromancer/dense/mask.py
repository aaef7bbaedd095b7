"""Where a prediction is wanted: a volume of zeros and others, as fine as the image or coarser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, ShapeError


class Mask:
    """A mask over the image.

    Parameters
    ----------
    values : array-like with slicing, (*spatial) or (1, *spatial), with z for stacks
        As large as the image, or smaller by a whole number per axis (then the last voxel may stand for fewer).
    sizes : sequence of int
        Of the image: ([z of a stack,] *spatial).

    Raises
    ------
    ShapeError
        If the sizes do not fit.
    ArgumentError
        If it holds NaN, which is neither 0 nor another number.

    Examples
    --------
    >>> mask = Mask(np.array([0, 1, 1]), (5,))
    >>> mask.at([np.arange(5)]).tolist()
    [False, False, True, True, True]
    """

    def __init__(self, values: Any, sizes: Sequence[int]) -> None:
        self.values = values
        held = getattr(values, "array", values)
        if type(held) is np.ndarray:  # what lies in files is checked as it is read
            _require_numbers(held)
        shape = tuple(int(n) for n in values.shape)
        self.lead = len(shape) - len(sizes)
        if self.lead not in (0, 1) or (self.lead and shape[0] != 1):
            raise ShapeError(
                "the mask has the wrong number of axes",
                node="mask",
                got=f"shape {shape}",
                expected=f"{len(sizes)} axes, as the image has without its channels",
            )
        self.shape = shape[self.lead :]
        self.factors = [_factor(n, m, shape, sizes) for n, m in zip(sizes, self.shape, strict=True)]

    def at(self, positions: Sequence[np.ndarray]) -> np.ndarray:
        """Mask at a grid of raw voxels, given per axis; bool. No more than needed is read."""
        places = [
            np.minimum(p // f, n - 1) for p, f, n in zip(positions, self.factors, self.shape, strict=True)
        ]  # fmt: skip
        lows = [int(p.min()) for p in places]
        where = tuple(slice(low, int(p.max()) + 1) for low, p in zip(lows, places, strict=True))
        block = _require_numbers(np.asarray(self.values[(slice(0, 1),) * self.lead + where])) != 0
        block = block[0] if self.lead else block
        return block[np.ix_(*(p - low for p, low in zip(places, lows, strict=True)))]


def _require_numbers(values: np.ndarray) -> np.ndarray:
    """`values` without NaN, or ArgumentError."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ArgumentError(
            "the mask is not a number everywhere", node="mask", got="NaN", expected="0 or another number"
        )
    return values


def _factor(size: int, own: int, shape: Sequence[int], sizes: Sequence[int]) -> int:
    """Raw voxels per voxel of the mask, whose size may be rounded up or down."""
    for factor in {max(1, size // max(1, own)), -(-size // max(1, own))}:
        if own in (size // factor, -(-size // factor)):
            return factor
    raise ShapeError(
        "the mask does not fit the image",
        node="mask",
        got=f"shape {tuple(shape)}",
        expected=f"{tuple(sizes)}, or this divided by whole numbers",
    )
