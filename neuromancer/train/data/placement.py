"""Placement of a patch in a volume: rotation, flips and warp, and the voxels that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from neuromancer.train.data.frame import PatchFrame

HALVINGS = 4
"""Number of times that a warp that does not fit is halved before it is dropped."""


@dataclass(frozen=True)
class Orientation:
    """Permutation of axes and flips: voxel j of the oriented patch is voxel T(j) of the patch in the volume.

    Component k of T(j) is component ``order[k]`` of j, counted from the other end if ``flips[k]``.

    Parameters
    ----------
    order : tuple of int
    flips : tuple of bool

    Examples
    --------
    >>> quarter = Orientation((1, 0), (False, True))
    >>> quarter.turn(np.array([[[1, 2], [3, 4]]])).tolist()
    [[[2, 4], [1, 3]]]
    >>> quarter.then(quarter).turn(np.array([[[1, 2], [3, 4]]])).tolist()
    [[[4, 3], [2, 1]]]
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    @classmethod
    def plain(cls, ndim: int) -> Orientation:
        """Return the identity."""
        return cls(tuple(range(ndim)), (False,) * ndim)

    def then(self, other: Orientation) -> Orientation:
        """Return the composition: this orientation, followed by another one."""
        return Orientation(
            tuple(other.order[m] for m in self.order),
            tuple(f ^ other.flips[m] for m, f in zip(self.order, self.flips, strict=True)),
        )

    def turn(self, block: np.ndarray) -> np.ndarray:
        """Return an oriented copy or view of a block (f, *spatial)."""
        flipped = np.flip(block, tuple(1 + k for k, f in enumerate(self.flips) if f))
        return self.exchange(flipped)

    def exchange(self, block: np.ndarray) -> np.ndarray:
        """Permute the axes only."""
        return np.transpose(block, [0, *(1 + int(i) for i in np.argsort(self.order))])

    def sources(self, positions: Sequence[np.ndarray], sizes: Sequence[int]) -> list[np.ndarray]:
        """Map positions (per axis) in an oriented patch of `sizes` to positions in the patch in the volume."""
        taken = [positions[m] for m in self.order]
        return [n - 1 - p if f else p for p, f, n in zip(taken, self.flips, sizes, strict=True)]


class Field(Protocol):
    """Smooth map from voxels of the patch in the volume to raw coordinates relative to its position."""

    def coordinates(self, positions: Sequence[np.ndarray]) -> np.ndarray:
        """Return raw coordinates (ndim, *lengths), float, for the grid of positions per axis."""

    def weaker(self) -> Field:
        """Return the field at half its strength."""

    def sample(self, block: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """Interpolate a block (f, *spatial) linearly at coordinates (ndim, *lengths)."""


Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class PatchPlacement:
    """Orientation and warp of one patch.

    Parameters
    ----------
    frame : PatchFrame
    orientation : Orientation
    field : Field, optional
        None: no warp.
    halvings : int
        Number of times that the warp has been halved.
    """

    frame: PatchFrame
    orientation: Orientation
    field: Field | None = None
    halvings: int = 0

    def weaker(self) -> PatchPlacement:
        """Return a placement that needs less room: with a weaker warp, then no warp, then no rotation either."""
        if self.field is not None:
            field = self.field.weaker() if self.halvings < HALVINGS else None
            return replace(self, field=field, halvings=self.halvings + 1)
        return replace(self, orientation=Orientation.plain(self.frame.ndim))

    def positions(self) -> list[np.ndarray]:
        """Return the positions of the output voxels in the patch in the volume, per axis, without the warp."""
        frame = self.frame
        return self.orientation.sources([frame.positions(k) for k in range(frame.ndim)], frame.sizes)


class Placed:
    """Placement with its raw coordinates.

    Attributes
    ----------
    raw, labels : list of (int, int)
        First and last voxel needed per axis, relative to the position of the patch.
    centre : tuple of int
        Voxel of the central label of the target, relative to the position of the patch.
    """

    def __init__(self, placement: PatchPlacement) -> None:
        self.placement = placement
        frame, positions = placement.frame, placement.positions()
        middle = placement.orientation.sources(
            [frame.positions(k)[[c]] for k, c in enumerate(frame.centre)], frame.sizes
        )
        if placement.field is None:
            self.raw: Ranges = [(0, n - 1) for n in frame.sizes]
            self.labels: Ranges = [(int(p.min()), int(p.max())) for p in positions]
            self.centre = tuple(int(m[0]) for m in middle)
            return
        self.raw_at = placement.field.coordinates([np.arange(n) for n in frame.sizes])
        self.labels_at = _nearest(placement.field.coordinates(positions))
        self.centre = tuple(_nearest(placement.field.coordinates(middle)).ravel().tolist())
        # Rounding errors must not extend the block by a voxel.
        self.raw = [(int(np.floor(c.min() + 1e-3)), int(np.ceil(c.max() - 1e-3))) for c in self.raw_at]
        self.labels = [(int(c.min()), int(c.max())) for c in self.labels_at]

    def cut_raw(self, block: np.ndarray) -> np.ndarray:
        """Return the patch (f, *sizes) from its raw block."""
        placement = self.placement
        if placement.field is not None:
            low = np.array([a for a, _ in self.raw]).reshape((-1,) + (1,) * len(self.raw))
            block = placement.field.sample(block, self.raw_at - low)
        return placement.orientation.turn(block)

    def cut_labels(self, block: np.ndarray) -> np.ndarray:
        """Return the target (f, *counts) from its block of labels."""
        placement, low = self.placement, [a for a, _ in self.labels]
        if placement.field is not None:
            index = tuple(c - a for c, a in zip(self.labels_at, low, strict=True))
            return placement.orientation.exchange(block[(slice(None), *index)])
        for k, (p, a) in enumerate(zip(placement.positions(), low, strict=True)):
            block = np.take(block, p - a, axis=1 + k)
        return placement.orientation.exchange(block)


def _nearest(coordinates: np.ndarray) -> np.ndarray:
    """Round to the nearest voxel, half up, so that the result commutes with shifts by whole voxels."""
    return np.floor(coordinates + 0.5).astype(np.intp)
