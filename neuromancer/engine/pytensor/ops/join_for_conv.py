"""Concatenation of images that only a convolution reads, created only when a program for the CPU is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from neuromancer.engine.pytensor.ops.conv import ConvBase


class JoinForConv(Op):
    """Concatenates images along the channels; the result on a device may be `kernels.joining.Parts`, without a copy.

    Attributes
    ----------
    conv : Conv or ConvBias
        The only reader.

    Parameters
    ----------
    conv : Conv or ConvBias
    image : Variable
        Of the type of the result.
    """

    def __init__(self, conv: ConvBase, image: Variable) -> None:
        self.conv, self._type = conv, image.type

    def make_node(self, *operands: Variable) -> Apply:
        """Type the operands: the images, then the kernel of the convolution."""
        return Apply(self, list(operands), [self._type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Concatenate numpy arrays."""
        output_storage[0][0] = np.concatenate(inputs[:-1], axis=1)

    def __str__(self) -> str:
        return "Join"
