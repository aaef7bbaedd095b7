"""Where a trainer's batches come from: anything is made a source that gives the batch of a step."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from neuromancer.arrays import in_memory
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from neuromancer.graph.node import Node
from neuromancer.masked import unmasked
from neuromancer.printable import described
from neuromancer.train.data.loader import BatchSource
from neuromancer.volumes.accept import accepted, is_array, is_closed

LABEL = "training data"


class ArrayBatches:
    """Random batches of arrays that hold one example per index of their axis b.

    Parameters
    ----------
    arrays : sequence of array
        In the order of the loss's sources; NumPy, HDF5 or zarr arrays of equal length along axis b.
    sources : sequence of Node
        Those sources; they say which axis is b.
    batch_size : int
    seed : int
        The batch of a step is a function of the seed and the step alone.

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        For a wrong number of arrays, different lengths, or no examples.
    """

    def __init__(self, arrays: Any, sources: list[Node], batch_size: int, seed: int = 0) -> None:
        if len(arrays) != len(sources):
            raise InputTypeError(
                "wrong number of arrays",
                node=LABEL,
                got=len(arrays),
                expected=f"{len(sources)}: {[s.name for s in sources]}",
            )
        named = zip(arrays, sources, strict=True)
        self.arrays = [accepted(unmasked(a, LABEL), f"{LABEL} for {s.name!r}") for a, s in named]
        self.seed = int(seed)
        self.axes = [s.shape.tag2index("b") if s.shape is not None and s.shape.hastag("b") else 0 for s in sources]
        lengths = [int(a.shape[axis]) for a, axis in zip(self.arrays, self.axes, strict=True)]
        if len(set(lengths)) != 1:
            raise ShapeError(
                "arrays of different numbers of examples",
                node=LABEL,
                got=dict(zip([s.name for s in sources], lengths, strict=True)),
            )
        self.length = lengths[0]
        if not 0 < batch_size <= self.length:
            raise ArgumentError(
                "batches cannot be filled", node=LABEL, got=f"batch_size {batch_size}", expected=f"1 to {self.length}"
            )
        self.batch_size = int(batch_size)

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Examples drawn without repetition, in the order in which they are stored."""
        rng = np.random.default_rng([self.seed, step])
        some = np.sort(rng.choice(self.length, self.batch_size, replace=False))
        return tuple(
            np.asarray(getattr(a, "oindex", a)[(slice(None),) * axis + (some,)])
            for a, axis in zip(self.arrays, self.axes, strict=True)
        )


class IteratorBatches:
    """Batches of an iterator, in its order.

    Parameters
    ----------
    items : iterable
        Of batches (tuples of arrays). A training that is resumed at step n passes over the first n.
    """

    in_order = True

    def __init__(self, items: Iterable[Any]) -> None:
        self.items: Iterator[Any] = iter(items)
        self.next = 0

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """The batch of the next step, or of a later one."""
        if step < self.next:
            raise ArgumentError(
                "an iterator cannot go back", node=LABEL, got=f"step {step}", expected=f"step {self.next} or later"
            )
        while True:
            try:
                item = next(self.items)
            except StopIteration:
                raise ArgumentError("the data has ended", node=LABEL, got=f"{self.next} batches") from None
            self.next += 1
            if self.next > step:
                return tuple(in_memory(unmasked(array, LABEL)) for array in item)


class FirstBatches:
    """The first batches of a source, kept in memory to be had again and again.

    Parameters
    ----------
    source : object with ``batch(step)``
    n : int
    """

    def __init__(self, source: BatchSource, n: int) -> None:
        self.batches = [source.batch(step) for step in range(n)]

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """One of them."""
        return self.batches[step]


def as_source(data: Any, loss: Node, batch_size: int | None, seed: int) -> BatchSource:
    """A batch source from whatever a user has.

    Parameters
    ----------
    data : batch source, tuple of array, or iterable of batches
        An object with ``batch(step)``, arrays with one example per index of axis b, or an iterator.
    loss : Node
        The loss that is to be fed.
    batch_size : int, optional
        For arrays; default that of the first source, or 1.
    seed : int

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        For data that is none of these or does not fit.
    """
    if callable(getattr(data, "batch", None)):
        return data
    if isinstance(data, (tuple, list)) and data and all(is_array(a) or is_closed(a) for a in data):
        sources = loss.input_nodes
        first = sources[0].shape
        known = first["b"] if first is not None and first.hastag("b") else None
        return ArrayBatches(data, sources, batch_size or known or 1, seed)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, np.ndarray)):
        return IteratorBatches(data)
    raise InputTypeError(
        "cannot be trained with",
        node=LABEL,
        got=described(data),
        expected="an object with batch(step), a tuple of arrays, or an iterator of batches",
    )


def require_loss(model: Any) -> Node:
    """The loss node of a model that can be trained."""
    if model.loss_node is None:
        raise GraphError("no loss is designated", node=f"model {model.name}", expected="designate_nodes(loss_node=...)")
    return model.loss_node


def fingerprint(batch: tuple[np.ndarray, ...]) -> int:
    """A number that tells batches apart."""
    value = 0
    for array in batch:
        array = np.ascontiguousarray(in_memory(array))
        value = zlib.crc32(f"{array.dtype} {array.shape}".encode(), value)
        value = zlib.crc32(array.view(np.uint8).data if array.size else b"", value)
    return value
