"""Blocks of a volume, the halo around each, and the regions that neighbouring blocks share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from neuromancer.volumes.protocol import Where

SEAM = 4
"""Maximum number of voxels on either side of a face in which two blocks are compared. There, both see equally far."""


@dataclass(frozen=True)
class BlockGrid:
    """Division of a volume into blocks, numbered in C order.

    Parameters
    ----------
    shape, block_shape, halo : tuple of int
        Per spatial axis, in voxels.

    Examples
    --------
    >>> grid = BlockGrid((10,), (4,), (2,))
    >>> len(grid), grid.inner(1), grid.outer(1)
    (3, (slice(4, 8, None),), (slice(2, 10, None),))
    >>> grid.shared(0, 1, 0)
    (slice(2, 6, None),)
    """

    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    halo: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks per axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block_shape, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    @property
    def most_voxels(self) -> int:
        """Maximum number of voxels of a block with its halo."""
        return prod(min(b + 2 * h, n) for b, h, n in zip(self.block_shape, self.halo, self.shape, strict=True))

    def voxels(self, index: int) -> int:
        """Return the number of voxels of a block."""
        return prod(s.stop - s.start for s in self.inner(index))

    def inner(self, index: int) -> Where:
        """Return the voxels of a block without halo."""
        place = np.unravel_index(index, self.counts)
        starts = [int(k) * b for k, b in zip(place, self.block_shape, strict=True)]
        return tuple(slice(a, min(a + b, n)) for a, b, n in zip(starts, self.block_shape, self.shape, strict=True))

    def outer(self, index: int) -> Where:
        """Return the voxels of a block with its halo, which ends at the border of the volume."""
        sides = zip(self.inner(index), self.halo, self.shape, strict=True)
        return tuple(slice(max(s.start - h, 0), min(s.stop + h, n)) for s, h, n in sides)

    def neighbours(self, index: int) -> Iterator[tuple[int, int, int]]:
        """Iterate over the blocks that share a face with a block.

        Yields
        ------
        lower, upper, axis : int
            The block and its neighbour, in the order in which they follow each other along the axis.
        """
        place = np.unravel_index(index, self.counts)
        for axis, count in enumerate(self.counts):
            step = prod(self.counts[axis + 1 :])
            if place[axis] > 0:
                yield index - step, index, axis
            if place[axis] < count - 1:
                yield index, index + step, axis

    def shared(self, lower: int, upper: int, axis: int) -> Where:
        """Return the voxels around the face of two neighbours, which both of them see."""
        pairs = zip(self.outer(lower), self.outer(upper), strict=True)
        both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in pairs]
        face, reach = self.inner(upper)[axis].start, min(self.halo[axis], SEAM)
        both[axis] = slice(max(face - reach, 0), min(face + reach, self.shape[axis]))
        return tuple(both)


def within(region: Where, frame: Where) -> Where:
    """Return a region in coordinates relative to a frame.

    Examples
    --------
    >>> within((slice(5, 7),), (slice(4, 9),))
    (slice(1, 3, None),)
    """
    return tuple(slice(r.start - f.start, r.stop - f.start) for r, f in zip(region, frame, strict=True))
