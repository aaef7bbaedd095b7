"""Torch form of random draws: a generator on the device, seeded from a state on the host."""

from __future__ import annotations

from typing import Any

import torch
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.link.torch.registry import (
    DEVICE,
    HOST,
    OWN_PLACE,
    TORCH_DTYPES,
    Context,
    Form,
    torch_form,
)
from neuromancer.engine.pytensor.ops.random import RandomDraw, next_state, sample, seeded

OWN_PLACE.add(RandomDraw)


@torch_form.register(RandomDraw)
def _random_draw(op: RandomDraw, node: Apply, context: Context) -> Form:
    device, dtype = context.device, TORCH_DTYPES[op.dtype]
    # torch has no generator for device 'meta', and shapes without data need none
    generator = torch.Generator(device=device) if device.type != "meta" else None

    def run(state: Any, probability: Any, *shape: Any) -> tuple[Any, torch.Tensor]:
        if generator is not None:
            seeded(generator, state)
        return next_state(state), sample(op.kind, probability, [int(s) for s in shape], dtype, device, generator)

    places = [HOST, DEVICE if node.inputs[1].ndim else HOST]
    return Form(run, [*places, *[HOST] * (len(node.inputs) - 2)], [HOST, DEVICE])
