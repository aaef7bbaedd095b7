"""Torch forms of matrix products and of operations applied over batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytensor.graph.basic import Apply
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.math import Dot

from neuromancer.engine.pytensor.kernels.matrix import is_faster, product
from neuromancer.engine.pytensor.link.torch.registry import NEW, TORCH_DTYPES, Context, torch_form

NEW.update({Dot, BatchedDot})


def _product(node: Apply) -> Callable[..., Any]:
    dtype = TORCH_DTYPES[node.outputs[0].dtype]
    if all(TORCH_DTYPES.get(i.dtype) is dtype for i in node.inputs):
        return lambda a, b: product(a, b) if is_faster(a, b) else torch.matmul(a, b)
    return lambda a, b: torch.matmul(a.to(dtype), b.to(dtype))


@torch_form.register(Dot)
def _dot(op: Dot, node: Apply, context: Context) -> Callable[..., Any]:
    return _product(node)


@torch_form.register(BatchedDot)
def _batched_dot(op: BatchedDot, node: Apply, context: Context) -> Callable[..., Any]:
    return _product(node)


@torch_form.register(Blockwise)
def _blockwise(op: Blockwise, node: Apply, context: Context) -> Callable[..., Any] | None:
    """Batched products are one call of torch; any other core operation runs through `perform`."""
    if isinstance(op.core_op, Dot) and op.signature == "(m,k),(k,n)->(m,n)":
        return _product(node)
    return None
