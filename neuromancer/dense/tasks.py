"""A prediction as workers get it, and what a worker does with it.

Only the plan, the rules, the places of the stores and the network's file travel. Every process opens its own files and
builds the network once.
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

from neuromancer.config import config
from neuromancer.dense.cache import CachedSource
from neuromancer.dense.mask import combined
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.pipeline import IN_TURN, Pipeline, Threads, TileReport
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.postprocess import Postprocess
from neuromancer.dense.stores import filled_parts, reopen_sink, reopen_source
from neuromancer.dense.tile_evaluator import TileEvaluator
from neuromancer.errors import NeuromancerError, node_label
from neuromancer.graph.registry import model_manager
from neuromancer.volumes.missing import Part

KEPT = 2
"""Predictions that a worker keeps ready, with network and files."""


Functors = dict[str, Callable[..., Any]]


class PortableModel(Protocol):
    """What a model must be able to do so that its nodes can be evaluated by other processes."""

    name: str

    @property
    def own_functors(self) -> Functors:
        """The user's functions that the model's file names."""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the model into a file."""

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> PortableModel:
        """The model in a file."""

    def __getitem__(self, name: str) -> Any:
        """A node by its name."""


@dataclass(frozen=True)
class ModelFile:
    """A network on its way to a worker.

    Parameters
    ----------
    load : callable
        The class method that reads it.
    content : Path or bytes
        The file, or what is in it.
    """

    load: Callable[..., PortableModel]
    content: Path | bytes

    def open(self, functors: Functors) -> PortableModel:
        """Build the network, under a name that no other has."""
        name = f"worker {uuid.uuid4().hex[:8]}"
        if isinstance(self.content, Path):
            return self.load(self.content, name=name, functors=functors)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            path.write_bytes(self.content)
            return self.load(path, name=name, functors=functors)


@dataclass(frozen=True)
class TaskSpec:
    """Everything that a worker needs to know; small, and the same for all tasks of a prediction.

    Parameters
    ----------
    key : str
        Of this prediction.
    plan : DensePlan
    postprocess : Postprocess
    precision : str
    skip_empty : None, 'constant' or float
    source : locator
    masks : tuple of locators and arrays
    sinks : tuple of locators, or None
        None if values are returned to the caller.
    model : ModelFile
        The network.
    functors : dict of str to callable
        The user's functions that the network's file names.
    nodes : tuple of str
        Names of the nodes in it.
    threads : Threads
    cache : int
        Bytes for blocks of the image.
    skip : bool
    settings : tuple of str
        ``config.floatX``, ``config.backend`` and ``config.device``; a worker whose environment names a device keeps it.
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


@dataclass
class OpenTask:
    """A task made ready in a process.

    Parameters
    ----------
    evaluator : TileEvaluator
        Entered.
    sinks : list of Sink, or None
        Per node; None if values are returned to the caller.
    threads : Threads
    skip : bool
    stores : list
        What was opened for it.
    model : str
        Name of the model that was loaded for it.
    """

    evaluator: TileEvaluator
    sinks: list[Any] | None
    threads: Threads
    skip: bool
    stores: list[Any] = field(default_factory=list)
    model: str = ""

    def close(self) -> None:
        """Close the stores and forget the network."""
        self.evaluator.__exit__()
        for store in self.stores:
            store.close()
        if self.model:
            model_manager.delmodel(self.model)


_kept: OrderedDict[str, OpenTask] = OrderedDict()
_lock = threading.Lock()


@dataclass
class Outcome:
    """What a worker sends back.

    Parameters
    ----------
    report : TileReport
        Tiles whose values are durable (or are in `values`), and tiles left out.
    values : dict of int to list of numpy.ndarray
        Values per node of the tiles that the caller writes.
    error : Exception or None
        Why it stopped.
    filled : dict of str to Part
        Parts of the image that were read as fill value, by name.
    """

    report: TileReport
    values: dict[int, list[np.ndarray]]
    error: NeuromancerError | None = None
    filled: dict[str, Part] = field(default_factory=dict)


def do_tiles(task: TaskSpec | OpenTask, indices: list[int]) -> Outcome:
    """Run some tiles of a prediction; what a worker does."""
    ready = task if isinstance(task, OpenTask) else _opened(task)
    collected = _Collected(len(ready.evaluator.plan.outputs)) if ready.sinks is None else None
    sinks, threads = (ready.sinks or [], ready.threads) if collected is None else (collected.sinks, IN_TURN)
    report, error = TileReport(), None

    def note(some: TileReport) -> None:
        report.done.extend(some.done)
        report.failed.update(some.failed)

    try:
        Pipeline(ready.evaluator, sinks, threads, note, ready.skip).run(indices)
    except NeuromancerError as stopped:
        stopped.node = None if stopped.node is None else node_label(stopped.node).strip("'")  # nodes do not travel
        error = stopped
    values = {} if collected is None else dict(zip(indices, collected.tiles(), strict=False))
    return Outcome(report, values, error, filled_parts(*ready.stores))


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

    def flush(self) -> None:
        """Whoever writes the values makes them durable."""


def _opened(task: TaskSpec) -> OpenTask:
    with _lock:
        if task.key not in _kept:
            _kept[task.key] = _open(task)
            while len(_kept) > KEPT:
                _kept.popitem(last=False)[1].close()
        _kept.move_to_end(task.key)
        return _kept[task.key]


def _open(task: TaskSpec) -> OpenTask:
    """Network, files and function of a task, in a process that has none of them."""
    config.floatX, config.backend, device = task.settings
    if "NEUROMANCER_DEVICE" not in os.environ:
        config.device = device
    current = model_manager.current
    model = task.model.open(task.functors)
    model_manager.current = current
    network = DenseNetwork([model[name] for name in task.nodes])
    source = reopen_source(task.source)
    masks = [given if isinstance(given, np.ndarray) else reopen_source(given) for given in task.masks]
    sinks = None if task.sinks is None else [reopen_sink(locator) for locator in task.sinks]
    cached = CachedSource(source, task.cache) if task.cache else source
    evaluator = TileEvaluator(
        task.plan, task.postprocess, network, cached, combined(masks, task.plan.raw_shape[1:]),
        precision=task.precision, skip_empty=task.skip_empty,
    )  # fmt: skip
    evaluator.__enter__()
    stores = [source, *(mask for mask in masks if not isinstance(mask, np.ndarray)), *(sinks or ())]
    return OpenTask(evaluator, sinks, task.threads, task.skip, stores, model.name)
