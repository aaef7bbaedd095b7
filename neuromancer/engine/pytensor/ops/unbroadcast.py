"""Axes whose length is forgotten, so that they are not broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.type import TensorType

from neuromancer.engine.pytensor.ops.fence import Identity


class Unbroadcast(Identity):
    """The identity, whose type does not say that some axes have length 1.

    Parameters
    ----------
    axes : tuple of int
    """

    __props__ = ("axes",)

    def __init__(self, axes: Sequence[int]) -> None:
        self.axes = tuple(sorted(axes))

    def make_node(self, x: Any) -> Apply:
        """Type x, of any shape."""
        x = pt.as_tensor_variable(x)
        sizes = [None if axis in self.axes else size for axis, size in enumerate(x.type.shape)]
        return Apply(self, [x], [TensorType(x.type.dtype, shape=sizes)()])

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Sequence[Variable]
    ) -> Sequence[Variable]:
        """Pass the cotangent on, with the lengths that x is known to have."""
        return [pt.specify_shape(cotangents[0], inputs[0].type.shape)]
