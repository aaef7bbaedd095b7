"""Masks that restrict a prediction: volumes that are nonzero where to predict, at the image's resolution or coarser."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.volumes.accept import checked_dtype


class Mask:
    """A mask over the image.

    Parameters
    ----------
    values : array-like with slicing, (*spatial) or (1, *spatial), with z for stacks
        Same size as the image, or downsampled by an integer factor per axis (the last voxel may cover fewer).
    sizes : sequence of int
        Size of the image, ([z of a stack,] *spatial).

    Raises
    ------
    ShapeError
        If its size does not fit that of the image.
    InputTypeError
        If it has no numeric dtype.
    ArgumentError
        If it contains NaN.

    Examples
    --------
    >>> mask = Mask(np.array([0, 1, 1]), (5,))
    >>> mask.at([np.arange(5)]).tolist()
    [False, False, True, True, True]
    """

    def __init__(self, values: Any, sizes: Sequence[int]) -> None:
        self.values = values
        checked_dtype(values, "mask")
        array = getattr(values, "array", values)
        if type(array) is np.ndarray:  # values in files are checked when they are read
            _require_numbers(array)
        shape = tuple(int(n) for n in values.shape)
        self.lead = len(shape) - len(sizes)
        if self.lead not in (0, 1) or (self.lead and shape[0] != 1):
            raise ShapeError(
                "the mask has the wrong number of axes",
                where="mask",
                got=f"shape {shape}",
                expected=f"{len(sizes)} axes, those of the image without channels",
            )
        self.shape = shape[self.lead :]
        self.factors = [_factor(n, m, shape, sizes) for n, m in zip(sizes, self.shape, strict=True)]

    def at(self, positions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mask, bool, on a grid of raw voxels given per axis. Only the range needed is read."""
        places = [
            np.minimum(p // f, n - 1) for p, f, n in zip(positions, self.factors, self.shape, strict=True)
        ]  # fmt: skip
        lows = [int(p.min()) for p in places]
        where = tuple(slice(low, int(p.max()) + 1) for low, p in zip(lows, places, strict=True))
        block = _require_numbers(np.asarray(self.values[(slice(0, 1),) * self.lead + where])) != 0
        block = block[0] if self.lead else block
        chosen: np.ndarray = block[np.ix_(*(p - low for p, low in zip(places, lows, strict=True)))]
        return chosen


class AllMasks:
    """Intersection of several masks.

    Parameters
    ----------
    masks : sequence of Mask
    """

    def __init__(self, masks: Sequence[Mask]) -> None:
        self.masks = masks

    def at(self, positions: Sequence[np.ndarray]) -> np.ndarray:
        """See :meth:`Mask.at`."""
        inside: np.ndarray = np.logical_and.reduce([mask.at(positions) for mask in self.masks], axis=0)
        return inside


def combined(values: Sequence[Any], sizes: Sequence[int]) -> Mask | AllMasks | None:
    """Return the mask of voxels that are nonzero in all of several arrays; None for no arrays."""
    masks = [Mask(v, sizes) for v in values]
    return None if not masks else masks[0] if len(masks) == 1 else AllMasks(masks)


class Visible:
    """Mask source of a masked array: voxels where no channel is masked.

    Parameters
    ----------
    hidden : Source, (f, [z,] *spatial)
        Nonzero where a value is masked.
    """

    locator = None

    def __init__(self, hidden: Any) -> None:
        self.hidden = hidden
        self.shape, self.dtype = (1, *hidden.shape[1:]), np.dtype(bool)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        block = self.hidden[(slice(0, self.hidden.shape[0]), *where[1:])]
        return np.logical_and.reduce(np.equal(block, 0), axis=0, keepdims=True)

    def fingerprint(self) -> str:
        """Return a digest of the mask."""
        digest = hashlib.blake2b(repr(self.shape).encode())
        rest = tuple(slice(0, n) for n in self.shape[2:])
        for k in range(self.shape[1]):
            digest.update(np.packbits(self[(slice(0, 1), slice(k, k + 1), *rest)]).tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Close the underlying source."""
        self.hidden.close()


def _require_numbers(values: np.ndarray) -> np.ndarray:
    """Return `values`; raise ArgumentError if they contain NaN."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ArgumentError(
            "the mask contains values that are not a number", where="mask", got="NaN", expected="numbers"
        )
    return values


def _factor(size: int, own: int, shape: Sequence[int], sizes: Sequence[int]) -> int:
    """Downsampling factor of the mask along an axis; its size may be rounded up or down."""
    for factor in {max(1, size // max(1, own)), -(-size // max(1, own))}:
        if own in (size // factor, -(-size // factor)):
            return factor
    raise ShapeError(
        "the mask does not fit the image",
        where="mask",
        got=f"shape {tuple(shape)}",
        expected=f"{tuple(sizes)}, or this divided by whole numbers",
    )
