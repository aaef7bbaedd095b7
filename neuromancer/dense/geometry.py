"""Geometry of raw data and dense output along each axis, for the two exact forms of a network.

*Sliding form*: for networks without up-convolutions. Pooling slides with stride 1 and all later layers are dilated, so
that there is an output at every raw voxel. *Plain form*: networks with up-convolutions are equivariant only to shifts
by ``period`` voxels, so they are evaluated unchanged, on tiles that start at multiples of the period.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil, floor
from typing import TYPE_CHECKING, Any, TypeVar

from neuromancer.errors import GraphError
from neuromancer.graph.geometry import (
    ancestors,
    bounded_interval,
    intervals,
    period,
    raw_interval,
    sizes_of_all,
    sizes_through,
    windows_of,
)
from neuromancer.graph.tagged_shape import exact
from neuromancer.graph.window import IDENTITY

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode

A = TypeVar("A", bound="AxisGeometry")

MAX_PERIODS = 64
"""Number of periods above the smallest possible size in which to search for a valid input size."""


@dataclass(frozen=True)
class AxisGeometry:
    """One axis of the sliding form: output voxel i needs raw voxels ``i + low`` to ``i + high``.

    Parameters
    ----------
    low, high : int
        First and last raw voxel of the receptive field of output voxel 0; `low` is negative if the network pads.
    context : int
        Raw size minus output size.
    offset : int
        Raw voxel to which output voxel 0 belongs.
    least : int
        Smallest raw size for which no intermediate node is empty.
    step : Fraction
        Stride of the output in raw voxels; below 1 on grids finer than the image.
    head : tuple of int
        (n, last): the first n output voxels need the raw voxels up to `last` as well, whose values the network's
        padding has (mirrored, for example).
    tail : tuple of int
        (n, last): the last n output voxels need the raw voxels from the `last`-th before the end as well.
    """

    low: int
    high: int
    context: int
    offset: int
    least: int = 1
    step: Fraction = Fraction(1)
    head: tuple[int, int] = field(default=(0, 0), repr=False, kw_only=True)
    tail: tuple[int, int] = field(default=(0, 0), repr=False, kw_only=True)

    def one_pass_size(self, size: int) -> int:
        """Return the smallest valid input size that is at least `size`."""
        return size

    def length(self, size: int) -> int:
        """Return how many raw voxels the outputs of an image span, where the network takes its size."""
        return size - self.context

    @property
    def largest_context(self) -> int:
        """Largest difference between the size of an image and the raw voxels that its outputs span."""
        return self.context

    def _at_ends(self, start: int, stop: int, size: int) -> tuple[int, int]:
        """First and one past the last raw voxel that an output range needs for the network's padding."""
        last = self.head[1] + 1 if start < self.head[0] else 0
        first = size - 1 - self.tail[1] if stop > self.outputs(size) - self.tail[0] else size
        return first, last

    def input_range(self, start: int, stop: int, size: int) -> tuple[int, int]:
        """Return the raw range needed for an output range, within a volume of `size` voxels.

        The range is wide enough that zero padding at cut ends does not affect the output range, and ends with the
        volume where the network's own padding applies.
        """
        before, beyond = self._at_ends(start, stop, size)
        first = max(0, min(start + min(self.low, 0), size - self.least, before))
        return first, min(size, max(stop + max(self.high, self.context), first + self.least, beyond))

    @property
    def output_spacing(self) -> Fraction:
        """Spacing of the result in raw voxels: below 1 on grids finer than the image, else 1."""
        return min(self.step, Fraction(1))

    @property
    def tile_alignment(self) -> int:
        """Period of the geometry in output voxels: tiles should start at multiples of it."""
        return 1

    def input_size(self, size: int) -> int:
        """Return the raw size needed by an interior tile of `size` output voxels."""
        return max(size + max(self.context, self.high - min(self.low, 0)), self.least)

    def outputs(self, size: int) -> int:
        """Return the output size for a raw size."""
        return size - self.context

    def first_output(self, start: int) -> int:
        """Return the index of the first output voxel for an input that starts at raw voxel `start`."""
        return int(start / self.step)


@dataclass(frozen=True)
class PeriodicAxis(AxisGeometry):
    """One axis of the plain form, which repeats every `period` raw voxels.

    Parameters
    ----------
    period : int
        Smallest shift of the input, in raw voxels, that shifts the output along.
    residue : int
        Valid input sizes are ``residue`` modulo ``period``.
    smallest : int
        Smallest of these sizes.
    others : tuple of (int, int)
        Smallest valid input size, and its number of output voxels, for every other residue of valid sizes: networks
        that ignore what their strides leave over take several.
    lows, highs : tuple of int
        First and last raw voxel of the receptive field of output voxel i, for every i of the first period.
    """

    period: int = 1
    residue: int = 0
    smallest: int = 1
    lows: tuple[int, ...] = (0,)
    highs: tuple[int, ...] = (0,)
    others: tuple[tuple[int, int], ...] = field(default=(), repr=False, kw_only=True)

    def one_pass_size(self, size: int) -> int:
        smallest = (self.smallest, *(least for least, _ in self.others))
        return min(max(size, n) + (n - max(size, n)) % self.period for n in smallest)

    @property
    def largest_context(self) -> int:
        return max(self.context, *(_context(size, out, self.step) for size, out in self.others), self.context)

    def _class(self, size: int) -> tuple[int, int] | None:
        """Smallest valid size of the residue of `size`, and its outputs, if that is not the usual residue."""
        return next((found for found in self.others if (size - found[0]) % self.period == 0), None)

    def length(self, size: int) -> int:
        found = self._class(size)
        if found is None or size < found[0]:
            return size - self.context
        return int(size - found[0] + self.step * (found[1] - 1) + 1)

    def input_range(self, start: int, stop: int, size: int) -> tuple[int, int]:
        low = self.lows[start % self.tile_alignment] + start // self.tile_alignment * self.period
        high = self.highs[(stop - 1) % self.tile_alignment] + (stop - 1) // self.tile_alignment * self.period
        before, beyond = self._at_ends(start, stop, size)
        # What is left at the far end must be as large as the network takes, too.
        found = self._class(size)
        enough = size - (self.smallest if found is None else found[0])
        first = max(0, min(low, floor(start * self.step), before, enough)) // self.period * self.period
        least = max(high + 1 - first, floor((stop - first / self.step) * self.step) + self.context, beyond - first)
        if not self.others:
            return first, min(size, first + self.one_pass_size(max(least, self.smallest)))
        fed = self.one_pass_size(max(high + 1, beyond) - first)
        while self.outputs(fed) < stop - self.first_output(first) and first + fed < size:
            fed = self.one_pass_size(fed + 1)
        return first, min(size, first + fed)

    @property
    def tile_alignment(self) -> int:
        return max(1, int(self.period / self.step))

    def input_size(self, size: int) -> int:
        far = 8 * self.tile_alignment
        start, stop = self.input_range(far, far + size, 1 << 40)
        return stop - start

    def outputs(self, size: int) -> int:
        found = self._class(size)
        if found is not None:
            return found[1] + int((size - found[0]) / self.step)
        return floor((size - self.context - self.output_spacing) / self.step) + 1


def can_slide(nodes: Sequence[GraphNode]) -> bool:
    """Return whether the graph has a sliding form: no node upsamples, and every node can be dilated.

    A user-defined node that declares no windows is built the same way in all forms. It rules out the sliding form if it
    would have to be dilated: if it has a stride, or looks at neighbours on a strided grid.
    """
    for n in ancestors(nodes):
        windows = windows_of(n)
        if any(w.up > 1 for w in windows):
            return False
        if n.windows is None and any(
            w.down > 1 or (w != IDENTITY and step != 1)
            for w, step in zip(windows, _parent_strides(n, len(windows)), strict=True)
        ):
            return False
    return True


def _parent_strides(node: GraphNode, ndim: int) -> list[float]:
    """Strides of the first parent with `ndim` spatial axes, else ones."""
    fitting = (p.shape.strides.tolist() for p in node.parents if p.shape is not None and p.shape.ndim == ndim)
    return next(fitting, [1.0] * ndim)


def require_declared_sizes(node: GraphNode) -> None:
    """Raise GraphError if a user-defined node changes sizes other than its field of view and strides declare."""
    for n in ancestors([node]):
        if n.windows is not None or n.is_source or n.shape is None or not n.parents or n.parents[0].shape is None:
            continue
        for k, (w, before, after) in enumerate(
            zip(windows_of(n), n.parents[0].shape.spatial_shape, n.shape.spatial_shape, strict=True)
        ):
            size = w.output_size(before)
            if size is not None and after is not None and size != after:
                raise GraphError(
                    "the node changes sizes without saying which voxels it needs",
                    node=n,
                    got=f"size {after} on axis {n.shape.tags[n.shape.spatial_axes[k]]!r}",
                    expected=f"size {size} for its fov, strides and centre, which _calc_shape has to set",
                )


def sliding_geometry(node: GraphNode, twin: GraphNode) -> tuple[list[AxisGeometry], list[dict[int, int]]]:
    """Return the geometry of every axis in the sliding form, and the voxels that each node loses along it.

    Parameters
    ----------
    node : GraphNode
        The node in its original form.
    twin : GraphNode
        Its copy in the dense form, whose strides are the dilations.

    Returns
    -------
    axes : list of AxisGeometry
    lost : list of dict of int to int
        Per axis: raw size minus size of each node, by the node's ``id``.
    """
    axes, lost = [], []
    for k in range(twin.shape.ndim):
        reach: dict[int, tuple[int, int, int]] = {}
        padded: dict[int, tuple[int, int]] = {}
        mirrored = [1]  # sizes that leave enough to be mirrored
        for n in ancestors([twin]):
            if n.is_source:
                reach[id(n)], padded[id(n)] = (0, 0, 0), (0, 0)
            near = _strided(n, k, reach)
            incoming = [(reach[id(p)], d) for p, d in near]
            if not incoming:
                continue
            if len({context for (_, _, context), _ in incoming}) > 1:
                raise GraphError(
                    "branches that meet here have different sizes in dense form",
                    node=n,
                    got=", ".join(f"{p.name}: {reach[id(p)][2]} voxels lost" for p, _ in near),
                    expected="branches of equal strides and cropping",
                )
            w = windows_of(n)[k]
            reach[id(n)] = (
                min(low - w.before * d for (low, _, _), d in incoming),
                max(high + (w.size - 1 - w.before) * d for (_, high, _), d in incoming),
                max(context + (w.size - 1 - w.before - w.after - w.slack) * d for (_, _, context), d in incoming),
            )
            if w.border != "constant" and w.pads:
                voxels = max(w.before, w.after) + 1 if w.border == "reflect" else 1
                mirrored += [context + voxels * d for (_, _, context), d in incoming]
            # Voxels at either end that depend on padding. Cropping removes them.
            ends = [(padded[id(p)], d) for p, d in near]
            padded[id(n)] = (
                max(0, *(before + w.before * d for (before, _), d in ends)),
                max(0, *(after + (w.after + w.slack) * d for (_, after), d in ends)),
            )
        low, high, context = reach[id(twin)]
        before, after = padded[id(twin)]
        low, high = min(low, -before) if before else low, max(high, context + after) if after else high
        lost.append({key: c for key, (_, _, c) in reach.items()})
        axis = AxisGeometry(low, high, context, node.shape.offsets[k], max(1 + max(lost[-1].values()), *mirrored))
        if any(windows_of(n)[k].overreaches for n in ancestors([twin]) if id(n) in reach and not n.is_source):
            size = axis.least + 4 * (high - low + 1)
            sizes = {key: size - c for key, c in lost[-1].items()}
            axis = _with_ends(axis, size, partial(_interval, twin, k, sizes, True))
        axes.append(axis)
    return axes, lost


def _strided(node: GraphNode, k: int, known: dict[int, Any]) -> list[tuple[GraphNode, int]]:
    """Parents whose voxels a node reads, with the distance of their voxels in the dense form."""
    return [(p, int(p.shape.strides[k])) for p in node.spatial_parents if id(p) in known]


def plain_geometry(nodes: Sequence[GraphNode]) -> list[list[PeriodicAxis]]:
    """Return the geometry of every axis in the plain form, for nodes evaluated together.

    Parameters
    ----------
    nodes : sequence of GraphNode
        Nodes of one graph.

    Returns
    -------
    list of list of PeriodicAxis
        Per node and spatial axis; all nodes share period and valid input sizes.

    Raises
    ------
    GraphError
        If no valid input size is found along an axis.
    """
    axes: list[list[PeriodicAxis]] = [[] for _ in nodes]
    for k in range(nodes[0].shape.ndim):
        p = period(nodes, k)
        extent = max(max(n.shape.fov[k], 1) for n in nodes)
        classes = _size_classes(nodes, k, p, extent + MAX_PERIODS * p)
        if not classes:
            raise GraphError(
                f"no input size fits this network along axis {nodes[0].shape.tags[nodes[0].shape.spatial_axes[k]]!r}",
                node=nodes[0],
                got=f"sizes up to {extent + MAX_PERIODS * p}",
                expected="branches of equal size where they meet",
            )
        for m, (node, found) in enumerate(zip(nodes, axes, strict=True)):
            found.append(_periodic_axis(node, k, p, [(size, outs[m]) for size, outs in classes]))
    return axes


def _size_classes(nodes: Sequence[GraphNode], k: int, p: int, stop: int) -> list[tuple[int, list[int]]]:
    """Smallest valid input size of every residue modulo the period, and its output sizes; the usual one first.

    Only networks that ignore or cover what strides leave over take sizes of several residues.
    """
    several = any(windows_of(n)[k].leftover != "refused" for n in ancestors(nodes) if _has_axis(n, k))
    classes: dict[int, tuple[int, list[int]]] = {}
    for size in range(1, stop):
        if size % p not in classes:
            outs = [sizes_through(n, k, size) for n in nodes]
            if None not in outs and _grows(nodes, k, size, p, outs):
                classes[size % p] = size, [n for n in outs if n is not None]
                if not several:
                    break
        if len(classes) == p or (classes and size > min(classes.values())[0] + 2 * p):
            break

    def shortfall(found: tuple[int, list[int]]) -> tuple[bool, int]:
        context = _context(found[0], found[1][0], exact(nodes[0].shape.strides[k]))
        return context < 0, abs(context)

    return sorted(classes.values(), key=shortfall)


def _has_axis(node: GraphNode, k: int) -> bool:
    return not node.is_source and node.shape is not None and node.shape.ndim > k


def _grows(nodes: Sequence[GraphNode], k: int, size: int, p: int, outs: Sequence[int | None]) -> bool:
    """Whether an input longer by the period gives an output longer by as much."""
    longer = [sizes_through(n, k, size + p) for n in nodes]
    steps = [p / exact(n.shape.strides[k]) for n in nodes]
    return all(
        b is not None and a is not None and b - a == step for a, b, step in zip(outs, longer, steps, strict=True)
    )


def _context(size: int, out: int, step: Fraction) -> int:
    """Raw size minus the raw voxels that the output spans."""
    return int(size - step * (out - 1) - min(step, Fraction(1)))


def _periodic_axis(node: GraphNode, k: int, p: int, classes: Sequence[tuple[int, int]]) -> PeriodicAxis:
    step, sizes = exact(node.shape.strides[k]), [(size, sizes_of_all(node, k, size)) for size, _ in classes]
    reach = [_tile_range(node, k, i, sizes) for i in range(max(1, int(p / step)))]
    (size, out), *others = classes
    axis = PeriodicAxis(
        low=reach[0][0],
        high=reach[0][1],
        context=_context(size, out, step),
        offset=node.shape.offsets[k],
        step=step,
        period=p,
        residue=size % p,
        smallest=size,
        lows=tuple(low for low, _ in reach),
        highs=tuple(high for _, high in reach),
        others=tuple(others),
    )
    if not any(windows_of(n)[k].overreaches for n in ancestors([node]) if _has_axis(n, k)):
        return axis
    size = axis.one_pass_size(4 * (max(axis.highs) - min(axis.lows) + p))
    return _with_ends(axis, size, partial(_interval, node, k, sizes_of_all(node, k, size), False))


def _interval(node: GraphNode, k: int, sizes: dict[int, int], dilated: bool, i: int) -> tuple[int, int]:
    return bounded_interval(node, k, i, i, sizes, dilated)


def _with_ends(axis: A, size: int, interval: Callable[[int], tuple[int, int]]) -> A:
    """Add what the outputs at the ends of an image need because of the network's padding.

    Parameters
    ----------
    axis : AxisGeometry
    size : int
        A size of the image that is large beside the field of view.
    interval : callable
        The raw voxels on which output voxel i depends in such an image.
    """
    zone = ceil((size // 2) / axis.step)
    outputs = axis.outputs(size)
    firsts = [(i, interval(i)[1]) for i in range(min(zone, outputs))]
    lasts = [(outputs - i, size - 1 - interval(i)[0]) for i in range(max(0, outputs - zone), outputs)]
    free = replace(axis, head=(0, 0), tail=(0, 0))
    head = [(i + 1, last) for i, last in firsts if last >= free.input_range(i, i + 1, size)[1]]
    tail = [(n, last) for n, last in lasts if size - 1 - last < free.input_range(outputs - n, outputs - n + 1, size)[0]]
    # Sizes of other residues end elsewhere within a period.
    more = axis.period if isinstance(axis, PeriodicAxis) and axis.others else 0
    return replace(
        axis,
        head=tuple(map(max, zip(*head, strict=True))) if head else (0, 0),
        tail=tuple(max(values) + more for values in zip(*tail, strict=True)) if tail else (0, 0),
    )


def _tile_range(node: GraphNode, k: int, i: int, classes: Sequence[tuple[int, dict[int, int]]]) -> tuple[int, int]:
    """First and last raw voxel of a tile in which everything that output voxel i depends on lies inside all nodes.

    Not only the receptive field must lie in the tile: behind a crop, a node that pads would pad at the cut end, where
    in the image it has voxels.

    Parameters
    ----------
    node : Node
    k : int
        Which spatial axis.
    i : int
        Output voxel.
    classes : sequence of (int, dict)
        Valid sizes, one per residue, and the sizes that all nodes have then.
    """
    low, high = raw_interval(node, k, i, i)
    pads = [n for n in ancestors([node]) if _has_axis(n, k) and windows_of(n)[k].pads]
    padded = {id(p) for n in pads for p in n.spatial_parents}
    for n, (first, last) in intervals(node, k, i, i):
        if id(n) in padded and id(n) in classes[0][1]:
            step = exact(n.shape.strides[k])
            low = min(low, floor(first * step))
            for size, sizes in classes:
                high = max(high, ceil(size + (last + 1 - sizes[id(n)]) * step) - 1)
    return low, high


@lru_cache(maxsize=256)
def covering(axes: tuple[AxisGeometry, ...]) -> AxisGeometry:
    """Return the geometry whose input covers the needs of all of `axes` (nodes of one graph, in one form).

    Examples
    --------
    >>> covering((AxisGeometry(0, 4, 4, 2), AxisGeometry(-1, 1, 0, 0)))
    AxisGeometry(low=-1, high=4, context=4, offset=2, least=1, step=Fraction(1, 1))
    """
    if len(set(axes)) == 1:
        return axes[0]
    common: dict[str, Any] = {
        "low": min(g.low for g in axes),
        "high": max(g.high for g in axes),
        "context": max(g.context for g in axes),
        "least": max(g.least for g in axes),
        "head": tuple(map(max, zip(*(g.head for g in axes), strict=True))),
        "tail": tuple(map(max, zip(*(g.tail for g in axes), strict=True))),
    }
    periodic = [g for g in axes if isinstance(g, PeriodicAxis)]
    if periodic:
        common["lows"] = tuple(map(min, zip(*(g.lows for g in periodic), strict=True)))
        sizes = [[size for size, _ in g.others] for g in periodic]
        outs = [[out for _, out in g.others] for g in periodic]
        common["others"] = tuple(zip(sizes[0], map(min, zip(*outs, strict=True)), strict=True))
        common["highs"] = tuple(map(max, zip(*(g.highs for g in periodic), strict=True)))
    return replace(axes[0], **common)
