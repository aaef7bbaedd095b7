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
from typing import Any, Protocol, cast

import numpy as np

from neuromancer.config import config
from neuromancer.dense.cache import CachedSource
from neuromancer.dense.mask import combined
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.pipeline import IN_TURN, Pipeline, Report, Threads
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.stores import filled_parts, reopen_sink, reopen_source
from neuromancer.dense.work import Rules, Work
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

    def save(self, path: str | os.PathLike[str]) -> None:
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
class Job:
    """Everything that a worker needs to know; small, and the same for all tasks of a prediction.

    Parameters
    ----------
    key : str
        Of this prediction.
    plan : DensePlan
    rules : Rules
    source : locator
    masks : tuple of locators and arrays
    sinks : tuple of locators, or None
        None if values go back to who gave the task.
    model : ModelFile or None
        The network; None for threads of this process, which have it.
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
    rules: Rules
    source: Any
    masks: tuple[Any, ...]
    sinks: tuple[Any, ...] | None
    model: ModelFile | None
    functors: Functors
    nodes: tuple[str, ...]
    threads: Threads
    cache: int
    skip: bool
    settings: tuple[str, str, str]


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


HERE: dict[tuple[int, str], Context] = {}
"""Predictions of this process itself, which its threads share; by process, because a fork copies this."""
_kept: OrderedDict[str, Context] = OrderedDict()
_lock = threading.Lock()


@dataclass
class Outcome:
    """What a worker sends back.

    Parameters
    ----------
    report : Report
        Tiles whose values are durable (or are in `values`), and tiles left out.
    values : dict of int to list of numpy.ndarray
        Values per node of the tiles that are to be written by who gave the task.
    error : Exception or None
        Why it stopped.
    filled : dict of str to Part
        Parts of the image that were read as fill value, by name.
    """

    report: Report
    values: dict[int, list[np.ndarray]]
    error: NeuromancerError | None = None
    filled: dict[str, Part] = field(default_factory=dict)


def do_tiles(job: Job, indices: list[int]) -> Outcome:
    """Do some tiles of a job; what a worker runs."""
    context = _context(job)
    collected = None if job.sinks is not None else _Collected(len(job.plan.outputs))
    sinks, threads = (context.sinks, job.threads) if collected is None else (collected.sinks, IN_TURN)
    report, error = Report(), None

    def note(some: Report) -> None:
        report.done.extend(some.done)
        report.failed.update(some.failed)

    try:
        Pipeline(context.work, sinks, threads, note, job.skip).run(indices)
    except NeuromancerError as stopped:
        stopped.node = None if stopped.node is None else node_label(stopped.node).strip("'")  # nodes do not travel
        error = stopped
    values = {} if collected is None else dict(zip(indices, collected.tiles(), strict=False))
    return Outcome(report, values, error, filled_parts(*context.stores))


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


def _context(job: Job) -> Context:
    found = HERE.get((os.getpid(), job.key))
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
    config.floatX, config.backend, device = job.settings
    if "NEUROMANCER_DEVICE" not in os.environ:
        config.device = device
    current = model_manager.current
    model = cast(ModelFile, job.model).open(job.functors)
    model_manager.current = current
    network = DenseNetwork([model[name] for name in job.nodes])
    source = reopen_source(job.source)
    stores = [source]
    masks = [given if isinstance(given, np.ndarray) else reopen_source(given) for given in job.masks]
    stores += [mask for mask in masks if not isinstance(mask, np.ndarray)]
    mask = combined(masks, job.plan.raw_shape[1:])
    sinks = [reopen_sink(locator) for locator in job.sinks or ()]
    work = Work(job.plan, job.rules, network, CachedSource(source, job.cache) if job.cache else source, mask)
    work.__enter__()
    return Context(work, sinks, [*stores, *sinks], model.name)
