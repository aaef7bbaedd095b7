"""One pass over an image that gathers statistics of some nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from neuromancer.dense.axes import AxisGeometry
from neuromancer.dense.gather_sink import GatherSink
from neuromancer.dense.gathered import Gathered
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.plan import DensePlan, ResultSpec
from neuromancer.dense.plan_builder import PlanBuilder
from neuromancer.dense.postprocess import Postprocess
from neuromancer.dense.reduction import Reduction
from neuromancer.dense.run import PredictionRun
from neuromancer.dense.tiles import Frame
from neuromancer.dense.workers import WorkerPool
from neuromancer.progress import Progress


def gather_builder(base: PlanBuilder, network: DenseNetwork, frame: Frame) -> PlanBuilder:
    """Return the builder of plans for a pass over all voxels of some nodes, on their own grid.

    Parameters
    ----------
    base : PlanBuilder
        Of the prediction.
    network : DenseNetwork
        The nodes whose statistics are gathered.
    frame : Frame
        The image in one of its views, with the size that the network is fed with.
    """
    order = frame.view.order
    origins, specs = [], []
    images = (base.roi[0][1] - base.roi[0][0],) if base.stack else ()
    for node, axes in zip(network.nodes, network.axes, strict=True):
        sizes = [g.outputs(n) for g, n in zip(axes, frame.volume, strict=True)]
        origins.append(tuple(n - 1 if flip else 0 for n, flip in zip(sizes, frame.view.flips, strict=True)))
        spatial = [sizes[order.index(j)] for j in range(len(order))]
        specs.append(ResultSpec(node.name, (node.shape["f"], *images, *spatial), network.dtype.name))
    own = replace(frame, origins=tuple(origins), own_grid=True)
    options = _options(base.options, network, None)
    return base.for_pass(network, options, [own], specs)


def _options(options: PredictOptions, network: DenseNetwork, folder: Path | None) -> PredictOptions:
    """Options of a pass: how to read and to run are those of the prediction; all voxels count."""
    tile = options.tile
    if tile is not None:
        lead = len(tile) - len(network.joint)
        tile = (*tile[:lead], *(_own(n, g) for n, g in zip(tile[lead:], network.joint, strict=True)))
    post = Postprocess((Reduction(),) * len(network.nodes), 0, options.postprocess.check_nan)
    return replace(
        options, postprocess=post, roi=None, mask=None, skip_empty=None, skip=False, shard=None, store=None,
        augment=None, whole=None, tile=tile, resume=True, journal=folder,
    )  # fmt: skip


def _own(size: int, axis: AxisGeometry) -> int:
    """Size of a tile on the grid of a node."""
    return max(1, ceil(size / axis.step))


class GatherRun(PredictionRun):
    """A pass over the image that writes statistics, and values that later passes need, into files.

    Parameters
    ----------
    network : DenseNetwork
    raw : array, Source or path
    builder : PlanBuilder
        As from :func:`gather_builder`.
    pool : WorkerPool or None
    gathered : Gathered
        What the passes before gathered.
    folder : Path
        Where to keep files and journal.
    keep : sequence of bool
        Per node, whether to keep its values.
    shard : tuple of int
        (i, n): the part of the tiles to begin with. The rest is left to other processes, as far as they do it.
    """

    def __init__(
        self,
        network: DenseNetwork,
        raw: Any,
        builder: PlanBuilder,
        pool: WorkerPool | None,
        gathered: Gathered,
        folder: Path,
        keep: Sequence[bool],
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        sinks = tuple(
            GatherSink(folder / f"{k}.statistics", spec.shape, spec.dtype, kept)
            for k, (spec, kept) in enumerate(zip(builder.outputs, keep, strict=True))
        )
        options = replace(_options(builder.options, network, folder), outs=sinks, tile=builder.options.tile)
        super().__init__(network, raw, options, pool, builder, gathered)
        self.mask, self.mask_sources, self.shard = None, [], shard
        self.gather_sinks = sinks

    def plan(self, layout: Mapping[str, Any] | None = None) -> DensePlan:
        """Return the plan, and tell it to the files."""
        plan = super().plan(layout)
        for sink in self.gather_sinks:
            sink.arrange(plan)
        return plan

    def execute(self, progress: Progress) -> None:
        """Run all tiles that no process has finished, beginning with those of the shard."""
        self.check()
        first, n = self.shard
        with self.outputs.open(self, self.builder.outputs) as plan:
            if self.outputs.missing(plan)[1]:  # else later passes may have removed what they do not need
                for sink in self.gather_sinks:
                    sink.require_values()
            for i in range(n):
                self._run_tiles(plan.shard((first + i) % n, n), progress)
