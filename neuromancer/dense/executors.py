"""Tiles done by others: threads, processes, and clusters that run an executor."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from neuromancer.config import config
from neuromancer.dense.jobs import HERE, Context, Functors, Job, ModelFile, PortableModel, do_tiles
from neuromancer.dense.pipeline import COMMIT_SECONDS, COMMIT_TILES, Report, Threads, file_error, write_tile
from neuromancer.dense.reduction import Reduction, require_importable
from neuromancer.dense.work import Work
from neuromancer.errors import ArgumentError, NeuromancerError, PredictionError
from neuromancer.graph.node import GraphNode
from neuromancer.graph.registry import model_manager
from neuromancer.volumes.missing import Part

TASK_TILES = 16
"""Tiles of a task at most: so many are done again if its worker is lost."""
TASKS_PER_WORKER = 8
"""Into so many tasks per worker the tiles are divided, if there are enough."""


def model_of(nodes: Sequence[GraphNode]) -> PortableModel:
    """The model to which nodes belong.

    Raises
    ------
    ArgumentError
        If it was deleted.
    """
    for model in list(model_manager.models.values()):
        if all(model.nodes.get(n.name) is n for n in nodes):
            return cast(PortableModel, model)
    raise ArgumentError(
        "only nodes of a model can be sent to other processes", node=nodes[0], got="a model that was deleted"
    )


@dataclass(frozen=True)
class Assignment:
    """What workers are told of a prediction, besides its plan and the rules.

    Parameters
    ----------
    nodes : sequence of GraphNode
        What is predicted.
    source : Source
        The image.
    masks : sequence of Source
    sinks : list of Sink
        Per node.
    threads : Threads
    cache_bytes : int
        Bytes for blocks of the image that several tiles need.
    skip : bool
        Leave out tiles that fail.
    folder : Path or None
        Of the journal: all workers can read what lies there.
    """

    nodes: Sequence[GraphNode]
    source: Any
    masks: Sequence[Any]
    sinks: list[Any]
    threads: Threads
    cache_bytes: int
    skip: bool
    folder: Path | None


class Team:
    """The workers of an executor.

    Parameters
    ----------
    executor : concurrent.futures.Executor, object with ``get_executor``, or function that makes an Executor
    tasks : int, optional
        Tasks given out at once.
    retries : int
        How often a task is given out again after its worker was lost.

    Raises
    ------
    InputTypeError
        If there is no executor.
    """

    def __init__(self, executor: Any, tasks: int | None, retries: int) -> None:
        self._make: Callable[[], Any] | None = None
        self._made: list[Any] = []
        if hasattr(executor, "get_executor"):
            client = executor
            self.workers = max(1, sum(client.ncores().values()))
            self.executor = client.get_executor(pure=False)
        elif hasattr(executor, "submit"):
            self.executor = executor
        elif callable(executor):
            self._make = executor
            self._renew()
        else:
            raise ArgumentError(
                "tiles cannot be given to this",
                node="executor",
                got=type(executor).__name__,
                expected="a concurrent.futures.Executor, a dask Client, or a function that makes an Executor",
            )
        context = getattr(self.executor, "_mp_context", None)
        if context is not None and context.get_start_method() == "fork":
            raise ArgumentError(
                "forked processes hang in libraries that use threads",
                node="executor",
                got="start method 'fork'",
                expected="ProcessPoolExecutor(..., mp_context=multiprocessing.get_context('spawn'))",
            )
        if not hasattr(self, "workers"):
            self.workers = int(getattr(self.executor, "_max_workers", 0) or os.cpu_count() or 1)
        self.tasks, self.retries = tasks or 2 * self.workers, retries

    def _renew(self) -> None:
        self.executor = self._make()  # type: ignore[misc]
        self._made.append(self.executor)

    def renew(self, error: Exception) -> None:
        """Another executor in the place of a broken one.

        Raises
        ------
        PredictionError
            If there was only one.
        """
        if self._make is None:
            raise PredictionError(
                "the executor lost a worker and takes no more tasks",
                node="executor",
                got=f"{type(error).__name__}: {error}",
                expected="a function that makes an executor, which is then made anew; what is done is kept",
            ) from error
        self._renew()

    def check(self, nodes: Sequence[GraphNode], reductions: Sequence[Reduction], source: Any) -> None:
        """Raise ArgumentError if image, network or functions cannot be found by other processes."""
        if self.in_process:
            return
        for reduction in reductions:
            reduction.require_portable()
        if source.locator is None:
            raise ArgumentError(
                "other processes cannot open the image",
                node="executor",
                got="an array in memory",
                expected="a path, or an array in a file",
            )
        for functor in model_of(nodes).own_functors.values():
            require_importable(functor, "functor")

    def close(self) -> None:
        """End the executors that were made here."""
        for executor in self._made:
            executor.shutdown(wait=True, cancel_futures=True)

    @property
    def in_process(self) -> bool:
        """Whether workers are threads of this process."""
        return type(self.executor).__name__ == "ThreadPoolExecutor"

    def carry_out(
        self,
        work: Work,
        given: Assignment,
        todo: Iterator[int],
        count: int,
        commit: Callable[[Report], None] | None,
        progress: Callable[[int], Any],
    ) -> tuple[dict[int, str], dict[str, Part]]:
        """Have tiles done; returns those left out, and why, and parts of the image that were read as fill value.

        Raises
        ------
        PredictionError
            If workers are lost again and again.
        """
        with self._model_file(given) as (model, functors):
            job = self._job(work, given, model, functors)
            size = 1 if job.sinks is None else max(1, min(TASK_TILES, count // (TASKS_PER_WORKER * self.workers)))
            here = (os.getpid(), job.key)
            try:
                if self.in_process:
                    HERE[here] = Context(work.__enter__(), given.sinks)
                tasks = _Given(self, job, given.sinks, commit, progress)
                return tasks.run(todo, size), tasks.filled
            finally:
                context = HERE.pop(here, None)
                if context is not None:
                    context.work.__exit__()

    def _job(self, work: Work, given: Assignment, model: ModelFile | None, functors: Functors) -> Job:
        share = all(sink.locator is not None and not sink.exclusive for sink in given.sinks)
        masks = () if self.in_process else tuple(_portable(mask) for mask in given.masks)
        return Job(
            key=uuid.uuid4().hex,
            plan=work.plan,
            rules=work.rules,
            source=given.source.locator,
            masks=masks,
            sinks=tuple(sink.locator for sink in given.sinks) if share or self.in_process else None,
            model=model,
            functors=functors,
            nodes=tuple(n.name for n in given.nodes),
            threads=given.threads,
            cache=given.cache_bytes,
            skip=given.skip,
            settings=(config.floatX, config.backend, config.device),
        )

    @contextmanager
    def _model_file(self, given: Assignment) -> Iterator[tuple[ModelFile | None, Functors]]:
        """The network in a file beside the journal, where all workers can read it; else the content of such a file."""
        if self.in_process:
            yield None, {}
            return
        model = model_of(given.nodes)
        load = type(model).load
        if given.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                model.save(Path(folder) / "model")
                content = (Path(folder) / "model").read_bytes()
            yield ModelFile(load, content), model.own_functors
            return
        path = given.folder / f"model-{uuid.uuid4().hex[:8]}"
        try:
            model.save(path)
            yield ModelFile(load, path.resolve()), model.own_functors
        finally:
            path.unlink(missing_ok=True)


def _portable(mask: Any) -> Any:
    """Where workers find a mask; the mask itself if it lies in memory."""
    return mask[(slice(None),) * len(mask.shape)] if mask.locator is None else mask.locator


class _Given:
    """Tasks that are with the workers."""

    def __init__(
        self,
        team: Team,
        job: Job,
        sinks: list[Any],
        commit: Callable[[Report], None] | None,
        progress: Callable[[int], Any],
    ) -> None:
        self.team, self.job, self.sinks, self.commit, self.progress = team, job, sinks, commit, progress
        self.out: dict[Future[Any], tuple[list[int], int]] = {}
        self.again: deque[tuple[list[int], int]] = deque()
        self.failed: dict[int, str] = {}
        self.filled: dict[str, Part] = {}
        self.report, self.committed = Report(), time.monotonic()

    def run(self, todo: Iterator[int], size: int) -> dict[int, str]:
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
        while len(self.out) < self.team.tasks:
            if self.again:
                tiles, attempt = self.again.popleft()
            else:
                tiles, attempt = list(islice(todo, size)), 0
            if not tiles:
                return
            try:
                future = self.team.executor.submit(do_tiles, self.job, tiles)
            except BrokenExecutor as error:
                self._lost(tiles, attempt, error)
                self.team.renew(error)
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
            self.progress(self.job.plan.size(index))
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
            write_tile(self.job.plan, self.sinks, index, values)
        except OSError as error:
            raise file_error("cannot be written", str(self.job.plan.tile(index)), error) from error

    def _note(self) -> None:
        """Make what was written here durable, then note all tiles that are."""
        if self.job.sinks is None:
            for sink in self.sinks:
                sink.flush()
        if self.commit is not None:
            self.commit(self.report)
        self.report, self.committed = Report(), time.monotonic()

    def _lost(self, tiles: list[int], attempt: int, error: Exception) -> None:
        if attempt >= self.team.retries:
            raise PredictionError(
                f"workers were lost {attempt + 1} times with {self.job.plan.tile(tiles[0])}",
                node="executor",
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
