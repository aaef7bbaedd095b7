"""Scheduling of tasks: submits them to workers, collects outcomes, resubmits tasks of lost workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from neuromancer.dense.pipeline import COMMIT_SECONDS, COMMIT_TILES, TileReport, file_error, write_tile
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.tasks import OpenTask, TaskSpec, do_tiles
from neuromancer.errors import NeuromancerError, PredictionError
from neuromancer.volumes.missing import Part


class Workers(Protocol):
    """Interface of a pool of workers.

    Attributes
    ----------
    executor : concurrent.futures.Executor
    tasks : int
        Maximum number of tasks submitted at once.
    retries : int
        Maximum number of resubmissions after a worker is lost.
    """

    executor: Executor
    tasks: int
    retries: int

    def renew(self, error: Exception) -> None:
        """Replace a broken executor."""


class TaskScheduler:
    """Scheduler that submits tasks to workers and collects their outcomes.

    Parameters
    ----------
    workers : Workers
    task : TaskSpec or OpenTask
        Description sent to a worker with the indices of tiles.
    plan : DensePlan
    sinks : list of Sink, or None
        Per node, if workers return values; None if they write themselves.
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
        """Run tiles, about `size` per task; return skipped tiles, with the reason."""
        tasks = self.plan.tasks(todo, size)
        try:
            while True:
                self._give(tasks)
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

    def _give(self, tasks: Iterator[list[int]]) -> None:
        while len(self.out) < self.workers.tasks:
            if self.again:
                tiles, attempt = self.again.popleft()
            else:
                tiles, attempt = next(tasks, []), 0
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
        """Write and record the outcome of a task."""
        tiles, attempt = self.out.pop(future)
        try:
            outcome = future.result()
        except (NeuromancerError, MemoryError):
            raise
        except Exception as error:  # every executor has its own errors for lost workers
            self._lost(tiles, attempt, error)
            return
        for index in [*outcome.report.done, *outcome.report.failed]:
            if index in outcome.values:
                self._write(index, outcome.values[index])
        self.failed.update(outcome.report.failed)
        self.filled |= outcome.filled
        self.report.done.extend(outcome.report.done)
        self.report.failed.update(outcome.report.failed)
        self.progress(sum(map(self.plan.size, [*outcome.report.done, *outcome.report.failed])))
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
        """Flush values written here, then record all durable tiles."""
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
                expected="finished tiles are kept",
            ) from error
        self.again.append((tiles, attempt + 1))

    def _take_what_is_ready(self) -> None:
        """After a failure, collect and record the outcomes of all finished tasks; further failures are ignored."""
        self.progress = lambda voxels: None  # it may be what failed
        for future in [f for f in self.out if f.done() and not f.cancelled() and f.exception() is None]:
            with suppress(Exception):
                self._take(future)
        with suppress(Exception):
            self._note()
