"""The table of OpenVINO forms: how each symbolic operation becomes nodes of an OpenVINO model.

A model is made for given sizes of the arguments, so every size is a number, and whatever follows from sizes, constants
and parameters alone is a numpy array before OpenVINO sees it. A form gets the others as nodes of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any, Protocol

import numpy as np
from openvino import Output, Type, opset13
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

TYPES = {
    "bool": Type.boolean,
    "uint8": Type.u8,
    "int8": Type.i8,
    "int16": Type.i16,
    "int32": Type.i32,
    "int64": Type.i64,
    "float32": Type.f32,
}
"""dtypes that a model can hold; a graph with any other is left to torch."""
COUNTED = ("int32", "int64")
"""Integers with which a model computes; narrower ones would not wrap around as they should and are only read."""


class Unsupported(Exception):
    """The graph has no OpenVINO form for these sizes; the message says why."""


class Passing(Unsupported):
    """The values of this call are not for OpenVINO; the next ones may be."""


class Missing(Unsupported):
    """The graph has no OpenVINO form at any size; the message says what is missing."""


class FormBuilder(Protocol):
    """What a form may ask of whoever makes the model."""

    def known(self, variable: Variable) -> np.ndarray | None:
        """Value of a variable that follows from sizes, constants and parameters; None for all others."""

    def require(self, variable: Variable, what: str) -> np.ndarray:
        """`known`, or Unsupported where the value depends on the data."""

    def tensor(self, variable: Variable) -> Output:
        """`variable` as a node of the model."""

    def kernel(self, variable: Variable) -> Output:
        """`variable` as the kernel of a convolution."""

    def constant(self, value: np.ndarray) -> Output:
        """`value` as a node of the model."""

    def shape(self, variable: Variable) -> tuple[int, ...]:
        """Sizes of a variable."""

    def used(self, variable: Variable) -> bool:
        """Whether anything reads an output."""


@singledispatch
def convert(op: Op, node: Apply, build: FormBuilder) -> Sequence[Any]:
    """Return the outputs of `node`: nodes of the model, or numpy arrays where they follow from sizes alone.

    Raises
    ------
    Missing, Unsupported
        If there is no form; the whole graph is then left to torch.
    """
    raise Missing(f"operation {op}")


def simple(*classes: type) -> Callable[[Callable[..., Output]], Callable[..., Output]]:
    """Register a function of nodes of the model as the form of operations with one output and no settings."""

    def register(function: Callable[..., Output]) -> Callable[..., Output]:
        for cls in classes:
            convert.register(cls)(lambda op, node, build: [function(*map(build.tensor, node.inputs))])
        return function

    return register


def reshape(x: Any, sizes: Sequence[int]) -> Output:
    """`x` with other sizes; without any it is squeezed, as OpenVINO crashes on reshaping a product to a scalar."""
    if not len(sizes):
        axes = list(range(len(x.get_shape())))
        return opset13.squeeze(x, np.array(axes, np.int64)).output(0) if axes else x
    return opset13.reshape(x, np.array(sizes, np.int64), False).output(0)


def axes_of(axis: Any, ndim: int) -> list[int]:
    """The axes that an operation with attribute `axis` means (None: all), counted from the front."""
    if axis is None:
        return list(range(ndim))
    return [a % ndim for a in (axis if isinstance(axis, tuple | list) else (axis,))]
