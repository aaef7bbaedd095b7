"""Batch sources of a trainer: any kind of data as an object that returns the batch of a step."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.arrays import in_memory
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, NeuromancerError, ShapeError, blame
from neuromancer.masked import unmasked
from neuromancer.nodes.node import Node
from neuromancer.printable import described
from neuromancer.train.checks import whole
from neuromancer.train.data.loader import BatchSource, copied
from neuromancer.volumes.accept import accepted, is_array, is_closed

if TYPE_CHECKING:
    from neuromancer.models.model import Model

LABEL = "training data"


class ArrayBatches:
    """Random batches from arrays with one example per index of axis b.

    Parameters
    ----------
    arrays : sequence of array
        In the order of the loss's sources; NumPy, HDF5 or zarr arrays of equal length along axis b.
    sources : sequence of Node
        The loss's sources; they define which axis is b.
    batch_size : int
    seed : int
        The batch of a step depends on the seed and the step alone.

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        For a wrong number of arrays, different lengths, or no examples.
    """

    fresh = True

    def __init__(self, arrays: Any, sources: list[Node], batch_size: int, seed: int = 0) -> None:
        if len(arrays) != len(sources):
            raise InputTypeError(
                "wrong number of arrays",
                where=LABEL,
                got=len(arrays),
                expected=f"{len(sources)}: {[s.name for s in sources]}",
            )
        named = zip(arrays, sources, strict=True)
        self.arrays = [accepted(unmasked(a, LABEL, lazy=True), f"{LABEL} for {s.name!r}") for a, s in named]
        self.seed = whole(seed, "seed", LABEL)
        self.axes = [s.shape.tag2index("b") if s.shape is not None and s.shape.hastag("b") else 0 for s in sources]
        for source, array, axis in zip(sources, self.arrays, self.axes, strict=True):
            if len(array.shape) <= axis:
                raise ShapeError(
                    f"the array for {source.name!r} has no axis b",
                    where=LABEL, got=tuple(array.shape), expected=repr(source.shape),
                )  # fmt: skip
        lengths = [int(a.shape[axis]) for a, axis in zip(self.arrays, self.axes, strict=True)]
        if len(set(lengths)) != 1:
            raise ShapeError(
                "arrays of different numbers of examples",
                where=LABEL,
                got=dict(zip([s.name for s in sources], lengths, strict=True)),
            )
        self.length = lengths[0]
        if not self.length:
            raise ShapeError("no examples", where=LABEL, got=self.arrays[0].shape, expected="at least one along axis b")
        if not 0 < whole(batch_size, "batch_size", LABEL, 1) <= self.length:
            raise ArgumentError(
                "batches cannot be filled", where=LABEL, got=f"batch_size {batch_size}", expected=f"1 to {self.length}"
            )
        self.batch_size = int(batch_size)

    @property
    def drawing(self) -> dict[str, int]:
        """Parameters of the random batches; a resumed run must have the same."""
        return {"batch_size": self.batch_size, "seed": self.seed}

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return examples drawn without replacement, in stored order."""
        rng = np.random.default_rng([self.seed, step])
        index = np.sort(rng.choice(self.length, self.batch_size, replace=False))
        return tuple(
            np.asarray(unmasked(getattr(a, "oindex", a)[(slice(None),) * axis + (index,)], LABEL))
            for a, axis in zip(self.arrays, self.axes, strict=True)
        )


class IteratorBatches:
    """Batches of an iterator, in its order.

    Parameters
    ----------
    items : iterable
        Iterable of batches (tuples of arrays). It may reuse the arrays, so copy a batch to keep it. Training that is
        resumed at step n skips the first n batches.
    """

    in_order = True

    def __init__(self, items: Iterable[Any]) -> None:
        self.items: Iterator[Any] = iter(items)
        self.next = 0

    def peek(self) -> tuple[np.ndarray, ...]:
        """Return a copy of the first batch, which :meth:`batch` still returns."""
        first = copied(self.batch(0))
        self.items, self.next = chain([first], self.items), 0
        return first

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return the batch of the next step, or of a later one."""
        if step < self.next:
            raise ArgumentError(
                "an iterator cannot go back", where=LABEL, got=f"step {step}", expected=f"step {self.next} or later"
            )
        while True:
            try:
                item = next(self.items)
            except StopIteration:
                raise ArgumentError("the data has ended", where=LABEL, got=f"{self.next} batches") from None
            if not isinstance(item, (tuple, list)):
                raise InputTypeError(
                    "a batch must be a tuple of arrays",
                    where=LABEL,
                    got=f"{type(item).__name__} as number {self.next}",
                    expected="one array per source of the loss, also of a single one: (array,)",
                )
            self.next += 1
            if self.next > step:
                return tuple(in_memory(unmasked(array, LABEL)) for array in item)


class FirstBatches:
    """The first batches of a source, kept in memory for reuse.

    Parameters
    ----------
    source : object with ``batch(step)``
    n : int
    """

    def __init__(self, source: BatchSource, n: int) -> None:
        self.batches = [copied(source.batch(step)) for step in range(n)]

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Return one of the batches."""
        return self.batches[step]


def made(data: Any, model: Model) -> Any:
    """Return what a function of the model returns, and anything else unchanged."""
    return data(model) if callable(data) and not hasattr(data, "batch") else data


def is_arrays(data: Any) -> bool:
    """Whether data is a tuple of arrays, from which batches are drawn."""
    return isinstance(data, (tuple, list)) and bool(data) and all(is_array(a) or is_closed(a) for a in data)


def as_source(data: Any, loss: Node, batch_size: int | None, seed: int, label: str = LABEL) -> BatchSource:
    """Return data of any supported kind as a batch source.

    Parameters
    ----------
    data : batch source, tuple of array, or iterable of batches
        An object with ``batch(step)``, arrays with one example per index of axis b, or an iterator.
    loss : Node
        Loss to feed.
    batch_size : int, optional
        For arrays; default: that of the first source, or 1.
    seed : int
        For arrays.
    label : str
        Name of the data, for messages.

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        For data that is none of these or does not fit.
    """
    if callable(getattr(data, "batch", None)) and not isinstance(data, type):
        return data
    with blame(label):
        if is_arrays(data):
            sources = loss.input_nodes
            first = sources[0].shape
            known = first["b"] if first is not None and first.hastag("b") else None
            return ArrayBatches(data, sources, batch_size or known or 1, seed)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, np.ndarray, Mapping, set, frozenset)):
        return IteratorBatches(data)
    raise InputTypeError(
        "cannot be trained with" if label == LABEL else f"cannot be used like {LABEL}",
        where=label,
        got=described(data),
        expected="an object with batch(step), a tuple of arrays, or an iterator of batches",
    )


def require_used(source: BatchSource, batch_size: int | None, seed: int) -> None:
    """Raise ArgumentError for a batch size or a seed that the source of the training data ignores."""
    if isinstance(source, ArrayBatches):
        return
    where = "the iterator" if getattr(source, "in_order", False) else f"{type(source).__name__}({{}}=...)"
    for name, value, unset in (("batch_size", batch_size, None), ("seed", seed, 0)):
        if value not in (unset, getattr(source, name, unset)):
            raise ArgumentError(
                f"{name} is for arrays; this training data makes its own batches",
                where="Trainer",
                got=f"{name}={value!r}",
                expected=f"{name} as an argument of {where.format(name)}",
            )


def require_fitting(model: Model, batch: Any, label: str) -> tuple[np.ndarray, ...]:
    """Return a batch as a tuple; raise an error that names the data if the loss cannot take the batch."""
    try:
        if not isinstance(batch, (tuple, list)):
            raise InputTypeError(
                "a batch must be a tuple of arrays", where=label, got=type(batch).__name__, expected="(array, ...)"
            )
        model._loss_arrays(batch)
    except NeuromancerError as error:
        error.add_note(f"in the first batch of the {label}")
        raise
    return tuple(batch)


def require_loss(model: Any) -> Node:
    """Return the loss node of a model; raise GraphError if there is none."""
    if not hasattr(model, "loss_node"):
        raise InputTypeError("not a model", where="Trainer", got=repr(model)[:100], expected="a Model")
    if model.loss_node is None:
        raise GraphError(
            "no loss is designated", where=f"model {model.name}", expected="designate_nodes(loss_node=...)"
        )
    return model.loss_node


def fingerprint(batch: tuple[np.ndarray, ...]) -> int:
    """Return a checksum of a batch; of arrays of objects, only dtype and shape count."""
    value = 0
    for array in batch:
        array = np.ascontiguousarray(in_memory(array))
        value = zlib.crc32(f"{array.dtype} {array.shape}".encode(), value)
        if not array.dtype.hasobject:
            value = zlib.crc32(array.view(np.uint8).data if array.size else b"", value)
    return value
