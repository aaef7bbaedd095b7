"""Drawings of Theano graphs: pictures by Theano's own ``pydotprint``, DOT source as in every engine."""

from __future__ import annotations

from typing import Any

from theano.compile.sharedvalue import SharedVariable as PlainShared
from theano.gof import Constant, Variable
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort
from theano.printing import pydotprint
from theano.tensor.elemwise import Elemwise

from neuromancer.engine.common.drawing import Drawer
from neuromancer.engine.theano.function import CompiledFunction
from neuromancer.engine.theano.tensors import known_shape


def _own_function(target: Any) -> Any:
    return target.theano_function if isinstance(target, CompiledFunction) else None


_DRAWER = Drawer(
    Variable,
    Constant,
    PlainShared,
    Elemwise,
    own_function=_own_function,
    graph_inputs=graph_inputs,
    operations=io_toposort,
    known_shape=known_shape,
    pydotprint=pydotprint,
    own_pictures=True,
)
dot_text = _DRAWER.dot_text
draw = _DRAWER.draw
