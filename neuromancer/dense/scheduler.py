"""Tasks on their way: given to workers, taken back, given again where a worker was lost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

import numpy as np

from neuromancer.dense.pipeline import COMMIT_SECONDS, COMMIT_TILES, TileReport, file_error, write_tile
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.tasks import OpenTask, TaskSpec, do_tiles
from neuromancer.errors import NeuromancerError, PredictionError
from neuromancer.volumes.missing import Part


class Workers(Protocol):
    """Whoever runs tasks.

    Attributes
    ----------
    executor : concurrent.futures.Executor
    tasks : int
        Tasks given out at once.
    retries : int
        How often a task is given out again after its worker was lost.
    """

    executor: Executor
    tasks: int
    retries: int

    def renew(self, error: Exception) -> None:
        """Another executor in the place of a broken one."""


class TaskScheduler:
    """Gives tasks to workers, and takes back what they have done.

    Parameters
    ----------
    workers : Workers
    task : TaskSpec or OpenTask
        What a worker gets, together with the numbers of tiles.
    plan : DensePlan
    sinks : list of Sink, or None
        Per node, where values are returned by the workers.
    commit : callable, optional
    progress : callable
    """

    def __init__(
        self,
        workers: Workers,
        task: TaskSpec | OpenTask,
        plan: DensePlan,
        sinks: list[Any] | None,
        commit: Callable[[TileReport], None] | None,
        progress: Callable[[int], Any],
    ) -> None:
        self.workers, self.task, self.plan, self.sinks = workers, task, plan, sinks
        self.commit, self.progress = commit, progress
        self.out: dict[Future[Any], tuple[list[int], int]] = {}
        self.again: deque[tuple[list[int], int]] = deque()
        self.failed: dict[int, str] = {}
        self.filled: dict[str, Part] = {}
        self.report, self.committed = TileReport(), time.monotonic()

    def run(self, todo: Iterator[int], size: int) -> dict[int, str]:
        """Have tiles done, so many per task; returns those left out, and why."""
        try:
            while True:
                self._give(todo, size)
                if not self.out:
                    self._note()
                    return self.failed
                for future in wait(self.out, return_when=FIRST_COMPLETED).done:
                    self._take(future)
        except BaseException:
            for future in self.out:
                future.cancel()
            self._take_what_is_ready()
            raise

    def _give(self, todo: Iterator[int], size: int) -> None:
        while len(self.out) < self.workers.tasks:
            if self.again:
                tiles, attempt = self.again.popleft()
            else:
                tiles, attempt = list(islice(todo, size)), 0
            if not tiles:
                return
            try:
                future = self.workers.executor.submit(do_tiles, self.task, tiles)
            except BrokenExecutor as error:
                self._lost(tiles, attempt, error)
                self.workers.renew(error)
                continue
            self.out[future] = tiles, attempt

    def _take(self, future: Future[Any]) -> None:
        """Write and note what a task has done."""
        tiles, attempt = self.out.pop(future)
        try:
            outcome = future.result()
        except (NeuromancerError, MemoryError):
            raise
        except Exception as error:  # an executor has its own words for lost workers
            self._lost(tiles, attempt, error)
            return
        for index in [*outcome.report.done, *outcome.report.failed]:
            if index in outcome.values:
                self._write(index, outcome.values[index])
            self.progress(self.plan.size(index))
        self.failed.update(outcome.report.failed)
        self.filled |= outcome.filled
        self.report.done.extend(outcome.report.done)
        self.report.failed.update(outcome.report.failed)
        if len(self.report.done) >= COMMIT_TILES or time.monotonic() - self.committed >= COMMIT_SECONDS:
            self._note()
        if outcome.error is not None:
            raise outcome.error

    def _write(self, index: int, values: list[np.ndarray]) -> None:
        try:
            write_tile(self.plan, self.sinks or (), index, values)
        except OSError as error:
            raise file_error("cannot be written", str(self.plan.tile(index)), error) from error

    def _note(self) -> None:
        """Make what was written here durable, then note all tiles that are."""
        for sink in self.sinks or ():
            sink.flush()
        if self.commit is not None:
            self.report.filled = self.filled
            self.commit(self.report)
        self.report, self.committed = TileReport(), time.monotonic()

    def _lost(self, tiles: list[int], attempt: int, error: Exception) -> None:
        if attempt >= self.workers.retries:
            raise PredictionError(
                f"workers were lost {attempt + 1} times with {self.plan.tile(tiles[0])}",
                where="executor",
                got=f"{type(error).__name__}: {error}",
                expected="all tiles done so far are kept",
            ) from error
        self.again.append((tiles, attempt + 1))

    def _take_what_is_ready(self) -> None:
        """After a failure: what other tasks have finished still counts."""
        with suppress(NeuromancerError, OSError):
            for future in [f for f in self.out if f.done() and not f.cancelled() and f.exception() is None]:
                self._take(future)
        with suppress(NeuromancerError, OSError):
            self._note()
