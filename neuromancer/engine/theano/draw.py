"""Drawings of Theano graphs: pictures by Theano's own ``pydotprint``, DOT text as in every engine."""

from __future__ import annotations

from typing import Any

from theano.compile.sharedvalue import SharedVariable as PlainShared
from theano.gof import Apply, Constant, Variable
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort
from theano.printing import pydotprint
from theano.tensor.elemwise import Elemwise

from neuromancer.engine.common.drawing import Drawer
from neuromancer.engine.theano.function import CompiledFunction
from neuromancer.engine.theano.tensors import known_shape


def _ends(target: Any) -> tuple[list[Variable], list[Variable]] | None:
    """Inputs and outputs of a compiled function's graph after rewriting."""
    if not isinstance(target, CompiledFunction):
        return None
    fgraph = target.theano_function.maker.fgraph
    return list(fgraph.inputs), list(fgraph.outputs)


def _operation_name(node: Apply) -> str:
    return str(node.op.scalar_op) if isinstance(node.op, Elemwise) else str(node.op)


_DRAWER = Drawer(
    Variable,
    Constant,
    PlainShared,
    ends=_ends,
    graph_inputs=graph_inputs,
    operations=io_toposort,
    operation_name=_operation_name,
    known_sizes=known_shape,
    pydotprint=pydotprint,
    graph_of=lambda target: target.theano_function if isinstance(target, CompiledFunction) else target,
    own_pictures=True,
)
dot_text = _DRAWER.dot_text
draw = _DRAWER.draw
