"""Cost model of a network evaluated on a raw block: compute and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from neuromancer import engine as E
from neuromancer.engine.unit_costs import WORTH_MEASURING
from neuromancer.graph.geometry import ancestors, sizes_of_all

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode
    from neuromancer.graph.work import Work

ACTIVATION = 2
"""Times that the result of a convolution is read or written by its activation."""
POOLED = 3
"""Arrays that are read or written to pool along an axis."""


def worth_measuring(products: float, dtype: np.dtype) -> bool:
    """Measure the speed of the machine for a large prediction; return whether that changed costs."""
    return products >= WORTH_MEASURING and E.measure_speed(dtype.name)


@dataclass(frozen=True)
class Cost:
    """Cost of one evaluation.

    Parameters
    ----------
    seconds : float
        Time on this machine, or a typical one; see `Engine.measure_speed`.
    products : float
        Multiplications that direct convolutions would take.
    memory : float
        Peak memory in bytes, parameters and prepared kernels included.
    """

    seconds: float
    products: float
    memory: float


class Costs:
    """Cost model of a graph.

    Every node reads its parents and writes its result; a node with a kernel also costs the multiplications of a
    convolution, at the price that the engine reports. A result is freed after the last node that reads it.

    Parameters
    ----------
    twins : sequence of GraphNode
        Output nodes of the graph in the form in which it is evaluated.
    lost : sequence of dict of int to int
        Sliding form: per axis, raw size minus size of each node, by the node's ``id``. Empty for the plain form.
    """

    def __init__(self, twins: Sequence[GraphNode], lost: Sequence[dict[int, int]]) -> None:
        self.twins = twins
        self.dtype = np.dtype(twins[0].output.dtype)
        self.nodes = [n for n in ancestors(twins) if n.shape is not None and n.shape.ndim and n.shape.hastag("f")]
        self.lost = lost
        self._extents: dict[tuple[int, int], dict[int, int]] = {}
        known = {id(n) for n in self.nodes}
        self.parents = [[id(p) for p in n.parents if id(p) in known] for n in self.nodes]
        self.last_use = {key: k for k, parents in enumerate(self.parents) for key in parents}
        self.last_use.update({id(n): len(self.nodes) for n in twins})
        self.joins = self._joins()
        params = {id(p): p for n in self.nodes for p in n.params.values()}
        self.parameters = sum(p.get_value().nbytes for p in params.values())

    def __call__(self, sizes: Sequence[int], images: int = 1) -> Cost:
        """Return the cost for a raw block of these sizes per axis and a batch of `images`."""
        along = [self._extent(k, int(a)) for k, a in enumerate(sizes)]
        extent = {id(n): [sizes.get(id(n), 1) for sizes in along] for n in self.nodes}
        size = {id(n): images * prod(extent[id(n)]) * (n.shape["f"] or 1) * self.dtype.itemsize for n in self.nodes}
        unit = E.unit_costs(self.dtype.name)
        works = [self._work(k, n, extent, images) for k, n in enumerate(self.nodes)]
        joined, last = self._read_in_parts(works)
        copied = self._copied(works, size)
        seconds = products = prepared = peak = 0.0
        alive: dict[int, float] = {}
        for k, n in enumerate(self.nodes):
            if id(n) in joined:
                continue
            own, read = size[id(n)], sum(size[p] for p in self.parents[k])
            inside, scratch = own, 0.0
            weights = works[k]
            complete = weights is not None and weights.complete
            seconds += unit.step + unit.byte * (n.passes - complete) * (read + own)
            seconds += unit.function * n.functions * own / self.dtype.itemsize
            if weights is not None:
                seconds, products = seconds + weights.seconds, products + weights.products
                prepared, scratch = prepared + weights.prepared, weights.scratch
                inside = max(own, weights.inside)
                seconds += unit.byte * (ACTIVATION * own * (not complete) + POOLED * inside * weights.pooled)
                copies = E.pool_copies(weights.pooled, self.dtype.name)
                peak = max(peak, sum(alive.values()) - _ended(k, alive, last) + inside * (1 + copies))
            peak = max(peak, sum(alive.values()) + inside + copied.get(k, 0.0) + scratch)
            alive[id(n)] = own
            for key in [key for key in alive if last.get(key, len(self.nodes)) <= k]:
                del alive[key]
        # the result is copied once more, into the axis order that the caller expects
        peak = max(peak, 2 * sum(size[id(n)] for n in self.twins))
        return Cost(seconds, products, peak + prepared + self.parameters)

    def _extent(self, axis: int, size: int) -> dict[int, int]:
        """Size of every node along an axis for a raw size, by the node's ``id``."""
        if (axis, size) not in self._extents:
            self._extents[axis, size] = (
                {id(n): max(1, size - self.lost[axis].get(id(n), 0)) for n in self.nodes}
                if self.lost
                else {key: n for twin in self.twins for key, n in sizes_of_all(twin, axis, size).items()}
            )
        return self._extents[axis, size]

    def _joins(self) -> dict[int, int]:
        """Return the nodes that join features for a single other one, and that one, by number."""
        readers: dict[int, list[int]] = {}
        for k, parents in enumerate(self.parents):
            for key in parents:
                readers.setdefault(key, []).append(k)
        outputs = {id(n) for n in self.twins}
        return {
            k: readers[id(n)][0]
            for k, n in enumerate(self.nodes)
            if n.joins_features and id(n) not in outputs and len(readers.get(id(n), ())) == 1
        }

    def _work(self, k: int, n: GraphNode, extent: dict[int, list[int]], images: int) -> Work | None:
        before = extent[self.parents[k][0]] if self.parents[k] else extent[id(n)]
        return n.work(before, extent[id(n)], images, self.dtype.name)

    def _copied(self, works: Sequence[Work | None], size: Mapping[int, float]) -> dict[int, float]:
        """Return the bytes of images that are copied into another memory format, by the number of their reader."""
        planar: dict[int, bool] = {}
        copied = {}
        for k, n in enumerate(self.nodes):
            work, parents = works[k], self.parents[k]
            before = bool(parents) and planar[parents[0]]
            own = None if work is None else work.planar
            planar[id(n)] = before if own is None else own
            if before and own is False:
                copied[k] = size[parents[0]]
        return copied

    def _read_in_parts(self, works: Sequence[Work | None]) -> tuple[set[int], dict[int, int]]:
        """Return the nodes that are joined without a copy, by ``id``, and the last use of every node."""
        joined, last = set(), dict(self.last_use)
        for k, reader in self.joins.items():
            work = works[reader]
            if work is not None and work.in_parts:
                joined.add(id(self.nodes[k]))
                last.update({key: max(last[key], reader) for key in self.parents[k]})
        return joined, last


def _ended(k: int, alive: dict[int, float], last: dict[int, int]) -> float:
    """Bytes of results whose last reader is node k."""
    return sum(nbytes for key, nbytes in alive.items() if last.get(key) == k)
