"""Augmentation with artefacts of serial sectioning: slices that are missing or misaligned.

Each is a function of a patch (f, *spatial), its labels and a generator; labels and shapes are unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromancer.dense.raw import fold
from neuromancer.errors import ArgumentError
from neuromancer.train.checks import switch, whole
from neuromancer.train.data.geometric import probability

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DropSlices:
    """Missing slices, filled with the patch's mean or with the previous slice.

    Parameters
    ----------
    p : float
        Probability of dropping each slice.
    axis : int
        Spatial axis across the slices.
    repeat : bool
        Repeat the previous slice, as the software of some microscopes does, instead of a constant.

    Examples
    --------
    >>> patch = np.arange(6, dtype="float32").reshape(1, 3, 2)
    >>> DropSlices(p=1.0)(patch, None, np.random.default_rng(0))[0].tolist()
    [[[2.5, 2.5], [2.5, 2.5], [2.5, 2.5]]]
    """

    p: float = 0.05
    axis: int = 0
    repeat: bool = False

    def __post_init__(self) -> None:
        probability(self.p, "DropSlices")
        switch(self.repeat, "repeat", "DropSlices")

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return the raw patch with missing slices and the same labels."""
        axis = _spatial(self.axis, raw, "DropSlices")
        lost = np.flatnonzero(rng.random(raw.shape[axis]) < self.p)
        if len(lost):
            source, raw = np.moveaxis(raw, axis, 0), raw.copy()
            view = np.moveaxis(raw, axis, 0)
            for i in lost.tolist():
                view[i] = source[max(i - 1, 0)] if self.repeat else source.mean()
        return raw, labels


@dataclass(frozen=True)
class ShiftSlices:
    """Misaligned slices, shifted laterally by whole voxels and mirrored at the border.

    Labels are not shifted, so shifts should be small compared to the objects.

    Parameters
    ----------
    shift : int
        Largest shift along each axis of the slice.
    p : float
        Probability of shifting each slice.
    axis : int
        Spatial axis across the slices.
    onwards : bool
        Shift all following slices along.

    Examples
    --------
    >>> shift = ShiftSlices(3, p=0.05)
    """

    shift: int = 2
    p: float = 0.05
    axis: int = 0
    onwards: bool = False

    def __post_init__(self) -> None:
        probability(self.p, "ShiftSlices")
        whole(self.shift, "shift", "ShiftSlices")
        switch(self.onwards, "onwards", "ShiftSlices")

    def __call__(self, raw: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return the raw patch with shifted slices and the same labels."""
        axis = _spatial(self.axis, raw, "ShiftSlices")
        n, others = raw.shape[axis], [k for k in range(1, raw.ndim) if k != axis]
        moved = np.less(rng.random(n), self.p)
        shifts = rng.integers(-self.shift, self.shift + 1, (n, len(others))) * moved[:, None]
        if self.onwards:
            last = np.maximum.accumulate(np.where(moved, np.arange(n), -1))
            shifts = np.where(last[:, None] >= 0, shifts[last], 0)
        if not shifts.any():
            return raw, labels
        raw = raw.copy()
        for i in np.flatnonzero(shifts.any(axis=1)).tolist():
            index = (slice(None),) * axis + (i,)
            piece = raw[index]
            for k, by in zip(others, shifts[i], strict=True):
                k -= k > axis
                piece = np.take(piece, fold(np.arange(piece.shape[k]) + by, piece.shape[k]), axis=k)
            raw[index] = piece
        return raw, labels


def _spatial(axis: int, raw: np.ndarray, who: str) -> int:
    """Return the array axis of a spatial axis."""
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool) or not -(raw.ndim - 1) <= axis < raw.ndim - 1:
        raise ArgumentError("no such axis", node=who, got=axis, expected=f"a spatial axis below {raw.ndim - 1}")
    return axis % (raw.ndim - 1) + 1
