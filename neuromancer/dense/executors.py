"""Tiles done by others: threads, processes, and clusters that run an executor.

Only the plan, the rules, the places of the stores and the network's file travel. Every process opens its own files and
builds the network once.
"""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.config import config
from neuromancer.dense.cache import CachedSource
from neuromancer.dense.mask import Mask
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.pipeline import IN_TURN, Pipeline, Report, Threads, write_tile
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.stores import reopen_sink, reopen_source
from neuromancer.dense.work import Rules, Work
from neuromancer.errors import ArgumentError, NeuromancerError, PredictionError, node_label
from neuromancer.graph.registry import model_manager
from neuromancer.io.container import write_file
from neuromancer.io.describe import describe

if TYPE_CHECKING:
    from neuromancer.dense.run import Run
    from neuromancer.model import Model

TASK_TILES = 16
"""Tiles of a task at most: so many are done again if its worker is lost."""
TASKS_PER_WORKER = 8
"""Into so many tasks per worker the tiles are divided, if there are enough."""
KEPT = 2
"""Predictions that a worker keeps ready, with network and files."""


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs to know; small, and the same for all tasks of a prediction.

    Parameters
    ----------
    key : str
        Of this prediction.
    plan : DensePlan
    rules : Rules
    source, mask : locator, or array for a mask
    sinks : tuple of locators, or None
        None if values go back to who gave the task.
    model : Path or bytes
        The network's file, or its content.
    nodes : tuple of str
        Names of the nodes in it.
    threads : Threads
    cache : int
        Bytes for blocks of the image.
    skip : bool
    settings : tuple of str
        ``config.floatX`` and ``config.backend``.
    """

    key: str
    plan: DensePlan
    rules: Rules
    source: Any
    mask: Any
    sinks: tuple[Any, ...] | None
    model: Path | bytes
    nodes: tuple[str, ...]
    threads: Threads
    cache: int
    skip: bool
    settings: tuple[str, str]


@dataclass
class Context:
    """A job made ready in a process."""

    work: Work
    sinks: list[Any] = field(default_factory=list)
    stores: list[Any] = field(default_factory=list)
    model: str = ""

    def close(self) -> None:
        """Close the stores and forget the network."""
        self.work.__exit__()
        for store in self.stores:
            store.close()
        if self.model:
            model_manager.delmodel(self.model)


_here: dict[tuple[int, str], Context] = {}
"""Predictions of this process itself, which its threads share; by process, because a fork copies this."""
_kept: OrderedDict[str, Context] = OrderedDict()
_lock = threading.Lock()


def do_tiles(job: Job, indices: list[int]) -> tuple[Report, dict[int, list[np.ndarray]]]:
    """Do some tiles of a job; what a worker runs.

    Returns
    -------
    report : Report
        Tiles whose values are durable, and tiles left out.
    values : dict of int to list of numpy.ndarray
        Values per node of the tiles that are to be written by who gave the task.
    """
    context = _context(job)
    try:
        if job.sinks is None:
            return _values(context, job, indices)
        report = Report()

        def note(some: Report) -> None:
            report.done.extend(some.done)

        report.failed = Pipeline(context.work, context.sinks, job.threads, note, job.skip).run(indices)
    except NeuromancerError as error:
        error.node = None if error.node is None else node_label(error.node).strip("'")  # nodes do not travel
        raise
    return report, {}


def _values(context: Context, job: Job, indices: list[int]) -> tuple[Report, dict[int, list[np.ndarray]]]:
    collected = _Collected(len(job.plan.outputs))
    failed = Pipeline(context.work, collected.sinks, IN_TURN, None, job.skip).run(indices)
    done = [i for i in indices if i not in failed]
    return Report(done, failed), dict(zip(indices, collected.tiles(), strict=True))


class _Collected:
    """Sinks that keep what is written, tile after tile."""

    def __init__(self, n: int) -> None:
        self.sinks = [_Keep() for _ in range(n)]

    def tiles(self) -> Iterator[list[np.ndarray]]:
        for parts in zip(*(sink.parts for sink in self.sinks), strict=True):
            yield list(parts)


class _Keep:
    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        self.parts.append(np.ascontiguousarray(values))


def _context(job: Job) -> Context:
    found = _here.get((os.getpid(), job.key))
    if found is not None:
        return found
    with _lock:
        if job.key not in _kept:
            _kept[job.key] = _open(job)
            while len(_kept) > KEPT:
                _kept.popitem(last=False)[1].close()
        _kept.move_to_end(job.key)
        return _kept[job.key]


def _open(job: Job) -> Context:
    """Network, files and function of a job, in a process that has none of them."""
    config.floatX, config.backend = job.settings
    current = model_manager.current
    model = _load(job.model)
    model_manager.current = current
    network = DenseNetwork([model[name] for name in job.nodes])
    source = reopen_source(job.source)
    stores = [source]
    mask = None
    if job.mask is not None:
        values = job.mask if isinstance(job.mask, np.ndarray) else reopen_source(job.mask)
        stores += [values] if values is not job.mask else []
        mask = Mask(values, job.plan.raw_shape[1:])
    sinks = [reopen_sink(locator) for locator in job.sinks or ()]
    work = Work(job.plan, job.rules, network, CachedSource(source, job.cache) if job.cache else source, mask)
    work.__enter__()
    return Context(work, sinks, [*stores, *sinks], model.name)


def _load(model: Path | bytes) -> Model:
    from neuromancer.io.load import modelload

    name = f"worker {uuid.uuid4().hex[:8]}"
    if isinstance(model, Path):
        return modelload(model, name=name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(model)
        return modelload(path, name=name)


def model_of(nodes: tuple[Any, ...]) -> Model:
    """The model to which nodes belong.

    Raises
    ------
    ArgumentError
        If it was deleted.
    """
    for model in model_manager.models.values():
        if all(model.nodes.get(n.name) is n for n in nodes):
            return model
    raise ArgumentError(
        "only nodes of a model can be sent to other processes", node=nodes[0], got="a model that was deleted"
    )


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

    @property
    def in_process(self) -> bool:
        """Whether workers are threads of this process."""
        return type(self.executor).__name__ == "ThreadPoolExecutor"

    def carry_out(
        self,
        run: Run,
        work: Work,
        todo: Iterator[int],
        count: int,
        commit: Callable[[Report], None] | None,
        progress: Callable[[int], Any],
    ) -> dict[int, str]:
        """Have tiles done; returns those left out, and why.

        Raises
        ------
        ArgumentError
            If image or network cannot be found by other processes.
        PredictionError
            If workers are lost again and again.
        """
        job = self._job(run, work)
        size = 1 if job.sinks is None else max(1, min(TASK_TILES, count // (TASKS_PER_WORKER * self.workers)))
        here = (os.getpid(), job.key)
        try:
            if self.in_process:
                _here[here] = Context(work.__enter__(), run.sinks)
            return _Given(self, job, run.sinks, commit, progress).run(todo, size)
        finally:
            context = _here.pop(here, None)
            if context is not None:
                context.work.__exit__()
            for executor in self._made:
                executor.shutdown(wait=True, cancel_futures=True)

    def _job(self, run: Run, work: Work) -> Job:
        nodes = run.network.nodes
        share = all(sink.locator is not None and not sink.exclusive for sink in run.sinks)
        mask: Any = None
        model: Path | bytes = b""
        if not self.in_process:
            for reduction in work.rules.reductions:
                reduction.require_portable()
            if run.source.locator is None:
                raise ArgumentError(
                    "other processes cannot open the image",
                    node="executor",
                    got="an array in memory",
                    expected="a path, or an array in a file",
                )
            model = _model_file(run)
            if run.mask_source is not None:
                mask = run.mask_source.locator
                mask = run.mask_source[(slice(None),) * len(run.mask_source.shape)] if mask is None else mask
        return Job(
            key=uuid.uuid4().hex,
            plan=work.plan,
            rules=work.rules,
            source=run.source.locator,
            mask=mask,
            sinks=tuple(sink.locator for sink in run.sinks) if share or self.in_process else None,
            model=model,
            nodes=tuple(n.name for n in nodes),
            threads=run.threads,
            cache=run.cache_bytes,
            skip=run.request.skip,
            settings=(config.floatX, config.backend),
        )


def _model_file(run: Run) -> Path | bytes:
    """The network in a file beside the journal, where all workers can read it; else the content of such a file."""
    document, arrays = describe(model_of(run.network.nodes))
    if run.journal is not None:
        path = run.journal.folder / f"model-{uuid.uuid4().hex[:8]}"
        write_file(path, document, arrays)
        run.temporary.append(path)
        return path.resolve()
    with tempfile.TemporaryDirectory() as folder:
        write_file(Path(folder) / "model", document, arrays)
        return (Path(folder) / "model").read_bytes()


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

    def run(self, todo: Iterator[int], size: int) -> dict[int, str]:
        try:
            while True:
                self._give(todo, size)
                if not self.out:
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
        tiles, attempt = self.out.pop(future)
        try:
            report, values = future.result()
        except (NeuromancerError, MemoryError):
            raise
        except Exception as error:  # an executor has its own words for lost workers
            self._lost(tiles, attempt, error)
            return
        for index, parts in values.items():
            write_tile(self.job.plan, self.sinks, index, parts)
        if values:
            for sink in self.sinks:
                sink.flush()
        self.failed.update(report.failed)
        if self.commit is not None:
            self.commit(report)
        for index in tiles:
            self.progress(self.job.plan.size(index))

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
        ready = [f for f in self.out if f.done() and not f.cancelled() and f.exception() is None]
        for future in ready:
            try:
                self._take(future)
            except (NeuromancerError, OSError):
                return
