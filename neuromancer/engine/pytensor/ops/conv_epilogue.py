"""Convolutions with elementwise operations on their result, created only when a program for the CPU is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

from neuromancer.engine.pytensor.ops.base import tensor_view
from neuromancer.engine.pytensor.ops.conv import ConvBase


class FusedConv(Op):
    """A convolution followed by elementwise operations.

    Attributes
    ----------
    conv : Conv, ConvBias or ConvTranspose
    convolution, after : Apply
        The convolution and the elementwise operations, of which it computes the operand at `position`.
    kinds : tuple of {'channel', 'full'}
        Kinds of its other operands.

    Parameters
    ----------
    conv : Apply
    after : Apply
        Reads the result of `conv` at `position`.
    position : int
    kinds : sequence of str
    """

    conv: ConvBase

    def __init__(self, conv: Apply, after: Apply, position: int, kinds: Sequence[str]) -> None:
        self.convolution, self.conv = conv, conv.op
        self.after, self.position, self.kinds = after, position, tuple(kinds)

    def make_node(self, *operands: Variable) -> Apply:
        """Type the operands: those of the convolution, then the other ones of the elementwise operations."""
        return Apply(self, list(operands), [self.after.outputs[0].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Compute on numpy arrays."""
        first = len(inputs) - len(self.kinds)
        result = self.conv.kernel(*(tensor_view(i) for i in inputs[:first])).numpy()
        beside = [*inputs[first : first + self.position], result, *inputs[first + self.position :]]
        self.after.op.perform(self.after, beside, output_storage)

    def __str__(self) -> str:
        return f"{self.conv} + {self.after.op}"
