"""Geometry of raw data and dense output along each axis, for the two exact forms of a network.

*Sliding form*: for networks without up-convolutions. Pooling slides with stride 1 and all later layers are dilated, so
that there is an output at every raw voxel. *Plain form*: networks with up-convolutions are equivariant only to shifts
by ``period`` voxels, so they are evaluated unchanged, on tiles that start at multiples of the period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from neuromancer.dense.axes import AxisGeometry, PeriodicAxis, context_of
from neuromancer.errors import GraphError
from neuromancer.graph.geometry import (
    Integers,
    ancestors,
    bounded_intervals,
    intervals,
    period,
    sizes_of_all,
    sizes_through,
    source_interval,
    windows_of,
)
from neuromancer.graph.tagged_shape import exact
from neuromancer.graph.window import IDENTITY

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode

MAX_SPAN = 1 << 20
"""Size of an image up to which the ends of networks that mirror or repeat voxels are looked at voxel by voxel."""

A = TypeVar("A", bound="AxisGeometry")

MAX_PERIODS = 64
"""Number of periods above the smallest possible size in which to search for a valid input size."""


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
            size = axis.least + _span(twin, k)
            sizes = {key: size - c for key, c in lost[-1].items()}
            axis = _with_ends(axis, size, partial(_range_at_ends, twin, k, (size, sizes), True))
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
        context = context_of(found[0], found[1][0], exact(nodes[0].shape.strides[k]))
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


def _periodic_axis(node: GraphNode, k: int, p: int, classes: Sequence[tuple[int, int]]) -> PeriodicAxis:
    step, sizes = exact(node.shape.strides[k]), [(size, sizes_of_all(node, k, size)) for size, _ in classes]
    phases = np.arange(max(1, int(p / step)))
    low, high = _tile_range(node, k, intervals(node, k, phases, phases), sizes)
    lows, highs = low.tolist(), high.tolist()
    (size, out), *others = classes
    axis = PeriodicAxis(
        low=lows[0],
        high=highs[0],
        context=context_of(size, out, step),
        offset=node.shape.offsets[k],
        step=step,
        period=p,
        residue=size % p,
        smallest=size,
        lows=tuple(lows),
        highs=tuple(highs),
        others=tuple(others),
    )
    if not any(windows_of(n)[k].overreaches for n in ancestors([node]) if _has_axis(n, k)):
        return axis
    # Sizes of other residues end elsewhere within a period.
    large = _span(node, k) + 4 * p
    for size, _ in classes:
        size += max(0, ceil((large - size) / p)) * p
        axis = _with_ends(axis, size, partial(_range_at_ends, node, k, (size, sizes_of_all(node, k, size)), False))
    return axis


def _span(node: GraphNode, k: int) -> int:
    """Size beside which everything that windows reach and pad on the way to a node is small.

    Raises
    ------
    GraphError
        If that is more than an image can be planned for.
    """
    span = 0
    for n in ancestors([node]):
        if _has_axis(n, k):
            w = windows_of(n)[k]
            step = max((ceil(exact(p.shape.strides[k])) for p in n.spatial_parents if _reaches(p, k)), default=1)
            span += 4 * step * (w.size + abs(w.before) + abs(w.after))
            if span > MAX_SPAN:
                raise GraphError(
                    "the padding is too large for dense prediction",
                    node=n,
                    got=f"{w.before} and {w.after} voxels on axis {n.shape.tags[n.shape.spatial_axes[k]]!r}",
                    expected=f"all windows and padding together below {MAX_SPAN // 4} voxels of the image",
                )
    return span


def _reaches(node: GraphNode, k: int) -> bool:
    return node.shape is not None and node.shape.ndim > k


def _range_at_ends(
    node: GraphNode, k: int, size: tuple[int, dict[int, int]], dilated: bool, voxels: Integers
) -> tuple[Integers, Integers]:
    """First and last raw voxel of a tile in an image of a known size; see `_tile_range`."""
    found = bounded_intervals(node, k, voxels, voxels, size[1], dilated)
    return _tile_range(node, k, found, [size], dilated)


def _with_ends(axis: A, size: int, interval: Callable[[Integers], tuple[Integers, Integers]]) -> A:
    """Add what the outputs at the ends of an image need because of the network's padding.

    Parameters
    ----------
    axis : AxisGeometry
    size : int
        A size of the image that is large beside the field of view.
    interval : callable
        The raw voxels on which output voxels depend in such an image.
    """
    zone, outputs = ceil((size // 2) / axis.step), axis.outputs(size)
    free = replace(axis, head=(0, 0), tail=(0, 0))
    firsts, lasts = np.arange(min(zone, outputs)), np.arange(max(0, outputs - zone), outputs)
    ends, starts = interval(firsts)[1], interval(lasts)[0]
    # Only what lies beyond the field of view can lie beyond the range of a tile.
    beyond, before = ends > free.reach(firsts)[1], starts < free.reach(lasts)[0]
    head = [
        (i + 1, last)
        for i, last in zip(firsts[beyond].tolist(), ends[beyond].tolist(), strict=True)
        if last >= free.input_range(i, i + 1, size)[1]
    ]
    tail = [
        (outputs - i, size - 1 - first)
        for i, first in zip(lasts[before].tolist(), starts[before].tolist(), strict=True)
        if first < free.input_range(i, i + 1, size)[0]
    ]
    return replace(axis, head=_furthest(head, axis.head), tail=_furthest(tail, axis.tail))


def _furthest(found: Sequence[tuple[int, int]], known: tuple[int, int]) -> tuple[int, int]:
    """Largest entries of pairs."""
    n, last = (max(values) for values in zip(*found, known, strict=True))
    return n, last


def _tile_range(
    node: GraphNode,
    k: int,
    found: Iterable[tuple[GraphNode, tuple[Integers, Integers]]],
    classes: Sequence[tuple[int, dict[int, int]]],
    dilated: bool = False,
) -> tuple[Integers, Integers]:
    """First and last raw voxel of a tile in which everything that output voxels depend on lies inside all nodes.

    Not only the receptive field must lie in the tile: behind a crop, a node that pads would pad at the cut end, where
    in the image it has voxels.

    Parameters
    ----------
    node : Node
    k : int
        Which spatial axis.
    found : iterable of (node, (first, last))
        What the output voxels depend on, as from `intervals`.
    classes : sequence of (int, dict)
        Valid sizes, one per residue, and the sizes that all nodes have then.
    dilated : bool
        Whether the graph is built in the dense form, in which all voxels are one raw voxel apart.
    """
    pads = [n for n in ancestors([node]) if _has_axis(n, k) and windows_of(n)[k].pads]
    padded = {id(p) for n in pads for p in n.spatial_parents}
    ranges = []
    for n, (first, last) in found:
        if n.is_source:
            ranges.append(source_interval(n, k, first, last))
        if id(n) in padded and id(n) in classes[0][1]:
            step = Fraction(1) if dilated else exact(n.shape.strides[k])
            a, b = step.numerator, step.denominator
            for size, sizes in classes:
                # Rounded down at the start of the tile, up at its end.
                ranges.append((first * a // b, size - 1 - (sizes[id(n)] - 1 - last) * a // b))
    return np.min([low for low, _ in ranges], axis=0), np.max([high for _, high in ranges], axis=0)


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
