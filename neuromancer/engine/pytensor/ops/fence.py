"""A barrier to rewrites of sums and products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph

from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.ops.base import KernelOp, Shape


class Identity(KernelOp):
    """Base of operations that return their operand itself."""

    view_map = {0: [0]}  # noqa: RUF012 (PyTensor's name and form)

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tensor itself."""
        return x


class Fence(Identity):
    """The identity; PyTensor does not merge operations across it."""

    __props__ = ()

    def make_node(self, x: Any) -> Apply:
        """Type x, of any shape."""
        x = pt.as_tensor_variable(x)
        return Apply(self, [x], [x.type()])

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> Sequence[Variable]:
        """Pass the cotangent on, behind a fence of its own."""
        return [self(cotangents[0])]


@implements(Engine.fence)
def fence(x: Variable) -> Variable:
    return Fence()(x)


def without_fence(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """fence(x) -> x, after the rewrites of sums and products."""
    return node.inputs[0] if isinstance(node.op, Fence) else None
