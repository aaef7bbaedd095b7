"""Torch forms of convolution and pooling. All but float32 on a GPU prefer the channels-last memory format.

Activations keep the format of the convolution that computed them through elementwise operations and pools, so it is
enough to set the format of the kernels: they are converted when they are uploaded, and updates keep their format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.kernels import conv_algorithm
from neuromancer.engine.pytensor.kernels.conv import channels_last, pointwise_with
from neuromancer.engine.pytensor.kernels.epilogue import Epilogue
from neuromancer.engine.pytensor.kernels.joining import Parts
from neuromancer.engine.pytensor.kernels.pool import max_pool_values
from neuromancer.engine.pytensor.kernels.row_up import RowUpConv, up_convolution
from neuromancer.engine.pytensor.kernels.rows import RowConv
from neuromancer.engine.pytensor.kernels.winograd import Tiling
from neuromancer.engine.pytensor.link.torch.arithmetic import ROUNDED, Rounded
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, Context, Form, torch_form
from neuromancer.engine.pytensor.ops.base import KernelOp
from neuromancer.engine.pytensor.ops.conv import Conv, ConvBase, ConvGradInput, ConvGradKernel, ConvTranspose
from neuromancer.engine.pytensor.ops.fused import ConvBias, Elu, Gelu, LeakyRelu, Prelu, Silu
from neuromancer.engine.pytensor.ops.pool import MaxPool, MaxPoolGrad
from neuromancer.engine.pytensor.ops.rectifier import Relu, ReluGrad


@torch_form.register(KernelOp)
def _kernel(op: KernelOp, node: Apply, context: Context) -> Callable[..., Any]:
    return op.kernel


@torch_form.register(MaxPoolGrad)
@torch_form.register(Prelu)
def _fresh_kernel(op: KernelOp, node: Apply, context: Context) -> Form:
    return Form(op.kernel, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)


@torch_form.register(ConvGradKernel)
def _conv_grad_kernel(op: ConvGradKernel, node: Apply, context: Context) -> Form:
    def run(x: torch.Tensor, w: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        algorithm = conv_algorithm.gradient(x, w, *op.geometry, groups=op.groups)
        return op.kernel(x, w, gy) if algorithm is None else algorithm.gradient(x, gy, op.pad)

    return Form(run, [DEVICE] * 3, [DEVICE], fresh=True)


@torch_form.register(ConvGradInput)
def _conv_grad_input(op: ConvGradInput, node: Apply, context: Context) -> Form:
    """Without stride, the gradient for the input is a convolution with the flipped kernel."""
    stride, dilation, pad = op.geometry
    axes = tuple(range(2, op.ndim + 2))

    def run(x: torch.Tensor, w: torch.Tensor, gy: torch.Tensor) -> torch.Tensor:
        rest = tuple(d * (k - 1) - p for d, k, p in zip(dilation, w.shape[2:], pad, strict=True))
        turned, algorithm = w.transpose(0, 1), None
        if min(rest) >= 0 and op.groups == 1:
            algorithm = conv_algorithm.algorithm(gy, turned, stride, dilation, rest, prepared=False)
        if algorithm is None:
            return op.kernel(x, channels_last(w), gy)
        return algorithm.conv(gy, algorithm.transformed(turned.flip(axes)), None, rest)

    return Form(run, [DEVICE] * 3, [DEVICE], fresh=True)


@torch_form.register(Relu)
@torch_form.register(ReluGrad)
@torch_form.register(LeakyRelu)
@torch_form.register(Silu)
@torch_form.register(Gelu)
@torch_form.register(Elu)
def _rectifier(op: KernelOp, node: Apply, context: Context) -> Form:
    """Overwrite the last operand if nothing else reads it."""
    kernel = op.kernel_in_place if node.inputs[-1] in context.reusable else op.kernel
    return Form(kernel, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)


@torch_form.register(Conv)
@torch_form.register(ConvBias)
@torch_form.register(ConvTranspose)
def _conv(op: ConvBase, node: Apply, context: Context) -> Form:
    kernel = op.kernel
    if context.device.type == "cuda" and context.precision == "f32":
        return Form(kernel, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)
    context.layouts.add(node.inputs[1])
    if context.precision in ROUNDED:
        plain = op.kernel if len(node.inputs) == 2 else op.without_bias.kernel
        rounded = Rounded(plain, ROUNDED[context.precision], lasting=node.inputs[1] in context.lasting)
        return Form(rounded, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)
    run = fast(op, lasting=node.inputs[1] in context.lasting)
    return Form(run, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)


def fast(op: ConvBase, lasting: bool) -> FastConv:
    """Return how a convolution is computed on the CPU."""
    return FastUpConv(op, lasting) if isinstance(op, ConvTranspose) else FastConv(op, lasting)


class FastConv:
    """A convolution that uses another algorithm than oneDNN where that is faster.

    Parameters
    ----------
    op : Conv or ConvBias
    lasting : bool
        The kernel changes only when a parameter is set, so its last transform is cached.
    """

    def __init__(self, op: ConvBase, lasting: bool) -> None:
        self.op, self.lasting = op, lasting
        self._cached: tuple[torch.Tensor, Any, torch.Tensor] | None = None
        """(kernel, key of an algorithm, transformed kernel); replaced as a whole, so that threads may share it."""

    def __call__(self, x: torch.Tensor | Parts, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return the convolution of x, which is in parts only for an algorithm that reads parts, and w."""
        algorithm = self.algorithm(x, w)
        if algorithm is None:
            return self.op.kernel(x, channels_last(w), *(() if bias is None else (bias,)))
        return algorithm.conv(x, self._transformed(w, algorithm), bias, self.op.pad)

    def algorithm(self, x: torch.Tensor | Parts, w: torch.Tensor) -> Any:
        """Return how x is convolved; None by oneDNN."""
        return conv_algorithm.algorithm(x, w, *self.op.geometry, self.lasting, self.op.groups, operation=self)

    def with_epilogue(
        self,
        operands: Sequence[Any],
        epilogue: Epilogue,
        beside: Sequence[torch.Tensor],
        separately: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Return the convolution with elementwise operations on its result.

        Parameters
        ----------
        operands : sequence
            x, which may be in parts, w and maybe the bias.
        epilogue : Epilogue
        beside : sequence of Tensor
            Its operands.
        separately : callable
            Computes the same from the result of the convolution, which it may overwrite.
        """
        x, w = operands[:2]
        bias = operands[2] if len(operands) > 2 else None
        algorithm = self.algorithm(x, w)
        if algorithm is None and not isinstance(self.op, ConvTranspose):
            result = pointwise_with(x, w, bias, self.op.stride, self.op.pad, self.op.groups, epilogue, beside)
            return separately(self(*operands)) if result is None else result
        if not isinstance(algorithm, RowConv | RowUpConv | Tiling) or not algorithm.fits(epilogue, beside):
            return separately(self(*operands))
        return algorithm.conv(x, self._transformed(w, algorithm), bias, self.op.pad, epilogue, beside)

    def _transformed(self, w: torch.Tensor, algorithm: conv_algorithm.ConvAlgorithm | RowUpConv) -> torch.Tensor:
        if not self.lasting:
            return algorithm.transformed(w)
        cached = self._cached
        if cached is None or cached[0] is not w or cached[1] != algorithm.key:
            cached = self._cached = None  # freed first: plans have memory for one
            cached = self._cached = (w, algorithm.key, algorithm.transformed(w))
        return cached[2]


class FastUpConv(FastConv):
    """The same for an up-convolution."""

    def algorithm(self, x: torch.Tensor | Parts, w: torch.Tensor) -> RowUpConv | None:
        """Return how x is up-convolved along rows; None by torch."""
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return None
        (out,) = self.op.output_shapes([tuple(x.shape), tuple(w.shape)])
        return up_convolution(tuple(x.shape), tuple(w.shape), tuple(out), *self.op.geometry, self.op.groups)


@torch_form.register(MaxPool)
def _max_pool(op: MaxPool, node: Apply, context: Context) -> Form | Callable[..., Any]:
    if context.used[1]:
        return op.kernel
    fresh = any(n > 1 for n in op.geometry[0])
    return Form(lambda x: (max_pool_values(x, *op.geometry), None), [DEVICE], [DEVICE, DEVICE], fresh)
