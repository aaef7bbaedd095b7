"""Fused operations, created only by graph rewrites, that torch computes in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.kernels import conv as kernels
from neuromancer.engine.pytensor.ops.base import KernelOp, Shape
from neuromancer.engine.pytensor.ops.conv import Conv, ConvBase


class ConvBias(ConvBase):
    """`Conv` followed by the addition of one number per output channel."""

    def make_node(self, x: Any, w: Any, bias: Any) -> Apply:
        """Type the operands: x and w as in `Conv`, bias (n_out,)."""
        plain = self.without_bias.make_node(x, w)
        return Apply(self, [*plain.inputs, pt.as_tensor_variable(bias)], [plain.outputs[0].type()])

    @property
    def without_bias(self) -> Conv:
        """Return the convolution alone."""
        return Conv(self.ndim, *self.geometry, groups=self.groups)

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raise ShapeError as `Conv` does."""
        self.check_kernel(shapes[0], shapes[1])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(b, n_out, *windows)"""
        return self.window_shape(*shapes[:2])

    def kernel(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Convolve tensors and add the bias."""
        return kernels.conv(x, w, bias, *self.geometry, self.groups)


class _Elementwise(KernelOp):
    """Function of one floating point tensor."""

    __props__: tuple[str, ...] = ()

    def make_node(self, x: Any) -> Apply:
        """Type x, of any shape."""
        x = pt.as_tensor_variable(x)
        return Apply(self, [x], [x.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel_in_place(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the result in the memory of x."""
        raise NotImplementedError


class LeakyRelu(_Elementwise):
    """x where x > 0, else ``slope * x``."""

    __props__ = ("slope",)

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Rectify a tensor."""
        return torch.nn.functional.leaky_relu(x, self.slope)

    def kernel_in_place(self, x: torch.Tensor) -> torch.Tensor:
        """Rectify a tensor in place."""
        return torch.nn.functional.leaky_relu_(x, self.slope)


class Silu(_Elementwise):
    """``x * sigmoid(x)``."""

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the function of a tensor."""
        return torch.nn.functional.silu(x)

    def kernel_in_place(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the function of a tensor in place."""
        return torch.nn.functional.silu(x, inplace=True)


class Gelu(_Elementwise):
    """``x * erfc(-x / sqrt(2)) / 2``."""

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the function of a tensor."""
        return torch.nn.functional.gelu(x)

    def kernel_in_place(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the function of a tensor in place."""
        return torch.ops.aten.gelu_(x)


class Elu(_Elementwise):
    """x where x > 0, else ``alpha * (exp(x) - 1)``."""

    __props__ = ("alpha",)

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the function of a tensor."""
        return torch.nn.functional.elu(x, self.alpha)

    def kernel_in_place(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the function of a tensor in place."""
        return torch.nn.functional.elu_(x, self.alpha)


class Prelu(KernelOp):
    """x where x > 0, else x times the slope of its channel, or the only slope."""

    __props__ = ()

    def make_node(self, x: Any, slope: Any) -> Apply:
        """Type the operands: x (b, c, ...), slope (c,) or (1,)."""
        x, slope = pt.as_tensor_variable(x), pt.as_tensor_variable(slope)
        return Apply(self, [x, slope], [x.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """Rectify a tensor."""
        return torch.nn.functional.prelu(x, slope)
