"""Tasks of a prediction as workers receive them, and how a worker runs them.

Only plan, options, locators of the stores and the model file are sent. Every process opens its own files and builds the
network once.
"""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.dense.evaluation import evaluator_of, network_of
from neuromancer.dense.gathered import Frozen, Gathered
from neuromancer.dense.mask import combined
from neuromancer.dense.pipeline import IN_TURN, Pipeline, Threads, TileReport
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.postprocess import Postprocess
from neuromancer.dense.processing.source import with_cache
from neuromancer.dense.stores import filled_parts, reopen_sink, reopen_source
from neuromancer.dense.tile_evaluator import TileEvaluator
from neuromancer.errors import NeuromancerError, node_label
from neuromancer.graph.registry import model_manager
from neuromancer.volumes.missing import Part

KEPT = 2
"""Number of predictions for which a worker keeps network and files open."""


Functors = dict[str, Callable[..., Any]]


class PortableModel(Protocol):
    """Interface of a model whose nodes can be evaluated by other processes."""

    name: str

    @property
    def own_functors(self) -> Functors:
        """User-defined functions that the model file refers to by name."""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file."""

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> PortableModel:
        """Load a model from a file."""

    def __getitem__(self, name: str) -> Any:
        """Return a node by name."""


@dataclass(frozen=True)
class ModelFile:
    """Model file for a worker.

    Parameters
    ----------
    load : callable
        Class method that reads it.
    content : Path or bytes
        Path of the file, or its content.
    """

    load: Callable[..., PortableModel]
    content: Path | bytes

    def open(self, functors: Functors) -> PortableModel:
        """Load the model under a unique name."""
        name = f"worker {uuid.uuid4().hex[:8]}"
        if isinstance(self.content, Path):
            return self.load(self.content, name=name, functors=functors)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            path.write_bytes(self.content)
            return self.load(path, name=name, functors=functors)


@dataclass(frozen=True)
class TaskSpec:
    """Description of a prediction for a worker; small, and the same for all its tasks.

    Parameters
    ----------
    key : str
        Unique key of this prediction.
    plan : DensePlan
    postprocess : Postprocess
    precision : str
    skip_empty : None, 'constant' or float
    source : locator
    masks : tuple of locators and arrays
    sinks : tuple of locators, or None
        None if values are returned to the caller.
    model : ModelFile
    functors : dict of str to callable
        User-defined functions that the model file refers to.
    nodes : tuple of str
        Names of the nodes to predict.
    threads : Threads
    cache : int
        Size of the block cache in bytes.
    skip : bool
    settings : tuple of str
        ``config.floatX``, ``config.backend`` and ``config.device``; a device set in the worker's environment takes
        precedence.
    parts : int
        Number of tasks that run on a machine at the same time and share its processor.
    form : Frozen or None
        How to evaluate a network that depends on the whole image.
    gathered : Gathered or None
        What earlier passes over the image gathered.
    scratch : Path or None
        Folder for what does not fit into memory.
    """

    key: str
    plan: DensePlan
    postprocess: Postprocess
    precision: str
    skip_empty: Any
    source: Any
    masks: tuple[Any, ...]
    sinks: tuple[Any, ...] | None
    model: ModelFile
    functors: Functors
    nodes: tuple[str, ...]
    threads: Threads
    cache: int
    skip: bool
    settings: tuple[str, str, str]
    parts: int = 1
    form: Frozen | None = None
    gathered: Gathered | None = None
    scratch: Path | None = None


@dataclass
class OpenTask:
    """Prediction opened in a process, ready to run tiles.

    Parameters
    ----------
    evaluator : TileEvaluator
        Must have been entered.
    sinks : list of Sink, or None
        Per node; None if values are returned to the caller.
    threads : Threads
    skip : bool
    parts : int
        Number of tasks that share the processor.
    stores : list
        Sources and sinks to close.
    model : str
        Name of the model to delete; empty if none was loaded.
    """

    evaluator: TileEvaluator
    sinks: list[Any] | None
    threads: Threads
    skip: bool
    parts: int = 1
    stores: list[Any] = field(default_factory=list)
    model: str = ""

    def close(self) -> None:
        """Close the stores and delete the model."""
        self.evaluator.__exit__()
        for store in self.stores:
            store.close()
        if self.model:
            model_manager.delmodel(self.model)


_open_tasks: OrderedDict[str, OpenTask] = OrderedDict()
_lock = threading.Lock()


@dataclass
class Outcome:
    """Outcome of a task, as returned by a worker.

    Parameters
    ----------
    report : TileReport
        Tiles whose values are durable (or are in `values`), and skipped tiles.
    values : dict of int to list of numpy.ndarray
        Values per node of tiles to be written by the caller.
    error : Exception or None
        Error that stopped the task.
    filled : dict of str to Part
        Parts of the image read as fill value, by name.
    """

    report: TileReport
    values: dict[int, list[np.ndarray]]
    error: NeuromancerError | None = None
    filled: dict[str, Part] = field(default_factory=dict)


def do_tiles(task: TaskSpec | OpenTask, indices: list[int]) -> Outcome:
    """Run some tiles of a prediction, in a worker."""
    ready = task if isinstance(task, OpenTask) else _opened(task)
    collected = _Collected(len(ready.evaluator.plan.outputs)) if ready.sinks is None else None
    sinks, threads = (ready.sinks or [], ready.threads) if collected is None else (collected.sinks, IN_TURN)
    report, error = TileReport(), None

    def note(latest: TileReport) -> None:
        report.done.extend(latest.done)
        report.failed.update(latest.failed)

    try:
        with E.shared_processor(ready.parts):
            Pipeline(ready.evaluator, sinks, threads, note, ready.skip).run(indices)
    except NeuromancerError as stopped:
        stopped.node = None if stopped.node is None else node_label(stopped.node).strip("'")  # nodes cannot be pickled
        error = stopped
    values = {} if collected is None else dict(zip(indices, collected.tiles(), strict=False))
    return Outcome(report, values, error, filled_parts(*ready.stores))


class _Collected:
    """Sinks that collect the values written to them, tile by tile."""

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

    def flush(self) -> None:
        """Do nothing: the caller writes and flushes the values."""


def _opened(task: TaskSpec) -> OpenTask:
    with _lock:
        if task.key not in _open_tasks:
            _open_tasks[task.key] = _open(task)
            while len(_open_tasks) > KEPT:
                _open_tasks.popitem(last=False)[1].close()
        _open_tasks.move_to_end(task.key)
        return _open_tasks[task.key]


def _open(task: TaskSpec) -> OpenTask:
    """Load the network and open the stores of a task."""
    config.floatX, config.backend, device = task.settings
    if "NEUROMANCER_DEVICE" not in os.environ:
        config.device = device
    current = model_manager.current
    model = task.model.open(task.functors)
    model_manager.current = current
    network = network_of([model[name] for name in task.nodes], task.plan.window, task.form)
    source = reopen_source(task.source)
    masks = [mask if isinstance(mask, np.ndarray) else reopen_source(mask) for mask in task.masks]
    sinks = None if task.sinks is None else [reopen_sink(locator) for locator in task.sinks]
    evaluator = evaluator_of(
        task.plan, task.postprocess, network, with_cache(source, task.cache), combined(masks, task.plan.raw_shape[1:]),
        task.scratch, precision=task.precision, skip_empty=task.skip_empty, gathered=task.gathered,
    )  # fmt: skip
    evaluator.__enter__()
    stores = [source, *(mask for mask in masks if not isinstance(mask, np.ndarray)), *(sinks or ())]
    return OpenTask(evaluator, sinks, task.threads, task.skip, task.parts, stores, model.name)
