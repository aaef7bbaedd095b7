"""One prediction from arguments to result: image, plan, outputs, and where the tiles run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from math import prod
from os import PathLike
from typing import Any, Self

import numpy as np

from neuromancer import engine as E
from neuromancer import volumes
from neuromancer.dense.arguments import checked_image, require_fill, require_skip
from neuromancer.dense.checks import is_stack
from neuromancer.dense.evaluation import builder_of, evaluator_of
from neuromancer.dense.fingerprint import model_fingerprint
from neuromancer.dense.gathered import Gathered
from neuromancer.dense.mask import combined
from neuromancer.dense.memory import memory_budget
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.outputs import Outputs
from neuromancer.dense.pipeline import IN_TURN, Pipeline, Threads, TileReport
from neuromancer.dense.placement import image_placement, placed
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.plan_builder import SLACK, Buffers, PlanBuilder
from neuromancer.dense.processing.source import ProcessedSource, names_of, with_cache
from neuromancer.dense.processing.store import keep_statistics, recall_or_measure
from neuromancer.dense.reduction import TRIAL_LAST
from neuromancer.dense.result_stores import ResultStores
from neuromancer.dense.stores import (
    MemorySource,
    as_source,
    blocks_to_be,
    check_sink,
    filled_parts,
    fingerprint_of,
    image_sources,
    is_sink,
    require_apart,
)
from neuromancer.dense.tile_evaluator import TileEvaluator
from neuromancer.dense.workers import Assignment, WorkerPool
from neuromancer.errors import IncompleteWarning, ShapeError
from neuromancer.masked import chosen
from neuromancer.progress import Progress, counted
from neuromancer.volumes.missing import Part, listed

CACHE_SHARE = 8
"""Fraction (1/n) of memory used for the block cache."""
CACHE_MOST = 1 << 30
BLANK = "nothing was ever written"
CHUNK_LEAST, CHUNK_MOST = 1 << 15, 1 << 22
"""Minimum and maximum chunk size in bytes of new stores; reduced until a tile of whole chunks fits into memory."""


class PredictionRun:
    """A prediction, ready to be executed; a context manager that closes what it opened.

    Parameters
    ----------
    network : DenseNetwork
    raw : array, Source or path
    options : PredictOptions
    pool : WorkerPool, optional
        Workers that run the tiles; default: this process.
    builder : PlanBuilder, optional
        By default, one is made for these arguments.
    gathered : Gathered, optional
        What earlier passes over the image gathered.

    Attributes
    ----------
    task : str
        What is done, for the progress bar.
    mode : str
        How a network that depends on the whole image is evaluated, for the journal; else empty.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError, GraphError, FileError
        If image, network and options do not fit together.
    """

    def __init__(
        self,
        network: DenseNetwork,
        raw: Any,
        options: PredictOptions,
        pool: WorkerPool | None = None,
        builder: PlanBuilder | None = None,
        gathered: Gathered | None = None,
    ) -> None:
        self.gathered, self.task, self.mode = gathered, f"predicting {network.name}", ""
        self.network, self.raw, self.options, self.pool = network, raw, options, pool
        choice = options.on_missing
        self.image, visible = image_sources(raw, options.axes, network.spatial, choice)
        self.source = self.image
        if options.preprocess:
            is_stack(network.source, network.nodes[0], self.image.shape, self.image.dtype)  # axes and channels fit
            kind = network.source.output.dtype
            self.source = ProcessedSource(self.image, options.preprocess, network.spatial, kind)
        workers = 1 if pool is None else pool.workers
        threads = workers if pool is not None and pool.in_process else 1
        self.builder = builder or builder_of(network, self.source.shape, self.source.dtype, options, workers, threads)
        for output in self.builder.outputs:
            checked_image(output.shape, "result")
        self.spatial = "z" * self.builder.stack + network.spatial
        self.mask_sources = (
            [] if options.mask is None else [as_source(chosen(options.mask), None, self.spatial, choice, "mask")]
        )
        self.mask_sources += [] if visible is None else [visible]
        self.mask = combined(self.mask_sources, self.builder.raw_shape[1:])
        self._opened = [s for s in (self.image, *self.mask_sources) if s is not raw and s is not options.mask]
        self.outputs = Outputs(options)
        self._filled: dict[str, Part] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.outputs.close()
        for store in self._opened:
            if store is not None:
                store.close()

    # ---- plan
    @property
    def in_memory(self) -> bool:
        """Whether image and result are arrays in memory: no need to read ahead, or to align tiles to blocks."""
        return isinstance(self.image, MemorySource) and not self.outputs.stored and self.pool is None

    @property
    def threads(self) -> Threads:
        """Reader and writer threads."""
        return self.options.threads or (IN_TURN if self.in_memory else Threads())

    @cached_property
    def budget(self) -> float:
        """Memory limit in bytes of each process that runs tiles, including tiles that wait."""
        if self.options.memory is not None:
            return self.options.memory
        return memory_budget() / (1 if self.pool is None or self.pool.in_process else self.pool.workers)

    def plan(self, layout: Mapping[str, Any] | None = None) -> DensePlan:
        """Return the plan, aligned to the open stores; with the tile shape of an earlier plan, given its layout."""
        return self._plan(self.outputs.units, layout)

    def plan_for(self, blocks: tuple[int, ...] | None) -> DensePlan:
        """Return the plan for stores with these chunks; ShapeError if their number of axes does not fit."""
        outputs = self.builder.outputs
        if blocks is not None and any(len(blocks) != len(o.shape) for o in outputs):
            raise ShapeError(
                "chunks have another number of axes than the result",
                where="chunks",
                got=blocks,
                expected=f"sizes like {outputs[0].shape}",
            )
        return self._plan([blocks] * len(outputs))

    def _plan(self, units: Sequence[tuple[int, ...] | None], layout: Mapping[str, Any] | None = None) -> DensePlan:
        strict = self.options.memory is not None
        return self.builder.plan(
            self.budget, units or None, self.buffers(units), strict, dict(layout) if layout else None
        )

    @property
    def cache_bytes(self) -> int:
        """Size of the block cache of the image in bytes."""
        if getattr(self.source, "chunks", None) is None or self.in_memory:
            return 0
        return int(min(CACHE_MOST, self.budget / CACHE_SHARE))

    def buffers(self, units: Sequence[tuple[int, ...] | None]) -> Buffers:
        """Return the memory for blocks and results that wait, for stores with these blocks."""
        more = E.calls_under_way() - 1
        if self.in_memory and not any(units):
            return Buffers(under_way=more)
        t = self.options.threads or Threads()
        chunk = prod(self.source.chunks or (0,)) * self.source.dtype.itemsize
        outputs = zip(units, self.builder.outputs, strict=False)
        written = sum(prod(unit or (0,)) * np.dtype(o.dtype).itemsize for unit, o in outputs)
        # A block is in memory while it is read, waits and is evaluated; codecs of the stores need buffers, too.
        fixed = self.cache_bytes + 2 * chunk * max(1, t.readers) + 2 * written * max(1, t.writers)
        return Buffers(t.ahead + 2 + more, t.behind + 2, fixed, more)

    # ---- execution
    def execute(self, progress: Progress) -> None:
        """Run all unfinished tiles.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError
            If options do not fit the result; no output has been created then.
        """
        self.check()
        if isinstance(self.source, ProcessedSource):  # it can fail, so before anything is created
            recall_or_measure(self.source, self.outputs.place(self))
        with self.outputs.open(self, self.builder.outputs) as plan:
            if isinstance(self.source, ProcessedSource):
                keep_statistics(self.source, self.outputs.folder)
            self._run_tiles(plan if self.options.shard is None else plan.shard(*self.options.shard), progress)

    def results(self) -> list[Any]:
        """Return `out` or an array per node; a DataArray if the image is one."""
        if self.options.outs is not None:
            return list(self.options.outs)
        arrays = [sink.array for sink in self.outputs.sinks]
        if self.options.whole is not None:
            arrays = self.options.whole.apply(arrays, self.image, self.network.spatial)
        if not volumes.is_dataarray(self.raw) or any(g.output_spacing != 1 for g in self.network.joint):
            return arrays
        lead = (self.builder.roi[0][0],) if self.builder.stack else ()
        return [
            volumes.result_array(self.raw, values, (*lead, *offsets), self.spatial, node.name)
            for values, offsets, node in zip(arrays, self.builder.offsets, self.network.nodes, strict=True)
        ]

    def check(self) -> None:
        """Raise all errors that can be detected before stores are created."""
        options, outputs = self.options, self.builder.outputs
        post = options.postprocess
        require_skip(options.skip_empty, self.image.dtype)
        for m, output in enumerate(outputs):
            require_fill(post.filling(m), output.name, output.dtype)
        if self.pool is not None:
            self.pool.check(self.network.nodes, post.reductions, self.source)
        if self.pool is None or self.pool.in_process:
            # Functions for other processes may depend on their environment: they are tried only on one column.
            for node, reduction in zip(self.network.nodes, post.reductions, strict=True):
                reduction.stored(node.shape["f"], self.network.dtype, len(self.builder.sizes), TRIAL_LAST)
        store = {"spatial": self.spatial, **(options.store or {})}
        if options.whole is not None:
            options.whole.require_complete("mask", bool(self.mask_sources), "a masked image")
            axes = names_of(self.image.shape, self.network.spatial)
            for m, output in enumerate(outputs):
                options.whole.check(output.shape[0], output.dtype, axes, m)
        for out, output in zip(options.outs or (), outputs, strict=False):
            check_sink(out, output.shape, output.dtype, store)
        if self.pool is None and not options.resume:
            self.network.func(options.precision).compile()
        names = [*(["mask"] if options.mask is not None else []), "mask of the image"]
        masks = dict(zip(names, self.mask_sources, strict=False))
        require_apart({"image": self.image, **masks}, options.outs or ())

    def _run_tiles(self, plan: DensePlan, progress: Progress) -> None:
        todo, count = self.outputs.missing(plan)
        if not count:
            self._warn_of_filled(self.outputs.filled())
            return
        with counted(plan.voxels(count), self.task, progress) as advance:
            evaluator = self._evaluator(plan)
            if self.pool is not None:
                failed, self._filled = self.pool.run(evaluator, self._assignment(), todo, count, self._commit, advance)
            else:
                threads = IN_TURN if count == 1 and self.options.threads is None else self.threads
                with evaluator:
                    failed = Pipeline(
                        evaluator, self.outputs.sinks, threads, self._commit, self.options.skip, advance
                    ).run(todo)
        self.outputs.flush()
        parts = self.outputs.filled() | self._filled | filled_parts(self.source, *self.mask_sources)
        for what, store in [("image", self.source), *(("mask", source) for source in self.mask_sources)]:
            if getattr(store, "blank", False):
                parts[f"the whole {what}"] = Part(f"the whole {what}", BLANK)
        self._warn_of_filled(parts)
        self._warn_of_failed(plan, count, failed)

    @property
    def _commit(self) -> Callable[[TileReport], None] | None:
        """Function that records durable tiles, and missing parts of the image so far; None without a journal."""
        commit = self.outputs.commit
        if commit is None:
            return None

        def noted(report: TileReport) -> None:
            report.filled = report.filled | filled_parts(self.source, *self.mask_sources)
            commit(report)

        return noted

    def _evaluator(self, plan: DensePlan) -> TileEvaluator:
        return evaluator_of(
            plan,
            self.options.postprocess,
            self.network,
            with_cache(self.source, self.cache_bytes),
            self.mask,
            self.outputs.folder,
            precision=self.options.precision,
            skip_empty=self.options.skip_empty,
            shared=self.pool is not None and self.pool.in_process,
            gathered=self.gathered,
        )

    def _assignment(self) -> Assignment:
        return Assignment(
            nodes=self.network.nodes,
            source=self.source,
            masks=self.mask_sources,
            sinks=self.outputs.sinks,
            threads=self.threads,
            cache_bytes=self.cache_bytes,
            skip=self.options.skip,
            folder=self.outputs.folder,
        )

    def _warn_of_filled(self, parts: Mapping[str, Part]) -> None:
        """Warn about parts of the image that this run or earlier ones read as fill value."""
        if parts:
            number = "1 part" if len(parts) == 1 else f"{len(parts)} parts"
            what = "image or mask" if self.mask_sources else "the image"
            text = f"{number} of {what} missing or damaged, read as fill value: {listed(list(parts.values()))}"
            warnings.warn(text, IncompleteWarning, stacklevel=7)

    def _warn_of_failed(self, plan: DensePlan, count: int, failed: Mapping[int, str]) -> None:
        """Warn about skipped tiles."""
        if failed:
            examples = "; ".join(f"{plan.tile(i)}: {reason}" for i, reason in list(failed.items())[:3])
            text = f"{len(failed)} of {count} tiles could not be predicted: {examples}"
            warnings.warn(text, IncompleteWarning, stacklevel=7)

    # ---- interface for Outputs
    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprints of model, image and options."""
        mask = " ".join(fingerprint_of(source) for source in self.mask_sources)
        return {
            "model": model_fingerprint(self.network.nodes),
            "image": fingerprint_of(self.image),
            "options": f"{self.options.label} mask={mask}",
            **({"mode": self.mode} if self.mode else {}),
        }

    def new_stores(self) -> ResultStores:
        """Return the stores to create, with chunks small enough for a tile to fit into memory."""
        return self._stores(self._chunks())

    def known_stores(self) -> ResultStores:
        """Return the stores that a previous run created."""
        return self._stores([None] * len(self.builder.outputs))

    def _chunks(self) -> list[tuple[int, ...] | None]:
        """Chunks of the stores to create; raises if no tile fits into memory, before anything is created."""
        chunks, units, _ = self._blocks_to_be()
        self._plan(units)
        return chunks

    def require_memory(self) -> None:
        """Raise ArgumentError if a tile for the stores to create does not fit into the memory."""
        self._chunks()

    def plan_to_be(self) -> DensePlan:
        """Return the plan for the stores to create, whether it fits into memory or not."""
        return self._blocks_to_be()[2]

    def _blocks_to_be(self) -> tuple[list[tuple[int, ...] | None], list[tuple[int, ...] | None], DensePlan]:
        """Chunks of the stores to create, blocks that only one tile may write, and the plan for them."""
        nbytes, outputs, store = CHUNK_MOST, self.builder.outputs, self.options.store or {}
        outs = (None,) * len(outputs) if self.options.outs is None else self.options.outs
        while True:
            blocks = [
                (None, None) if out is None else blocks_to_be(out, o.shape, np.dtype(o.dtype), store, nbytes)
                for out, o in zip(outs, outputs, strict=True)
            ]
            chunks, units = [c for c, _ in blocks], [u for _, u in blocks]
            plan = self.builder.plan(self.budget, units, self.buffers(units))
            if plan.memory * SLACK <= self.budget or nbytes <= CHUNK_LEAST or not any(chunks):
                return chunks, units, plan
            nbytes //= 2

    def _stores(self, chunks: Sequence[tuple[int, ...] | None]) -> ResultStores:
        outs, first = self.options.outs or (), self.builder.roi[0][0]
        lead: list[int | Fraction] = [1] if self.builder.stack else []
        steps = [*lead, *(g.output_spacing for g in self.network.joint)]
        image = image_placement(self.source, self.spatial, any(isinstance(out, (str, PathLike)) for out in outs))
        options = []
        for out, offsets, blocks in zip(outs, self.builder.offsets, chunks, strict=True):
            meta: dict[str, Any] = {"spatial": self.spatial, **(self.options.store or {})}
            if blocks is not None:
                meta["chunks"] = blocks
            if not is_sink(out):
                meta |= placed(image, meta, [*(first for _ in lead), *offsets], steps)
            options.append(meta)
        return ResultStores(outs, self.builder.outputs, options)
