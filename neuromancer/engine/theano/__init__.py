"""The Theano engine: Theano 1.0.5 itself, on the CPU."""

from __future__ import annotations

from typing import Any

from neuromancer.engine.theano import library  # makes Theano importable for all that follows

# isort: split

from theano.gof import Constant, Variable

from neuromancer.engine.common.costs import all_cores as shared_processor
from neuromancer.engine.common.costs import copies_by_axes as pool_copies
from neuromancer.engine.common.costs import no_device_memory as free_memory
from neuromancer.engine.common.costs import nothing_kept as kept_memory
from neuromancer.engine.common.costs import nothing_to_return as return_memory
from neuromancer.engine.common.costs import one_call_at_a_time as calls_under_way
from neuromancer.engine.common.views import apply_view
from neuromancer.engine.theano import names
from neuromancer.engine.theano.borders import pad
from neuromancer.engine.theano.convolution import (
    conv,
    conv_cost,
    conv_transpose,
    is_planar,
    measure_speed,
    reads_parts,
    unit_costs,
)
from neuromancer.engine.theano.draw import dot_text, draw
from neuromancer.engine.theano.fence import fence
from neuromancer.engine.theano.function import CompiledFunction, building, function, grad
from neuromancer.engine.theano.interpolation import resize
from neuromancer.engine.theano.maximin import maximin_pairs
from neuromancer.engine.theano.pooling import pool
from neuromancer.engine.theano.random import RandomStream
from neuromancer.engine.theano.scan import scan
from neuromancer.engine.theano.tensors import (
    ConstantVariable,
    SharedVariable,
    constant,
    disconnected_grad,
    generic,
    known_shape,
    log_softmax,
    relu,
    rewire,
    softmax,
    tensor,
)
from neuromancer.engine.theano.views import view_of

NAME = "theano"
T: Any = names  # the types of its functions are not known
