"""N-d pooling over valid windows: maximum (with the winners' positions), average and sum, with their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor import as_tensor_variable
from pytensor.tensor.type import TensorType

from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.kernels import pool as kernels
from neuromancer.engine.pytensor.ops.base import (
    Ints,
    KernelOp,
    Shape,
    axes_tuple,
    check_window,
    float_operands,
    static_shape,
    window_length,
)
from neuromancer.errors import ArgumentError

Variables = Sequence[Variable]


class _PoolBase(KernelOp):
    """Geometry shared by the pooling family.

    Parameters
    ----------
    size : tuple of int
        Taps of a window per spatial axis; its length is the number of spatial axes, 1 to 3.
    stride : int or tuple of int, optional
        Default: `size`, windows side by side.
    dilation : int or tuple of int
        Distance between neighbouring taps.
    """

    __props__: tuple[str, ...] = ("size", "stride", "dilation")

    def __init__(self, size: Ints, stride: Any = None, dilation: Any = 1) -> None:
        name, ndim = type(self).__name__, len(size)
        if ndim not in (1, 2, 3):
            raise ArgumentError("unsupported number of spatial axes", where=name, got=ndim, expected="1, 2 or 3")
        self.size: Ints = axes_tuple(size, ndim, "size", name)
        self.stride: Ints = axes_tuple(size if stride is None else stride, ndim, "stride", name)
        self.dilation: Ints = axes_tuple(dilation, ndim, "dilation", name)

    @property
    def geometry(self) -> tuple[Ints, Ints, Ints]:
        """(size, stride, dilation)"""
        return self.size, self.stride, self.dilation

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    def _pooled(self, x: Shape) -> Shape:
        return (*x[:2], *static_shape(window_length, x[2:], *self.geometry))

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raise ShapeError if a window is larger than the input."""
        extents = [d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True)]
        check_window(type(self).__name__, shapes[0][2:], extents)


class MaxPool(_PoolBase):
    """Maximum of every window, and its position, which only `MaxPoolGrad` and `TakeWinners` understand.

    With the positions the gradient is one scatter, not a second search; without a gradient they are not computed.
    """

    def make_node(self, x: Any) -> Apply:
        """Check and type x (b, f, *spatial)."""
        (x,) = float_operands(type(self).__name__, self.ndim, x=x)
        self.check_shapes([x.type.shape])
        shape = self._pooled(x.type.shape)
        return Apply(self, [x], [TensorType(x.dtype, shape=shape)(), TensorType("int64", shape=shape)()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(b, f, *windows), twice"""
        return [self._pooled(shapes[0])] * 2

    def kernel(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool tensors."""
        return kernels.max_pool(x, *self.geometry)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Positions are integers and carry no gradient."""
        return [[True, False]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradient for x."""
        return [MaxPoolGrad(*self.geometry)(inputs[0], cotangents[0], outputs[1])]


class MaxPoolGrad(_PoolBase):
    """Gradient of `MaxPool`: gy goes to the maxima; only the shape of x is used."""

    shape_only = (0,)

    def make_node(self, x: Any, gy: Any, index: Any) -> Apply:
        """Type the operands: x (b, f, *spatial), gy and index (b, f, *windows)."""
        x, gy = float_operands(type(self).__name__, self.ndim, x=x, gy=gy)
        return Apply(self, [x, gy, as_tensor_variable(index)], [x.type()])

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Accept all shapes: they come from `MaxPool`."""

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor, gy: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Scatter tensors."""
        return kernels.max_pool_grad(gy, x, index, *self.geometry)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Only gy carries a gradient."""
        return [[False], [True], [False]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Second-order gradient for gy: the cotangent at the maxima."""
        winners = TakeWinners(*self.geometry)(cotangents[0], inputs[2])
        return [disconnected_type(), winners, disconnected_type()]


class TakeWinners(_PoolBase):
    """Values of x (b, f, *spatial) at the maxima found by a `MaxPool`; the adjoint of `MaxPoolGrad`."""

    def make_node(self, x: Any, index: Any) -> Apply:
        """Type the operands: x (b, f, *spatial), index (b, f, *windows)."""
        (x,) = float_operands(type(self).__name__, self.ndim, x=x)
        index = as_tensor_variable(index)
        return Apply(self, [x, index], [TensorType(x.dtype, shape=index.type.shape)()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of index."""
        return [shapes[1]]

    def kernel(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Gather tensors."""
        return kernels.take_winners(x, index, self.size)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Positions carry no gradient."""
        return [[True], [False]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradient for x: the cotangent, scattered to the maxima."""
        x, index = inputs
        return [MaxPoolGrad(*self.geometry)(x, cotangents[0], index), disconnected_type()]


class _AverageBase(_PoolBase):
    """Geometry of average pooling, or of sums if `total`."""

    __props__ = ("size", "stride", "dilation", "total")

    def __init__(self, size: Ints, stride: Any = None, dilation: Any = 1, total: bool = False) -> None:
        super().__init__(size, stride, dilation)
        self.total = bool(total)

    @property
    def divisor(self) -> int:
        """Divisor of the sum of a window."""
        return 1 if self.total else prod(self.size)


class AveragePool(_AverageBase):
    """Average of every window, or its sum if `total`."""

    def make_node(self, x: Any) -> Apply:
        """Check and type x (b, f, *spatial)."""
        (x,) = float_operands(type(self).__name__, self.ndim, x=x)
        self.check_shapes([x.type.shape])
        return Apply(self, [x], [TensorType(x.dtype, shape=self._pooled(x.type.shape))()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(b, f, *windows)"""
        return [self._pooled(shapes[0])]

    def kernel(self, x: torch.Tensor) -> torch.Tensor:
        """Pool tensors."""
        return kernels.average_pool(x, *self.geometry, self.divisor)

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradient for x."""
        return [AveragePoolGrad(*self.geometry, self.total)(inputs[0], cotangents[0])]


class AveragePoolGrad(_AverageBase):
    """Gradient of `AveragePool`: gy distributed over the windows; only the shape of x is used."""

    shape_only = (0,)

    def make_node(self, x: Any, gy: Any) -> Apply:
        """Type the operands: x (b, f, *spatial), gy (b, f, *windows)."""
        x, gy = float_operands(type(self).__name__, self.ndim, x=x, gy=gy)
        return Apply(self, [x, gy], [x.type()])

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Accept all shapes: they come from `AveragePool`."""

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        """Distribute tensors."""
        return kernels.average_pool_grad(gy, x, *self.geometry, self.divisor)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The values of x are not used."""
        return [[False], [True]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Second-order gradient for gy."""
        return [disconnected_type(), AveragePool(*self.geometry, self.total)(cotangents[0])]


@implements(Engine.pool)
def pool(x: Variable, size: Any, stride: Any = None, dilation: Any = 1, mode: str = "max") -> Variable:
    size = axes_tuple(size, x.ndim - 2, "size", "pool")
    if mode == "max":
        return MaxPool(size, stride, dilation)(x)[0]
    if mode not in ("average", "sum"):
        raise ArgumentError("unknown mode", where="pool", got=mode, expected="'max', 'average' or 'sum'")
    return AveragePool(size, stride, dilation, mode == "sum")(x)
