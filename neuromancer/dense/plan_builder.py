"""Construction of a plan: frames of the image in its views, shapes of the results, and the tile."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import ceil, gcd, lcm, prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.dense.arguments import checked_ranges
from neuromancer.dense.axes import AxisGeometry
from neuromancer.dense.checks import check_one_pass, check_same_padding, check_size, is_stack
from neuromancer.dense.costs import Cost, worth_measuring
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.plan import DensePlan, ResultSpec
from neuromancer.dense.symmetry import View, views
from neuromancer.dense.tile_search import Choice, appraise, choose
from neuromancer.dense.tiles import Frame
from neuromancer.errors import ArgumentError, GraphError, ShapeError

SLACK = 1.25
"""Allocator overhead: measured memory use was up to this factor above the estimate."""


@dataclass(frozen=True)
class Buffers:
    """Memory for buffers in addition to the evaluation of a tile.

    Parameters
    ----------
    blocks : int
        Number of raw blocks in memory at once.
    results : int
        Number of results in memory at once.
    fixed : int
        Bytes of caches, independent of the tile.
    under_way : int
        Evaluations queued on a device in addition to the running one.
    """

    blocks: int = 0
    results: int = 0
    fixed: int = 0
    under_way: int = 0


class _Whole:
    """Cost model that includes the buffers of a tile, for the tile search."""

    def __init__(self, network: DenseNetwork, buffers: Buffers, raw_voxel: float, voxel: int, images: int) -> None:
        self.network, self.buffers, self.images = network, buffers, images
        self.per_voxel = buffers.blocks * raw_voxel + buffers.results * voxel
        # Inputs and results of queued calls are on the device; those of all calls also in page-locked host memory.
        transferred = network.dtype.itemsize * sum(n.shape["f"] for n in (network.source, *network.nodes))
        self.per_voxel += transferred * (2 * buffers.under_way + bool(buffers.under_way))

    def __call__(self, sizes: Sequence[int], images: int = 1) -> Cost:
        cost = self.network.costs(sizes, images)
        waiting = self.per_voxel * prod(sizes) * max(images, self.images)
        return replace(cost, memory=cost.memory + waiting + self.buffers.fixed)


class PlanBuilder:
    """Builder of plans: everything about a prediction that is known before the tile is chosen.

    Parameters
    ----------
    network : DenseNetwork
    raw_shape : tuple of int, (f, [z of a stack,] *spatial)
    raw_dtype : numpy dtype
    options : PredictOptions

    Attributes
    ----------
    outputs : list of ResultSpec
        Shape and dtype of the result of each node.
    offsets : tuple of tuple of int
        Per node and spatial axis: raw voxel to which voxel 0 of the result belongs.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError, GraphError
        If image, network and options do not fit together.
    """

    def __init__(
        self,
        network: DenseNetwork,
        raw_shape: Sequence[int],
        raw_dtype: np.dtype,
        options: PredictOptions,
    ) -> None:
        self.network, self.options = network, options
        self.raw_shape, self.raw_dtype = tuple(int(n) for n in raw_shape), np.dtype(raw_dtype)
        node = network.nodes[0]
        self.stack = is_stack(network.source, node, self.raw_shape, self.raw_dtype)
        self.sizes = self.raw_shape[2 if self.stack else 1 :]
        self.images = self.raw_shape[1] if self.stack else 1
        group = views(options.augment, len(self.sizes))
        if len(group) > 1 and any(g.step < 1 for g in network.axes[0]):
            raise GraphError(
                "views cannot be averaged if the result is on a grid finer than the image",
                node=node,
                got=f"augment={options.augment!r}",
                expected="augment=None",
            )
        self._check_room(group)
        shapes = [[self._length(g, n) for g, n in zip(axes, self.sizes, strict=True)] for axes in network.axes]
        self.roi = self._parse_roi([max(n) for n in zip(*shapes, strict=True)])
        (z, z_stop), *ranges = self.roi
        self.outputs = []
        for n, shape, reduction in zip(network.nodes, shapes, options.postprocess.reductions, strict=True):
            spatial = [max(0, min(b, size) - a) for (a, b), size in zip(ranges, shape, strict=True)]
            if min(spatial) < 1:
                raise ArgumentError(
                    "the region of interest lies outside the result of this node",
                    node=n,
                    got=options.roi,
                    expected=shape,
                )
            features, dtype = reduction.stored(n.shape["f"], network.dtype, len(self.sizes))
            lead = (features, z_stop - z) if self.stack else (features,)
            self.outputs.append(ResultSpec(n.name, (*lead, *spatial), dtype.name))
        self.frames = tuple(self._frame(view, [a for a, _ in ranges]) for view in group)
        self.offsets = tuple(
            tuple(
                int(self._first(g) + a * g.output_spacing) for g, (a, _) in zip(axes, ranges, strict=True)
            )
            for axes in network.axes
        )  # fmt: skip

    def for_pass(
        self,
        network: DenseNetwork,
        options: PredictOptions,
        frames: Sequence[Frame],
        specs: Sequence[ResultSpec] | None,
    ) -> PlanBuilder:
        """Return a builder for another network on the same image: an earlier pass over it, or its last one.

        Parameters
        ----------
        network : DenseNetwork
        options : PredictOptions
        frames : sequence of Frame
        specs : sequence of ResultSpec or None
            Results of an earlier pass, from voxel 0 on; None for the results themselves.
        """
        twin = copy(self)
        twin.network, twin.options, twin.frames = network, options, tuple(frames)
        if specs is not None:
            twin.outputs, twin.offsets = list(specs), tuple((0,) * len(network.joint) for _ in specs)
        return twin

    def fed(self) -> tuple[Frame, ...]:
        """Return the frames with the sizes that the network is fed with in one pass."""
        result = []
        for frame in self.frames:
            axes = list(zip(*self.network.axes, strict=True))
            fed = (max(g.pass_size(n, 0) for g in own) for n, own in zip(frame.volume, axes, strict=True))
            result.append(replace(frame, volume=tuple(fed)))
        return tuple(result)

    @property
    def _steps(self) -> list[int]:
        """Distance of the network's outputs in voxels of the result, per spatial axis."""
        return [1 if self.frames[0].own_grid else max(1, int(g.step)) for g in self.network.joint]

    # ---- geometry
    def _first(self, g: AxisGeometry) -> int:
        """Raw voxel to which voxel 0 of the whole result belongs."""
        return 0 if self.options.pad_raw else g.offset

    def _length(self, g: AxisGeometry, size: int) -> int:
        """Size of the whole result along an axis."""
        if self.options.pad_raw:
            return int(size / g.step) if g.step < 1 else size
        return g.length(size) if g.step >= 1 else g.outputs(size)

    def _mirrored(self, view: View, nodes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Mirror padding before and after the image, per axis of the view, for some of the nodes."""
        before, after = [], []
        for k, j in enumerate(view.order):
            size, front, back = self.sizes[j], 0, 0
            for m in nodes:
                g, own = self.network.axes[m][k], self.network.axes[m][j]
                start = self._first(own)
                stop = start + (size if self.options.pad_raw else own.length(size))
                low, high = (size - stop, size - start) if view.flips[k] else (start, stop)
                front = max(front, g.offset - low)
                span = size - g.largest_context if self.options.pad_raw else g.length(size)
                back = max(back, high - g.offset - span)
            before.append(front)
            after.append(back)
        return before, after

    def _check_room(self, group: Sequence[View]) -> None:
        everyone = range(len(self.network.nodes))
        for view in group:
            before, after = self._mirrored(view, everyone)
            sizes = [self.sizes[j] for j in view.order]
            volume = [n + a + b for n, a, b in zip(sizes, before, after, strict=True)]
            for node, axes in zip(self.network.nodes, self.network.axes, strict=True):
                check_size(node, axes, sizes, volume, self.options.pad_raw)
        if not self.options.pad_raw:
            for node, axes in zip(self.network.nodes, self.network.axes, strict=True):
                check_one_pass(node, axes, self.sizes)

    def _frame(self, view: View, shift: Sequence[int], nodes: Sequence[int] | None = None) -> Frame:
        everyone = range(len(self.network.nodes))
        before, after = self._mirrored(view, everyone if nodes is None else nodes)
        sizes = tuple(self.sizes[j] for j in view.order)
        origins = []
        for m in everyone:
            origin = []
            for k, j in enumerate(view.order):
                g = self.network.axes[m][k]
                start = self._first(self.network.axes[m][j])
                if view.flips[k]:
                    origin.append(sizes[k] - 1 - shift[j] - start - g.offset + before[k])
                else:
                    origin.append(shift[j] + int((before[k] + start - g.offset) / g.output_spacing))
            origins.append(tuple(origin))
        volume = tuple(n + a + b for n, a, b in zip(sizes, before, after, strict=True))
        frame = Frame(view, sizes, tuple(before), volume, tuple(origins))
        if nodes is None and len(everyone) > 1:
            alone = [self._frame(view, shift, [m]) for m in everyone]
            check_same_padding(self.network.nodes, self.network.axes, alone, frame)
        return frame

    def _parse_roi(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """(start, stop) of the images and per spatial axis."""
        full = [self.images, *shape] if self.stack else list(shape)
        return [*([] if self.stack else [(0, 1)]), *checked_ranges(self.options.roi, full)]

    # ---- the plan
    def plan(
        self,
        budget: float,
        units: Sequence[tuple[int, ...] | None] | None = None,
        buffers: Buffers = Buffers(),
        strict: bool = False,
        layout: dict[str, Any] | None = None,
    ) -> DensePlan:
        """Return the plan for a memory budget.

        Parameters
        ----------
        budget : float
            Bytes that a tile may use, including its buffers.
        units : sequence of (tuple of int or None), optional
            Per node: block of its store that only one tile may write.
        buffers : Buffers
        strict : bool
            Raise if even the smallest tile exceeds the budget.
        layout : dict, optional
            `DensePlan.layout` of an earlier plan, whose tile shape to use.

        Raises
        ------
        ArgumentError
            If a tile does not fit into the budget, or the tile shape is not aligned to the blocks of a store.
        """
        units = units or [None] * len(self.outputs)
        lead = 2 if self.stack else 1
        outputs = tuple(replace(o, unit=u) for o, u in zip(self.outputs, units, strict=True))
        sizes = [o.shape[lead:] for o in outputs]
        extent = (self.outputs[0].shape[1] if self.stack else 1, *(max(n) for n in zip(*sizes, strict=True)))
        align = [1] * len(extent)
        for unit in units:
            blocks = (1,) * len(extent) if unit is None else unit[1:] if self.stack else (1, *unit[1:])
            align = [lcm(a, b) for a, b in zip(align, blocks, strict=True)]
        wanted = budget, outputs, extent, align, buffers, layout
        choice, tile, images_per_batch = self._choose(*wanted)
        scale = prod(self._steps) * len(self.frames)
        if worth_measuring(choice.products * scale, self.network.dtype):
            choice, tile, images_per_batch = self._choose(*wanted)
        if strict and choice.memory * SLACK > budget:
            raise _too_large(budget, choice.memory * SLACK, align)
        return DensePlan(
            raw_shape=self.raw_shape,
            raw_dtype=self.raw_dtype.name,
            stack=self.stack,
            outputs=outputs,
            axes=tuple(tuple(axes) for axes in self.network.axes),
            frames=self.frames,
            tile_shape=tile,
            images_per_batch=images_per_batch,
            offsets=self.offsets,
            form=self.network.form,
            products=choice.products * scale,
            time=choice.seconds * scale + E.unit_costs(self.network.dtype.name).page * choice.memory,
            overlap=choice.overlap,
            memory=choice.memory,
            first_image=self.roi[0][0] if self.stack else 0,
        )

    def _choose(
        self,
        budget: float,
        outputs: Sequence[ResultSpec],
        extent: tuple[int, ...],
        align: Sequence[int],
        buffers: Buffers,
        layout: dict[str, Any] | None,
    ) -> tuple[Choice, tuple[int, ...], int]:
        """Cost of the volume, tile shape in voxels of the result, and images per batch."""
        joint, steps = self.network.joint, self._steps
        outs = [
            min(g.outputs(v), ceil(n / d))
            for g, v, n, d in zip(joint, self.frames[0].volume, extent[1:], steps, strict=True)
        ]
        at_once = min(extent[0], align[0])
        raw_voxel = self.raw_shape[0] * self.raw_dtype.itemsize + self.network.stored_voxel
        voxel = sum(
            n.shape["f"] * self.network.dtype.itemsize + o.shape[0] * np.dtype(o.dtype).itemsize
            for n, o in zip(self.network.nodes, outputs, strict=True)
        )
        costs = _Whole(self.network, buffers, raw_voxel, voxel, at_once)
        fixed = self.options.tile or (layout and layout["tile"])
        if not self.network.divisible:
            fixed, layout = (min(extent[0], align[0]), *extent[1:]), {"together": 1}
        if fixed:
            tile = self._fixed_tile(tuple(fixed), extent, align)
            images_per_batch = int(layout["together"]) if layout else 1
            cut = [ceil(t / d) for t, d in zip(tile[1:], steps, strict=True)]
            choice = appraise(joint, outs, costs, cut, images_per_batch, extent[0])  # type: ignore[arg-type]
        else:
            inner = [a // gcd(a, d) for a, d in zip(align[1:], steps, strict=True)]
            choice = choose(joint, outs, costs, budget / SLACK, extent[0], inner)  # type: ignore[arg-type]
            images_per_batch = choice.images
            across = min(extent[0], ceil(images_per_batch / align[0]) * align[0])
            tile = (across, *(min(n, t * d) for n, t, d in zip(extent[1:], choice.tile, steps, strict=True)))
        return choice, tile, images_per_batch

    def _fixed_tile(self, tile: tuple[int, ...], extent: Sequence[int], align: Sequence[int]) -> tuple[int, ...]:
        tile = (1, *tile) if len(tile) == len(extent) - 1 else tile
        if len(tile) != len(extent) or any(not isinstance(t, int) or t < 1 for t in tile):
            raise ShapeError("a tile needs a positive size per axis", where="tile", got=tile, expected=f"like {extent}")
        tile = tuple(min(t, n) for t, n in zip(tile, extent, strict=True))
        if any(t < n and t % a for t, n, a in zip(tile, extent, align, strict=True)):
            raise ArgumentError(
                "two tiles would write into the same block of the store",
                where="tile",
                got=tile,
                expected=f"multiples of {tuple(align)}",
                nearest=tuple(min(n, ceil(t / a) * a) for t, n, a in zip(tile, extent, align, strict=True)),
            )
        return tile


def _too_large(budget: float, needed: float, align: Sequence[int]) -> ArgumentError:
    whole = f" of at least {tuple(align)} voxels, the blocks of the store" if prod(align) > 1 else ""
    return ArgumentError(
        f"a tile{whole} does not fit into the memory",
        where="memory",
        got=f"{budget / 1e6:.3g} MB",
        expected=f"at least {needed / 1e6:.3g} MB" + (", or smaller chunks or shards" if whole else ""),
    )
