"""Construction of the plan of a sliding-window prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, lcm, prod
from typing import Any

import numpy as np

from neuromancer.dense.arguments import checked_ranges
from neuromancer.dense.checks import is_stack
from neuromancer.dense.costs import Cost, worth_measuring
from neuromancer.dense.memory import SHARE, available
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.plan import ResultSpec
from neuromancer.dense.plan_builder import SLACK, Buffers
from neuromancer.dense.sliding.axis import PaddedAxis, PatchAxis, largest_gap
from neuromancer.dense.sliding.network import PatchNetwork
from neuromancer.dense.sliding.plan import READ_AHEAD, SlidingPlan
from neuromancer.dense.sliding.sums import sums_bytes
from neuromancer.dense.sliding_window import SlidingWindow
from neuromancer.errors import ArgumentError, GraphError, ShapeError

TILE_SHARE = 4
"""Fraction (1/n) of memory for finished tiles."""


class SlidingBuilder:
    """Builder of plans of sliding-window predictions, with the interface of `PlanBuilder`.

    Parameters
    ----------
    network : PatchNetwork
    raw_shape : tuple of int, (f, [z of a stack,] *spatial)
    raw_dtype : numpy dtype
    options : PredictOptions
    window : SlidingWindow
    workers : int
        Number of tasks that run at once.
    threads : int
        How many of them share the memory of a process.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError, GraphError
        If image, network and options do not fit together.
    """

    def __init__(
        self,
        network: PatchNetwork,
        raw_shape: Sequence[int],
        raw_dtype: np.dtype,
        options: PredictOptions,
        window: SlidingWindow,
        workers: int = 1,
        threads: int = 1,
    ) -> None:
        self.network, self.options, self.window = network, options, window
        self.workers, self.threads = workers, threads
        self.raw_shape, self.raw_dtype = tuple(int(n) for n in raw_shape), np.dtype(raw_dtype)
        self.stack = is_stack(network.source, network.nodes[0], self.raw_shape, self.raw_dtype)
        self.sizes = self.raw_shape[2 if self.stack else 1 :]
        self.image = [self._padded(k) for k in range(len(self.sizes))]
        found = [[self._range(m, k) for k in range(len(self.sizes))] for m in range(len(network.nodes))]
        self.shapes = [[stop - first for first, stop, _ in axes] for axes in found]
        full = [max(n) for n in zip(*self.shapes, strict=True)]
        images = self.raw_shape[1] if self.stack else 1
        ranges = checked_ranges(options.roi, [images, *full] if self.stack else full)
        self.roi = ranges if self.stack else [(0, 1), *ranges]
        self.outputs = [self._output(m) for m in range(len(network.nodes))]
        shift = [a for a, _ in self.roi[1:]]
        self.origins = tuple(tuple(first + a for (first, _, _), a in zip(axes, shift, strict=True)) for axes in found)
        self.offsets = tuple(
            tuple(int(raw + a * g.step) for (_, _, raw), a, g in zip(axes, shift, own, strict=True))
            for axes, own in zip(found, network.patch_axes, strict=True)
        )
        self.rolling = self._rolling(full)

    # ---- geometry
    def _nodes_along(self, k: int) -> list[PatchAxis]:
        return [axes[k] for axes in self.network.patch_axes]

    def _padded(self, k: int) -> PaddedAxis:
        nodes, size, mode = self._nodes_along(k), self.sizes[k], self.window.padding
        before, after = (max(g.lead for g in nodes), max(g.tail for g in nodes)) if self.options.pad_raw else (0, 0)
        axis = PaddedAxis(size, before, after, self.window.patch[k], mode)
        behind = axis.volume - axis.inner - axis.padded
        if axis.inner < {"reflect": behind + 1, "circular": behind}.get(mode, 0):
            raise ShapeError(
                "the image is too small to be padded to the patch in this way",
                where="sliding_window",
                got=f"{size} voxels along axis {k} for a patch of {axis.patch} and padding={mode!r}",
                expected="a smaller patch",
                nearest="padding='constant' or 'replicate'",
            )
        return axis

    def _range(self, m: int, k: int) -> tuple[int, int, int]:
        """First and one past the last output of a node that make up the result, and the raw voxel of the first."""
        g, axis, node = self._nodes_along(k)[m], self.image[k], self.network.nodes[m]
        tag = node.shape.tags[node.shape.spatial_axes[k]]
        starts, predicted = self.window.starts(k, axis.volume), float(g.outputs * g.step)
        if largest_gap(starts) > predicted:
            raise ArgumentError(
                "patches leave gaps, as the network crops them",
                where="sliding_window",
                got=f"patches {largest_gap(starts)} voxels apart on axis {tag!r}, {predicted:g} predicted",
                expected="more overlap",
                nearest=f"overlap={ceil(100 * (1 - predicted / g.patch)) / 100}",
            )
        coarse = next((s for s in starts if (s / g.step).denominator != 1), None)
        begin = axis.before - g.lead
        if coarse is not None or (self.options.pad_raw and (begin / g.step).denominator != 1):
            raise GraphError(
                "the output is on a grid coarser than the image, on which not all patches lie",
                node=node,
                got=f"stride {g.step}, and a patch at voxel {begin if coarse is None else coarse} of axis {tag!r}",
                expected=f"patches and image sizes that put patches at multiples of {g.step}"
                + (", or pad_raw=False" if self.options.pad_raw else ""),
            )
        return axis.result(g, int(starts[-1] / g.step) + g.outputs, self.options.pad_raw)

    def _output(self, m: int) -> ResultSpec:
        node, (z, z_stop), ranges = self.network.nodes[m], self.roi[0], self.roi[1:]
        spatial = [max(0, min(b, n) - a) for (a, b), n in zip(ranges, self.shapes[m], strict=True)]
        if min(spatial) < 1:
            raise ArgumentError(
                "the region of interest lies outside the result of this node",
                node=node,
                got=self.options.roi,
                expected=self.shapes[m],
            )
        reduction = self.options.postprocess.reductions[m]
        features, dtype = reduction.stored(node.shape["f"], self.network.dtype, len(self.sizes))
        lead = (features, z_stop - z) if self.stack else (features,)
        return ResultSpec(node.name, (*lead, *spatial), dtype.name)

    def _rolling(self, full: Sequence[int]) -> int:
        """Axis whose unfinished rows take the least room, of the whole result, so that parts of it are summed alike."""
        held = [
            min(n, max(g.outputs for g in self._nodes_along(k))) * prod(n for j, n in enumerate(full) if j != k)
            for k, n in enumerate(full)
        ]
        return held.index(min(held))

    # ---- the plan
    def plan(
        self,
        budget: float,
        units: Sequence[tuple[int, ...] | None] | None = None,
        buffers: Buffers | None = None,
        strict: bool = False,
        layout: dict[str, Any] | None = None,
    ) -> SlidingPlan:
        """Return the plan for a memory budget; see `PlanBuilder.plan`.

        Raises
        ------
        ArgumentError
            If a patch does not fit into the budget.
        """
        buffers = buffers or Buffers()
        units = units or [None] * len(self.outputs)
        outputs = tuple(replace(o, unit=u) for o, u in zip(self.outputs, units, strict=True))
        sizes = [o.shape[2 if self.stack else 1 :] for o in outputs]
        extent = (outputs[0].shape[1] if self.stack else 1, *(max(n) for n in zip(*sizes, strict=True)))
        tile = tuple(layout["tile"]) if layout else self._tile(budget, outputs, extent, buffers)
        if len(tile) != len(extent):
            raise ShapeError("a tile needs a positive size per axis", where="tile", got=tile, expected=f"like {extent}")
        rows = min(extent[self.rolling + 1], tile[self.rolling + 1] + self._reach())
        cost, (fixed, sums) = self.network.costs(self.window.patch), self._bytes(outputs, tile, rows, buffers)
        fixed += cost.memory
        spilled = (fixed + sums) * SLACK > budget or self._exceeds_host(sums)
        memory = fixed + (0 if spilled else sums)
        if strict and memory * SLACK > budget:
            raise ArgumentError(
                "a patch and a finished tile do not fit into the memory",
                where="memory",
                got=f"{budget / 1e6:.3g} MB",
                expected=f"at least {memory * SLACK / 1e6:.3g} MB, a smaller patch, or smaller chunks or shards",
            )
        found = SlidingPlan(
            raw_shape=self.raw_shape,
            raw_dtype=self.raw_dtype.name,
            stack=self.stack,
            outputs=outputs,
            axes=tuple(tuple(axes) for axes in self.network.patch_axes),
            frames=(),
            tile_shape=tile,
            images_per_batch=1,
            offsets=self.offsets,
            form=self.network.form,
            products=0.0,
            time=0.0,
            overlap=0.0,
            memory=memory,
            first_image=self.roi[0][0] if self.stack else 0,
            window=self.window,
            features=tuple(n.shape["f"] for n in self.network.nodes),
            image=tuple(self.image),
            origins=self.origins,
            rolling=self.rolling,
            rows=rows,
            spilled=spilled,
        )
        cost = self._measured(cost, found.evaluations)
        predicted = found.patches * max(prod(g.outputs for g in axes) for axes in self.network.patch_axes)
        return replace(
            found,
            products=cost.products * found.evaluations,
            time=cost.seconds * found.evaluations,
            overlap=max(0.0, 1 - prod(extent) / predicted),
        )

    def _measured(self, cost: Cost, evaluations: int) -> Cost:
        """Cost of a patch by the measured speed of the machine, if there are enough patches."""
        large = worth_measuring(cost.products * evaluations, self.network.dtype)
        return self.network.costs(self.window.patch) if large else cost

    def _bytes(
        self, outputs: Sequence[ResultSpec], tile: tuple[int, ...], rows: int, buffers: Buffers
    ) -> tuple[float, int]:
        """Bytes of patches and tiles under way, and of the sums of all threads."""
        sizes = [o.shape[2 if self.stack else 1 :] for o in outputs]
        shapes = [(n.shape["f"], tile[0], *s) for n, s in zip(self.network.nodes, sizes, strict=True)]
        itemsize, views = max(4, self.network.dtype.itemsize), len(self.window.flips)
        sums = sums_bytes(shapes, self.rolling, rows, itemsize) * self.threads
        # Patches that are read ahead and converted, and their mirrored views; values per view, and weighted ones.
        read = (2 * READ_AHEAD + views) * prod(self.window.patch) * self.network.source.shape["f"]
        values = sum(
            (views + 3) * prod(g.outputs for g in axes) * n.shape["f"]
            for axes, n in zip(self.network.patch_axes, self.network.nodes, strict=True)
        )
        tiles = self._voxel(outputs) * prod(tile) * (max(1, buffers.results) + 1)
        return buffers.fixed + (read + values) * itemsize * self.threads + tiles, sums

    def _exceeds_host(self, sums: float) -> bool:
        """Whether the host cannot hold the sums: without a given limit, the budget may be that of a GPU."""
        return self.options.memory is None and sums * SLACK > available() / SHARE

    def _reach(self) -> int:
        """Rows after a band to which the patches that it needs contribute."""
        k, nodes = self.rolling, self._nodes_along(self.rolling)
        origins = [origin[k] for origin in self.origins]
        return max(g.outputs for g in nodes) + max(origins) - min(origins)

    def _voxel(self, outputs: Sequence[ResultSpec]) -> int:
        """Bytes of a voxel of a tile while it is finished: sums, averages and stored values."""
        return sum(
            2 * (n.shape["f"] + 1) * self.network.dtype.itemsize + o.shape[0] * np.dtype(o.dtype).itemsize
            for n, o in zip(self.network.nodes, outputs, strict=True)
        )

    def _tile(
        self,
        budget: float,
        outputs: Sequence[ResultSpec],
        extent: tuple[int, ...],
        buffers: Buffers,
    ) -> tuple[int, ...]:
        """Tile shape: as high as a step of patches (more if several tasks run), as wide as the memory allows."""
        align = [1] * len(extent)
        for unit in (o.unit for o in outputs):
            blocks = (1,) * len(extent) if unit is None else unit[1:] if self.stack else (1, *unit[1:])
            align = [lcm(a, b) for a, b in zip(align, blocks, strict=True)]
        k, nodes = self.rolling, self._nodes_along(self.rolling)
        step = max(1, *(int(largest_gap(self.window.starts(k, self.image[k].volume)) / g.step) for g in nodes))
        height = step
        parts = max(self.workers, self.options.shard[1] if self.options.shard else 1)
        if parts > 1:
            # Neighbouring bands that run apart both evaluate the patches between them.
            height = max(step, min(4 * max(g.outputs for g in nodes), extent[k + 1] // (2 * parts)))
        tile = [min(n, a) for n, a in zip(extent, align, strict=True)]
        tile[k + 1] = min(extent[k + 1], ceil(height / align[k + 1]) * align[k + 1])
        most = budget / SLACK / TILE_SHARE / (max(1, buffers.results) + 1) / self._voxel(outputs)
        for j in reversed([j for j in range(1, len(extent)) if j != k + 1]):
            whole = extent[j]
            while whole > align[j] and prod(tile) // tile[j] * whole > most:
                whole = max(align[j], ceil(whole / 2 / align[j]) * align[j])
            tile[j] = min(extent[j], whole)
        return tuple(tile)
