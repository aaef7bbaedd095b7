"""Groups of elementwise operations, created only when a program for the CPU is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from neuromancer.engine.pytensor.kernels.elementwise import Elementwise
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.ops.base import tensor_view


class FusedElementwise(Op):
    """Several elementwise operations, computed in one pass over memory.

    Attributes
    ----------
    function : Elementwise
        Computes the results from tensors and numbers.
    operands : tuple of Variable
        What `nodes` read.

    Parameters
    ----------
    expressions : sequence of Expression
        One per output.
    results : sequence of Variable
        The variables that the outputs replace.
    nodes : sequence of Apply
        The operations, in topological order.
    operands : sequence of Variable
        Those of the expressions.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        results: Sequence[Variable],
        nodes: Sequence[Apply],
        operands: Sequence[Variable],
    ) -> None:
        self.types = [v.type for v in results]
        self.nodes, self.operands = tuple(nodes), tuple(operands)
        self.function = Elementwise(*expressions, dtypes=[getattr(torch, v.dtype) for v in results])

    def make_node(self, *operands: Variable) -> Apply:
        """Type the operands of the expressions."""
        return Apply(self, list(operands), [kind() for kind in self.types])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Compute on numpy arrays."""
        tensors = [tensor_view(i) for i in inputs]
        tensors = [t if Elementwise.takes(t) else t.to(torch.float32) for t in tensors]
        for cell, result in zip(output_storage, self.function(tensors), strict=True):
            cell[0] = result.contiguous().numpy()

    def __str__(self) -> str:
        return f"FusedElementwise{{{', '.join(str(node.op) for node in self.nodes)}}}"
