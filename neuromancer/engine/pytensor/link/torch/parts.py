"""Convolutions read the parts of an image that only they read; no copy is made in which they are concatenated."""

from __future__ import annotations

from typing import Any

import torch
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.basic import Join

from neuromancer.engine.pytensor.kernels.joining import Parts
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, Context, Form, torch_form
from neuromancer.engine.pytensor.ops.conv import Conv
from neuromancer.engine.pytensor.ops.conv_epilogue import FusedConv
from neuromancer.engine.pytensor.ops.conv_parts import ConvOfParts
from neuromancer.engine.pytensor.ops.fused import ConvBias


def with_parts(fgraph: FunctionGraph) -> None:
    """Give convolutions the parts of images that are concatenated along the channels for them alone, in `fgraph`."""
    for node in fgraph.toposort():
        if _convolves(node.op) and len(fgraph.clients[node.inputs[0]]) == 1:
            parts = _parts(node.inputs[0])
            if parts is not None:
                result = ConvOfParts(node, len(parts))(*parts, *node.inputs[1:])
                fgraph.replace(node.outputs[0], result, reason="with_parts")


def _convolves(op: Any) -> bool:
    return type(op.conv if isinstance(op, FusedConv) else op) in (Conv, ConvBias)


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


@torch_form.register(ConvOfParts)
def _conv_of_parts(op: ConvOfParts, node: Apply, context: Context) -> Form:
    form = torch_form(op.conv, op.of_whole(node.inputs), context)
    assert isinstance(form, Form)
    convolve = form.run

    def run(*operands: torch.Tensor) -> Any:
        return convolve(Parts(operands[: op.count]), *operands[op.count :])

    return Form(run, [DEVICE] * len(node.inputs), [DEVICE], fresh=True)
