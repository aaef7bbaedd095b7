"""Torch forms of reductions, cumulative operations, sorting and softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from pytensor.graph.basic import Apply
from pytensor.tensor.extra_ops import CumOp
from pytensor.tensor.math import All, Argmax, Max, Min, Prod, Sum
from pytensor.tensor.math import Any as AnyOp
from pytensor.tensor.sort import ArgSortOp, SortOp
from pytensor.tensor.special import LogSoftmax, Softmax

from neuromancer.engine.pytensor.kernels.softmax import is_suitable, softmax
from neuromancer.engine.pytensor.link.torch.registry import (
    DEVICE,
    NEW,
    TORCH_DTYPES,
    Context,
    Form,
    constant_value,
    torch_form,
)
from neuromancer.engine.pytensor.ops.square_sum import SquareSum

NEW.update({Sum, SquareSum, Max, Min, All, AnyOp, Argmax, Softmax, LogSoftmax})


def _axes(op: Any, node: Apply) -> tuple[int, ...]:
    ndim = node.inputs[0].ndim
    return tuple(range(ndim)) if op.axis is None else tuple(a % ndim for a in op.axis)


def _accumulator(op: Any, node: Apply) -> tuple[torch.dtype | None, torch.dtype]:
    """Return the dtypes of accumulator and result. Torch adds float32 pairwise, so float64 would gain nothing."""
    out = node.outputs[0].dtype
    if out == "float32":
        return torch.float32, torch.float32
    accumulate = getattr(op, "acc_dtype", None) or out
    return TORCH_DTYPES.get(accumulate), TORCH_DTYPES[out]


@torch_form.register(Sum)
def _sum(op: Sum, node: Apply, context: Context) -> Callable[..., Any] | None:
    axes = _axes(op, node)
    accumulate, dtype = _accumulator(op, node)
    if accumulate is None:
        return None
    if not axes:
        return lambda x: x.to(dtype, copy=True)
    if accumulate is dtype:
        return lambda x: torch.sum(x, axes, dtype=dtype)
    return lambda x: torch.sum(x, axes, dtype=accumulate).to(dtype)


@torch_form.register(SquareSum)
def _square_sum(op: SquareSum, node: Apply, context: Context) -> Callable[..., Any]:
    return op.kernel


@torch_form.register(Prod)
def _prod(op: Prod, node: Apply, context: Context) -> Callable[..., Any] | None:
    axes = sorted(_axes(op, node), reverse=True)
    accumulate, dtype = _accumulator(op, node)
    if accumulate is None or getattr(op, "no_zeros_in_input", False):
        return None

    def run(x: Any) -> Any:
        x = x.to(accumulate)
        for axis in axes:
            x = torch.prod(x, axis)
        return x.to(dtype)

    return run


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def form(op: Any, node: Apply, context: Context) -> Callable[..., Any]:
        axes = _axes(op, node)
        dtype = TORCH_DTYPES[node.outputs[0].dtype]
        if not axes:
            return lambda x: x.to(dtype, copy=True)
        return lambda x: function(x, axes).to(dtype)

    return form


torch_form.register(Max)(_reduce(torch.amax))
torch_form.register(Min)(_reduce(torch.amin))
torch_form.register(All)(_reduce(torch.all))
torch_form.register(AnyOp)(_reduce(torch.any))


@torch_form.register(Argmax)
def _argmax(op: Argmax, node: Apply, context: Context) -> Callable[..., Any]:
    axes, ndim = _axes(op, node), node.inputs[0].ndim
    if len(axes) == 1:
        return lambda x: torch.argmax(x, axes[0])
    kept = [i for i in range(ndim) if i not in axes]

    def run(x: Any) -> Any:
        moved = x.permute(*kept, *axes)
        return moved.reshape(*moved.shape[: len(kept)], -1).argmax(-1)

    return run


def _softmax_form(function: Callable[..., Any], logarithm: bool) -> Callable[..., Any]:
    def form(op: Any, node: Apply, context: Context) -> Callable[..., Any]:
        ndim = node.inputs[0].ndim
        dtype = TORCH_DTYPES[node.outputs[0].dtype]
        axis = op.axis
        axes = (
            tuple(range(ndim))
            if axis is None
            else tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
        )
        if axes == (1,):
            return lambda x: softmax(x, logarithm) if is_suitable(x) else function(x, 1, dtype=dtype)
        if len(axes) == 1:
            return lambda x: function(x, axes[0], dtype=dtype)
        kept = [i for i in range(ndim) if i not in axes]
        order = [*kept, *axes]
        back = [order.index(i) for i in range(ndim)]

        def run(x: Any) -> Any:
            moved = x.permute(order)
            flat = moved.reshape(*moved.shape[: len(kept)], prod(moved.shape[len(kept) :]))
            return function(flat, -1, dtype=dtype).reshape(moved.shape).permute(back)

        return run

    return form


torch_form.register(Softmax)(_softmax_form(torch.softmax, logarithm=False))
torch_form.register(LogSoftmax)(_softmax_form(torch.log_softmax, logarithm=True))


@torch_form.register(CumOp)
def _cumulate(op: CumOp, node: Apply, context: Context) -> Callable[..., Any]:
    function = {"add": torch.cumsum, "mul": torch.cumprod}[op.mode]
    dtype = TORCH_DTYPES[node.outputs[0].dtype]
    if op.axis is None:
        return lambda x: function(x.reshape(-1), 0, dtype=dtype)
    return lambda x: function(x, op.axis, dtype=dtype)


@torch_form.register(SortOp)
def _sort(op: SortOp, node: Apply, context: Context) -> Form | None:
    axis = _sort_axis(node)
    if axis is None:
        return None
    return Form(lambda x: torch.sort(x, dim=axis, stable=True).values, [DEVICE, None], [DEVICE])


@torch_form.register(ArgSortOp)
def _argsort(op: ArgSortOp, node: Apply, context: Context) -> Form | None:
    axis = _sort_axis(node)
    if axis is None:
        return None
    dtype = TORCH_DTYPES[node.outputs[0].dtype]
    return Form(lambda x: torch.argsort(x, dim=axis, stable=True).to(dtype), [DEVICE, None], [DEVICE])


def _sort_axis(node: Apply) -> int | None:
    """Return the axis if it is a constant."""
    axis = constant_value(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axis is None or not node.inputs[0].ndim else int(axis)
