"""Dividing the output into tiles that fit into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from neuromancer.dense.geometry import AxisGeometry
from neuromancer.graph.geometry import ancestors

if TYPE_CHECKING:
    from neuromancer.graph.node import Node

DEFAULT_BUDGET = 3 << 30
"""Upper limit in bytes of what a tile may occupy; larger tiles no longer save time by smaller borders."""
HELD = 3
"""How many arrays of its own size a node may need at once: a convolution, slices of it, and their maximum. Measured:
torch stays below 2, OpenVINO below 3."""


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


class WorkingMemory:
    """Estimate of what evaluating a graph occupies: its largest node several times, and its parents.

    Parameters
    ----------
    twin : Node
        The graph in its dense form.
    lost : sequence of dict of int to int
        Per axis: voxels that a node has lost against the raw data, by the node's ``id``; none where it is missing.
    """

    def __init__(self, twin: Node, lost: Sequence[dict[int, int]]) -> None:
        self.itemsize = np.dtype(twin.output.dtype).itemsize
        self.nodes = [n for n in ancestors([twin]) if n.shape is not None and n.shape.ndim and n.shape.hastag("f")]
        self.lost = [[axis.get(id(n), 0) for axis in lost] or [0] * n.shape.ndim for n in self.nodes]

    def __call__(self, fed: Sequence[int]) -> float:
        """Bytes for a raw range of `fed` voxels per axis."""
        size = {key: voxels * features * self.itemsize for key, voxels, features in self._extents(fed)}
        return max(HELD * size[id(n)] + sum(size.get(id(p), 0.0) for p in n.parents) for n in self.nodes)

    def work(self, fed: Sequence[int]) -> float:
        """About how many multiply-adds a raw range takes: every parameter is used once per voxel of its node."""
        voxels = {key: n for key, n, _ in self._extents(fed)}
        return sum(voxels[id(n)] * sum(prod(p.get_value().shape) for p in n.params.values()) for n in self.nodes)

    def _extents(self, fed: Sequence[int]) -> Iterator[tuple[int, float, int]]:
        """Per node its ``id``, voxels and features for a raw range."""
        for n, lost in zip(self.nodes, self.lost, strict=True):
            steps = [1.0 if n.build_mode.dense else float(s) for s in n.shape.strides]
            yield id(n), prod(max(1, a - c) / s for a, c, s in zip(fed, lost, steps, strict=True)), n.shape["f"] or 1


def fed_size(axis: AxisGeometry, size: int) -> int:
    """Raw voxels that `size` output voxels inside the volume need along an axis."""
    return size + max(axis.context, axis.high - axis.low)


def tile_shape(
    axes: Sequence[AxisGeometry], out_shape: Sequence[int], memory: Callable[[Sequence[int]], float], budget: int
) -> tuple[int, ...]:
    """Largest tile, as an output shape, that stays within the budget.

    The axis on which the border costs least is halved until it fits.
    """
    tile = [max(1, n) for n in out_shape]

    def extra_work(k: int) -> float:
        return 2 * fed_size(axes[k], ceil(tile[k] / 2)) / fed_size(axes[k], tile[k]) if tile[k] > 1 else float("inf")

    while memory([fed_size(g, n) for g, n in zip(axes, tile, strict=True)]) > budget and max(tile) > 1:
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
