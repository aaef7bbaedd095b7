"""A variable that rewrites of sums and products do not look into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph

from neuromancer.engine.pytensor.ops.base import KernelOp, Shape


class Fence(KernelOp):
    """The identity; PyTensor does not merge what is on one side of it with what is on the other."""

    __props__ = ()
    view_map = {0: [0]}  # noqa: RUF012 (PyTensor's name and form)

    def make_node(self, x: Any) -> Apply:
        """Type x, of any shape."""
        x = pt.as_tensor_variable(x)
        return Apply(self, [x], [x.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return x

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> Sequence[Variable]:
        """The cotangent; the sums and products of the gradient are kept apart too."""
        return [self(cotangents[0])]


def fence(x: Variable) -> Variable:
    """x, as something that simplification does not look into.

    ``(x - a) - b`` becomes ``x - (a + b)`` when a function is compiled, which rounds otherwise; ``fence(x - a) - b``
    does not.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import engine as E
    >>> x = E.tensor("x", (None,), "float32")
    >>> E.function([x], fence(x - 1e6) - 0.25)(np.float32([1e6, 1e6 + 1])).tolist()
    [-0.25, 0.75]
    """
    return Fence()(x)


def without_fence(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """fence(x) -> x, when all sums and products are as they will be."""
    return node.inputs[0] if isinstance(node.op, Fence) else None
