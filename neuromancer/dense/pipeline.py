"""Pipeline that reads ahead, computes and writes behind concurrently, with bounded queues."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from neuromancer.dense.arguments import checked_count
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.tile_evaluator import Fetched, TileEvaluator
from neuromancer.errors import FileError, InputTypeError, NeuromancerError, PredictionError
from neuromancer.executors import AtOnce
from neuromancer.printable import printable
from neuromancer.volumes.missing import Part

COMMIT_TILES, COMMIT_SECONDS = 256, 5.0
"""Results are flushed and committed after this many tiles or seconds, whichever comes first."""


@dataclass(frozen=True)
class Threads:
    """Threads and queue sizes of a prediction.

    Parameters
    ----------
    readers, writers : int
        Numbers of reader and writer threads; 0 reads or writes in the computing thread.
    ahead : int
        Maximum number of tiles being read or waiting to be evaluated.
    behind : int
        Maximum number of tiles waiting to be written or being written.
    """

    readers: int = 2
    writers: int = 2
    ahead: int = 3
    behind: int = 3

    def __post_init__(self) -> None:
        for name, least in (("readers", 0), ("writers", 0), ("ahead", 1), ("behind", 1)):
            checked_count(f"threads.{name}", getattr(self, name), least)


def checked_threads(threads: Any) -> Threads | None:
    """Return `threads`; raise InputTypeError for another type."""
    if threads is not None and not isinstance(threads, Threads):
        raise InputTypeError(
            "not an object of class Threads", where="threads", got=threads, expected="neuromancer.dense.Threads(...)"
        )
    return threads


IN_TURN = Threads(0, 0, 1, 1)
"""No extra threads: read, compute and write one tile after another."""


@dataclass
class TileReport:
    """Outcome of some tiles.

    Parameters
    ----------
    done : list of int
        Tiles whose values are in the store.
    failed : dict of int to str
        Tiles that could not be computed, with the reason.
    filled : dict of str to Part
        Parts of the image read as fill value so far, by name.
    """

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    filled: dict[str, Part] = field(default_factory=dict)


def _executor(threads: int, name: str) -> Executor:
    return ThreadPoolExecutor(threads, f"neuromancer-{name}") if threads else AtOnce()


class Pipeline:
    """Pipeline of reader threads, the network in this thread, and writer threads.

    Parameters
    ----------
    evaluator : TileEvaluator
        Must have been entered.
    sinks : sequence of Sink
        Per node.
    threads : Threads
    commit : callable, optional
        Called with a report of tiles that are durable, and of failures.
    skip : bool
        Continue after a tile that could not be read or computed.
    progress : callable, optional
        Called with the number of voxels of every finished tile.
    """

    def __init__(
        self,
        evaluator: TileEvaluator,
        sinks: Sequence[Any],
        threads: Threads,
        commit: Callable[[TileReport], None] | None = None,
        skip: bool = False,
        progress: Callable[[int], Any] | None = None,
    ) -> None:
        self.evaluator, self.sinks, self.threads, self.skip = evaluator, sinks, threads, skip
        self.plan: DensePlan = evaluator.plan
        self.commit, self.progress = commit, progress
        self.failed: dict[int, str] = {}
        self._finished: list[int] = []
        self._uncommitted: dict[int, str] = {}
        self._last_commit = time.monotonic()
        self._writing: deque[tuple[int, Future[None]]] = deque()
        self._committing: Future[None] | None = None

    def run(self, indices: Iterable[int]) -> dict[int, str]:
        """Run tiles; all that were written are durable and committed when this returns or raises.

        Parameters
        ----------
        indices : iterable of int

        Returns
        -------
        dict of int to str
            Skipped tiles, with the reason.

        Raises
        ------
        NeuromancerError, OSError, MemoryError
            If a tile fails; the error names it.
        """
        waiting: deque[tuple[int, Future[Fetched]]] = deque()
        begun: deque[tuple[int, Future[Callable[[], list[np.ndarray]]]]] = deque()
        todo, here = iter(indices), AtOnce()  # raises a tile's error when it is the tile's turn
        with ExitStack() as stack:
            readers = stack.enter_context(_executor(self.threads.readers, "read"))
            writers = stack.enter_context(_executor(self.threads.writers, "write"))
            committer = stack.enter_context(_executor(min(1, self.threads.writers), "commit"))
            try:
                while True:
                    while len(begun) < self.evaluator.depth:
                        for index in islice(todo, self.threads.ahead - len(waiting)):
                            waiting.append((index, readers.submit(self.evaluator.fetch, index)))
                        if not waiting:
                            break
                        index, future = waiting.popleft()
                        begun.append((index, here.submit(self._begin, index, future)))
                        del future
                    if not begun:
                        break
                    index, finish = begun.popleft()
                    values = self._values(index, finish)
                    if values is not None:
                        while len(self._writing) >= self.threads.behind:
                            self._written()
                        self._writing.append((index, writers.submit(self._write, index, values)))
                    del values, finish
                    self._commit_some(committer)
                while self._writing:
                    self._written()
            except BaseException:
                for _, future in waiting:
                    future.cancel()
                self._save_what_is_written(committer)
                raise
            if self.commit is not None:
                self._commit_all(committer)
        return self.failed

    def _begin(self, index: int, future: Future[Fetched]) -> Callable[[], list[np.ndarray]]:
        """Wait until a tile has been read, then start to evaluate it."""
        try:
            fetched = future.result()
        except OSError as error:
            raise file_error("cannot be read", self._name(index), error) from error
        return self.evaluator.begin(fetched)

    def _values(self, index: int, begun: Future[Callable[[], list[np.ndarray]]]) -> list[np.ndarray] | None:
        """Values of a tile, or its fill values if it fails and is skipped."""
        try:
            return begun.result()()
        except Exception as error:
            if not self.skip or isinstance(error, MemoryError):
                raise named(error, self._name(index)) from error.__cause__
            reason = printable(f"{type(error).__name__}: {error}")
            self.failed[index] = self._uncommitted[index] = reason
            tile = self.plan.tile(index)
            return [self.evaluator.filled(tile, m) for m in range(len(self.sinks))]

    def _write(self, index: int, values: Sequence[np.ndarray]) -> None:
        write_tile(self.plan, self.sinks, index, values)

    def _written(self) -> None:
        """Wait for the oldest pending write."""
        index, future = self._writing.popleft()
        try:
            future.result()
        except OSError as error:
            raise file_error("cannot be written", self._name(index), error) from error
        except Exception as error:
            raise named(error, self._name(index)) from error.__cause__
        if index not in self.failed:
            self._finished.append(index)
        if self.progress is not None:
            self.progress(self.plan.size(index))

    # ---- durability
    def _commit_some(self, committer: Executor) -> None:
        while self._writing and self._writing[0][1].done():
            self._written()
        if self._committing is not None and self._committing.done():
            self._committing.result()
            self._committing = None
        due = len(self._finished) >= COMMIT_TILES or time.monotonic() - self._last_commit >= COMMIT_SECONDS
        if self.commit is not None and self._committing is None and due and (self._finished or self._uncommitted):
            self._committing = self._start(committer)

    def _start(self, committer: Executor) -> Future[None]:
        report = TileReport(self._finished, self._uncommitted)
        self._finished, self._uncommitted = [], {}
        self._last_commit = time.monotonic()
        return committer.submit(self._make_durable, report)

    def _make_durable(self, report: TileReport) -> None:
        try:
            for sink in self.sinks:
                sink.flush()
        except OSError as error:
            tiles = f"{len(report.done)} tiles from {self._name(report.done[0])}" if report.done else "the result"
            raise file_error("cannot be made durable", tiles, error) from error
        self.commit(report)  # type: ignore[misc]

    def _commit_all(self, committer: Executor) -> None:
        if self._committing is not None:
            self._committing.result()
            self._committing = None
        self._start(committer).result()

    def _save_what_is_written(self, committer: Executor) -> None:
        """After a failure, commit everything that is in the store; a second failure is ignored."""
        for index, future in self._writing:
            if future.exception() is None and index not in self.failed:
                self._finished.append(index)
        if self.commit is None:
            return
        try:
            self._commit_all(committer)
        except (OSError, NeuromancerError):
            return

    def _name(self, index: int) -> str:
        return str(self.plan.tile(index)) if self.plan.count > 1 else "the only tile"


def write_tile(plan: DensePlan, sinks: Sequence[Any], index: int, values: Sequence[np.ndarray]) -> None:
    """Write the values of a tile into the stores of its nodes."""
    tile = plan.tile(index)
    for m, (sink, part) in enumerate(zip(sinks, values, strict=True)):
        if part.size:
            sink[plan.place(tile, m)] = part


def named(error: Exception, tile: str) -> Exception:
    """Return the error with its tile added to the message; errors of other packages become PredictionError."""
    if isinstance(error, NeuromancerError):
        if error.node != tile and tile not in error.problem:
            error.problem = f"{error.problem}, in {tile}"
        return error
    if isinstance(error, MemoryError):
        return MemoryError(f"{error}, in {tile}")
    return PredictionError(f"{type(error).__name__}: {error}, in {tile}")


def file_error(problem: str, tile: str, error: OSError) -> OSError:
    """Return a FileError for a system error, naming the tile."""
    if isinstance(error, FileError):
        named(error, tile)
        return error
    wrapped = FileError(problem, node=tile, got=error.strerror or str(error), expected="finished tiles are kept")
    wrapped.errno = error.errno
    return wrapped
