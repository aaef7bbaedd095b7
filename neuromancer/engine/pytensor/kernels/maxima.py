"""Maxima of sliding windows over several axes in one pass over memory, compiled by numba.

One axis after the other, every pass would read and write all of an array. Here the maxima of rows are taken first, then
those along the row, which stays in a core's own cache. Numbers are given to the compiler as vectors, see `tiles`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels import machine_code

A = npt.NDArray[np.float32]
F = types.Array(types.float32, 1, "C")
INT = types.intp
LANES = 16
VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    """The larger numbers of two vectors; NaN where one is."""
    wanted = builder.or_(builder.fcmp_ordered(">", a, b), builder.fcmp_unordered("uno", a, a))
    return builder.select(wanted, a, b)


@intrinsic
def _largest(typing: Any, outer: Any, inner: Any, x: Any, start: Any, far: Any, near: Any, y: Any, to: Any) -> Any:
    """The maxima of LANES numbers at places of x: as many as two tuples are long, `far` and `near` apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, x, start, far, near, y, to = args
        source, target = (context.make_array(F)(context, builder, array).data for array in (x, y))

        def place(data: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(data, [at]), VECTOR.as_pointer())

        found = None
        for i in range(outer.count):
            for j in range(inner.count):
                steps = (builder.mul(step, ir.Constant(step.type, k)) for step, k in ((far, i), (near, j)))
                at = start
                for step in steps:
                    at = builder.add(at, step)
                value = builder.load(place(source, at), align=4)
                found = value if found is None else _larger(builder, value, found)
        builder.store(found, place(target, to), align=4)
        return context.get_dummy_value()

    return types.void(outer, inner, F, INT, INT, INT, F, INT), generate


def _pool(
    planes: tuple[int, ...], rows: tuple[int, ...], along: tuple[int, ...], x: A, y: A, dz: int, dy: int, step: int,
    first: int, end: int,
) -> None:  # fmt: skip
    """Maxima of windows of x (z, y, numbers of a row) for the planes of y from `first` to `end`.

    Windows have as many planes, rows and numbers along a row as three tuples are long, dz, dy and `step` apart.
    """
    height, length = x.shape[1], x.shape[2]
    wanted = y.shape[2]
    source, target, row = x.reshape(-1), y.reshape(-1), np.empty(length, np.float32)
    for i in range(first, end):
        for j in range(y.shape[1]):
            start, to = (i * height + j) * length, (i * y.shape[1] + j) * wanted
            for k in range(0, length, LANES):
                at = min(k, length - LANES)  # the last ones may be done twice
                _largest(planes, rows, source, start + at, dz * height * length, dy * length, row, at)
            for k in range(0, wanted, LANES):
                at = min(k, wanted - LANES)
                _largest((0,), along, row, at, 0, step, target, to + at)


@cache
def compiled() -> Callable[..., None]:
    """The pass as machine code."""
    return machine_code.compiled(_pool)
