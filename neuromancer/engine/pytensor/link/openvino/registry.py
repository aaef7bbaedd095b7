"""The table of OpenVINO forms: how each symbolic operation becomes nodes of an OpenVINO model.

A model is built for fixed sizes of the arguments, so every size is a number, and all values that depend on sizes,
constants and parameters only are computed with numpy beforehand. A form gets the others as nodes of the model.
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
"""dtypes in a model; graphs with any other run on torch."""
COUNTED = ("int32", "int64")
"""Integer dtypes in which a model computes; narrower ones would not wrap around and are only read."""


class Unsupported(Exception):
    """The graph has no OpenVINO form for these sizes; the message says why."""


class Passing(Unsupported):
    """OpenVINO cannot compute with the values of this call; the next call may run on it."""


class Missing(Unsupported):
    """The graph has no OpenVINO form at any size; the message says what is missing."""


class FormBuilder(Protocol):
    """The methods of a `Builder` that forms call."""

    def known(self, variable: Variable) -> np.ndarray | None:
        """Return the value of a variable that depends on sizes, constants and parameters only; None for all others."""

    def require(self, variable: Variable, role: str) -> np.ndarray:
        """Return the `known` value of a variable; raise Unsupported if it depends on the data."""

    def tensor(self, variable: Variable) -> Output:
        """Return `variable` as a node of the model."""

    def kernel(self, variable: Variable) -> Output:
        """Return `variable` as the kernel of a convolution."""

    def constant(self, value: np.ndarray) -> Output:
        """Return `value` as a node of the model."""

    def shape(self, variable: Variable) -> tuple[int, ...]:
        """Return the sizes of a variable."""

    def used(self, variable: Variable) -> bool:
        """Return whether anything reads an output."""


@singledispatch
def convert(op: Op, node: Apply, build: FormBuilder) -> Sequence[Any]:
    """Return the outputs of `node`: nodes of the model, or numpy arrays if they depend on sizes only.

    Raises
    ------
    Missing, Unsupported
        If there is no form; then the whole graph runs on torch.
    """
    raise Missing(f"operation {op}")


def simple(*classes: type) -> Callable[[Callable[..., Output]], Callable[..., Output]]:
    """Return a decorator that registers a function of nodes as the form of operations with one output, no settings."""

    def register(function: Callable[..., Output]) -> Callable[..., Output]:
        for cls in classes:
            convert.register(cls)(lambda op, node, build: [function(*map(build.tensor, node.inputs))])
        return function

    return register


def reshape(x: Any, sizes: Sequence[int]) -> Output:
    """Reshape `x`; to a scalar by squeezing, because OpenVINO crashes when it reshapes a product to a scalar."""
    if not len(sizes):
        axes = list(range(len(x.get_shape())))
        return opset13.squeeze(x, np.array(axes, np.int64)).output(0) if axes else x
    return opset13.reshape(x, np.array(sizes, np.int64), False).output(0)


def axes_of(axis: Any, ndim: int) -> list[int]:
    """Return the axes of an attribute `axis` (None: all) as non-negative ints."""
    if axis is None:
        return list(range(ndim))
    return [a % ndim for a in (axis if isinstance(axis, tuple | list) else (axis,))]
