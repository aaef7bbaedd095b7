"""Executors that run tiles: threads, processes, and clusters."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from neuromancer.arrays import offers
from neuromancer.config import config
from neuromancer.dense.arguments import checked_count
from neuromancer.dense.pipeline import Threads, TileReport
from neuromancer.dense.reduction import Reduction, require_importable
from neuromancer.dense.scheduler import TaskScheduler
from neuromancer.dense.tasks import Functors, ModelFile, OpenTask, PortableModel, TaskSpec
from neuromancer.dense.tile_evaluator import TileEvaluator
from neuromancer.errors import ArgumentError, InputTypeError, PredictionError
from neuromancer.graph.node import GraphNode
from neuromancer.graph.registry import model_manager
from neuromancer.volumes.missing import Part

TASK_TILES = 16
"""Most tiles of a task: so many are run again if its worker is lost."""
TASKS_PER_WORKER = 8
"""Target number of tasks per worker."""


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


class WorkerPool:
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
                where="executor",
                got=type(executor).__name__,
                expected="a concurrent.futures.Executor, a dask Client, or a function that makes an Executor",
            )
        context = getattr(self.executor, "_mp_context", None)
        if context is not None and context.get_start_method() == "fork":
            raise ArgumentError(
                "forked processes hang in libraries that use threads",
                where="executor",
                got="start method 'fork'",
                expected="ProcessPoolExecutor(..., mp_context=multiprocessing.get_context('spawn'))",
            )
        if not hasattr(self, "workers"):
            self.workers = int(getattr(self.executor, "_max_workers", 0) or os.cpu_count() or 1)
        self.tasks, self.retries = tasks or 2 * self.workers, retries

    def _renew(self) -> None:
        made = self._make()  # type: ignore[misc]
        if not offers(made, "submit", "shutdown"):
            raise InputTypeError(
                "the function does not make an executor",
                where="executor",
                got=type(made).__name__,
                expected="a concurrent.futures.Executor",
            )
        self.executor = made
        self._made.append(made)

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
                where="executor",
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
                where="executor",
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

    def run(
        self,
        evaluator: TileEvaluator,
        given: Assignment,
        todo: Iterator[int],
        count: int,
        commit: Callable[[TileReport], None] | None,
        progress: Callable[[int], Any],
    ) -> tuple[dict[int, str], dict[str, Part]]:
        """Have tiles done.

        Parameters
        ----------
        evaluator : TileEvaluator
        given : Assignment
        todo : iterator of int
        count : int
            How many these are.
        commit : callable, optional
            Called with the tiles whose values are durable, and with failures.
        progress : callable
            Called with the voxels of every finished tile.

        Returns
        -------
        failed : dict of int to str
            Tiles that were left out, and why.
        filled : dict of str to Part
            Parts of the image that were read as fill value.

        Raises
        ------
        PredictionError
            If workers are lost again and again.
        """
        with self._task(evaluator, given) as task:
            collect = isinstance(task, TaskSpec) and task.sinks is None
            size = max(1, min(TASK_TILES, count // (TASKS_PER_WORKER * self.workers))) if not collect else 1
            scheduler = TaskScheduler(self, task, evaluator.plan, given.sinks if collect else None, commit, progress)
            return scheduler.run(todo, size), scheduler.filled

    @contextmanager
    def _task(self, evaluator: TileEvaluator, given: Assignment) -> Iterator[TaskSpec | OpenTask]:
        """What a worker is given with the numbers of tiles: threads what is open here, other processes a description.

        The network is in a file beside the journal, where all workers can read it; else its content travels.
        """
        if self.in_process:
            with evaluator:
                yield OpenTask(evaluator, given.sinks, given.threads, given.skip)
            return
        model = model_of(given.nodes)
        if given.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                model.write(Path(folder) / "model")
                content = (Path(folder) / "model").read_bytes()
            yield self._described(evaluator, given, ModelFile(type(model).load, content), model.own_functors)
            return
        path = given.folder / f"model-{uuid.uuid4().hex[:8]}"
        try:
            model.write(path)
            yield self._described(evaluator, given, ModelFile(type(model).load, path.resolve()), model.own_functors)
        finally:
            path.unlink(missing_ok=True)

    def _described(self, evaluator: TileEvaluator, given: Assignment, model: ModelFile, functors: Functors) -> TaskSpec:
        share = all(sink.locator is not None and not sink.exclusive for sink in given.sinks)
        return TaskSpec(
            key=uuid.uuid4().hex,
            plan=evaluator.plan,
            postprocess=evaluator.postprocess,
            precision=evaluator.precision,
            skip_empty=evaluator.skip_empty,
            source=given.source.locator,
            masks=tuple(_portable(mask) for mask in given.masks),
            sinks=tuple(sink.locator for sink in given.sinks) if share else None,
            model=model,
            functors=functors,
            nodes=tuple(n.name for n in given.nodes),
            threads=given.threads,
            cache=given.cache_bytes,
            skip=given.skip,
            settings=(config.floatX, config.backend, config.device),
        )


def _portable(mask: Any) -> Any:
    """Where workers find a mask; the mask itself if it lies in memory."""
    return mask[(slice(None),) * len(mask.shape)] if mask.locator is None else mask.locator


@contextmanager
def worker_pool(executor: Any, workers: Any, retries: Any) -> Iterator[WorkerPool | None]:
    """The workers of an executor; None without one. Executors that were made for it end with it."""
    if workers is not None:
        checked_count("workers", workers, 1)
    checked_count("retries", retries, 0)
    if executor is None:
        if workers is not None:
            raise ArgumentError("tasks are given to an executor", where="workers", got=workers, expected="executor=...")
        yield None
        return
    pool = WorkerPool(executor, workers, retries)
    try:
        yield pool
    finally:
        pool.close()
