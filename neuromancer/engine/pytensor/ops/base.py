"""Base of the operations in this package: checks of operands, static shapes, and numpy arrays as torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from neuromancer.engine.common.arguments import (
    Ints,
    Shape,
    axes_tuple,
    check_channels,
    check_filled,
    check_floats,
    check_window,
    full_length,
    positive,
    static_shape,
    window_length,
)

__all__ = [
    "Ints",
    "KernelOp",
    "Shape",
    "axes_tuple",
    "check_channels",
    "check_filled",
    "check_window",
    "float_operands",
    "full_length",
    "positive",
    "static_shape",
    "tensor_view",
    "window_length",
]


def float_operands(node: str, ndim: int, **operands: Any) -> list[Variable]:
    """Return the operands as symbolic variables of their common float dtype, with ``ndim + 2`` axes each.

    Raises
    ------
    InputTypeError
        If one is not floating point.
    ShapeError
        If one has another number of axes.
    """
    variables = {name: pt.as_tensor_variable(value) for name, value in operands.items()}
    dtype = check_floats(node, ndim, **variables)
    return [v if v.dtype == dtype else pt.cast(v, dtype) for v in variables.values()]


def tensor_view(array: np.ndarray) -> torch.Tensor:
    """Return a CPU tensor that shares the memory of `array`, or that of a copy if torch cannot use it."""
    array = np.asarray(array)
    if not array.flags.writeable or any(s < 0 for s in array.strides) or not array.dtype.isnative:
        array = np.array(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array)


class KernelOp(Op):
    """Operation computed by a torch kernel: on tensors through `kernel`, on numpy arrays through `perform`."""

    shape_only: Ints = ()
    """Inputs of which only the shape and the memory format are used: `kernel` also takes them on device 'meta'."""

    def make_node(self, *inputs: Any) -> Apply:
        """Check and type the operands."""
        raise NotImplementedError

    def kernel(self, *inputs: torch.Tensor) -> Any:
        """Compute the outputs from tensors on any device."""
        raise NotImplementedError

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the outputs, symbolic or plain, from those of the inputs."""
        raise NotImplementedError

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raise ShapeError if inputs of these shapes do not fit; None is an unknown size."""

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Compute on numpy arrays."""
        self.check_shapes([np.shape(i) for i in inputs])
        with torch.inference_mode():
            results = self.kernel(*(tensor_view(i) for i in inputs))
        for cell, result in zip(output_storage, results if isinstance(results, tuple) else (results,), strict=True):
            cell[0] = result.contiguous().numpy()

    def infer_shape(self, *args: Any) -> list[Shape]:
        """Return the symbolic shapes of the outputs."""
        # Called with (node, shapes), by older versions of PyTensor with (fgraph, node, shapes).
        node, shapes = args[-2:]
        known = [
            tuple(symbolic if size is None else size for size, symbolic in zip(i.type.shape, shape, strict=True))
            for i, shape in zip(node.inputs, shapes, strict=True)
        ]
        return self.output_shapes(known)
