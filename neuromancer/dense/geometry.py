"""Geometry of raw data and dense output along each axis, for the two exact forms of a network.

*Sliding form*: for networks without up-convolutions. Pooling slides with stride 1 and all later layers are dilated, so
that there is an output at every raw voxel. *Plain form*: networks with up-convolutions are equivariant only to shifts
by ``period`` voxels, so they are evaluated unchanged, on tiles that start at multiples of the period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from neuromancer.errors import GraphError
from neuromancer.graph.geometry import (
    ancestors,
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
    """

    low: int
    high: int
    context: int
    offset: int
    least: int = 1
    step: Fraction = Fraction(1)

    def one_pass_size(self, size: int) -> int:
        """Return the smallest valid input size that is at least `size`."""
        return size

    def input_range(self, start: int, stop: int, size: int) -> tuple[int, int]:
        """Return the raw range needed for an output range, within a volume of `size` voxels.

        The range is wide enough that zero padding at cut ends does not affect the output range, and ends with the
        volume where the network's own padding applies.
        """
        first = max(0, min(start + min(self.low, 0), size - self.least))
        return first, min(size, max(stop + max(self.high, self.context), first + self.least))

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
        Smallest valid input size.
    lows, highs : tuple of int
        First and last raw voxel of the receptive field of output voxel i, for every i of the first period.
    """

    period: int = 1
    residue: int = 0
    smallest: int = 1
    lows: tuple[int, ...] = (0,)
    highs: tuple[int, ...] = (0,)

    def one_pass_size(self, size: int) -> int:
        size = max(size, self.smallest)
        return size + (self.residue - size) % self.period

    def input_range(self, start: int, stop: int, size: int) -> tuple[int, int]:
        low = self.lows[start % self.tile_alignment] + start // self.tile_alignment * self.period
        high = self.highs[(stop - 1) % self.tile_alignment] + (stop - 1) // self.tile_alignment * self.period
        first = max(0, min(low, floor(start * self.step))) // self.period * self.period
        least = max(high + 1 - first, floor((stop - first / self.step) * self.step) + self.context)
        return first, min(size, first + self.one_pass_size(max(least, self.smallest)))

    @property
    def tile_alignment(self) -> int:
        return max(1, int(self.period / self.step))

    def input_size(self, size: int) -> int:
        far = 8 * self.tile_alignment
        start, stop = self.input_range(far, far + size, 1 << 40)
        return stop - start

    def outputs(self, size: int) -> int:
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
        for n in ancestors([twin]):
            if n.is_source:
                reach[id(n)], padded[id(n)] = (0, 0, 0), (0, 0)
            incoming = [(reach[id(p)], int(p.shape.strides[k])) for p in n.parents if id(p) in reach]
            if not incoming:
                continue
            if len({context for (_, _, context), _ in incoming}) > 1:
                raise GraphError(
                    "branches that meet here have different sizes in dense form",
                    node=n,
                    got=", ".join(f"{p.name}: {reach[id(p)][2]} voxels lost" for p in n.parents if id(p) in reach),
                    expected="branches of equal strides and cropping",
                )
            w = windows_of(n)[k]
            reach[id(n)] = (
                min(low - w.before * d for (low, _, _), d in incoming),
                max(high + (w.size - 1 - w.before) * d for (_, high, _), d in incoming),
                max(context + (w.size - 1 - w.before - w.after) * d for (_, _, context), d in incoming),
            )
            # Voxels at either end that depend on padding. Cropping removes them.
            ends = [(padded[id(p)], int(p.shape.strides[k])) for p in n.parents if id(p) in padded]
            padded[id(n)] = (
                max(0, *(before + w.before * d for (before, _), d in ends)),
                max(0, *(after + w.after * d for (_, after), d in ends)),
            )
        low, high, context = reach[id(twin)]
        before, after = padded[id(twin)]
        low, high = min(low, -before) if before else low, max(high, context + after) if after else high
        lost.append({key: c for key, (_, _, c) in reach.items()})
        axes.append(AxisGeometry(low, high, context, node.shape.offsets[k], 1 + max(lost[-1].values())))
    return axes, lost


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
        for size in range(1, extent + MAX_PERIODS * p):
            outs = [sizes_through(n, k, size) for n in nodes]
            if None not in outs:
                break
        else:
            raise GraphError(
                f"no input size fits this network along axis {nodes[0].shape.tags[nodes[0].shape.spatial_axes[k]]!r}",
                node=nodes[0],
                got=f"sizes up to {extent + MAX_PERIODS * p}",
                expected="branches of equal size where they meet",
            )
        for node, out, found in zip(nodes, outs, axes, strict=True):
            found.append(_periodic_axis(node, k, p, size, int(out or 0)))
    return axes


def _periodic_axis(node: GraphNode, k: int, p: int, size: int, out: int) -> PeriodicAxis:
    step, sizes = exact(node.shape.strides[k]), sizes_of_all(node, k, size)
    reach = [_tile_range(node, k, i, size, sizes) for i in range(max(1, int(p / step)))]
    return PeriodicAxis(
        low=reach[0][0],
        high=reach[0][1],
        context=int(size - step * (out - 1) - min(step, Fraction(1))),
        offset=node.shape.offsets[k],
        step=step,
        period=p,
        residue=size % p,
        smallest=size,
        lows=tuple(low for low, _ in reach),
        highs=tuple(high for _, high in reach),
    )


def _tile_range(node: GraphNode, k: int, i: int, size: int, sizes: dict[int, int]) -> tuple[int, int]:
    """First and last raw voxel of a tile in which everything that output voxel i depends on lies inside all nodes.

    Not only the receptive field must lie in the tile: behind a crop, a node that pads would pad at the cut end, where
    in the image it has voxels.
    """
    low, high = raw_interval(node, k, i, i)
    pads = [n for n in ancestors([node]) if id(n) in sizes and max(_ends(n, k)) > 0]
    padded = {id(p) for n in pads for p in n.parents}
    for n, (first, last) in intervals(node, k, i, i):
        if id(n) in padded and id(n) in sizes:
            step = exact(n.shape.strides[k])
            low = min(low, floor(first * step))
            high = max(high, ceil(size + (last + 1 - sizes[id(n)]) * step) - 1)
    return low, high


def _ends(node: GraphNode, k: int) -> tuple[int, int]:
    """Voxels that a node adds to its parent at either end."""
    return (0, 0) if node.is_source else (windows_of(node)[k].before, windows_of(node)[k].after)


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
    }
    periodic = [g for g in axes if isinstance(g, PeriodicAxis)]
    if periodic:
        common["lows"] = tuple(map(min, zip(*(g.lows for g in periodic), strict=True)))
        common["highs"] = tuple(map(max, zip(*(g.highs for g in periodic), strict=True)))
    return replace(axes[0], **common)
