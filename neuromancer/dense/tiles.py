"""Dividing the output into tiles that fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from neuromancer.dense.geometry import AxisGeometry
from neuromancer.graph.geometry import ancestors
from neuromancer.graph.tagged_shape import exact

if TYPE_CHECKING:
    from neuromancer.graph.node import Node

DEFAULT_BUDGET = 3 << 30
"""Upper limit in bytes of what a tile may occupy; larger tiles no longer save time by smaller borders."""


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


def memory_budget() -> int:
    """Bytes that a tile may occupy: a quarter of what is free, up to a limit."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return DEFAULT_BUDGET
    return max(64 << 20, min(DEFAULT_BUDGET, free // 4))


def bytes_per_voxel(twin: Node) -> float:
    """Working memory of a graph per raw voxel fed: the largest node together with its parents, and a copy of it."""
    itemsize = np.dtype(twin.output.dtype).itemsize

    def cost(n: Node) -> float:
        if n.shape is None or not n.shape.ndim or not n.shape.hastag("f"):
            return 0.0
        density = 1.0 if n.build_mode.dense else prod(1 / exact(s) for s in n.shape.strides)
        return float((n.shape["f"] or 1) * density * itemsize)

    return max(2 * cost(n) + sum(cost(p) for p in n.parents) for n in ancestors([twin]))


def tile_shape(
    axes: Sequence[AxisGeometry], out_shape: Sequence[int], voxel_bytes: float, budget: int
) -> tuple[int, ...]:
    """Largest tile, as an output shape, whose raw range stays within the budget.

    The axis on which the border costs least is halved until it fits.
    """
    tile = [max(1, n) for n in out_shape]

    def fed(k: int, size: int) -> int:
        return size + max(axes[k].context, axes[k].high - axes[k].low)

    def extra_work(k: int) -> float:
        half = ceil(tile[k] / 2)
        return 2 * fed(k, half) / fed(k, tile[k]) if tile[k] > 1 else float("inf")

    while prod(fed(k, n) for k, n in enumerate(tile)) * voxel_bytes > budget and max(tile) > 1:
        k = min(range(len(tile)), key=extra_work)
        tile[k] = ceil(tile[k] / 2)
    return tuple(tile)


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
