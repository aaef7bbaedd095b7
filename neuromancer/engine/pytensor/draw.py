"""Drawings of PyTensor graphs."""

from __future__ import annotations

from typing import Any

from pytensor.compile.sharedvalue import SharedVariable as PlainShared
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import applys_between, graph_inputs
from pytensor.printing import pydotprint
from pytensor.tensor.elemwise import Elemwise

from neuromancer.engine.common.drawing import Drawer
from neuromancer.engine.pytensor.function import CompiledFunction
from neuromancer.engine.pytensor.tensors import known_shape


def _ends(target: Any) -> tuple[list[Variable], list[Variable]] | None:
    """Inputs and outputs of a compiled function's graph after rewriting."""
    if not isinstance(target, CompiledFunction):
        return None
    fgraph = target.pytensor_function.maker.fgraph
    return list(fgraph.inputs), list(fgraph.outputs)


def _operation_name(node: Apply) -> str:
    return str(node.op.scalar_op) if isinstance(node.op, Elemwise) else str(node.op)


_DRAWER = Drawer(
    Variable,
    Constant,
    PlainShared,
    ends=_ends,
    graph_inputs=graph_inputs,
    operations=applys_between,
    operation_name=_operation_name,
    known_sizes=known_shape,
    pydotprint=pydotprint,
    graph_of=lambda target: target.pytensor_function if isinstance(target, CompiledFunction) else target,
)
dot_text = _DRAWER.dot_text
draw = _DRAWER.draw
