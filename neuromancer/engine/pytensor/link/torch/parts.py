"""Convolutions read the parts of an image that only they read; no copy is made in which they are concatenated."""

from __future__ import annotations

import torch
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.basic import Join

from neuromancer.engine.pytensor.kernels.conv_algorithm import READ_PARTS
from neuromancer.engine.pytensor.kernels.joining import Parts, whole
from neuromancer.engine.pytensor.link.torch.convolution import fast
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, Context, Form, torch_form
from neuromancer.engine.pytensor.ops.conv import Conv
from neuromancer.engine.pytensor.ops.conv_epilogue import FusedConv
from neuromancer.engine.pytensor.ops.fused import ConvBias
from neuromancer.engine.pytensor.ops.join_for_conv import JoinForConv


def with_parts(fgraph: FunctionGraph) -> None:
    """Give convolutions the parts of images that are concatenated along the channels for them alone, in `fgraph`."""
    for node in fgraph.toposort():
        conv = node.op.conv if isinstance(node.op, FusedConv) else node.op
        if type(conv) in (Conv, ConvBias) and len(fgraph.clients[node.inputs[0]]) == 1:
            image, w = node.inputs[:2]
            parts = _parts(image)
            if parts is not None:
                fgraph.replace(image, JoinForConv(conv, image)(*parts, w), reason="with_parts")


def _parts(image: Variable) -> list[Variable] | None:
    """Return the variables that are concatenated along the channels; None if the image is not made so."""
    node = image.owner
    if node is None or not isinstance(node.op, Join):
        return None
    if hasattr(node.op, "axis"):  # newer versions store the axis in the operation, older ones in the first input
        axis, parts = node.op.axis, node.inputs
    else:
        axis, parts = node.inputs[0].data if isinstance(node.inputs[0], Constant) else None, node.inputs[1:]
    along_channels = axis is not None and int(axis) % image.ndim == 1
    return list(parts) if along_channels and all(v.type.dtype == "float32" for v in (image, *parts)) else None


@torch_form.register(JoinForConv)
def _join_for_conv(op: JoinForConv, node: Apply, context: Context) -> Form:
    convolution = fast(op.conv, lasting=node.inputs[-1] in context.lasting)

    def run(*operands: torch.Tensor) -> torch.Tensor | Parts:
        parts = Parts(operands[:-1])
        return parts if isinstance(convolution.algorithm(parts, operands[-1]), READ_PARTS) else whole(parts)

    return Form(run, [DEVICE] * len(node.inputs), [DEVICE])
