"""Interpolation of the spatial axes to other sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
import torch
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.tensor.type import TensorType

from neuromancer.engine.common.arguments import INTERPOLATIONS, check_choice
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.kernels import interpolation as kernels
from neuromancer.engine.pytensor.ops.base import KernelOp, Shape, float_operands

Variables = Sequence[Variable]


class Resize(KernelOp):
    """x (b, f, *spatial), interpolated to `sizes`, one per spatial axis.

    Parameters
    ----------
    mode : {'nearest', 'linear'}
    align_corners : bool
        Whether the outermost elements, not their outer borders, stay where they are (for 'linear').
    """

    __props__ = ("mode", "align_corners")

    def __init__(self, mode: str, align_corners: bool = False) -> None:
        check_choice(mode, INTERPOLATIONS, "mode", "Resize")
        self.mode, self.align_corners = mode, bool(align_corners)

    def make_node(self, x: Any, *sizes: Any) -> Apply:
        """Check and type x (b, f, *spatial) and its new sizes."""
        (x,) = float_operands("Resize", len(sizes), x=x)
        scalars = [pt.cast(pt.as_tensor_variable(n), "int64") for n in sizes]
        known = [int(np.asarray(n)) if isinstance(n, (int, np.integer)) else _constant(n) for n in sizes]
        return Apply(self, [x, *scalars], [TensorType(x.dtype, shape=(*x.type.shape[:2], *known))()])

    def infer_shape(self, *args: Any) -> list[Shape]:
        """Shape rule: the sizes are inputs."""
        node, shapes = args[-2:]
        return [(*shapes[0][:2], *node.inputs[1:])]

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(b, f, *sizes): known only from values."""
        return [(*shapes[0][:2], *[None] * (len(shapes) - 1))]

    def kernel(self, x: torch.Tensor, *sizes: Any) -> torch.Tensor:
        """Interpolate a tensor."""
        return kernels.resize(x, tuple(int(n) for n in sizes), self.mode, self.align_corners)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Sizes carry no gradient."""
        return [[True], *[[False]] * (len(node.inputs) - 1)]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradient for x."""
        gx = ResizeGrad(self.mode, self.align_corners)(inputs[0], cotangents[0])
        return [gx, *(disconnected_type() for _ in inputs[1:])]


class ResizeGrad(KernelOp):
    """Gradient of `Resize`, its adjoint; only the shape of x is used."""

    __props__ = ("mode", "align_corners")

    def __init__(self, mode: str, align_corners: bool) -> None:
        self.mode, self.align_corners = mode, align_corners

    def make_node(self, x: Any, gy: Any) -> Apply:
        """Type the operands: x as in `Resize`, gy like its output."""
        x, gy = float_operands("ResizeGrad", x.ndim - 2, x=x, gy=gy)
        return Apply(self, [x, gy], [x.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        """Gather what was interpolated from every element."""
        return kernels.resize_grad(gy, tuple(x.shape), self.mode, self.align_corners)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The values of x are not used."""
        return [[False], [True]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Second-order gradient for gy: the cotangent, interpolated."""
        gy = inputs[1]
        sizes = [n if n is not None else gy.shape[k + 2] for k, n in enumerate(gy.type.shape[2:])]
        return [disconnected_type(), Resize(self.mode, self.align_corners)(cotangents[0], *sizes)]


def _constant(size: Any) -> int | None:
    return int(size.data) if isinstance(size, Constant) else None


@implements(Engine.resize)
def resize(x: Variable, sizes: Sequence[Any], mode: str = "nearest", align_corners: bool = False) -> Variable:
    return Resize(mode, align_corners)(x, *sizes)
