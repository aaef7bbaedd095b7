"""Drawings of PyTensor graphs."""

from __future__ import annotations

from typing import Any

from pytensor.compile.sharedvalue import SharedVariable as PlainShared
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import applys_between, graph_inputs
from pytensor.printing import pydotprint
from pytensor.tensor.elemwise import Elemwise

from neuromancer.engine.common.drawing import Drawer
from neuromancer.engine.pytensor.function import CompiledFunction
from neuromancer.engine.pytensor.tensors import known_shape


def _own_function(target: Any) -> Any:
    return target.pytensor_function if isinstance(target, CompiledFunction) else None


_DRAWER = Drawer(
    Variable,
    Constant,
    PlainShared,
    Elemwise,
    own_function=_own_function,
    graph_inputs=graph_inputs,
    operations=applys_between,
    known_shape=known_shape,
    pydotprint=pydotprint,
)
dot_text = _DRAWER.dot_text
draw = _DRAWER.draw
