"""Fused operations, created only by graph rewrites, that torch computes in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
import torch
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.kernels import conv as kernels
from neuromancer.engine.pytensor.ops.base import Shape
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
