"""What the operations of this package share: checking of arguments, static shapes and numpy memory for torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

Ints = tuple[int, ...]
Shape = Sequence[Any]
"""Sizes: numbers, None where unknown, or symbolic."""
FLOATS = ("float32", "float64", "float16")


def axes_tuple(value: Any, ndim: int, name: str, node: str, least: int = 1) -> Ints:
    """Return `value`, an int or one int per spatial axis, as a tuple.

    Raises
    ------
    ArgumentError
        If it is neither, or if a value is smaller than `least`.
    """
    values = (value,) * ndim if isinstance(value, int | np.integer) else value
    try:
        result = tuple(int(v) for v in values)
        fits = all(v == w for v, w in zip(result, values, strict=True))
    except (TypeError, ValueError):
        result, fits = (), False
    if not fits or len(result) != ndim or any(v < least for v in result):
        raise ArgumentError(
            f"{name} does not fit {ndim} spatial axes",
            node=node,
            got=value,
            expected=f"an int or {ndim} ints, each at least {least}",
        )
    return result


def float_operands(node: str, ndim: int, **operands: Any) -> list[Variable]:
    """Return the operands as symbolic variables of one common float dtype and of ``ndim + 2`` axes each.

    Raises
    ------
    InputTypeError
        If one is not floating point.
    ShapeError
        If one has another number of axes.
    """
    variables = {name: pt.as_tensor_variable(value) for name, value in operands.items()}
    for name, variable in variables.items():
        if variable.dtype not in FLOATS:
            raise InputTypeError(
                f"{name} must be floating point", node=node, got=variable.dtype, expected="float32 or float64"
            )
        if variable.ndim != ndim + 2:
            raise ShapeError(
                f"{name} has the wrong number of axes",
                node=node,
                got=f"{variable.ndim} axes",
                expected=f"{ndim + 2} axes: batch (or outputs), channels and {ndim} spatial",
            )
    dtype = np.result_type(*(v.dtype for v in variables.values())).name
    return [v if v.dtype == dtype else pt.cast(v, dtype) for v in variables.values()]


def window_length(n: int, size: int, stride: int, dilation: int, pad: int = 0) -> int:
    """Number of windows of `size` taps on an axis of length `n`."""
    shift = 2 * pad - dilation * (size - 1)
    # symbolic sizes go through here too: every operation saved is one that need not be rewritten
    if stride == 1:
        return n if isinstance(shift, int) and shift == 0 else n + shift
    return (n + (shift - 1)) // stride + 1


def full_length(n: int, size: int, stride: int, dilation: int, pad: int = 0) -> int:
    """Length of the smallest axis that has `n` windows of `size` taps."""
    return (n - 1) * stride - 2 * pad + dilation * (size - 1) + 1


def static_shape(rule: Callable[..., int], *per_axis: Sequence[Any]) -> tuple[int | None, ...]:
    """Apply `rule` axis by axis; None where any of its arguments is None."""
    return tuple(None if any(v is None for v in values) else rule(*values) for values in zip(*per_axis, strict=True))


def check_window(node: str, lengths: Sequence[int | None], extents: Sequence[int | None]) -> None:
    """Raise ShapeError if a window (padding taken off its extent) is longer than its axis, as far as both are known."""
    for n, extent in zip(lengths, extents, strict=True):
        if n is not None and extent is not None and extent > n:
            raise ShapeError(
                "window larger than the input",
                node=node,
                got=f"input {tuple(lengths)}, window {tuple(extents)}",
                expected="a window that fits on every spatial axis",
            )


def tensor_view(array: np.ndarray) -> torch.Tensor:
    """Return a CPU tensor on the memory of `array`, or on a copy where torch cannot use that memory."""
    array = np.asarray(array)
    if not array.flags.writeable or any(s < 0 for s in array.strides) or not array.dtype.isnative:
        array = np.array(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array)


class KernelOp(Op):
    """Operation computed by a torch kernel, on numpy arrays through `perform` and on tensors through `kernel`."""

    def make_node(self, *inputs: Any) -> Apply:
        """Check and type the operands."""
        raise NotImplementedError

    def kernel(self, *inputs: torch.Tensor) -> Any:
        """Compute the outputs from tensors on any device."""
        raise NotImplementedError

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Shapes of the outputs, symbolic or plain, from those of the inputs."""
        raise NotImplementedError

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raise ShapeError if inputs of these shapes cannot be computed; None is an unknown size."""

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Compute on numpy arrays."""
        self.check_shapes([np.shape(i) for i in inputs])
        with torch.inference_mode():
            results = self.kernel(*(tensor_view(i) for i in inputs))
        for cell, result in zip(output_storage, results if isinstance(results, tuple) else (results,), strict=True):
            cell[0] = result.contiguous().numpy()

    def infer_shape(self, *args: Any) -> list[Shape]:
        """Shape rule; called with (node, shapes) or, by older versions, (fgraph, node, shapes)."""
        node, shapes = args[-2:]
        known = [
            tuple(symbolic if size is None else size for size, symbolic in zip(i.type.shape, shape, strict=True))
            for i, shape in zip(node.inputs, shapes, strict=True)
        ]
        return self.output_shapes(known)
