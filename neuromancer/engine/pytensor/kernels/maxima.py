"""Maxima of sliding windows over several axes in one pass over memory, compiled by numba.

Axis by axis, every pass would read and write the whole array. Here the maxima across rows are taken first, then those
along the row, which stays in a core's own cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels import machine_code
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.vectors import FLOATS, INT, FloatArray, array_data, load, store, vector_at


def _larger(builder: Any, a: Any, b: Any) -> Any:
    """Return the elementwise maximum of two vectors; NaN where either is NaN."""
    is_a = builder.or_(builder.fcmp_ordered(">", a, b), builder.fcmp_unordered("uno", a, a))
    return builder.select(is_a, a, b)


@intrinsic
def _largest(typing: Any, outer: Any, inner: Any, x: Any, start: Any, far: Any, near: Any, y: Any, to: Any) -> Any:
    """Store the maximum of vectors of x in y: a grid of them, `far` and `near` apart.

    The lengths of two tuples are the size of the grid.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, x, start, far, near, y, to = args
        source, target = (array_data(context, builder, array) for array in (x, y))
        largest = None
        for i in range(outer.count):
            for j in range(inner.count):
                at = start
                for step, k in ((far, i), (near, j)):
                    at = builder.add(at, builder.mul(step, ir.Constant(step.type, k)))
                value = load(builder, vector_at(builder, source, at))
                largest = value if largest is None else _larger(builder, value, largest)
        store(builder, largest, vector_at(builder, target, to))
        return context.get_dummy_value()

    return types.void(outer, inner, FLOATS, INT, INT, INT, FLOATS, INT), generate


def _pool(
    planes: tuple[int, ...], rows: tuple[int, ...], along: tuple[int, ...], x: FloatArray, y: FloatArray, dz: int,
    dy: int, step: int, first: int, end: int,
) -> None:  # fmt: skip
    """Take maxima of windows of x (z, y, values of a row) for the planes of y from `first` to `end`.

    The lengths of three tuples are the size of a window in planes, rows and voxels of a row; these are dz, dy and
    `step` apart.
    """
    height, length = x.shape[1], x.shape[2]
    outputs = y.shape[2]
    source, target, row = x.reshape(-1), y.reshape(-1), np.empty(length, np.float32)
    for i in range(first, end):
        for j in range(y.shape[1]):
            start, to = (i * height + j) * length, (i * y.shape[1] + j) * outputs
            for k in range(0, length, LANES):
                at = min(k, length - LANES)  # the last vector may overlap the one before
                _largest(planes, rows, source, start + at, dz * height * length, dy * length, row, at)
            for k in range(0, outputs, LANES):
                at = min(k, outputs - LANES)
                _largest((0,), along, row, at, 0, step, target, to + at)


@cache
def compiled() -> Callable[..., None]:
    """Compile the pass to machine code."""
    return machine_code.compiled(_pool)
