"""Random streams: sources of symbolic random tensors."""

from __future__ import annotations

from pytensor.graph.basic import Variable

from neuromancer.engine.common.random import RandomStreamBase
from neuromancer.engine.pytensor.ops.random import RandomDraw
from neuromancer.engine.pytensor.tensors import SharedVariable


class RandomStream(RandomStreamBase):
    __doc__ = RandomStreamBase.__doc__
    variable_class = Variable
    shared_class = SharedVariable
    draw_class = RandomDraw
