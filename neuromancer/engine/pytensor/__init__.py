"""The PyTensor engine: graphs of the maintained successor of Theano, run through torch."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Constant, Variable

from neuromancer.engine.common.views import apply_view
from neuromancer.engine.pytensor import (
    c_code,  # changes how PyTensor reads it
    forks,  # registers a hook for forked children
    names,
)
from neuromancer.engine.pytensor.cores import shared_processor
from neuromancer.engine.pytensor.costs import conv_cost, is_planar, measure_speed, reads_parts, unit_costs
from neuromancer.engine.pytensor.devices import calls_under_way, free_memory
from neuromancer.engine.pytensor.draw import dot_text, draw
from neuromancer.engine.pytensor.function import CompiledFunction, building, disconnected_grad, function, grad
from neuromancer.engine.pytensor.kernels.memory import kept_memory, return_memory
from neuromancer.engine.pytensor.kernels.pool import pool_copies
from neuromancer.engine.pytensor.ops.borders import pad
from neuromancer.engine.pytensor.ops.conv import conv, conv_transpose
from neuromancer.engine.pytensor.ops.fence import fence
from neuromancer.engine.pytensor.ops.interpolation import resize
from neuromancer.engine.pytensor.ops.maximin import maximin_pairs
from neuromancer.engine.pytensor.ops.pool import pool
from neuromancer.engine.pytensor.ops.rectifier import relu
from neuromancer.engine.pytensor.random import RandomStream
from neuromancer.engine.pytensor.scan import scan
from neuromancer.engine.pytensor.tensors import (
    ConstantVariable,
    SharedVariable,
    constant,
    generic,
    known_shape,
    log_softmax,
    rewire,
    softmax,
    tensor,
)
from neuromancer.engine.pytensor.views import view_of

NAME = "pytensor"
T: Any = names  # the types of its functions are not known
