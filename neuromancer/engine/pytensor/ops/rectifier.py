"""The rectifier, with a gradient computed from its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
import torch
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable

from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.kernels.layout import laid_out_like
from neuromancer.engine.pytensor.ops.base import KernelOp, Shape

Variables = Sequence[Variable]


class Relu(KernelOp):
    """max(x, 0) of a floating point tensor.

    The gradient at x = 0, where any number between 0 and 1 is a subgradient, is 0. So it is computed from the result,
    and x need not be kept in memory.
    """

    __props__ = ()

    def make_node(self, x: Any) -> Apply:
        """Type x, of any shape."""
        x = pt.as_tensor_variable(x)
        return Apply(self, [x], [x.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Rectify a tensor."""
        return torch.clamp_min(x, 0)

    def kernel_in_place(self, x: torch.Tensor) -> torch.Tensor:
        """Rectify a tensor in place."""
        return torch.clamp_min_(x, 0)

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradient for x."""
        return [ReluGrad()(outputs[0], cotangents[0])]


class ReluGrad(KernelOp):
    """``(y > 0) * gy``: the gradient of ``y = max(x, 0)``."""

    __props__ = ()

    def make_node(self, y: Any, gy: Any) -> Apply:
        """Type the operands: y and gy of one shape."""
        y, gy = pt.as_tensor_variable(y), pt.as_tensor_variable(gy)
        return Apply(self, [y, gy if gy.dtype == y.dtype else pt.cast(gy, y.dtype)], [y.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of y."""
        return [shapes[0]]

    def kernel(self, y: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        """Keep gy where y > 0."""
        return torch.ops.aten.threshold_backward(laid_out_like(gy, y), y, 0)

    def kernel_in_place(self, y: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        """Compute the gradient, overwriting gy or its copy in the memory format of y, which the result always has."""
        gy = laid_out_like(gy, y)
        return torch.ops.aten.threshold_backward.grad_input(gy, y, 0, grad_input=gy)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Only gy carries a gradient."""
        return [[False], [True]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Second-order gradient for gy: zero where y <= 0."""
        return [disconnected_type(), ReluGrad()(inputs[0], cotangents[0])]


@implements(Engine.relu)
def relu(x: Variable) -> Variable:
    return Relu()(x)
