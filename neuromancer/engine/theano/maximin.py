"""Pair counts of the maximin affinity loss as a symbolic operation, computed on the host."""

from __future__ import annotations

from typing import Any

from theano.gof import Apply, Op, Variable
from theano.gradient import DisconnectedType
from theano.tensor import TensorType, as_tensor_variable

from neuromancer.engine.common.maximin import MaximinBase
from neuromancer.engine.interface import Engine, implements


class MaximinPairs(MaximinBase, Op):
    """`MaximinBase` as an operation."""

    def make_node(self, affinity: Any, target: Any, labels: Any) -> Apply:
        """Type the operands: affinity and target (b, n_edges, *spatial) floats, labels (b, 1, *spatial) integers."""
        operands = [as_tensor_variable(v) for v in (affinity, target, labels)]
        self.check_operands(*operands)
        result = TensorType("int64", operands[0].type.broadcastable)
        return Apply(self, operands, [result(), result()])

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Variable]:
        """No gradient flows through counts."""
        return [DisconnectedType()() for _ in inputs]


@implements(Engine.maximin_pairs)
def maximin_pairs(
    affinity: Variable, target: Variable, labels: Variable, neighbourhood: Any, unrestricted: bool = True
) -> list[Variable]:
    offsets = tuple(tuple(int(o) for o in offset) for offset in neighbourhood)
    return MaximinPairs(offsets, unrestricted)(affinity, target, labels)
