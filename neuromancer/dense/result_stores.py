"""The stores of a run's results: all of them are made together with the journal, or none is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuromancer import volumes
from neuromancer.dense import creation_lock
from neuromancer.dense.plan import Output
from neuromancer.dense.resume import Journal
from neuromancer.dense.stores import given_sink
from neuromancer.errors import FileError, NeuromancerError


class ResultStores:
    """Where the results of a run go.

    Parameters
    ----------
    outs : sequence of array, Sink or path
        Per node.
    outputs : sequence of Output
        What is stored of each.
    options : sequence of mapping
        Further arguments for creating each store.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError, FileError
        If a store that was given does not fit, or none can be made as wanted.
    """

    def __init__(self, outs: Sequence[Any], outputs: Sequence[Output], options: Sequence[Mapping[str, Any]]) -> None:
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
        """Raise FileError if something lies where a result is to be made."""
        for place in filter(None, self._places):
            place.require_free()

    def make(self, note: Callable[[str], None]) -> list[Any]:
        """Make all stores that are not given, then open them; returns a sink per node.

        Parameters
        ----------
        note : callable
            Is told what will show that they are these stores, before they exist.
        """
        for place in filter(None, self._places):
            place.create(note)
        return self.open()

    def open(self) -> list[Any]:
        """A sink per node.

        Raises
        ------
        FileError
            If one of the stores is not there.
        """
        for k in range(len(self.outs)):
            self.sinks.append(self.sink(k))
        return self.sinks

    def sink(self, k: int) -> Any:
        """The sink for one node."""
        place = self._places[k]
        found = self._given[k] if place is None else place.find()
        if found is None:
            raise FileError(
                "its journal is there, but not the result itself",
                where=str(self.outs[k]),
                expected="the result; or remove the journal, too, to begin anew",
            )
        return found

    def close(self) -> None:
        """Close what was opened here."""
        for sink, out in zip(self.sinks, self.outs, strict=False):
            if sink is not out:
                sink.close()
        self.sinks.clear()

    def discard(self, traces: Collection[str]) -> None:
        """Remove what was left half made, as far as the notes about it prove that."""
        for place in filter(None, self._places):
            place.discard(traces)


def begin(
    folder: Path, joins: bool, results: ResultStores, make: Callable[[Callable[[str], None]], Journal]
) -> Journal:
    """Make results and journal, unless another process does, for which this one waits then.

    Whatever ends it, a kill included, leaves nothing, or what the next call clears before it begins, or a journal with
    which a restart goes on.

    Parameters
    ----------
    folder : Path
        Of the journal.
    joins : bool
        Whether this run may go on with what another process makes.
    results : ResultStores
    make : callable
        Makes the results, of which it notes what it is given, and then the journal.

    Raises
    ------
    FileError
        If there is a result without a journal, or another process does not finish making it.
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
        journal = Journal.find(folder)  # another one may have made it since
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
    """Remove the results that were made, unless a journal says what is in them."""
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
