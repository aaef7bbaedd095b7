"""Extension of the spatial axes beyond their ends: by a constant, by reflection, or by the outermost elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.type import TensorType

from neuromancer.engine.common.arguments import BORDERS, check_choice, check_reflected
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.kernels import borders as kernels
from neuromancer.engine.pytensor.ops.base import Ints, KernelOp, Shape, axes_tuple, float_operands, static_shape

Variables = Sequence[Variable]


class _PadBase(KernelOp):
    """Geometry of padding.

    Parameters
    ----------
    before, after : tuple of int
        Per spatial axis, in steps of `dilation` elements.
    mode : {'constant', 'reflect', 'replicate'}
    value : float
        The constant.
    dilation : int or tuple of int
        Every axis is extended as so many interleaved ones.
    """

    __props__ = ("before", "after", "mode", "value", "dilation")

    def __init__(
        self, before: Ints, after: Ints, mode: str = "constant", value: float = 0.0, dilation: Any = 1
    ) -> None:
        name, ndim = "Pad", len(before)
        self.before: Ints = axes_tuple(before, ndim, "before", name, least=0)
        self.after: Ints = axes_tuple(after, ndim, "after", name, least=0)
        self.dilation: Ints = axes_tuple(dilation, ndim, "dilation", name)
        check_choice(mode, BORDERS, "mode", name)
        self.mode, self.value = mode, float(value)

    @property
    def _ends(self) -> tuple[Ints, Ints, str]:
        return self.before, self.after, self.mode


class Pad(_PadBase):
    """x (b, f, *spatial), with `before` and `after` more elements at the ends of every spatial axis."""

    def make_node(self, x: Any) -> Apply:
        """Check and type x (b, f, *spatial)."""
        (x,) = float_operands("Pad", len(self.before), x=x)
        self.check_shapes([x.type.shape])
        return Apply(self, [x], [TensorType(x.dtype, shape=self.output_shapes([x.type.shape])[0])()])

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raise ShapeError if an axis is too short to be reflected."""
        if self.mode == "reflect":
            check_reflected("Pad", shapes[0][2:], self.dilation, self.before, self.after)

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(b, f, *longer)"""
        longer = static_shape(lambda n, a, b, d: n + (a + b) * d, shapes[0][2:], self.before, self.after, self.dilation)
        return [(*shapes[0][:2], *longer)]

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Extend a tensor."""
        return kernels.extend(x, *self._ends, self.value, self.dilation)

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradient for x."""
        return [PadGrad(*self._ends, dilation=self.dilation)(inputs[0], cotangents[0])]


class PadGrad(_PadBase):
    """Gradient of `Pad`, its adjoint; only the shape of x is used."""

    def make_node(self, x: Any, gy: Any) -> Apply:
        """Type the operands: x as in `Pad`, gy like its output."""
        x, gy = float_operands("PadGrad", len(self.before), x=x, gy=gy)
        return Apply(self, [x, gy], [x.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        """Fold the ends of gy back."""
        return kernels.fold(gy, tuple(x.shape), *self._ends, self.dilation)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The values of x are not used."""
        return [[False], [True]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Second-order gradient for gy: the extension of the cotangent."""
        return [disconnected_type(), Pad(*self._ends, dilation=self.dilation)(cotangents[0])]


@implements(Engine.pad)
def pad(
    x: Variable, before: Any, after: Any, mode: str = "constant", value: float = 0.0, dilation: Any = 1
) -> Variable:
    ndim = x.ndim - 2
    ends = axes_tuple(before, ndim, "before", "pad", least=0), axes_tuple(after, ndim, "after", "pad", least=0)
    return Pad(*ends, mode, value, dilation)(x) if any(map(any, ends)) else x
