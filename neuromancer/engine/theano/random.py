"""Random streams: sources of symbolic random tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from theano.gof import Variable

from neuromancer.engine.common.random import RandomStreamBase
from neuromancer.engine.theano.random_op import RandomDraw
from neuromancer.engine.theano.tensors import SharedVariable


class RandomStream(RandomStreamBase):
    """Source of symbolic random tensors that are drawn afresh at every call of a compiled function.

    Parameters
    ----------
    seed : int, optional
        Default: one from the package's own seeds (`neuromancer.utils.new_seed`).

    Examples
    --------
    >>> from neuromancer.engine import function
    >>> stream = RandomStream(1)
    >>> draw = function([], stream.uniform((2,), "float32"))
    >>> first, second = draw(), draw()
    >>> stream.reseed(1)
    >>> bool((draw() == first).all()), bool((first == second).all())
    (True, False)
    """

    variable_class = Variable

    def _state(self, value: np.ndarray, name: str) -> SharedVariable:
        return SharedVariable(value, name)

    def _sample(self, kind: str, state: Any, p: Any, shape: Sequence[Any], dtype: str) -> Variable:
        return RandomDraw(kind, dtype)(state, p, *shape)[1]
