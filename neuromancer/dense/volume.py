"""Prediction by statistics of the whole image: at once, or by passes that gather them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from errno import EEXIST
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from neuromancer.dense.costs import Costs
from neuromancer.dense.frozen import FrozenNetwork, WholeNetwork
from neuromancer.dense.gather import GatherRun, gather_builder
from neuromancer.dense.gathered import Activations, Cut, Frozen, Gathered
from neuromancer.dense.levels import Level, levels, ungatherable
from neuromancer.dense.memory import return_free_memory
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.plan import DensePlan, readable_bytes
from neuromancer.dense.plan_builder import SLACK, PlanBuilder
from neuromancer.dense.processing.source import ProcessedSource
from neuromancer.dense.processing.store import keep_statistics, recall_or_measure
from neuromancer.dense.resume import Journal
from neuromancer.dense.run import PredictionRun
from neuromancer.dense.symmetry import View
from neuromancer.dense.tiles import Frame
from neuromancer.dense.workers import WorkerPool
from neuromancer.errors import ArgumentError, FileError, GraphError, naming
from neuromancer.graph.geometry import sizes_of_all
from neuromancer.graph.node import GraphNode
from neuromancer.graph.tagged_shape import exact
from neuromancer.graph.window import Window
from neuromancer.progress import Progress

DISK = 3e-10
"""Seconds for writing or reading one byte of a file."""
MODES = ONCE, PASSES, KEPT = "at once", "passes", "passes, values kept"
"""Modes, as the journal records them."""


@dataclass(frozen=True)
class Pass:
    """A pass over the image in one view, to gather the statistics of a level."""

    level: Level
    network: FrozenNetwork
    frame: Frame


class VolumePrediction:
    """A prediction whose nodes take statistics of the whole image; a context manager that closes what it opened.

    Parameters
    ----------
    nodes : sequence of GraphNode
    raw : array, Source or path
    options : PredictOptions
    pool : WorkerPool, optional
        Workers that run the tiles; default: this process.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError, GraphError, FileError
        If image, network and options do not fit together.
    """

    def __init__(
        self, nodes: Sequence[GraphNode], raw: Any, options: PredictOptions, pool: WorkerPool | None = None
    ) -> None:
        self.nodes, self.raw, self.options, self.pool = tuple(nodes), raw, options, pool
        self._open = ExitStack()
        whole = WholeNetwork.known(self.nodes, Frozen(whole=True))
        _require_fine(whole)
        self.whole = self._open.enter_context(PredictionRun(whole, raw, options, pool))
        builder = self.whole.builder
        assert isinstance(builder, PlanBuilder)
        self.frames = builder.fed()
        self.builder = self.whole.builder = builder.for_pass(whole, options, self.frames, None)
        self._last = self.whole

    def __enter__(self) -> VolumePrediction:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    # ---- which way
    @cached_property
    def mode(self) -> str:
        """Whether the network is evaluated on the whole image at once, or by passes."""
        place = self.whole.outputs.place(self.whole)
        for folder in () if place is None else (place / "statistics", place):
            found = Journal.find(folder)
            recorded = None if found is None else found.header["fingerprints"].get("mode")
            if recorded in MODES:
                return str(recorded)
        return self._chosen()

    def _chosen(self) -> str:
        unfit, budget = ungatherable(self.nodes), self.whole.budget
        plan = self.whole.plan_to_be()
        if plan.memory * SLACK <= budget and (self.options.tile is None or unfit):
            return ONCE
        if unfit:
            raise ArgumentError(
                "the whole image at once does not fit into the memory, and this node cannot be computed in passes",
                node=unfit[0],
                got=f"{unfit[0].whole_image}; {readable_bytes(budget)} for an image of {self.frames[0].volume}",
                expected=f"memory of at least {readable_bytes(plan.memory * SLACK)}",
                nearest="sliding_window=SlidingWindow(...)",
            )
        return KEPT if self._keeping_pays(plan) else PASSES

    def _keeping_pays(self, plan: DensePlan) -> bool:
        """Whether to keep values of nodes in files is cheaper than to compute them again in every pass."""
        if len(self.frames) > 1:  # values of every view would be needed at once
            return False
        images, sizes = plan.extent[0], self.frames[0].volume
        nbytes = images * sum(self._bytes(p) for level in self.levels for p in level.parents)
        again = images * sum(Costs(level.parents, [])(sizes).seconds for level in self.levels)
        place = self.whole.outputs.place(self.whole)
        free = shutil.disk_usage(_existing(Path(tempfile.gettempdir()) if place is None else place)).free
        return nbytes * SLACK < free and 2 * DISK * nbytes < again

    def _bytes(self, node: GraphNode) -> float:
        return float(node.shape["f"] * prod(self._sizes(node)) * np.dtype(node.output.dtype).itemsize)

    def _sizes(self, node: GraphNode) -> list[int]:
        """Sizes of a node for the whole image."""
        return [sizes_of_all(node, k, n).get(id(node), 1) for k, n in enumerate(self.frames[0].volume)]

    # ---- passes
    @cached_property
    def levels(self) -> list[Level]:
        """What is gathered together, in order."""
        return levels(self.nodes)

    @cached_property
    def passes(self) -> list[Pass]:
        """The passes before the last one, in order."""
        networks = [FrozenNetwork.known(level.parents, self._form(k)) for k, level in enumerate(self.levels)]
        return [Pass(*one, frame) for one in zip(self.levels, networks, strict=True) for frame in self.frames]

    @cached_property
    def last(self) -> FrozenNetwork:
        """The network of the last pass, which predicts."""
        return FrozenNetwork.known(self.nodes, self._form(len(self.levels)))

    def _form(self, k: int) -> Frozen:
        """Form of the network that computes level k: what the levels before gathered is given."""
        before = self.levels[:k]
        cuts = [self._cuts[p] for level in before for p in level.parents if p in self._cuts]
        return Frozen(tuple(n.name for level in before for n in level.nodes), tuple(cuts))

    @cached_property
    def _cuts(self) -> dict[GraphNode, Cut]:
        """The nodes whose values are kept."""
        parents = [p for level in self.levels for p in level.parents if self.mode == KEPT and not p.is_source]
        return {p: Cut(p.name, windows) for p in parents if (windows := self._windows(p)) is not None}

    def _windows(self, node: GraphNode) -> tuple[Window, ...] | None:
        """Where the voxels of a node lie on the image; None for a grid finer than the image, or padded beyond it."""
        windows = []
        for size, own, stride in zip(self.frames[0].volume, self._sizes(node), node.shape.strides, strict=True):
            down = exact(stride)
            reach = size - (own - 1) * down
            if down.denominator != 1 or reach < 1:
                return None
            windows.append(Window(size=int(reach), down=int(down), leftover="ignored"))
        return tuple(windows)

    # ---- plan
    def plan_for(self, blocks: tuple[int, ...] | None) -> DensePlan:
        """Return the plan of the last pass, with those of the passes before, for stores with these chunks."""
        if self.mode == ONCE:
            return self.whole.plan_for(blocks)
        return replace(self._final().plan_for(blocks), passes=self._plans())

    def _plans(self) -> tuple[DensePlan, ...]:
        """Plans of the passes before the last one; ArgumentError if one does not fit into the memory."""
        plans = []
        for k in range(len(self.passes)):
            with self._gather_run(k, Gathered(), Path("statistics")) as run:  # where nothing is written for a plan
                plans.append(run.plan())
        return tuple(plans)

    def _gather_run(self, k: int, known: Gathered, folder: Path) -> GatherRun:
        """The k-th pass, by what the passes before gathered."""
        one = self.passes[k]
        keep = [p.name in self._read_after(k) for p in one.level.parents]
        builder, shard = gather_builder(self.builder, one.network, one.frame), self.options.shard or (0, 1)
        run = GatherRun(one.network, self.raw, builder, self.pool, known, folder / f"pass-{k + 1}", keep, shard)
        names = ", ".join(n.name for n in one.level.nodes)
        run.task = f"pass {k + 1} of {len(self.passes) + 1}, statistics of {names}"
        return run

    def _read_after(self, k: int) -> set[str]:
        """Names of the nodes whose values are needed after the k-th pass."""
        return {cut.name for one in (*(p.network for p in self.passes[k + 1 :]), self.last) for cut in one.cuts}

    def _final(self) -> PredictionRun:
        """The last pass."""
        builder = self.builder.for_pass(self.last, self.options, self.frames, None)
        run = self._open.enter_context(PredictionRun(self.last, self.raw, self.options, self.pool, builder))
        run.task = f"pass {len(self.passes) + 1} of {len(self.passes) + 1}, {run.task}"
        return run

    # ---- execution
    def execute(self, progress: Progress) -> None:
        """Run all passes, as far as they are not finished.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError, FileError
            If options do not fit the result; no output has been created then.
        """
        run = self._last = self.whole if self.mode == ONCE else self._final()
        run.mode = self.mode
        place = run.outputs.place(run)
        if not _is_complete(place):
            if self.mode != ONCE or self.options.shard is not None:
                self._require_possible(run, place)
                self._measure(place)
            if place is not None and self._begun(run, place) != self.mode:
                self._forget_mode()
                self.execute(progress)
                return
            if self.mode != ONCE:
                run.gathered = self._gathered(self._folder(place), progress)
                self._share_measured(run)
        run.execute(progress)
        if place is not None and _is_complete(place):
            shutil.rmtree(place / "statistics", ignore_errors=True)

    def results(self) -> list[Any]:
        """Return `out` or an array per node; a DataArray if the image is one."""
        return self._last.results()

    def _require_possible(self, run: PredictionRun, place: Path | None) -> None:
        """Raise all errors that can be detected before the first pass begins."""
        run.check()
        run.outputs.require_new(run)
        if place is None or (Journal.find(place / "statistics") or Journal.find(place)) is None:
            run.require_memory()
            # Without a limit no plan is too large, and planning many passes takes time.
            if self.mode != ONCE and self.options.memory is not None:
                self._plans()

    def _begun(self, run: PredictionRun, place: Path) -> str:
        """Record what is begun, unless it is recorded; return the mode of the process that was first.

        Processes that start together may choose different modes. One process alone needs no record of a network that
        is evaluated at once, as the journal of its result is the first thing that it makes.
        """
        folder, asked = place / "statistics", repr((self.frames, self.builder.roi, self.builder.outputs))
        prints, found = run.fingerprints() | {"plan": f"{crc32(asked.encode()):x}"}, Journal.find(folder)
        joins = self.options.resume or self.options.shard is not None
        if found is not None and not joins:
            raise FileError(
                "there is a prediction already",
                where=str(folder),
                got="statistics, complete or in part",
                expected="resume=True to continue, another output, or remove this folder to start over",
            )
        if found is None and (self.mode != ONCE or self.options.shard is not None):
            with naming(place, "cannot be created"):
                place.mkdir(exist_ok=True)
            try:
                Journal.create(folder, prints, {"tile": [1], "together": 1}, 1)
            except FileError as error:
                if error.errno != EEXIST:
                    raise
                found = Journal.find(folder)
        if found is not None and (mode := found.header["fingerprints"].get("mode")) != self.mode and mode in MODES:
            return str(mode)
        if found is not None:
            found.require_same(prints)
        return self.mode

    def _forget_mode(self) -> None:
        """Forget the mode, which is recorded by now, and what follows from it."""
        for name in ("mode", "passes", "last", "_cuts"):
            vars(self).pop(name, None)

    def _folder(self, place: Path | None) -> Path:
        """Folder of what is gathered: in the one of the journal of the result, or a temporary one."""
        if place is not None:
            return place / "statistics"
        return Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="neuromancer-")))

    def _measure(self, place: Path | None) -> None:
        """Take or measure what the preprocessing needs to know about the image, once for all passes."""
        if isinstance(self.whole.source, ProcessedSource):
            recall_or_measure(self.whole.source, None if place is None else place / "statistics")

    def _share_measured(self, run: PredictionRun) -> None:
        if isinstance(run.source, ProcessedSource):
            run.source.statistics = self.whole.source.statistics

    def _gathered(self, folder: Path, progress: Progress) -> Gathered:
        """Run the passes before the last one."""
        if isinstance(self.whole.source, ProcessedSource):
            keep_statistics(self.whole.source, folder)
        statistics: dict[View, dict[str, np.ndarray]] = {frame.view: {} for frame in self.frames}
        stored: dict[str, Activations] = {}
        for k, one in enumerate(self.passes):
            with self._gather_run(k, Gathered(statistics, dict(stored), one.frame.before), folder) as run:
                self._share_measured(run)
                run.execute(progress)
            return_free_memory()
            sinks = dict(zip(one.level.parents, run.gather_sinks, strict=True))
            for node in one.level.nodes:
                found = sinks[node.parents[0]].statistics()
                rows = [node.statistics_from(each) for each in found]
                statistics[one.frame.view][node.name] = np.stack(rows, axis=1)
            stored |= {p.name: sink.layout for p, sink in sinks.items() if sink.keep}
            if self.options.shard is None:  # else other processes may still read them
                for name in stored.keys() - self._read_after(k):
                    stored.pop(name).path.unlink(missing_ok=True)
        return Gathered(statistics, stored, self.frames[0].before)


def _is_complete(place: Path | None) -> bool:
    """Whether the journal in a folder says that the result is complete."""
    journal = None if place is None else Journal.find(place)
    return journal is not None and journal.header["complete"] is True


def _require_fine(network: DenseNetwork) -> None:
    """Raise GraphError for a result on a grid coarser than the image: every shift would be another whole image."""
    for node, axes in zip(network.nodes, network.axes, strict=True):
        if any(g.step > 1 for g in axes):
            raise GraphError(
                "statistics of the whole image are those of one position of the strides, so there is no result between",
                node=node,
                got=f"strides {[str(g.step) for g in axes]}",
                expected="a node with as many voxels as the image, or more",
            )


def _existing(place: Path) -> Path:
    """Nearest folder that exists."""
    return next(p for p in (place, *place.absolute().parents) if p.is_dir())
