"""OpenVINO forms of reductions and softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt, prod
from typing import Any

import numpy as np
from openvino import Output, opset13
from pytensor.graph.basic import Apply
from pytensor.tensor.math import All, Argmax, Max, Min, Prod, Sum
from pytensor.tensor.math import Any as AnyOp
from pytensor.tensor.special import LogSoftmax, Softmax

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Missing, Unsupported, axes_of, convert, reshape
from neuromancer.engine.pytensor.ops.square_sum import SquareSum

LONG = 1 << 14
"""Minimum number of terms of a sum in two stages."""

Reduction = Callable[[Any, Any, bool], Any]


def _register(cls: type, reduce: Reduction, dtypes: tuple[str, ...]) -> None:
    def form(op: Any, node: Apply, build: Builder) -> list[Output]:
        (x,) = node.inputs
        if x.dtype not in dtypes or node.outputs[0].dtype not in dtypes:
            raise Missing(f"operation {op} on {x.dtype}")
        if 0 in build.shape(x):
            raise Unsupported(f"operation {op} on an empty array")
        return [reduce(build.tensor(x), axes_of(op.axis, x.ndim), False).output(0)]

    convert.register(cls)(form)


def _sum(x: Output, axes: list[int], keep: bool) -> Any:
    """Sum; over a long last axis in two stages, the first of them a product with ones.

    OpenVINO accumulates one by one, in as many partial sums as registers have lanes, and merges two sums in a row.
    """
    shape = [int(n) for n in x.get_shape()]
    last = len(shape) - 1
    if last in axes and shape[last] >= LONG:
        part = next(p for p in range(isqrt(shape[last]), 0, -1) if shape[last] % p == 0)
        ones = opset13.constant(np.ones((part, 1), "float32"))
        split = reshape(x, [*shape[:last], shape[last] // part, part])
        x = reshape(opset13.matmul(split, ones, False, False).output(0), [*shape[:last], shape[last] // part])
    return opset13.reduce_sum(x, axes, keep)


for _cls, _reduce in (
    (Sum, _sum),
    (Prod, opset13.reduce_prod),
    (Max, opset13.reduce_max),
    (Min, opset13.reduce_min),
):
    _register(_cls, _reduce, ("float32",))
_register(All, opset13.reduce_logical_and, ("bool",))
_register(AnyOp, opset13.reduce_logical_or, ("bool",))


@convert.register(SquareSum)
def _square_sum(op: SquareSum, node: Apply, build: Builder) -> list[Output]:
    (x,) = node.inputs
    if x.dtype != "float32":
        raise Missing(f"operation {op} on {x.dtype}")
    if 0 in build.shape(x):
        raise Unsupported(f"operation {op} on an empty array")
    tensor = build.tensor(x)
    return [_sum(opset13.multiply(tensor, tensor).output(0), list(op.axes), False).output(0)]


@convert.register(Argmax)
def _argmax(op: Argmax, node: Apply, build: Builder) -> list[Output]:
    """Index of the first maximum in the flattened reduced axes."""
    (x,) = node.inputs
    if x.dtype != "float32":
        raise Missing(f"operation {op} on {x.dtype}")
    axes = axes_of(op.axis, x.ndim)
    kept = [a for a in range(x.ndim) if a not in axes]
    shape = build.shape(x)
    moved = opset13.transpose(build.tensor(x), np.array([*kept, *axes], np.int64)).output(0)
    flat = reshape(moved, [*(shape[a] for a in kept), prod(shape[a] for a in axes)])
    index = opset13.topk(flat, np.int64(1), len(kept), "max", "value", "i64", stable=True).output(1)
    return [opset13.squeeze(index, np.int64(len(kept))).output(0)]


def _stable(op: Any, node: Apply, build: Builder) -> tuple[list[int], Output]:
    """Return the axes, and the input minus its maximum along them."""
    (x,) = node.inputs
    axes = axes_of(op.axis, x.ndim)
    tensor = build.tensor(x)
    return axes, opset13.subtract(tensor, opset13.reduce_max(tensor, axes, True))


@convert.register(Softmax)
def _softmax(op: Softmax, node: Apply, build: Builder) -> list[Output]:
    axes = axes_of(op.axis, node.inputs[0].ndim)
    if len(axes) == 1:
        return [opset13.softmax(build.tensor(node.inputs[0]), axes[0]).output(0)]
    axes, shifted = _stable(op, node, build)
    powers = opset13.exp(shifted)
    return [opset13.divide(powers, opset13.reduce_sum(powers, axes, True)).output(0)]


@convert.register(LogSoftmax)
def _log_softmax(op: LogSoftmax, node: Apply, build: Builder) -> list[Output]:
    axes, shifted = _stable(op, node, build)
    total = opset13.log(opset13.reduce_sum(opset13.exp(shifted), axes, True))
    return [opset13.subtract(shifted, total).output(0)]
