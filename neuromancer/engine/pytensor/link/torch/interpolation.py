"""Torch form of interpolation: the sizes stay on the host."""

from __future__ import annotations

from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.link.torch.registry import DEVICE, HOST, Context, Form, torch_form
from neuromancer.engine.pytensor.ops.interpolation import Resize


@torch_form.register(Resize)
def _resize(op: Resize, node: Apply, context: Context) -> Form:
    return Form(op.kernel, [DEVICE, *[HOST] * (len(node.inputs) - 1)], [DEVICE])
