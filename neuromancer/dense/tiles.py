"""Dividing the output into tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from neuromancer.dense.geometry import AxisGeometry


@dataclass(frozen=True)
class Tile:
    """A part of the output and the raw range that yields it.

    Parameters
    ----------
    out_start, out_stop : tuple of int
        Output range per spatial axis.
    raw_start, raw_stop : tuple of int
        Raw range to feed, in the coordinates of the (mirrored) volume.
    first : tuple of int
        Output voxel that feeding this range yields first.
    """

    out_start: tuple[int, ...]
    out_stop: tuple[int, ...]
    raw_start: tuple[int, ...]
    raw_stop: tuple[int, ...]
    first: tuple[int, ...]


def tiles(
    axes: Sequence[AxisGeometry],
    starts: Sequence[int],
    stops: Sequence[int],
    sizes: Sequence[int],
    shape: Sequence[int],
) -> Iterator[Tile]:
    """Tiles of an output range, last axis fastest; together they cover every voxel once.

    Parameters
    ----------
    axes : sequence of AxisGeometry
    starts, stops : sequence of int
        Output range per axis.
    sizes : sequence of int
        Raw sizes of one pass over the whole volume.
    shape : sequence of int
        Output shape of a tile.
    """
    per_axis = []
    for g, start, stop, size, step in zip(axes, starts, stops, sizes, shape, strict=True):
        ranges = [(a, min(a + step, stop)) for a in range(start, stop, step)]
        fed = [g.feed(a, b, size) for a, b in ranges]
        per_axis.append([(a, b, lo, hi, g.first_output(lo)) for (a, b), (lo, hi) in zip(ranges, fed, strict=True)])
    for part in product(*per_axis):
        yield Tile(*zip(*part, strict=True))
