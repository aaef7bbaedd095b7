"""Translation of the operations of ONNX that only arrange axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer.interop.network import Network, Value
from neuromancer.interop.onnx.arguments import PLAIN, Arguments, operation
from neuromancer.interop.onnx.layers import Grouped, regrouped
from neuromancer.interop.pytorch.aten import viewed


def place_of(a: Arguments) -> str:
    """Return what errors name."""
    return f"{a.place} ({a.op})"


@operation("Reshape", table=PLAIN)
def _reshape(net: Network, place: str, a: Arguments) -> Any:
    given = a.given(0)
    x: Value = given.x if isinstance(given, Grouped) else a.x
    before = (1, given.groups, prod(x.shape) // given.groups) if isinstance(given, Grouped) else x.shape
    after = _target(a, before)
    if isinstance(given, Grouped):
        return regrouped(net, place, a, given, after)
    grouped = len(after) == 3 and after[0] == 1 and after != list(x.shape) and x.view == "image" and x.sizes
    if grouped and x.features % after[1] == 0:
        return Grouped(x, after[1])
    return viewed(x, after, place_of(a))


def _target(a: Arguments, before: Sequence[int]) -> list[int]:
    after = [int(n) for n in a.listed("shape", 1) or []]
    if not a["allowzero"]:
        if any(n == 0 and k >= len(before) for k, n in enumerate(after)):
            raise a.refuse("a size is to be copied from an axis that does not exist", after, f"{len(before)} axes")
        after = [before[k] if n == 0 else n for k, n in enumerate(after)]
    known = prod(n for n in after if n != -1)
    if after.count(-1) > 1 or any(n < -1 or n == 0 for n in after) or prod(before) % known:
        raise a.refuse("the sizes do not fit", f"{tuple(before)} -> {after}", "as many elements")
    after = [prod(before) // known if n == -1 else n for n in after]
    if prod(after) != prod(before):
        raise a.refuse("the sizes do not fit", f"{tuple(before)} -> {after}", "as many elements")
    return after


@operation("Flatten", table=PLAIN)
def _flatten(net: Network, place: str, a: Arguments) -> Value:
    shape, axis = a.x.shape, int(a["axis"])
    axis = axis + len(shape) if axis < 0 else axis
    return viewed(a.x, [prod(shape[:axis]), prod(shape[axis:])], place_of(a))


@operation("Squeeze", table=PLAIN)
def _squeeze(net: Network, place: str, a: Arguments) -> Value:
    shape, axes = a.x.shape, a.listed("axes", 1)
    left_out = a.axes([int(n) for n in axes], len(shape)) if axes else [k for k, n in enumerate(shape) if n == 1 and k]
    if any(shape[k] != 1 for k in left_out):
        raise a.refuse("an axis is longer than 1", f"axes {left_out} of {shape}", "axes of size 1")
    return viewed(a.x, [n for k, n in enumerate(shape) if k not in left_out], place_of(a))


@operation("Unsqueeze", table=PLAIN)
def _unsqueeze(net: Network, place: str, a: Arguments) -> Value:
    shape, axes = list(a.x.shape), a.listed("axes", 1) or []
    for axis in sorted(a.axes([int(n) for n in axes], len(shape) + len(axes))):
        shape.insert(axis, 1)
    return viewed(a.x, shape, place_of(a))


@operation("Transpose", table=PLAIN)
def _transpose(net: Network, place: str, a: Arguments) -> Value:
    x, rank = a.x, len(a.x.shape)
    order = a.axes(a["perm"] or range(rank)[::-1], rank)
    if len(order) != rank:
        raise a.refuse("the axes cannot be permuted so", order, f"all {rank} axes")
    if order == list(range(rank)):
        return x
    if x.view == "image" and order == [0, *range(2, rank), 1]:
        return Value(x.node, x.sizes, "last")
    if x.view == "last" and order == [0, rank - 1, *range(1, rank - 1)]:
        return Value(x.node, x.sizes, "image")
    raise a.refuse("the axes cannot be permuted so", order, "moving the channels to the last axis and back")


@operation("Shape", table=PLAIN)
def _shape(net: Network, place: str, a: Arguments) -> Any:
    shape, end = a.x.shape, a["end"]
    return np.array(shape[int(a["start"] or 0) : None if end is None else int(end)], "int64")


@operation("Size", table=PLAIN)
def _size(net: Network, place: str, a: Arguments) -> Any:
    return np.array(prod(a.x.shape), "int64")
