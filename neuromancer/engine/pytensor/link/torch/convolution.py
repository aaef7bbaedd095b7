"""Torch forms of convolution and pooling; on the CPU they prefer the channels-last memory format.

Activations keep the format of the convolution that made them, through elementwise operations and pools, so the format
is set once, at the kernels: they are converted when they arrive on the device and updates keep their format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.kernels.conv import channels_last
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
    return Form(
        lambda x, w, *bias: kernel(x, channels_last(w), *bias), [DEVICE] * len(node.inputs), [DEVICE], fresh=True
    )


@torch_form.register(MaxPool)
def _max_pool(op: MaxPool, node: Apply, context: Context) -> Form | Callable[..., Any]:
    if context.used[1]:
        return op.kernel
    return Form(lambda x: (max_pool_values(x, *op.geometry), None), [DEVICE], [DEVICE, DEVICE])
