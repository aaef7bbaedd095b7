"""Pair counts of the maximin affinity loss as a symbolic operation, computed on the host."""

from __future__ import annotations

from typing import Any

import pytensor.tensor as pt
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.tensor.type import TensorType

from neuromancer.engine.common.maximin import MaximinBase
from neuromancer.engine.interface import Engine, implements


class MaximinPairs(MaximinBase, Op):
    """`MaximinBase` as an operation."""

    def make_node(self, affinity: Any, target: Any, labels: Any) -> Apply:
        """Type the operands: affinity and target (b, n_edges, *spatial) floats, labels (b, 1, *spatial) integers."""
        operands = [pt.as_tensor_variable(v) for v in (affinity, target, labels)]
        self.check_operands(*operands)
        result = TensorType("int64", shape=operands[0].type.shape)
        return Apply(self, operands, [result(), result()])

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """No gradient flows through counts."""
        return [disconnected_type() for _ in inputs]


@implements(Engine.maximin_pairs)
def maximin_pairs(
    affinity: Variable, target: Variable, labels: Variable, neighbourhood: Any, unrestricted: bool = True
) -> list[Variable]:
    offsets = tuple(tuple(int(o) for o in offset) for offset in neighbourhood)
    return MaximinPairs(offsets, unrestricted)(affinity, target, labels)
