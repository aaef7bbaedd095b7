"""Groups of elementwise operations, created only when a program for the CPU is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from neuromancer.engine.pytensor.kernels.elementwise import Elementwise
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.sums import Sums
from neuromancer.engine.pytensor.ops.base import tensor_view


class Fused(Op):
    """Base of operations that stand for several.

    Attributes
    ----------
    function : callable
        Computes the results from tensors and numbers.
    operands : tuple of Variable
        What `nodes` read.

    Parameters
    ----------
    results : sequence of Variable
        The variables that the outputs replace.
    nodes : sequence of Apply
        The operations, in topological order.
    operands : sequence of Variable
        Those of the expressions.
    """

    function: Callable[..., tuple[torch.Tensor, ...]]

    def __init__(self, results: Sequence[Variable], nodes: Sequence[Apply], operands: Sequence[Variable]) -> None:
        self.types = [v.type for v in results]
        self.nodes, self.operands = tuple(nodes), tuple(operands)

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
        return f"{type(self).__name__}{{{', '.join(str(node.op) for node in self.nodes)}}}"


class FusedElementwise(Fused):
    """Several elementwise operations, computed in one pass over memory.

    Parameters
    ----------
    expressions : sequence of Expression
        One per output.
    results, nodes, operands
        See :class:`Fused`.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        results: Sequence[Variable],
        nodes: Sequence[Apply],
        operands: Sequence[Variable],
    ) -> None:
        super().__init__(results, nodes, operands)
        self.function = Elementwise(*expressions, dtypes=[getattr(torch, v.dtype) for v in results])


class FusedSum(Fused):
    """Sums of results of elementwise operations, computed in one pass over memory.

    Parameters
    ----------
    expressions : sequence of Expression
        What is added up, one per output.
    results, nodes, operands
        See :class:`Fused`.
    axes : tuple of int
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        results: Sequence[Variable],
        nodes: Sequence[Apply],
        operands: Sequence[Variable],
        axes: tuple[int, ...],
    ) -> None:
        super().__init__(results, nodes, operands)
        self.function = Sums(*expressions, axes=axes)
