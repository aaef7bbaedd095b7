"""Reading blocks of the raw volume: scaled to floating point, mirrored beyond its borders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast
from neuromancer.errors import InputTypeError
from neuromancer.masked import unmasked

EIGHT_BIT_MAX = 255


def scale_of(dtype: np.dtype) -> float:
    """Return the divisor that scales values of a dtype to [0, 1].

    255 for 8-bit integers and for 32- and 64-bit ones, which usually hold 8-bit data; the maximum for 16-bit integers;
    1 for floating point and bool.
    """
    if dtype.kind in "fb":
        return 1.0
    return float(np.iinfo(dtype).max) if dtype.itemsize == 2 else float(EIGHT_BIT_MAX)


def normalise(block: np.ndarray, dtype: str) -> np.ndarray:
    """Convert a block of raw data to the network's dtype, integers scaled by :func:`scale_of`.

    Raises
    ------
    InputTypeError
        If 32- or 64-bit integers exceed 8-bit values, so that their scale is unknown.
    ArgumentError
        If a value cannot be represented in the network's dtype.
    """
    if np.dtype(dtype).kind != "f" or block.dtype.kind in "fb":
        result = exact_cast(block, dtype, "predict_dense", "the image")
        return result.copy() if result is block else result
    if block.dtype.kind in "iu" and block.dtype.itemsize > 2 and block.size:
        low, high = int(block.min()), int(block.max())
        if low < 0 or high > EIGHT_BIT_MAX:
            raise InputTypeError(
                "32- and 64-bit integers beyond 8-bit values have no natural scale",
                where="predict_dense",
                got=f"{block.dtype} with values {low} to {high}",
                expected="floating point, or 8- or 16-bit integers",
            )
    result = block.astype(dtype)
    result /= np.asarray(scale_of(block.dtype), dtype=dtype)
    return result


def fold(indices: np.ndarray, size: int) -> np.ndarray:
    """Map positions beyond the ends of an axis of `size` voxels to indices, mirrored with the edge voxel repeated.

    Examples
    --------
    >>> fold(np.arange(-2, 5), 3).tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    indices = np.mod(indices, 2 * size)
    return np.where(indices < size, indices, 2 * size - 1 - indices)


def read(raw: Any, head: tuple[slice, ...], starts: Sequence[int], stops: Sequence[int]) -> np.ndarray:
    """Read a block of `raw`, mirrored where it extends beyond the borders; only the range needed is read.

    Parameters
    ----------
    raw : array, (f, [z of a stack,] *spatial)
    head : tuple of slice
        Index range along the non-spatial axes.
    starts, stops : sequence of int
        Range per spatial axis; may extend beyond the borders.

    Returns
    -------
    numpy.ndarray
    """
    lead = len(head)
    sizes = raw.shape[lead:]
    used = [fold(np.arange(a, b), n) for a, b, n in zip(starts, stops, sizes, strict=True)]
    inner = tuple(slice(int(u.min()), int(u.max()) + 1) for u in used)
    block = np.asarray(unmasked(raw[(*head, *inner)], "image"))
    for axis, (a, b, n) in enumerate(zip(starts, stops, sizes, strict=True)):
        if a < 0 or b > n:
            block = np.take(block, used[axis] - inner[axis].start, axis=lead + axis)
    return block
