"""Torch forms of convolution and pooling; on the CPU they prefer the channels-last memory format.

Activations keep the format of the convolution that made them, through elementwise operations and pools, so the format
is set once, at the kernels: they are converted when they arrive on the device and updates keep their format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.kernels import winograd
from neuromancer.engine.pytensor.kernels.conv import channels_last, padded
from neuromancer.engine.pytensor.kernels.pool import max_pool_values
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, Context, Form, torch_form
from neuromancer.engine.pytensor.ops.base import KernelOp
from neuromancer.engine.pytensor.ops.conv import Conv, ConvBase, ConvGradInput, ConvGradKernel, ConvTranspose
from neuromancer.engine.pytensor.ops.fused import ConvBias
from neuromancer.engine.pytensor.ops.pool import MaxPool, MaxPoolGrad
from neuromancer.engine.pytensor.ops.rectifier import Relu, ReluGrad


@torch_form.register(KernelOp)
def _kernel(op: KernelOp, node: Apply, context: Context) -> Callable[..., Any]:
    return op.kernel


@torch_form.register(MaxPoolGrad)
def _fresh_kernel(op: KernelOp, node: Apply, context: Context) -> Form:
    return Form(op.kernel, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)


@torch_form.register(ConvGradInput)
@torch_form.register(ConvGradKernel)
def _conv_grad(op: ConvBase, node: Apply, context: Context) -> Form:
    kernel = op.kernel
    return Form(lambda x, w, gy: kernel(x, channels_last(w), gy), [DEVICE] * 3, [DEVICE], fresh=True)


@torch_form.register(Relu)
@torch_form.register(ReluGrad)
def _rectifier(op: Relu | ReluGrad, node: Apply, context: Context) -> Form:
    """The last operand is written over if nothing else reads it."""
    kernel = op.kernel_in_place if node.inputs[-1] in context.reusable else op.kernel
    return Form(kernel, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)


@torch_form.register(Conv)
@torch_form.register(ConvBias)
@torch_form.register(ConvTranspose)
def _conv(op: ConvBase, node: Apply, context: Context) -> Form:
    context.layouts.add(node.inputs[1])
    kernel = op.kernel
    run = lambda x, w, *bias: kernel(x, channels_last(w), *bias)  # noqa: E731
    if node.inputs[1] in context.lasting and not isinstance(op, ConvTranspose):
        run = FewerProducts(op, run)
    return Form(run, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)


class FewerProducts:
    """A convolution with a kernel that lasts, in whose transform it pays to invest.

    Parameters
    ----------
    op : Conv or ConvBias
    direct : callable
        What computes it where the transform does not pay.
    """

    def __init__(self, op: ConvBase, direct: Callable[..., torch.Tensor]) -> None:
        self.op, self.direct = op, direct
        self._kept: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """The convolution of x and w."""
        if not winograd.suits(x, w, *self.op.geometry):
            return self.direct(x, w) if bias is None else self.direct(x, w, bias)
        if self._kept is None or self._kept[0] is not w:
            self._kept = (w, winograd.transformed(w))
        x = padded(x, self.op.pad) if any(self.op.pad) else x
        return winograd.conv(x, self._kept[1], bias, self.op.dilation, tuple(w.shape[2:]))


@torch_form.register(MaxPool)
def _max_pool(op: MaxPool, node: Apply, context: Context) -> Form | Callable[..., Any]:
    if context.used[1]:
        return op.kernel
    fresh = any(n > 1 for n in op.geometry[0])
    return Form(lambda x: (max_pool_values(x, *op.geometry), None), [DEVICE], [DEVICE, DEVICE], fresh)
