"""Torch form of groups of elementwise operations: machine code that makes one pass over memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pytensor.graph.basic import Apply, Variable

from neuromancer.engine.pytensor.kernels.elementwise import Elementwise
from neuromancer.engine.pytensor.kernels.row_layout import SHARE
from neuromancer.engine.pytensor.link.torch.elemwise import broadcast_check
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, HOST, Context, Form, is_size_one, torch_form
from neuromancer.engine.pytensor.link.torch.translation import Translation
from neuromancer.engine.pytensor.ops.elementwise import Fused, FusedElementwise


def _as_operand(value: Any) -> torch.Tensor | float:
    """Return a tensor of a dtype that machine code reads, or a host value as a number."""
    if not isinstance(value, torch.Tensor):
        return float(np.asarray(value).item())
    return value if Elementwise.takes(value) else value.to(torch.float32)


@torch_form.register(Fused)
def _fused(op: Fused, node: Apply, context: Context) -> Form:
    single = [is_size_one(v) for v in node.inputs]
    takes: list[str | None] = [
        HOST if one and context.on_host(v) else DEVICE for v, one in zip(node.inputs, single, strict=True)
    ]
    convert = [k for k, one in enumerate(single) if one]
    check = broadcast_check(node, takes)
    function, alone = op.function, len(node.outputs) == 1
    if isinstance(op, FusedElementwise):
        function = partial(op.function, into=_overwritten(node, context, takes))

    def run(*operands: Any) -> Any:
        if check is not None:
            _checked(check, op, node, operands)
        if convert:
            operands = list(operands)  # type: ignore[assignment]
            for k in convert:
                operands[k] = _as_operand(operands[k])  # type: ignore[index]
        results = function(operands)
        return results[0] if alone else results

    return Form(run, takes, [DEVICE] * len(node.outputs), fresh=True)


def _overwritten(node: Apply, context: Context, takes: list[str | None]) -> tuple[int | None, ...]:
    """Return, per result, the position of an operand that it may overwrite."""
    free = [k for k, v in enumerate(node.inputs) if v in context.reusable and takes[k] == DEVICE]
    chosen: list[int | None] = []
    for out in node.outputs:
        fitting = [k for k in free if _same_format(node.inputs[k], out) and k not in chosen]
        chosen.append(fitting[0] if fitting else None)
    return tuple(chosen)


def _same_format(a: Variable, b: Variable) -> bool:
    return a.dtype == b.dtype and all((s == 1) == (t == 1) for s, t in zip(a.type.shape, b.type.shape, strict=True))


def _checked(check: Callable[[Any], None], op: Fused, node: Apply, operands: Any) -> None:
    """Raise ShapeError, naming the operation within the group, if operands do not fit one another."""
    try:
        check(operands)
    except Exception:
        shapes = dict(zip(op.operands, operands, strict=True))
        for inner in op.nodes:
            values = [shapes.get(v) for v in inner.inputs]
            inner_check = broadcast_check(inner, [None if v is None else DEVICE for v in values])
            present = [v for v in values if v is not None]
            if inner_check is not None:
                inner_check(present)
            lengths = zip(*(v.shape for v in present), strict=True)
            shapes[inner.outputs[0]] = SimpleNamespace(shape=tuple(max(n) for n in lengths))
        raise


def wide(node: Apply, form: Form, context: Context) -> Form:
    """Return the form of a single elementwise operation with machine code for large tensors.

    For small ones torch takes less time to begin. For large ones memory is reused, which torch asks the system for.
    """
    translation = Translation()
    expression = translation.add(node) if node.outputs[0].dtype == "float32" else None
    passed = [v for v, place in zip(node.inputs, form.takes, strict=True) if place is not None]
    if expression is None or not set(translation.operands) <= set(passed):
        return form
    function = Elementwise(expression)
    positions = [passed.index(v) for v in translation.operands]
    takes = [place for place in form.takes if place is not None]
    tensors = [k for k, place in enumerate(takes) if place == DEVICE]
    check = broadcast_check(node, list(form.takes))
    free = [k for k, v in enumerate(translation.operands) if v in context.reusable and takes[positions[k]] == DEVICE]
    into = [next((k for k in free if _same_format(translation.operands[k], node.outputs[0])), None)]
    small = form.run

    def run(*values: Any) -> torch.Tensor:
        if all(values[k].numel() < SHARE for k in tensors):
            return small(*values)
        if check is not None:
            check(values)
        return function([_as_operand(values[k]) for k in positions], into)[0]

    return Form(run, form.takes, form.gives, form.fresh)
