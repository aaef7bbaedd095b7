"""Stores of the results of a run: created together with the journal, or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuromancer import volumes
from neuromancer.dense import creation_lock
from neuromancer.dense.plan import ResultSpec
from neuromancer.dense.resume import Journal
from neuromancer.dense.stores import given_sink
from neuromancer.errors import FileError, NeuromancerError


class ResultStores:
    """Stores of the results of a run.

    Parameters
    ----------
    outs : sequence of array, Sink or path
        Per node.
    outputs : sequence of ResultSpec
        Shape and dtype of each result.
    options : sequence of mapping
        Options of ``create_sink`` for each store.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError, FileError
        If a given store does not fit, or a store cannot be created with these options.
    """

    def __init__(
        self, outs: Sequence[Any], outputs: Sequence[ResultSpec], options: Sequence[Mapping[str, Any]]
    ) -> None:
        self.outs = tuple(outs)
        self.sinks: list[Any] = []
        self._given: list[Any] = []
        self._places: list[volumes.Output | None] = []
        for out, output, meta in zip(outs, outputs, options, strict=True):
            stored = isinstance(out, (str, os.PathLike))
            place = volumes.output_at(out, output.shape, output.dtype, **meta) if stored else None
            self._places.append(place)
            self._given.append(None if stored else given_sink(out, output.shape, output.dtype, meta))

    def require_free(self) -> None:
        """Raise FileError if the path of a result to create exists."""
        for place in filter(None, self._places):
            place.require_free()

    def make(self, note: Callable[[str], None]) -> list[Any]:
        """Create all stores that were not given, then open them; return a sink per node.

        Parameters
        ----------
        note : callable
            Called, before a store is created, with a trace by which it can be recognised.
        """
        for place in filter(None, self._places):
            place.create(note)
        return self.open()

    def open(self) -> list[Any]:
        """Open all stores; return a sink per node.

        Raises
        ------
        FileError
            If a store does not exist.
        """
        for k in range(len(self.outs)):
            self.sinks.append(self.sink(k))
        return self.sinks

    def sink(self, k: int) -> Any:
        """Return the sink for the k-th node."""
        place = self._places[k]
        found = self._given[k] if place is None else place.find()
        if found is None:
            raise FileError(
                "the journal exists, but not the result",
                where=str(self.outs[k]),
                expected="the result; or remove the journal to start over",
            )
        return found

    def close(self, whole: bool = True) -> None:
        """Close stores that were opened here.

        Parameters
        ----------
        whole : bool
            Whether all is written; otherwise results that are written at once are given up.
        """
        for sink, out in zip(self.sinks, self.outs, strict=False):
            if sink is not out:
                if not whole:
                    getattr(sink, "abandon", lambda: None)()
                sink.close()
        self.sinks.clear()

    def discard(self, traces: Collection[str]) -> None:
        """Remove partially created results, if the traces prove that they are ours."""
        for place in filter(None, self._places):
            place.discard(traces)


def begin(
    folder: Path, joins: bool, results: ResultStores, make: Callable[[Callable[[str], None]], Journal]
) -> Journal:
    """Create results and journal, or wait for another process that is creating them.

    However this ends, even by a kill, it leaves nothing, or remains that the next call removes first, or a journal to
    resume from.

    Parameters
    ----------
    folder : Path
        Folder of the journal.
    joins : bool
        Whether this run may join a result that another process creates.
    results : ResultStores
    make : callable
        Creates the results, recording their traces with the function passed to it, and then the journal.

    Raises
    ------
    FileError
        If there is a result without a journal, or another process does not finish creating it.
    """
    lock = creation_lock.CreationLock(folder)
    limit = time.monotonic() + creation_lock.WAIT
    while (found := Journal.find(folder)) is None:
        if lock.acquire():
            return _make(folder, lock, results, make)
        if time.monotonic() > limit or (not joins and os.path.lexists(lock.path)):
            raise lock.refuse()
        time.sleep(0.05)
    return found


def _make(
    folder: Path,
    lock: creation_lock.CreationLock,
    results: ResultStores,
    make: Callable[[Callable[[str], None]], Journal],
) -> Journal:
    try:
        journal = Journal.find(folder)  # another process may have created it since
        if journal is None:
            results.discard(lock.traces)
            results.require_free()
            journal = make(lock.note)
    except BaseException:
        undo(results, lock.traces, lock, folder)
        raise
    lock.release()
    return journal


def undo(
    results: ResultStores,
    traces: Collection[str],
    lock: creation_lock.CreationLock | None = None,
    folder: Path | None = None,
) -> None:
    """Remove the results that were created, unless there is a journal for them."""
    try:
        with suppress(OSError, NeuromancerError):
            results.close()
        with suppress(OSError, NeuromancerError):
            if folder is None or not os.path.lexists(folder / "run.json"):
                results.discard(traces)
            if lock is not None:
                lock.release()
    finally:
        if lock is not None:
            lock.abandon()
