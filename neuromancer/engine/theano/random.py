"""Random streams: sources of symbolic random tensors."""

from __future__ import annotations

from theano.gof import Variable

from neuromancer.engine.common.random import RandomStreamBase
from neuromancer.engine.theano.random_op import RandomDraw
from neuromancer.engine.theano.tensors import SharedVariable


class RandomStream(RandomStreamBase):
    __doc__ = RandomStreamBase.__doc__
    variable_class = Variable
    shared_class = SharedVariable
    draw_class = RandomDraw
