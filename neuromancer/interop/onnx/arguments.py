"""Arguments of the operations of ONNX files, and the table of their translations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from neuromancer.errors import TranslationError, short
from neuromancer.interop.network import Network, Value, Weight

Handler = Callable[[Network, str, "Arguments"], Any]

OPERATIONS: dict[str, Handler] = {}
"""Operations that become nodes."""

PLAIN: dict[str, Handler] = {}
"""Operations that change nothing but how the source sees a tensor."""


@dataclass(frozen=True)
class Follower:
    """The only operation that reads a value, if its other operand is a constant.

    Attributes
    ----------
    output : str
        Its result, as a name in the file.
    weight : Weight
        The constant.
    """

    output: str
    weight: Weight


class Surroundings(Protocol):
    """What an operation may ask of the file around it."""

    def weight(self, name: str) -> Weight:
        """Return a constant as a weight."""
        ...

    def derived(self, name: str) -> bool:
        """Return whether a constant follows from the size of the image."""
        ...

    def note_size(self, derived: bool) -> None:
        """Take notice of a size of the example, and whether the file derives it from the size of the image."""
        ...

    def follower(self, output: str, op: str) -> Follower | None:
        """Return the operation `op` with a constant that alone reads `output`."""
        ...

    def absorb(self, output: str) -> None:
        """Let the operation that computes `output` have the result of the current one."""
        ...


class Arguments:
    """Arguments of an operation.

    Attributes
    ----------
    op, place : str
    opset : int
    names : sequence of str
        Inputs by their names in the file.
    inputs : list
        Values, arrays for constants, None for inputs that are left out.
    outputs : sequence of str
    file : Surroundings
    """

    def __init__(
        self,
        op: str,
        place: str,
        opset: int,
        names: Sequence[str],
        inputs: list[Any],
        attributes: dict[str, Any],
        outputs: Sequence[str],
        file: Surroundings,
    ) -> None:
        self.op, self.place, self.opset = op, place, opset
        self.names, self.inputs, self.outputs = names, inputs, outputs
        self.attributes, self.file = attributes, file

    def __getitem__(self, name: str) -> Any:
        return self.attributes.get(name)

    def refuse(self, problem: str, got: Any, expected: str) -> TranslationError:
        """Return an error that names the operation."""
        return TranslationError(problem, where=f"{self.place} ({self.op})", got=short(got), expected=expected)

    # ---- inputs
    @property
    def x(self) -> Value:
        """The first input, which depends on the image."""
        if isinstance(self.inputs[0], Value):
            return self.inputs[0]
        raise self.refuse("the first input is a constant", type(self.inputs[0]).__name__, "a value of the network")

    def given(self, index: int) -> Any:
        """Return an input, None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> np.ndarray | None:
        """Return an input that must be a constant, None if it is left out."""
        found = self.given(index)
        if isinstance(found, Value):
            raise self.refuse("an argument depends on the image", f"input {index}", "a constant")
        return None if found is None else np.asarray(found)

    def number(self, index: int) -> float | None:
        """Return an input that must be a single constant number, None if it is left out."""
        found = self.constant(index)
        if found is None or not found.size:
            return None
        if found.size > 1:
            raise self.refuse("an argument must be a number", f"input {index} of shape {found.shape}", "a number")
        return float(found.reshape(-1)[0])

    def weight(self, index: int, ndim: int | None = None) -> Weight | None:
        """Return an input that must be a constant as a weight, with `ndim` axes."""
        found = self.constant(index)
        if found is None:
            return None
        if found.dtype.kind not in "fiu" or (ndim is not None and found.ndim != ndim):
            raise self.refuse(
                "a weight has the wrong form", f"{found.dtype} of shape {found.shape}", f"floats with {ndim} axes"
            )
        return self.file.weight(self.names[index])

    def needed(self, index: int, ndim: int | None = None) -> Weight:
        """Return a weight that cannot be left out."""
        found = self.weight(index, ndim)
        if found is None:
            raise self.refuse("a weight is missing", f"input {index}", "a constant")
        return found

    def derived(self, index: int) -> bool:
        """Return whether a constant input follows from the size of the image."""
        return index < len(self.names) and self.file.derived(self.names[index])

    # ---- numbers
    def ints(self, name: str, count: int, default: int) -> tuple[int, ...]:
        """Return an attribute with one integer per spatial axis."""
        found = self.attributes.get(name)
        if found is None or found == []:
            return (default,) * count
        if len(found) != count:
            raise self.refuse("an attribute has the wrong length", f"{name}={found}", f"{count} integers")
        return tuple(int(n) for n in found)

    def listed(self, name: str, index: int | None = None) -> list[Any] | None:
        """Return numbers that are an attribute or a constant input, as it changed between versions; None if absent."""
        if name in self.attributes:
            found = self.attributes[name]
            return list(found) if isinstance(found, (list, tuple)) else [found]
        array = None if index is None else self.constant(index)
        return None if array is None or array.dtype.kind not in "fiub" else array.reshape(-1).tolist()

    def axes(self, axes: Sequence[int], rank: int) -> list[int]:
        """Return axes as numbers from 0; refuse those that do not exist, or are given twice."""
        found = [int(a) + rank if a < 0 else int(a) for a in axes]
        if any(not 0 <= a < rank for a in found) or len(set(found)) != len(found):
            raise self.refuse("axes that do not exist", list(axes), f"different axes below {rank}")
        return found


def operation(*names: str, table: dict[str, Handler] = OPERATIONS) -> Callable[[Handler], Handler]:
    """Register a handler for operations."""

    def register(handler: Handler) -> Handler:
        for name in names:
            table[name] = handler
        return handler

    return register


def space_of(x: Value) -> list[int]:
    """Return the positions of the spatial axes in the source; none where they are flattened or left out."""
    first = {"image": 2, "last": 1}.get(x.view)
    return [] if first is None else list(range(first, first + len(x.sizes)))


def as_image(x: Value) -> Value:
    """Return a value with the channels in the second place, for operations that are told the axes."""
    return replace(x, view="image") if x.view == "last" else x


def seen_as(out: Value, x: Value) -> Value:
    """Return a value with the order of axes of another."""
    return replace(out, view=x.view)
