"""Outputs of a run: a store per node, and the journal of finished tiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neuromancer.dense.creation_lock import SUFFIX, CreationLock
from neuromancer.dense.options import PredictOptions
from neuromancer.dense.pipeline import TileReport
from neuromancer.dense.plan import DensePlan, ResultSpec
from neuromancer.dense.result_stores import ResultStores, begin, undo
from neuromancer.dense.resume import Journal
from neuromancer.dense.stores import MemorySink, is_sink, place_of
from neuromancer.errors import ArgumentError, FileError, NeuromancerError, OutOfMemoryError
from neuromancer.places import local_file
from neuromancer.volumes.missing import Part
from neuromancer.volumes.packed import is_packed


class Planned(Protocol):
    """Interface of a run that its outputs rely on."""

    def plan(self, layout: Mapping[str, Any] | None = None) -> DensePlan:
        """Return the plan, aligned to the open stores; with the tile shape of an earlier plan, given its layout."""

    def new_stores(self) -> ResultStores:
        """Return the stores to create."""

    def known_stores(self) -> ResultStores:
        """Return the stores that a previous run created."""

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprints of model, image and options."""


class Outputs:
    """Results of a run, in memory or in stores; a journal records which tiles they contain.

    Parameters
    ----------
    options : PredictOptions

    Attributes
    ----------
    sinks : list of Sink
        Per node, once opened.
    journal : Journal or None
    """

    def __init__(self, options: PredictOptions) -> None:
        self.options = options
        self.sinks: list[Any] = []
        self.journal: Journal | None = None
        self._stores: ResultStores | None = None
        self._whole = False

    @property
    def stored(self) -> bool:
        """Whether results go to `out`."""
        return self.options.outs is not None

    @property
    def units(self) -> list[tuple[int, ...] | None]:
        """Per node: block of its store that only one tile may write."""
        return [sink.unit_of_write for sink in self.sinks]

    @property
    def folder(self) -> Path | None:
        """Folder of the journal; None without one."""
        return None if self.journal is None else self.journal.folder

    @contextmanager
    def open(self, run: Planned, outputs: Sequence[ResultSpec]) -> Iterator[DensePlan]:
        """Create or open stores and journal; yield the plan aligned to them.

        Raises
        ------
        FileError, ArgumentError
            If an output exists already, is missing, or belongs to another prediction. Nothing is left behind.
        """
        if self.options.outs is None:
            self.sinks = [MemorySink(array) for array in _in_memory(outputs)]
            yield run.plan()
            return
        plan = self._opened(run, self.options.outs)
        try:
            yield plan
        finally:
            if self.journal is not None:
                self.journal.close()

    def missing(self, plan: DensePlan) -> tuple[Iterator[int], int]:
        """Return the unfinished tiles of a plan, and their number."""
        if self.journal is None:
            return iter(plan.indices()), len(plan)
        done = self.journal.done()
        return done.missing(plan.indices()), len(plan) - done.count(plan.indices())

    def place(self, run: Planned) -> Path | None:
        """Return the folder of the journal, whether it exists or not; None if there is no place for one."""
        return None if self.options.outs is None else self._journal_folder(run, self.options.outs)

    def require_new(self, run: Planned) -> None:
        """Raise FileError if there is a result already, and this run is not to continue it."""
        if self.options.outs is not None and not (self.options.resume or self.options.shard is not None):
            folder = self.place(run)
            found = None if folder is None else Journal.find(folder)
            if found is not None:
                raise _exists(found)
            run.known_stores().require_free()

    @property
    def commit(self) -> Callable[[TileReport], None] | None:
        """Function that records durable tiles; None without a journal."""
        return None if self.journal is None else self.journal.commit

    def filled(self) -> dict[str, Part]:
        """Return the parts of the image that previous runs and this one have recorded as filled."""
        return {} if self.journal is None else self.journal.filled()

    def flush(self) -> None:
        """Flush stores that have no journal, once all is written; with one, they are flushed at every commit."""
        self._whole = True
        if self.stored and self.journal is None:
            for sink in self.sinks:
                sink.flush()

    def close(self) -> None:
        """Close stores that were opened here; those that are written at once keep nothing unless it is whole."""
        if self._stores is not None:
            self._stores.close(self._whole)

    # ---- creating and opening
    def _opened(self, run: Planned, outs: Sequence[Any]) -> DensePlan:
        folder = self._journal_folder(run, outs)
        self._require_stepwise(outs)
        joins = self.options.resume or self.options.shard is not None
        if folder is None:
            if joins:
                raise ArgumentError(
                    "previous runs are unknown without a path in the file system",
                    where="resume" if self.options.resume else "shard",
                    got=f"out of type {type(outs[0]).__name__}",
                    expected="a path as out, or a folder as journal",
                )
            return self._make_without_journal(run)
        found = Journal.find(folder)
        return self._begin(run, folder, joins) if found is None else self._continue(run, found, joins)

    def _packed(self, outs: Sequence[Any]) -> str | None:
        """Return the first result that is compressed as a whole."""
        compression = (self.options.store or {}).get("compression")
        paths = [out for out in outs if isinstance(out, (str, os.PathLike))]
        return next((str(out) for out in paths if is_packed(out, compression)), None)

    def _require_stepwise(self, outs: Sequence[Any]) -> None:
        """Raise ArgumentError for options that need results that grow tile by tile, if one of them does not."""
        packed = self._packed(outs)
        for name in ("resume", "shard", "journal"):
            if packed is not None and getattr(self.options, name) not in (None, False):
                raise ArgumentError(
                    "a file that is compressed as a whole is written at once, by a single run",
                    where=name,
                    got=packed,
                    expected="an uncompressed file, such as .nii, .mrc or .nrrd; or a .zarr, with compressed chunks",
                )

    def _journal_folder(self, run: Planned, outs: Sequence[Any]) -> Path | None:
        if self._packed(outs) is not None:
            return None
        if self.options.journal is not None:
            return local_file(self.options.journal, "journal")
        folder, before = (_beside(outs[0], earlier) for earlier in (False, True))
        return before if folder != before and _is_about(before, run) and not _has_journal(folder) else folder

    def _make_without_journal(self, run: Planned) -> DensePlan:
        traces: list[str] = []
        self._stores = stores = run.new_stores()
        stores.require_free()
        try:
            self.sinks = stores.make(traces.append)
            return run.plan()
        except BaseException:
            undo(stores, traces)
            raise

    def _begin(self, run: Planned, folder: Path, joins: bool) -> DensePlan:
        """Create stores and journal, after everything that can fail without them."""
        self._stores = stores = run.new_stores()
        if not joins and not os.path.lexists(folder / "making"):
            stores.require_free()
        fixed, made = run.fingerprints(), list[DensePlan]()

        def make(note: Callable[[str], None]) -> Journal:
            self.sinks = stores.make(note)
            for sink in self.sinks:
                getattr(sink, "claim", lambda: None)()
            plan = run.plan()
            made.append(plan)
            return Journal.create(folder, fixed | self._prints_of(plan), plan.layout, plan.count)

        found = begin(folder, joins, stores, make)
        if not made:
            return self._continue(run, found, joins)
        self.journal = found
        return made[0]

    def _continue(self, run: Planned, found: Journal, joins: bool) -> DensePlan:
        if not joins:
            raise _exists(found)
        self._stores = run.known_stores()
        self.sinks = self._stores.open()
        plan = run.plan(found.layout)
        found.require_same(run.fingerprints() | self._prints_of(plan))
        if found.header["tiles"] != plan.count:
            raise FileError("has another number of tiles", where=str(found.folder), expected=f"{plan.count}")
        # Traces of a process that was killed while creating the result become obsolete once tiles are written.
        CreationLock(found.folder).forget()
        self.journal = found
        return plan

    def _prints_of(self, plan: DensePlan) -> dict[str, str]:
        return {"plan": plan.fingerprint(), "output": _print_of(self.sinks)}


def _exists(found: Journal) -> FileError:
    return FileError(
        "there is a prediction already",
        where=str(found.folder),
        got=f"{len(found.done())} of {found.header['tiles']} tiles done",
        expected="resume=True to continue, another output, or remove this folder and the result to start over",
    )


def _in_memory(outputs: Sequence[ResultSpec]) -> list[np.ndarray]:
    """Allocate arrays for the results; OutOfMemoryError says how much they need."""
    try:
        return [np.empty(o.shape, o.dtype) for o in outputs]
    except (MemoryError, ValueError) as error:  # ValueError: larger than the address space
        nbytes = sum(prod(o.shape) * np.dtype(o.dtype).itemsize for o in outputs)
        raise OutOfMemoryError(
            "the result does not fit into the memory",
            where="out",
            got=f"{nbytes / 1e9:.3g} GB for {', '.join(str(tuple(o.shape)) for o in outputs)}",
            expected="out=..., to store it tile by tile in a file; or a region, roi=...",
        ) from error


def _print_of(sinks: Sequence[Any]) -> str:
    return " ".join(sink.fingerprint() for sink in sinks)


def _beside(out: Any, earlier: bool) -> Path | None:
    """Journal folder of a result in a file, by its current name or that of earlier versions."""
    place = place_of(out, out if is_sink(out) else None, earlier)
    return None if place is None else place.with_name(place.name + SUFFIX)


def _has_journal(folder: Path | None) -> bool:
    return folder is not None and Journal.find(folder) is not None


def _is_about(folder: Path | None, run: Planned) -> bool:
    """Whether a journal belongs to the existing results, and not to others with a similar name."""
    with suppress(NeuromancerError):
        found = None if folder is None else Journal.find(folder)
        if found is not None:
            with closing(run.known_stores()) as stores:
                return bool(found.header["fingerprints"].get("output") == _print_of(stores.open()))
    return False
