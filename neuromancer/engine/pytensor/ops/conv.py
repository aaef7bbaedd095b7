"""N-d convolution (cross-correlation), its two gradients, and transposed convolution.

The four are linear in each operand and adjoint to one another, so gradients of all orders are among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.type import TensorType

from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.kernels import conv as kernels
from neuromancer.engine.pytensor.ops.base import (
    Ints,
    KernelOp,
    Shape,
    axes_tuple,
    check_channels,
    check_filled,
    check_window,
    float_operands,
    full_length,
    positive,
    static_shape,
    window_length,
)
from neuromancer.errors import ArgumentError

Variables = Sequence[Variable]


class ConvBase(KernelOp):
    """Geometry shared by the convolution family.

    Parameters
    ----------
    ndim : int
        Number of spatial axes, 1 to 3.
    stride, dilation, pad : int or tuple of int
        Per spatial axis; `pad` zeros go on both ends.
    groups : int
        Channels are split into as many groups, each with kernels of its own.
    """

    __props__: tuple[str, ...] = ("ndim", "stride", "dilation", "pad", "groups")

    def __init__(self, ndim: int, stride: Any = 1, dilation: Any = 1, pad: Any = 0, groups: int = 1) -> None:
        name = type(self).__name__
        if ndim not in (1, 2, 3):
            raise ArgumentError("unsupported number of spatial axes", where=name, got=ndim, expected="1, 2 or 3")
        self.ndim = ndim
        self.stride: Ints = axes_tuple(stride, ndim, "stride", name)
        self.dilation: Ints = axes_tuple(dilation, ndim, "dilation", name)
        self.pad: Ints = axes_tuple(pad, ndim, "pad", name, least=0)
        self.groups = positive(groups, "groups", name)

    @property
    def geometry(self) -> tuple[Ints, Ints, Ints]:
        """(stride, dilation, pad)"""
        return self.stride, self.dilation, self.pad

    def _adjoint(self, kind: type[ConvBase]) -> ConvBase:
        return kind(self.ndim, *self.geometry, groups=self.groups)

    def window_shape(self, x: Shape, w: Shape) -> list[Shape]:
        """Return the shape of the convolution of x and w."""
        return [(x[0], w[0], *static_shape(window_length, x[2:], w[2:], *self.geometry))]

    def check_kernel(self, x: Shape, w: Shape) -> None:
        """Raise ShapeError on different channels or a kernel larger than its input."""
        check_channels(type(self).__name__, x, w, 1, self.groups)
        extents = static_shape(lambda k, d, p: d * (k - 1) + 1 - 2 * p, w[2:], self.dilation, self.pad)
        check_window(type(self).__name__, x[2:], extents)


class Conv(ConvBase):
    """y[b, o, i] = sum over c, j of w[o, c, j] x[b, c, stride i + dilation j - pad].

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> Conv(2, stride=2)(pt.tensor4(shape=(None, 3, 9, 9)), pt.tensor4(shape=(8, 3, 3, 3))).type.shape
    (None, 8, 4, 4)
    """

    def make_node(self, x: Any, w: Any) -> Apply:
        """Check and type the operands: x (b, n_in, *spatial), w (n_out, n_in, *kernel)."""
        x, w = float_operands(type(self).__name__, self.ndim, x=x, w=w)
        self.check_shapes([x.type.shape, w.type.shape])
        (shape,) = self.window_shape(x.type.shape, w.type.shape)
        return Apply(self, [x, w], [TensorType(x.dtype, shape=shape)()])

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raise ShapeError on different channels or a kernel larger than its input."""
        self.check_kernel(shapes[0], shapes[1])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(b, n_out, *windows)"""
        return self.window_shape(*shapes[:2])

    def kernel(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Convolve tensors."""
        return kernels.conv(x, w, None, *self.geometry, self.groups)

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradients for x and w."""
        x, w = inputs
        (gy,) = cotangents
        return [self._adjoint(ConvGradInput)(x, w, gy), self._adjoint(ConvGradKernel)(x, w, gy)]


class ConvGradInput(ConvBase):
    """Gradient of `Conv` for its input; only the shape of x is used."""

    def make_node(self, x: Any, w: Any, gy: Any) -> Apply:
        """Type the operands: x and w as in `Conv`, gy like the output of `Conv`."""
        x, w, gy = float_operands(type(self).__name__, self.ndim, x=x, w=w, gy=gy)
        return Apply(self, [x, w, gy], [x.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of x."""
        return [shapes[0]]

    def kernel(self, x: torch.Tensor, w: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        """Compute the gradient for x."""
        return kernels.conv_grad_input(gy, x, w, *self.geometry, self.groups)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The values of x are not used."""
        return [[False], [True], [True]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Second-order gradients for w and gy."""
        _, w, gy = inputs
        (g,) = cotangents
        return [disconnected_type(), self._adjoint(ConvGradKernel)(g, w, gy), self._adjoint(Conv)(g, w)]


class ConvGradKernel(ConvBase):
    """Gradient of `Conv` for its kernel; only the shape of w is used."""

    def make_node(self, x: Any, w: Any, gy: Any) -> Apply:
        """Type the operands: x and w as in `Conv`, gy like the output of `Conv`."""
        x, w, gy = float_operands(type(self).__name__, self.ndim, x=x, w=w, gy=gy)
        return Apply(self, [x, w, gy], [w.type()])

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of w."""
        return [shapes[1]]

    def kernel(self, x: torch.Tensor, w: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        """Correlate x with gy."""
        return kernels.conv_grad_kernel(gy, x, w, *self.geometry, self.groups)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """The values of w are not used."""
        return [[True], [False], [True]]

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Second-order gradients for x and gy."""
        x, _, gy = inputs
        (g,) = cotangents
        return [self._adjoint(ConvGradInput)(x, g, gy), disconnected_type(), self._adjoint(Conv)(x, g)]


class ConvTranspose(ConvBase):
    """Up-convolution: the adjoint of `Conv` at full size, kernel (n_in, n_out / groups, *kernel).

    Parameters
    ----------
    ndim, stride, dilation, pad, groups
        Those of the convolution.
    output_padding : int or tuple of int
        Elements added at the far end, below the stride: the convolution skips as many.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> ConvTranspose(1, stride=2)(pt.tensor3(shape=(1, 3, 4)), pt.tensor3(shape=(3, 5, 2))).type.shape
    (1, 5, 8)
    """

    __props__ = (*ConvBase.__props__, "output_padding")

    def __init__(
        self, ndim: int, stride: Any = 1, dilation: Any = 1, pad: Any = 0, groups: int = 1, output_padding: Any = 0
    ) -> None:
        super().__init__(ndim, stride, dilation, pad, groups)
        self.output_padding: Ints = axes_tuple(output_padding, ndim, "output_padding", type(self).__name__, least=0)
        if any(extra and extra >= step for extra, step in zip(self.output_padding, self.stride, strict=True)):
            raise ArgumentError(
                "the output padding must be smaller than the stride",
                where=type(self).__name__,
                got=f"output_padding {self.output_padding}, stride {self.stride}",
                nearest=tuple(min(e, s - 1) for e, s in zip(self.output_padding, self.stride, strict=True)),
            )

    def make_node(self, x: Any, w: Any) -> Apply:
        """Check and type the operands: x (b, n_in, *spatial), w (n_in, n_out / groups, *kernel)."""
        x, w = float_operands(type(self).__name__, self.ndim, x=x, w=w)
        self.check_shapes([x.type.shape, w.type.shape])
        (shape,) = self.output_shapes([x.type.shape, w.type.shape])
        return Apply(self, [x, w], [TensorType(x.dtype, shape=shape)()])

    def check_shapes(self, shapes: Sequence[Shape]) -> None:
        """Raise ShapeError on different channels, or if padding leaves an empty output."""
        x, w = shapes
        check_channels(type(self).__name__, x, w, 0, self.groups)
        check_filled(type(self).__name__, self._full(x, w))

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """(b, n_out, *full)"""
        x, w = shapes
        return [(x[0], None if w[1] is None else w[1] * self.groups, *self._full(x, w))]

    def _full(self, x: Shape, w: Shape) -> Shape:
        return static_shape(full_length, x[2:], w[2:], *self.geometry, self.output_padding)

    def kernel(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Up-convolve tensors."""
        return kernels.conv_transpose(x, w, None, *self.geometry, self.groups, self.output_padding)

    def pullback(self, inputs: Variables, outputs: Variables, cotangents: Variables) -> Variables:
        """Gradients for x and w: those of a convolution with x and gy swapped."""
        x, w = inputs
        (gy,) = cotangents
        return [self._adjoint(Conv)(gy, w), self._adjoint(ConvGradKernel)(gy, w, x)]


@implements(Engine.conv)
def conv(x: Variable, w: Variable, stride: Any = 1, dilation: Any = 1, pad: Any = 0, groups: int = 1) -> Variable:
    return Conv(x.ndim - 2, stride, dilation, pad, groups)(x, w)


@implements(Engine.conv_transpose)
def conv_transpose(
    x: Variable,
    w: Variable,
    stride: Any = 1,
    dilation: Any = 1,
    pad: Any = 0,
    groups: int = 1,
    output_padding: Any = 0,
) -> Variable:
    return ConvTranspose(x.ndim - 2, stride, dilation, pad, groups, output_padding)(x, w)
