"""Torch forms of operations on shapes: sizes stay on the host, and tensors are viewed, not copied."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from pytensor.compile.ops import DeepCopyOp, ViewOp
from pytensor.graph.basic import Apply
from pytensor.tensor.basic import (
    Alloc,
    AllocEmpty,
    ExtractDiag,
    Eye,
    Join,
    MakeVector,
    ScalarFromTensor,
    Split,
    TensorFromScalar,
)
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.extra_ops import Repeat
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape

from neuromancer.engine.pytensor.kernels.joining import Parts
from neuromancer.engine.pytensor.kernels.memory import LARGE, empty
from neuromancer.engine.pytensor.link.torch.registry import (
    ANY,
    DEVICE,
    HOST,
    NEW,
    OWN_PLACE,
    TORCH_DTYPES,
    Context,
    Form,
    as_scalar,
    simple,
    torch_form,
)
from neuromancer.errors import ShapeError

OWN_PLACE.update({Alloc, AllocEmpty, Eye})
NEW.add(DeepCopyOp)


@torch_form.register(Shape)
def _shape(op: Shape, node: Apply, context: Context) -> Form:
    return Form(lambda x: np.array(tuple(x.shape), np.int64), [DEVICE], [HOST])


@torch_form.register(Shape_i)
def _shape_i(op: Shape_i, node: Apply, context: Context) -> Form:
    axis = op.i
    return Form(lambda x: np.array(x.shape[axis], np.int64), [DEVICE], [HOST])


@torch_form.register(SpecifyShape)
def _specify_shape(op: SpecifyShape, node: Apply, context: Context) -> Form:
    name = str(op)

    def run(x: Any, *sizes: Any) -> Any:
        for axis, (n, size) in enumerate(zip(x.shape, sizes, strict=True)):
            if size is not None and int(size) != n:
                raise ShapeError(
                    f"unexpected size of axis {axis}",
                    where=name,
                    got=f"shape {tuple(x.shape)}",
                    expected=f"{int(size)}",
                )
        return x

    return Form(run, [DEVICE] + [HOST] * (len(node.inputs) - 1), [DEVICE])


@torch_form.register(Reshape)
def _reshape(op: Reshape, node: Apply, context: Context) -> Form:
    return Form(lambda x, shape: x.reshape(shape.tolist()), [DEVICE, HOST], [DEVICE])


@torch_form.register(DimShuffle)
def _dimshuffle(op: DimShuffle, node: Apply, context: Context) -> Callable[..., Any]:
    order, name = tuple(op.new_order), str(op)
    drop = tuple(op.drop)
    unproven = [a for a in drop if node.inputs[0].type.shape[a] != 1]
    kept = [a for a in order if a != "x"]
    remaining = [a for a in range(node.inputs[0].ndim) if a not in drop]
    permutation = [remaining.index(a) for a in kept]
    if permutation == list(range(len(kept))):
        permutation = []
    index = tuple(None if a == "x" else slice(None) for a in order)
    insert = "x" in order

    def run(x: Any) -> Any:
        if drop:
            if any(x.shape[a] != 1 for a in unproven):  # torch would keep them
                raise ShapeError(
                    "dropped axes must have length 1",
                    where=name,
                    got=f"shape {tuple(x.shape)}",
                    expected=f"length 1 along {list(drop)}",
                )
            x = x.squeeze(drop)
        if permutation:
            x = x.permute(permutation)
        return x[index] if insert else x

    return run


@torch_form.register(Alloc)
def _alloc(op: Alloc, node: Apply, context: Context) -> Form:
    dtype, device = TORCH_DTYPES[node.outputs[0].dtype], context.device
    sizes = [HOST] * (len(node.inputs) - 1)
    if context.on_host(node.inputs[0]) and node.inputs[0].ndim == 0:
        return Form(
            lambda value, *shape: torch.full([int(s) for s in shape], as_scalar(value), dtype=dtype, device=device),
            [HOST, *sizes],
            [DEVICE],
        )
    return Form(lambda value, *shape: value.expand([int(s) for s in shape]), [DEVICE, *sizes], [DEVICE])


@torch_form.register(AllocEmpty)
def _alloc_empty(op: AllocEmpty, node: Apply, context: Context) -> Form:
    dtype, device = TORCH_DTYPES[op.dtype], context.device
    return Form(
        lambda *shape: torch.zeros([int(s) for s in shape], dtype=dtype, device=device),
        [HOST] * len(node.inputs),
        [DEVICE],
    )


@torch_form.register(Eye)
def _eye(op: Eye, node: Apply, context: Context) -> Form:
    dtype, device = TORCH_DTYPES[op.dtype], context.device

    def run(rows: Any, columns: Any, offset: Any) -> Any:
        j = torch.arange(int(columns), device=device)
        i = torch.arange(int(rows), device=device)[:, None]
        return (j - i == int(offset)).to(dtype)

    return Form(run, [HOST] * 3, [DEVICE])


@torch_form.register(Join)
def _join(op: Join, node: Apply, context: Context) -> Form:
    dtype = TORCH_DTYPES[node.outputs[0].dtype]
    if hasattr(op, "axis"):  # newer versions store the axis in the operation, older ones in the first input
        axis = op.axis
        return Form(lambda *xs: _joined([x.to(dtype) for x in xs], axis), [DEVICE] * len(node.inputs), [DEVICE])
    return Form(
        lambda axis, *xs: _joined([x.to(dtype) for x in xs], int(axis)),
        [HOST] + [DEVICE] * (len(node.inputs) - 1),
        [DEVICE],
    )


def _joined(parts: list[torch.Tensor], axis: int) -> torch.Tensor:
    """Join tensors; large ones in reusable memory."""
    first = parts[0]
    axis = axis % first.ndim
    if any(x.dtype != torch.float32 or x.device.type != "cpu" for x in parts):
        return torch.cat(parts, axis)
    if axis == 1 and first.ndim > 2 and all(x.ndim == first.ndim for x in parts):
        return Parts(parts).joined()
    shape = list(first.shape)
    shape[axis] = sum(x.shape[axis] for x in parts)
    others = [shape[:axis] + shape[axis + 1 :], *([*x.shape[:axis], *x.shape[axis + 1 :]] for x in parts)]
    along_rows = all(x.is_contiguous() for x in parts)
    if not along_rows or 4 * prod(shape) < LARGE or any(lengths != others[0] for lengths in others):
        return torch.cat(parts, axis)  # lengths that differ are an error
    return torch.cat(parts, axis, out=empty(*shape))


@torch_form.register(Split)
def _split(op: Split, node: Apply, context: Context) -> Form:
    gives = [DEVICE] * len(node.outputs)
    several = len(gives) > 1
    if hasattr(op, "axis"):
        axis_of_op = op.axis

        def split(x: Any, sizes: Any) -> Any:
            parts = torch.split(x, np.asarray(sizes).tolist(), axis_of_op)
            return parts if several else parts[0]

        return Form(split, [DEVICE, HOST], gives)

    def split_axis(x: Any, axis: Any, sizes: Any) -> Any:
        parts = torch.split(x, np.asarray(sizes).tolist(), int(axis))
        return parts if several else parts[0]

    return Form(split_axis, [DEVICE, HOST, HOST], gives)


@torch_form.register(MakeVector)
def _make_vector(op: MakeVector, node: Apply, context: Context) -> Form:
    dtype, device = TORCH_DTYPES[op.dtype], context.device

    def run(*values: Any) -> Any:
        return torch.stack(
            [
                v.to(dtype) if isinstance(v, torch.Tensor) else torch.tensor(as_scalar(v), dtype=dtype, device=device)
                for v in values
            ]
        )

    return Form(run, [ANY] * len(node.inputs), [DEVICE])


@torch_form.register(Repeat)
def _repeat(op: Repeat, node: Apply, context: Context) -> Form:
    axis, times = op.axis, node.inputs[1]
    if times.ndim == 0:
        return Form(lambda x, n: torch.repeat_interleave(x, int(n), axis), [DEVICE, HOST], [DEVICE])
    return Form(lambda x, n: torch.repeat_interleave(x, n, axis), [DEVICE, DEVICE], [DEVICE])


@torch_form.register(ExtractDiag)
def _extract_diag(op: ExtractDiag, node: Apply, context: Context) -> Callable[..., Any]:
    return lambda x: torch.diagonal(x, op.offset, op.axis1, op.axis2)


@simple(DeepCopyOp)
def _copy(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@simple(ViewOp, TensorFromScalar, ScalarFromTensor)
def _same(x: torch.Tensor) -> torch.Tensor:
    return x
