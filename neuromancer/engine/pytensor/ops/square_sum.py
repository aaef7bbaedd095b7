"""Sum of squares, created only by graph rewrites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.ops.base import KernelOp, Shape

MAX_ROW = 4096
"""Torch adds the squares of a row one by one, in as many sums as registers have lanes: longer rows lose precision."""


class SquareSum(KernelOp):
    """Sum of squares over the last axis and maybe others, without an array of the squares.

    Parameters
    ----------
    axes : tuple of int
    """

    __props__ = ("axes",)

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def make_node(self, x: Any) -> Apply:
        """Type the operand, of any float dtype."""
        x = pt.as_tensor_variable(x)
        shape = self.output_shapes([x.type.shape])[0]
        return Apply(self, [x], [pt.TensorType(x.dtype, shape=tuple(shape))()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The sizes of the axes that are left."""
        return [tuple(size for axis, size in enumerate(shapes[0]) if axis not in self.axes)]

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Add the squares row by row; torch adds the rows pairwise."""
        if x.stride(-1) != 1 or x.shape[-1] > MAX_ROW:
            return x.square().sum(self.axes)
        rows = torch.linalg.vector_norm(x, dim=-1).square()
        others = [axis for axis in self.axes if axis != x.ndim - 1]
        return rows.sum(others) if others else rows
