"""Sources and values."""

from __future__ import annotations

from typing import Any

from neuromancer.interop.leaving.registry import leaves, stays
from neuromancer.interop.leaving.target import Target
from neuromancer.interop.leaving.weights import weight
from neuromancer.nodes.inputs import GenericInput, Input
from neuromancer.nodes.random_variable import GaussianAEVBPrior, GaussianRV
from neuromancer.nodes.value import InitialState_like, ValueNode

stays("it takes any Python object, not an array", GenericInput)
stays("it draws random numbers, for predictions, too", GaussianRV)
stays("it belongs to the training, not to the prediction", GaussianAEVBPrior)


@leaves(Input)
def _source(t: Target, node: Input) -> Any:
    return t.input(node)


@leaves(ValueNode)
def _value(t: Target, node: ValueNode) -> Any:
    return t.operand(weight(node, "value"))


@leaves(InitialState_like)
def _initial_state(t: Target, node: InitialState_like, x: Any) -> Any:
    shape = node.parent.shape
    f = shape.tag2index("f")
    order = [0 if k == f else "x" for k in range(len(shape))]
    sizes = [node.override_f if k == f else t.size(x, k) for k in range(len(shape))]
    return t.expand(t.operand(weight(node, "value").transposed(*order)), sizes)
