"""Batches from a user's own data class with ``getbatch``."""

from __future__ import annotations

import inspect
import random
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, NeuromancerError
from neuromancer.models.model import Model
from neuromancer.train.old_config.findings import Findings

NODES = ("input_node", "target_node")
"""Arguments of a data class that it gets from the model."""
NUMPY_SEEDS = 1 << 32


class OwnBatches:
    """Batches of a data class of the original library.

    Before every call of ``getbatch``, the random generators that such classes use are seeded from seed and step:
    ``numpy.random``, ``random``, and generators that are attributes of the object. They get their previous states back
    afterwards. So a batch depends on the step alone, unless the class keeps any other state.

    Parameters
    ----------
    data : object with ``getbatch(batch_size, source=...)``
    batch_size : int
    source : {'train', 'valid', None}
        None: the class does not distinguish them.
    arguments : mapping of str to value
        Further arguments of ``getbatch``.
    seed : int
    lock : lock
        Shared by all sources of the object, as its calls must not overlap.
    """

    def __init__(
        self, data: Any, batch_size: int, source: str | None, arguments: Mapping[str, Any], seed: int, lock: Any = None
    ) -> None:
        self.data, self.batch_size, self.source, self.seed = data, batch_size, source, seed
        self.arguments = dict(arguments)
        self._lock = lock or threading.Lock()

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return the batch of a step."""
        options = self.arguments if self.source is None else {"source": self.source, **self.arguments}
        with self._lock, _seeded(self.data, [self.seed, step]):
            try:
                batch = self.data.getbatch(self.batch_size, **options)
            except NeuromancerError:
                raise
            except Exception as error:
                raise self._failure(error, step) from error
        if isinstance(batch, np.ndarray):
            return (batch,)
        if not isinstance(batch, (tuple, list)):
            raise InputTypeError(
                "getbatch must return the arrays of the loss's sources",
                where=type(self.data).__name__,
                got=type(batch).__name__,
                expected="(data, target, ...)",
            )
        return tuple(batch)

    def _failure(self, error: Exception, step: int) -> ArgumentError:
        """Return an error that names the line where ``getbatch`` fails."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return ArgumentError(
            f"getbatch(source={self.source!r}) fails at step {step}",
            where=type(self.data).__name__,
            got=f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})",
            expected="validation = None in the file, if there is no such data" if self.source == "valid" else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()


@contextmanager
def _seeded(data: Any, key: list[int]) -> Iterator[None]:
    """Seed the random generators that a data class can use; restore their states on leaving the context."""
    seeds = np.random.SeedSequence(key).generate_state(4)
    own = [value for value in getattr(data, "__dict__", {}).values()]
    legacy = [np.random.mtrand._rand, *(v for v in own if isinstance(v, np.random.RandomState))]
    modern = [v for v in own if isinstance(v, np.random.Generator)]
    before = [state.get_state() for state in legacy], [g.bit_generator.state for g in modern], random.getstate()
    for number, state in enumerate(legacy):
        state.seed((int(seeds[0]) + number) % NUMPY_SEEDS)
    for number, generator in enumerate(modern):
        fresh = type(generator.bit_generator)(np.random.SeedSequence([int(seeds[1]), number]))
        generator.bit_generator.state = fresh.state
    random.seed(int(seeds[2]))
    try:
        yield
    finally:
        for state, old in zip(legacy, before[0], strict=True):
            state.set_state(old)
        for generator, known in zip(modern, before[1], strict=True):
            generator.bit_generator.state = known
        random.setstate(before[2])


def check_class(cls: Any, init: Mapping[str, Any], batch: Mapping[str, Any], findings: Findings) -> None:
    """Refuse a data class that makes no batches, and arguments that it does not take."""
    if not callable(getattr(cls, "getbatch", None)):
        findings.refuse("data_class", cls, "needs a method getbatch(batch_size, source='train')")
        return
    if isinstance(cls, type):
        try:
            given = {name: None for name in NODES if name in _parameters(cls)}
            inspect.signature(cls).bind(**(given | dict(init)))
        except TypeError as error:
            findings.refuse("data_init_kwargs", dict(init), f"{cls.__name__}: {error}")
        except ValueError:  # without a signature, creating it tells
            pass
    elif init:
        findings.refuse("data_init_kwargs", dict(init), "no effect on an object; give the class as data_class")
    names = _parameters(cls.getbatch)
    if "**" not in names:
        findings.check_names("data_batch_args", batch, [n for n in names if n not in ("self", "batch_size", "source")])


def sources(
    cls: Any, init: Mapping[str, Any], batch: Mapping[str, Any], model: Model, size: int, seed: int, validate: bool
) -> tuple[OwnBatches, OwnBatches | None]:
    """Return batches for training and for validation of a data class or an object of one."""
    nodes = {name: getattr(model, name) for name in NODES if isinstance(cls, type) and name in _parameters(cls)}
    data = cls(**{**nodes, **{k: v for k, v in init.items() if k not in nodes or v is not None}}) if isinstance(
        cls, type
    ) else cls  # fmt: skip
    names = _parameters(data.getbatch)
    distinguishes, lock = "source" in names or "**" in names, threading.Lock()
    training = OwnBatches(data, size, "train" if distinguishes else None, batch, seed, lock)
    if not distinguishes or not validate:
        return training, None
    return training, OwnBatches(data, size, "valid", batch, seed + 1, lock)


def _parameters(function: Any) -> list[str]:
    """Return the names of a function's parameters, ``**`` for arbitrary keywords; empty if they are unknown."""
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return []
    return ["**" if p.kind is p.VAR_KEYWORD else name for name, p in found.items()]
