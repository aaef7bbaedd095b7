"""Torch forms of elementwise operations, with PyTensor's dtypes and broadcasting rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytensor.graph.basic import Apply
from pytensor.scalar import basic as ps
from pytensor.tensor.elemwise import Elemwise

from neuromancer.engine.pytensor.link.torch.registry import (
    DEVICE,
    HOST,
    TORCH_DTYPES,
    Context,
    Form,
    as_scalar,
    constant_value,
    is_size_one,
    torch_form,
)
from neuromancer.engine.pytensor.link.torch.scalars import COMMON, IN_PLACE, OUTPUT, TABLE, second
from neuromancer.errors import ShapeError


@torch_form.register(Elemwise)
def _elemwise(op: Elemwise, node: Apply, context: Context) -> Form | None:
    """Host values with one element are passed as Python numbers, without a transfer."""
    out_dtype = TORCH_DTYPES[node.outputs[0].dtype]
    if isinstance(op.scalar_op, ps.Switch):
        return _switch(node, context, out_dtype)
    entry = TABLE.get(type(op.scalar_op))
    if entry is None or len(node.outputs) != 1:
        return None
    function, rule = entry
    if rule == OUTPUT:
        wanted: torch.dtype | None = out_dtype
    elif rule == COMMON:
        common = np.result_type(*(np.dtype(i.dtype) for i in node.inputs)).name
        if common not in TORCH_DTYPES:
            return None
        wanted = TORCH_DTYPES[common]
    else:
        wanted = None
    takes, getters, bare = _operands(node, context, [wanted] * len(node.inputs))
    check = broadcast_check(node, takes)
    fresh = type(op.scalar_op) in IN_PLACE and out_dtype.is_floating_point and len(node.inputs) > 0
    target = _overwritten(node, context, takes, getters) if fresh else None
    if target is not None:
        into = IN_PLACE[type(op.scalar_op)]
        run = _assemble(lambda *operands: into(*operands, out=operands[target]), getters, bare)
    else:
        run = _assemble(function, getters, bare)

    def finish(*args: Any) -> torch.Tensor:
        if check is not None:
            check(args)
        result = run(*args)
        return result if result.dtype is out_dtype else result.to(out_dtype)

    return Form(finish, takes, [DEVICE], fresh=fresh)


def _overwritten(node: Apply, context: Context, takes: list[str | None], getters: list[Any]) -> int | None:
    """Return the position of an operand that the result may overwrite."""
    out = node.outputs[0]
    if len(node.inputs) > 1 and takes[0] != DEVICE and not isinstance(node.op.scalar_op, ps.Add | ps.Mul | ps.Maximum):
        return None
    for k, variable in enumerate(node.inputs):
        if variable not in context.reusable or takes[k] != DEVICE or getters[k] is not None:
            continue
        if all(s != 1 or t == 1 for s, t in zip(variable.type.shape, out.type.shape, strict=True)):
            return k
    return None


def _switch(node: Apply, context: Context, dtype: torch.dtype) -> Form:
    """``where(condition, a, b)``, with the branches cast to the dtype of the output."""
    takes, getters, bare = _operands(node, context, [torch.bool, dtype, dtype])
    check = broadcast_check(node, takes)

    def where(condition: Any, a: Any, b: Any) -> Any:
        if not isinstance(condition, torch.Tensor):
            # A condition on the host selects a whole branch; only the shape of the other one matters.
            first, other = (a, b) if condition else (b, a)
            return second(other, first) if isinstance(other, torch.Tensor) else first
        # torch takes two numbers as the default dtype; any other needs a tensor, which is copied to the device.
        numbers = not (isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor))
        if numbers and dtype is not torch.get_default_dtype():
            a = torch.tensor(a, dtype=dtype, device=condition.device)
        return torch.where(condition, a, b)

    run = _assemble(where, getters, bare)

    def finish(*args: Any) -> torch.Tensor:
        if check is not None:
            check(args)
        result = run(*args)
        return result if result.dtype is dtype else result.to(dtype)

    return Form(finish, takes, [DEVICE])


def _operands(
    node: Apply, context: Context, dtypes: list[torch.dtype | None]
) -> tuple[list[str | None], list[Callable[[Any], Any] | Any], bool]:
    """Return, per input, where it is taken from, and a function from its value to the operand (None: unchanged).

    A constant with one element becomes a number and is not passed. The third result is True if no operand has to be
    converted or inserted.
    """
    takes: list[str | None] = []
    getters: list[Any] = []
    bare = True
    for variable, dtype in zip(node.inputs, dtypes, strict=True):
        constant = constant_value(variable)
        if constant is not None and is_size_one(variable):
            takes.append(None)
            getters.append(_Number(_number(constant, dtype)))
            bare = False
        elif context.on_host(variable) and is_size_one(variable):
            takes.append(HOST)
            getters.append(as_scalar if dtype is not torch.bool else lambda v: bool(as_scalar(v)))
            bare = False
        else:
            takes.append(DEVICE)
            cast = dtype is not None and TORCH_DTYPES.get(variable.dtype) is not dtype
            getters.append(_caster(dtype) if cast else None)
            bare = bare and not cast
    return takes, getters, bare


class _Number:
    """A constant operand."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _number(value: Any, dtype: torch.dtype | None) -> Any:
    number = as_scalar(np.asarray(value))
    if dtype is None:
        return number
    if dtype is torch.bool:
        return bool(number)
    return float(number) if dtype.is_floating_point else int(number)


def _caster(dtype: torch.dtype | None) -> Callable[[torch.Tensor], torch.Tensor]:
    if dtype is torch.bool:
        return lambda t: t != 0
    return lambda t: t.to(dtype)


def _assemble(function: Callable[..., Any], getters: list[Any], bare: bool) -> Callable[..., Any]:
    """Return a function of the passed values that applies `getters` and inserts the constants."""
    if bare:
        return function
    if len(getters) == 2 and isinstance(getters[1], _Number) and getters[0] is None:
        right = getters[1].value
        return lambda x: function(x, right)
    if len(getters) == 2 and isinstance(getters[0], _Number) and getters[1] is None:
        left = getters[0].value
        return lambda x: function(left, x)

    def call(*args: Any) -> Any:
        taken = iter(args)
        operands = []
        for getter in getters:
            if getter is None:
                operands.append(next(taken))
            elif isinstance(getter, _Number):
                operands.append(getter.value)
            else:
                operands.append(getter(next(taken)))
        return function(*operands)

    return call


def broadcast_check(node: Apply, takes: list[str | None]) -> Callable[[Any], None] | None:
    """Return a check that only axes known to have length 1 are broadcast; None if the types prove it.

    PyTensor derives shapes and gradients from the types alone, so broadcasting an axis that happens to have length 1
    at run time would give wrong gradients silently.
    """
    patterns = [i.type.shape for i, place in zip(node.inputs, takes, strict=True) if place is not None]
    if len(patterns) < 2:
        return None
    axes = []
    for axis in range(len(patterns[0])):
        members = [k for k, shape in enumerate(patterns) if shape[axis] != 1]
        if len(members) > 1 and any(patterns[k][axis] is None for k in members):
            axes.append((axis, members))
    if not axes:
        return None
    name = str(node.op)

    def check(args: Any) -> None:
        shapes = [a.shape for a in args]
        for axis, members in axes:
            n = shapes[members[0]][axis]
            for k in members[1:]:
                if shapes[k][axis] != n:
                    raise ShapeError(
                        f"operands differ along axis {axis}",
                        where=name,
                        got=f"shapes {[tuple(s) for s in shapes]}",
                        expected="equal lengths, or an axis declared to have length 1",
                    )

    return check
