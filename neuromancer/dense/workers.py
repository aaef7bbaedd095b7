"""Executors that run tiles: threads, processes, and clusters."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from neuromancer.arrays import offers
from neuromancer.config import config
from neuromancer.dense.arguments import checked_count
from neuromancer.dense.pipeline import Threads, TileReport
from neuromancer.dense.reduction import Reduction, require_importable
from neuromancer.dense.scheduler import TaskScheduler
from neuromancer.dense.tasks import Functors, ModelFile, OpenTask, PortableModel, TaskSpec
from neuromancer.dense.tile_evaluator import TileEvaluator
from neuromancer.errors import ArgumentError, InputTypeError, PredictionError
from neuromancer.executors import require_spawned
from neuromancer.graph.node import GraphNode
from neuromancer.graph.registry import model_manager
from neuromancer.volumes.missing import Part

TASK_TILES = 16
"""Maximum number of tiles per task, all of which are run again if its worker is lost."""
TASKS_PER_WORKER = 8
"""Target number of tasks per worker."""


def model_of(nodes: Sequence[GraphNode]) -> PortableModel:
    """Return the model to which nodes belong.

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
    """Inputs, outputs and settings of a prediction for its workers, in addition to the plan.

    Parameters
    ----------
    nodes : sequence of GraphNode
        Nodes to predict.
    source : Source
        The image.
    masks : sequence of Source
    sinks : list of Sink
        Per node.
    threads : Threads
    cache_bytes : int
        Size of the block cache in bytes.
    skip : bool
        Skip tiles that fail.
    folder : Path or None
        Folder of the journal, which all workers can read.
    """

    nodes: Sequence[GraphNode]
    source: Any
    masks: Sequence[Any]
    sinks: list[Any]
    threads: Threads
    cache_bytes: int
    skip: bool
    folder: Path | None


class WorkerPool:
    """Workers of an executor.

    Parameters
    ----------
    executor : concurrent.futures.Executor, object with ``get_executor``, or function that returns an Executor
    tasks : int, optional
        Maximum number of tasks submitted at once.
    retries : int
        Maximum number of resubmissions after a worker is lost.

    Raises
    ------
    ArgumentError
        If `executor` is not an executor, or forks its processes.
    InputTypeError
        If the function does not return an executor.
    """

    def __init__(self, executor: Any, tasks: int | None, retries: int) -> None:
        self._make: Callable[[], Any] | None = None
        self._made: list[Any] = []
        if hasattr(executor, "get_executor"):
            client = executor
            self.workers = max(1, sum(client.ncores().values()))
            self.per_machine = most_per_machine(client.ncores())
            self.executor = client.get_executor(pure=False)
        elif hasattr(executor, "submit"):
            self.executor = executor
        elif callable(executor):
            self._make = executor
            self._renew()
        else:
            raise ArgumentError(
                "not an executor",
                where="executor",
                got=type(executor).__name__,
                expected="a concurrent.futures.Executor, a dask Client, or a function that returns an Executor",
            )
        require_spawned(self.executor)
        if not hasattr(self, "workers"):
            self.workers = self.per_machine = int(getattr(self.executor, "_max_workers", 0) or os.cpu_count() or 1)
        self.tasks, self.retries = tasks or 2 * self.workers, retries

    def _renew(self) -> None:
        made = self._make()  # type: ignore[misc]
        if not offers(made, "submit", "shutdown"):
            raise InputTypeError(
                "the function does not return an executor",
                where="executor",
                got=type(made).__name__,
                expected="a concurrent.futures.Executor",
            )
        self.executor = made
        self._made.append(made)

    def renew(self, error: Exception) -> None:
        """Replace a broken executor.

        Raises
        ------
        PredictionError
            If there is no function to create another one.
        """
        if self._make is None:
            raise PredictionError(
                "the executor lost a worker and takes no more tasks",
                where="executor",
                got=f"{type(error).__name__}: {error}",
                expected="a function that returns an executor, to replace broken ones; finished tiles are kept",
            ) from error
        self._renew()

    def check(self, nodes: Sequence[GraphNode], reductions: Sequence[Reduction], source: Any) -> None:
        """Raise ArgumentError if other processes cannot open the image or import the functions."""
        if self.in_process:
            return
        for reduction in reductions:
            reduction.require_portable()
        if source.locator is None:
            raise ArgumentError(
                "other processes cannot open the image",
                where="executor",
                got="an array in memory",
                expected="a path, or an array in a file",
            )
        for functor in model_of(nodes).own_functors.values():
            require_importable(functor, "functor")

    def close(self) -> None:
        """Shut down the executors that were created here."""
        for executor in self._made:
            executor.shutdown(wait=True, cancel_futures=True)

    @property
    def in_process(self) -> bool:
        """Whether workers are threads of this process."""
        return isinstance(self.executor, ThreadPoolExecutor)

    def run(
        self,
        evaluator: TileEvaluator,
        assignment: Assignment,
        todo: Iterator[int],
        count: int,
        commit: Callable[[TileReport], None] | None,
        progress: Callable[[int], Any],
    ) -> tuple[dict[int, str], dict[str, Part]]:
        """Run tiles.

        Parameters
        ----------
        evaluator : TileEvaluator
        assignment : Assignment
        todo : iterator of int
        count : int
            Number of tiles in `todo`.
        commit : callable, optional
            Called with a report of tiles that are durable, and of failures.
        progress : callable
            Called with the number of voxels of every finished tile.

        Returns
        -------
        failed : dict of int to str
            Skipped tiles, with the reason.
        filled : dict of str to Part
            Parts of the image read as fill value.

        Raises
        ------
        PredictionError
            If a task loses its worker more than `retries` times.
        """
        with self._task(evaluator, assignment) as task:
            collect = isinstance(task, TaskSpec) and task.sinks is None
            size = max(1, min(TASK_TILES, count // (TASKS_PER_WORKER * self.workers))) if not collect else 1
            sinks = assignment.sinks if collect else None
            scheduler = TaskScheduler(self, task, evaluator.plan, sinks, commit, progress)
            return scheduler.run(todo, size), scheduler.filled

    @contextmanager
    def _task(self, evaluator: TileEvaluator, assignment: Assignment) -> Iterator[TaskSpec | OpenTask]:
        """Task for workers: open objects for threads, a description for other processes.

        The model is written to a file in the folder of the journal, where all workers can read it; without a journal,
        its content is sent.
        """
        if self.in_process:
            with evaluator:
                yield OpenTask(evaluator, assignment.sinks, assignment.threads, assignment.skip, self.per_machine)
            return
        model = model_of(assignment.nodes)
        if assignment.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                model.write(Path(folder) / "model")
                content = (Path(folder) / "model").read_bytes()
            yield self._described(evaluator, assignment, ModelFile(type(model).load, content), model.own_functors)
            return
        path = assignment.folder / f"model-{uuid.uuid4().hex[:8]}"
        try:
            model.write(path)
            file = ModelFile(type(model).load, path.resolve())
            yield self._described(evaluator, assignment, file, model.own_functors)
        finally:
            path.unlink(missing_ok=True)

    def _described(
        self, evaluator: TileEvaluator, assignment: Assignment, model: ModelFile, functors: Functors
    ) -> TaskSpec:
        share = all(sink.locator is not None and not sink.exclusive for sink in assignment.sinks)
        return TaskSpec(
            key=uuid.uuid4().hex,
            plan=evaluator.plan,
            postprocess=evaluator.postprocess,
            precision=evaluator.precision,
            skip_empty=evaluator.skip_empty,
            source=assignment.source.locator,
            masks=tuple(_portable(mask) for mask in assignment.masks),
            sinks=tuple(sink.locator for sink in assignment.sinks) if share else None,
            model=model,
            functors=functors,
            nodes=tuple(n.name for n in assignment.nodes),
            threads=assignment.threads,
            cache=assignment.cache_bytes,
            skip=assignment.skip,
            settings=(config.floatX, config.backend, config.device),
            parts=self.per_machine,
            form=evaluator.network.frozen,
            gathered=evaluator.gathered,
            scratch=None if assignment.folder is None else assignment.folder.resolve(),
        )


def most_per_machine(threads: Mapping[str, int]) -> int:
    """Return the largest number of tasks that run on one machine at the same time.

    Parameters
    ----------
    threads : dict of str to int
        Address of a worker -> number of tasks that it runs at the same time.

    Examples
    --------
    >>> most_per_machine({"tcp://10.0.0.1:40001": 2, "tcp://10.0.0.1:40002": 2, "tcp://10.0.0.2:40001": 3})
    4
    """
    machines: Counter[str | None] = Counter()
    for address, count in threads.items():
        machines[urlsplit(address).hostname] += count
    return max(machines.values(), default=1)


def _portable(mask: Any) -> Any:
    """Locator of a mask; its values if it is in memory."""
    return mask[(slice(None),) * len(mask.shape)] if mask.locator is None else mask.locator


@contextmanager
def worker_pool(executor: Any, workers: Any, retries: Any) -> Iterator[WorkerPool | None]:
    """Context of the workers of an executor; None without one. Executors created for it are shut down at the end."""
    if workers is not None:
        checked_count("workers", workers, 1)
    checked_count("retries", retries, 0)
    if executor is None:
        if workers is not None:
            raise ArgumentError("requires an executor", where="workers", got=workers, expected="executor=...")
        yield None
        return
    pool = WorkerPool(executor, workers, retries)
    try:
        yield pool
    finally:
        pool.close()
