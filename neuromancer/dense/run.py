"""One prediction from its arguments to its end: stores, plan, journal, and who does the tiles."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.dense.arguments import require_fill, require_skip
from neuromancer.dense.cache import CachedSource
from neuromancer.dense.executors import Assignment, Team
from neuromancer.dense.fingerprint import model_fingerprint
from neuromancer.dense.making import CreationLock
from neuromancer.dense.mask import combined
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.pipeline import IN_TURN, Pipeline, Threads
from neuromancer.dense.placement import image_placement, placed
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.planning import SLACK, Buffers, Planner, Wish
from neuromancer.dense.reduction import TRIAL_LAST
from neuromancer.dense.results import Results, begin, undo
from neuromancer.dense.resume import Journal
from neuromancer.dense.stores import (
    ArraySink,
    ArraySource,
    as_source,
    blocks_to_be,
    check_sink,
    filled_parts,
    image_sources,
    is_sink,
    place_of,
    require_apart,
)
from neuromancer.dense.work import Rules, Work
from neuromancer.errors import ArgumentError, FileError, IncompleteWarning
from neuromancer.masked import chosen
from neuromancer.places import local_file
from neuromancer.printable import printable
from neuromancer.progress import voxel_bar
from neuromancer.volumes.missing import Part, listed

CACHE_SHARE = 8
"""One part in so many of the memory keeps blocks of the image that the next tiles need as well."""
CACHE_MOST = 1 << 30
CHUNK_LEAST, CHUNK_MOST = 1 << 15, 1 << 22
"""Bytes of a chunk of a store that is made: as many as leave room for a tile of whole chunks."""


@dataclass(frozen=True)
class Request:
    """What the caller asked for, besides the network and the image.

    The fields are arguments of :func:`neuromancer.predict_dense`.
    """

    wish: Wish
    rules: Rules
    outs: tuple[Any, ...] | None = None
    resume: bool = False
    memory: float | None = None
    axes: str | None = None
    mask: Any = None
    shard: tuple[int, int] | None = None
    threads: Threads | None = None
    skip: bool = False
    journal: str | Path | None = None
    store: Mapping[str, Any] | None = None


class Run:
    """A prediction, ready to be carried out.

    Parameters
    ----------
    network : DenseNetwork
    raw : array, Source or path
    request : Request
    budget : callable
        Bytes that may be used if the request names none.
    team : Team, optional
        Workers that do the tiles.
    """

    def __init__(
        self,
        network: DenseNetwork,
        raw: Any,
        request: Request,
        budget: Callable[[], float],
        team: Team | None = None,
    ) -> None:
        self.network, self.request, self.team, self._budget = network, request, team, budget
        choice = request.rules.on_missing
        self.source, visible = image_sources(raw, request.axes, network.spatial, choice)
        self.planner = Planner(network, self.source.shape, self.source.dtype, request.wish, request.rules.reductions)
        self.spatial = "z" * self.planner.stack + network.spatial
        self.mask_sources = (
            [] if request.mask is None else [as_source(chosen(request.mask), None, self.spatial, choice, "mask")]
        )
        self.mask_sources += [] if visible is None else [visible]
        self.mask = combined(self.mask_sources, self.planner.raw_shape[1:])
        self._opened = [s for s in (self.source, *self.mask_sources) if s is not raw and s is not request.mask]
        self.journal: Journal | None = None
        self.results: Results | None = None
        self.sinks: list[Any] = []
        self.filled: dict[str, Part] = {}

    # ---- plan
    @property
    def in_memory(self) -> bool:
        """Whether image and result are arrays: then nothing is read ahead, and nothing has to be aligned."""
        return isinstance(self.source, ArraySource) and self.request.outs is None and self.team is None

    @property
    def threads(self) -> Threads:
        """Threads for reading and writing."""
        return self.request.threads or (IN_TURN if self.in_memory else Threads())

    @cached_property
    def budget(self) -> float:
        """Bytes that a tile may use with all that waits beside it, in each process that does tiles."""
        if self.request.memory is not None:
            return self.request.memory
        return self._budget() / (1 if self.team is None or self.team.in_process else self.team.workers)

    def plan(
        self, layout: Mapping[str, Any] | None = None, units: Sequence[tuple[int, ...] | None] | None = None
    ) -> DensePlan:
        """The plan, aligned to the stores that are open, or to the given blocks."""
        units = units or [sink.unit_of_write for sink in self.sinks]
        strict = self.request.memory is not None
        buffers = self._buffers(units)
        return self.planner.plan(self.budget, units or None, buffers, strict, dict(layout) if layout else None)

    @property
    def cache_bytes(self) -> int:
        """Bytes for blocks of the image that several tiles need."""
        if getattr(self.source, "chunks", None) is None or self.in_memory:
            return 0
        return int(min(CACHE_MOST, self.budget / CACHE_SHARE))

    def _buffers(self, units: Sequence[tuple[int, ...] | None]) -> Buffers:
        more = E.calls_under_way() - 1
        if self.in_memory and not any(units):
            return Buffers(under_way=more)
        t = self.request.threads or Threads()
        chunk = prod(self.source.chunks or (0,)) * self.source.dtype.itemsize
        outputs = zip(units, self.planner.outputs, strict=False)
        written = sum(prod(unit or (0,)) * np.dtype(o.dtype).itemsize for unit, o in outputs)
        # A block is there while it is read, waits and is evaluated; stores unpack and pack beside it.
        fixed = self.cache_bytes + 2 * chunk * max(1, t.readers) + 2 * written * max(1, t.writers)
        return Buffers(t.ahead + 2 + more, t.behind + 2, fixed, more)

    # ---- carrying out
    def execute(self, progress: bool | None) -> list[Any]:
        """Do all tiles that are not done; returns a sink per node.

        Raises
        ------
        ShapeError, InputTypeError, ArgumentError
            If options do not fit what is to be stored; nothing has been made then.
        """
        self._check()
        if self.request.outs is None:
            self.sinks = [ArraySink(np.empty(o.shape, o.dtype)) for o in self.planner.outputs]
            plan = self.plan()
        else:
            plan = self._open()
        if self.request.shard is not None:
            plan = plan.shard(*self.request.shard)
        try:
            self._carry_out(plan, progress)
        finally:
            if self.journal is not None:
                self.journal.close()
        return self.sinks

    def _check(self) -> None:
        """Raise for everything that can be known to fail before stores are made."""
        rules, outputs = self.request.rules, self.planner.outputs
        require_skip(rules.skip_empty, self.source.dtype)
        for m, output in enumerate(outputs):
            require_fill(rules.filling(m), output.name, output.dtype)
        if self.team is not None:
            self.team.check(self.network.nodes, rules.reductions, self.source)
        if self.team is None or self.team.in_process:
            # Functions for other processes may rely on what only those have; here they are tried on one column alone.
            for node, reduction in zip(self.network.nodes, rules.reductions, strict=True):
                reduction.stored(node.shape["f"], self.network.dtype, len(self.planner.sizes), TRIAL_LAST)
        options = {"spatial": self.spatial, **(self.request.store or {})}
        for out, output in zip(self.request.outs or (), outputs, strict=False):
            check_sink(out, output.shape, output.dtype, options)
        if self.team is None and not self.request.resume:
            self.network.func(rules.precision).compile()

    def _carry_out(self, plan: DensePlan, progress: bool | None) -> None:
        done = None if self.journal is None else self.journal.done()
        count = len(plan) - (0 if done is None else done.count(plan.indices()))
        todo = iter(plan.indices()) if done is None else done.missing(plan.indices())
        if not count:
            return
        threads = IN_TURN if count == 1 and self.request.threads is None else self.threads
        source = CachedSource(self.source, self.cache_bytes) if self.cache_bytes else self.source
        shared = self.team is not None and self.team.in_process
        work = Work(plan, self.request.rules, self.network, source, self.mask, shared)
        commit = None if self.journal is None else self.journal.commit
        with voxel_bar(plan.voxels(count), f"predicting {self.network.name}", progress) as bar:

            def advance(voxels: int) -> None:
                bar.update(voxels / 1e6)

            if self.team is not None:
                failed, filled = self.team.carry_out(work, self._assignment(), todo, count, commit, advance)
                self.filled |= filled
            else:
                with work:
                    failed = Pipeline(work, self.sinks, threads, commit, self.request.skip, advance).run(todo)
        if self.request.outs is not None and self.journal is None:
            for sink in self.sinks:
                sink.flush()
        self._warn_of_filled()
        if failed:
            some = "; ".join(f"{plan.tile(i)}: {printable(reason)}" for i, reason in list(failed.items())[:3])
            warnings.warn(
                f"{len(failed)} of {count} tiles could not be predicted: {some}", IncompleteWarning, stacklevel=5
            )

    def _assignment(self) -> Assignment:
        return Assignment(
            nodes=self.network.nodes,
            source=self.source,
            masks=self.mask_sources,
            sinks=self.sinks,
            threads=self.threads,
            cache_bytes=self.cache_bytes,
            skip=self.request.skip,
            folder=None if self.journal is None else self.journal.folder,
        )

    def _warn_of_filled(self) -> None:
        parts = list((self.filled | filled_parts(self.source, *self.mask_sources)).values())
        if getattr(self.source, "blank", False):
            parts.append(Part("all of it", "nothing was ever written"))
        if parts:
            count = "1 part" if len(parts) == 1 else f"{len(parts)} parts"
            text = f"{count} of the image missing or damaged, read as fill value: {listed(parts)}"
            warnings.warn(text, IncompleteWarning, stacklevel=6)

    # ---- stores and journal
    def _folder(self, outs: Sequence[Any]) -> Path | None:
        if self.request.journal is not None:
            return local_file(self.request.journal, "journal")
        place = place_of(outs[0], outs[0] if is_sink(outs[0]) else None)
        return None if place is None else place.with_name(place.name + ".progress")

    def _open(self) -> DensePlan:
        """Open or make the stores and the journal; returns the plan that fits them."""
        outs = self.request.outs or ()
        require_apart(self.source, outs)
        folder = self._folder(outs)
        joins = self.request.resume or self.request.shard is not None
        if folder is None:
            if joins:
                raise ArgumentError(
                    "without a place in the file system nothing is known of earlier runs",
                    node="resume" if self.request.resume else "shard",
                    got=f"out of type {type(outs[0]).__name__}",
                    expected="a path as out, or a folder as journal",
                )
            return self._make_without_journal()
        found = Journal.find(folder)
        if found is None:
            return self._begin(folder, joins)
        return self._continue(found, joins)

    def _make_without_journal(self) -> DensePlan:
        traces: list[str] = []
        self.results = self._results(self._chunks())
        self.results.require_free()
        try:
            self.sinks = self.results.make(traces.append)
            return self.plan()
        except BaseException:
            undo(self.results, traces)
            raise

    def _begin(self, folder: Path, joins: bool) -> DensePlan:
        """Make results and journal; what can fail without them is done before."""
        self.results = results = self._results(self._chunks())
        if not joins and not os.path.lexists(folder / "making"):
            results.require_free()
        fixed, made = self._fixed_prints(), list[DensePlan]()

        def make(note: Callable[[str], None]) -> Journal:
            self.sinks = results.make(note)
            plan = self.plan()
            made.append(plan)
            return Journal.create(folder, fixed | self._prints_of(plan), plan.layout, plan.count)

        found = begin(folder, joins, results, make)
        if not made:
            return self._continue(found, joins)
        self.journal = found
        return made[0]

    def _continue(self, found: Journal, joins: bool) -> DensePlan:
        if not joins:
            raise FileError(
                "there is a prediction already",
                node=str(found.folder),
                got=f"{len(found.done())} of {found.header['tiles']} tiles done",
                expected="resume=True to go on with it, another output, or no such folder to begin anew",
            )
        self.results = self._results()
        self.sinks = self.results.open()
        plan = self.plan(found.layout)
        found.require_same(self._fixed_prints() | self._prints_of(plan))
        if found.header["tiles"] != plan.count:
            raise FileError("is about another number of tiles", node=str(found.folder), expected=f"{plan.count}")
        # What a process that was killed noted about making it is no longer true when something is written into it.
        CreationLock(found.folder).forget()
        self.journal = found
        return plan

    def _chunks(self) -> list[tuple[int, ...] | None]:
        """Chunks for the stores that are to be made; raises where no tile fits, while nothing has been made."""
        nbytes, store = CHUNK_MOST, self.request.store or {}
        while True:
            blocks = [
                blocks_to_be(out, o.shape, np.dtype(o.dtype), store, nbytes)
                for out, o in zip(self.request.outs or (), self.planner.outputs, strict=True)
            ]
            chunks, units = [c for c, _ in blocks], [u for _, u in blocks]
            plan = self.planner.plan(self.budget, units, self._buffers(units))
            if plan.memory * SLACK <= self.budget or nbytes <= CHUNK_LEAST or not any(chunks):
                self.plan(units=units)
                return chunks
            nbytes //= 2

    def _results(self, chunks: Sequence[tuple[int, ...] | None] = ()) -> Results:
        outs = self.request.outs or ()
        steps = [*((1,) if self.planner.stack else ()), *(g.grain for g in self.network.joint)]
        image = image_placement(self.source, self.spatial, any(isinstance(out, (str, PathLike)) for out in outs))
        per_node = zip(outs, self.planner.offsets, chunks or [None] * len(outs), strict=True)
        options = []
        for out, first, blocks in per_node:
            meta: dict[str, Any] = {"spatial": self.spatial, **(self.request.store or {})}
            if blocks is not None:
                meta["chunks"] = blocks
            if not is_sink(out):
                shift = [*((self.planner.roi[0][0],) if self.planner.stack else ()), *first]
                meta |= placed(image, meta, shift, steps)
            options.append(meta)
        return Results(outs, self.planner.outputs, options)

    def _fixed_prints(self) -> dict[str, str]:
        """Fingerprints of all that does not depend on the results."""
        mask = " ".join(source.fingerprint() for source in self.mask_sources)
        return {
            "model": model_fingerprint(self.network.nodes),
            "image": self.source.fingerprint(),
            "options": f"{self.request.rules.label} mask={mask}",
        }

    def _prints_of(self, plan: DensePlan) -> dict[str, str]:
        return {"plan": plan.fingerprint(), "output": " ".join(sink.fingerprint() for sink in self.sinks)}

    def close(self) -> None:
        """Close what was opened here."""
        if self.results is not None:
            self.results.close()
        for store in self._opened:
            if store is not None:
                store.close()
