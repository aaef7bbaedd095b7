"""OpenVINO forms of convolutions, of padding and of rectifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
from openvino import Output, opset13
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Unsupported, convert, reshape, simple
from neuromancer.engine.pytensor.ops.base import Ints
from neuromancer.engine.pytensor.ops.borders import Pad
from neuromancer.engine.pytensor.ops.conv import Conv, ConvBase, ConvTranspose
from neuromancer.engine.pytensor.ops.fused import ConvBias, Elu, Gelu, LeakyRelu, Prelu, Silu
from neuromancer.engine.pytensor.ops.rectifier import Relu


@convert.register(Conv)
@convert.register(ConvBias)
def _conv(op: Conv | ConvBias, node: Apply, build: Builder) -> list[Output]:
    _check_memory(op, build.shape(node.inputs[0]), build.shape(node.inputs[1])[2:])
    x, w = build.tensor(node.inputs[0]), build.kernel(node.inputs[1])
    run = opset13.convolution
    if op.groups > 1:
        n_out, *rest = build.shape(node.inputs[1])
        run, w = opset13.group_convolution, reshape(w, [op.groups, n_out // op.groups, *rest])
    y = run(x, w, list(op.stride), list(op.pad), list(op.pad), list(op.dilation)).output(0)
    return [_with_bias(y, node, build)]


def _check_memory(op: ConvBase, x: Ints, kernel: Ints) -> None:
    """Raise Unsupported for sizes at which OpenVINO reads out of bounds or crashes."""
    seen = [d * (k - 1) + 1 for d, k in zip(op.dilation, kernel, strict=True)]
    if any(p >= n for p, n in zip(op.pad, seen, strict=True)):
        raise Unsupported("windows entirely in the padding")
    if x[1] == 1 and op.stride[-1] > 1 and x[-1] + 2 * op.pad[-1] < seen[-1] + op.stride[-1]:
        raise Unsupported("a single strided window of one channel")


def _with_bias(y: Output, node: Apply, build: Builder) -> Output:
    if len(node.inputs) < 3:
        return y
    bias = reshape(build.tensor(node.inputs[2]), [1, -1, *[1] * (node.outputs[0].ndim - 2)])
    return opset13.add(y, bias).output(0)


@convert.register(Pad)
def _pad(op: Pad, node: Apply, build: Builder) -> list[Output]:
    if op.mode != "constant" and max(op.dilation) > 1:
        raise Unsupported("interleaved axes that are continued by their own elements")
    before, after = ([0, 0, *(n * d for n, d in zip(ends, op.dilation, strict=True))] for ends in (op.before, op.after))
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[op.mode]
    value = np.asarray(op.value, node.inputs[0].dtype)
    return [opset13.pad(build.tensor(node.inputs[0]), before, after, mode, value).output(0)]


@convert.register(ConvTranspose)
def _conv_transpose(op: ConvTranspose, node: Apply, build: Builder) -> list[Output]:
    x, w = build.tensor(node.inputs[0]), build.kernel(node.inputs[1])
    run: Any = opset13.convolution_backprop_data
    if op.groups > 1:
        n_in, *rest = build.shape(node.inputs[1])
        run, w = opset13.group_convolution_backprop_data, reshape(w, [op.groups, n_in // op.groups, *rest])
    pad, extra = list(op.pad), list(op.output_padding)
    y = run(x, w, list(op.stride), None, pad, pad, list(op.dilation), "EXPLICIT", extra)
    return [y.output(0)]


@simple(Relu)
def _relu(x: Output) -> Output:
    return opset13.relu(x).output(0)


@convert.register(LeakyRelu)
def _leaky_relu(op: LeakyRelu, node: Apply, build: Builder) -> list[Output]:
    return [opset13.prelu(build.tensor(node.inputs[0]), np.array([op.slope], np.float32)).output(0)]


@simple(Silu)
def _silu(x: Output) -> Output:
    return opset13.swish(x).output(0)


@simple(Gelu)
def _gelu(x: Output) -> Output:
    return opset13.gelu(x, "erf").output(0)


@convert.register(Elu)
def _elu(op: Elu, node: Apply, build: Builder) -> list[Output]:
    return [opset13.elu(build.tensor(node.inputs[0]), op.alpha).output(0)]


@convert.register(Prelu)
def _prelu(op: Prelu, node: Apply, build: Builder) -> list[Output]:
    slope = reshape(build.tensor(node.inputs[1]), [1, -1, *[1] * (node.outputs[0].ndim - 2)])
    return [opset13.prelu(build.tensor(node.inputs[0]), slope).output(0)]
