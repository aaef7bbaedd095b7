"""Interpolation to any size, where the positions of the operation Resize are not precise enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from neuromancer.interop.onnx.leaving.graph import Size


def interpolated(t: Any, x: str, sizes: Sequence[Any], mode: str, corners: bool) -> str:
    """Interpolate the spatial axes to sizes that need not be multiples of those of the image.

    Resize multiplies by the quotient of the sizes, rounded, so that a voxel of 'nearest' can be the neighbour of the
    right one. Here, positions are computed in the order of ``torch.nn.functional.interpolate``.
    """
    for axis, m in enumerate(sizes, 2):
        place, n = _positions(t, x, axis, m, mode, corners)
        low = t.graph.add("Floor", [place])
        first = t.graph.add("Min", [_integer(t, low), n])
        left = _taken(t, x, first, axis)
        if mode == "nearest":
            x = left
            continue
        second = t.graph.add("Min", [t.graph.add("Add", [first, t.graph.ints([1])]), n])
        weight = _along(t, t.binary("sub", place, low), len(sizes) + 1 - axis)
        right = _taken(t, x, second, axis)
        # Not x + w (y - x), which rounds differently.
        rest = t.binary("sub", t.graph.number(1), weight)
        x = t.binary("add", t.binary("mul", left, rest), t.binary("mul", right, weight))
    return x


def _positions(t: Any, x: str, axis: int, m: Any, mode: str, corners: bool) -> tuple[str, str]:
    """Return where the voxels of the result lie on an axis, and the index of its last voxel."""
    old, new = t.graph.sizes([Size(x, axis)]), t.graph.sizes([m])
    last = t.graph.add("Sub", [old, t.graph.ints([1])])
    zero, one = (t.graph.constant(np.asarray(k, "int64"), f"int {k}") for k in (0, 1))
    ends = t.graph.add("Squeeze", [new])
    index = _float(t, t.graph.add("Range", [zero, ends, one]))
    if corners:
        steps = t.graph.add("Max", [t.graph.add("Sub", [new, t.graph.ints([1])]), t.graph.ints([1])])
        return t.binary("mul", index, t.binary("div", _float(t, last), _float(t, steps))), last
    scale = t.binary("div", _float(t, old), _float(t, new))
    if mode == "nearest":
        return t.binary("mul", index, scale), last
    centre = t.binary("sub", t.binary("mul", t.binary("add", index, 0.5), scale), 0.5)
    return t.binary("maximum", centre, 0.0), last


def _float(t: Any, x: str) -> str:
    return str(t.graph.add("Cast", [x], to=TensorProto.FLOAT))


def _integer(t: Any, x: str) -> str:
    return str(t.graph.add("Cast", [x], to=TensorProto.INT64))


def _taken(t: Any, x: str, index: str, axis: int) -> str:
    return str(t.graph.add("Gather", [x, index], axis=axis))


def _along(t: Any, vector: str, after: int) -> str:
    """Append axes of size 1 to a vector."""
    return str(t.unsqueeze(vector, list(range(1, 1 + after)))) if after else vector
