"""Products of many small complex matrices in the layout of `fourier`, compiled by numba.

BLAS libraries repack both operands of every product; for matrices of this size that costs a third of the time. Here
operands are stored as they are read: groups of LANES channels, real parts before imaginary ones. Register blocking
keeps the sums of a block of ROWS rows and COLUMNS groups of the result in registers; a panel of the right matrix as
wide as a block stays in the L1 cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels import machine_code
from neuromancer.engine.pytensor.kernels.simd import LANES, PAIR
from neuromancer.engine.pytensor.kernels.vectors import (
    FLOATS,
    FUSED,
    INT,
    INT32,
    VECTOR,
    FloatArray,
    array_data,
    constant,
    fence,
    load,
    store,
    vector_at,
)

ROWS, COLUMNS, ONE = (0,) * 6, (0,) * 2, (0,)


@intrinsic
def _block(
    typing: Any, rows: Any, columns: Any, x: Any, start: Any, down: Any, before: Any, groups: Any, w: Any, at: Any,
    right: Any, y: Any, to: Any, below: Any, aligned: Any,
) -> Any:  # fmt: skip
    """Multiply rows of x with columns of w; the lengths of two tuples are the numbers of rows and columns.

    A row of x is `groups` of channels, of which the first `before` channels are skipped. Rows are `down` apart in x and
    `below` in y; columns (groups of output channels) are `right` apart in w. y bypasses the caches if it is `aligned`
    to cache lines.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, x, start, down, before, groups, w, at, right, y, to, below, aligned = args
        source, kernel, target = (array_data(context, builder, array) for array in (x, w, y))
        number = lambda value: ir.Constant(start.type, value)  # noqa: E731
        undefined = ir.Constant(VECTOR, ir.Undefined)
        cells = [(i, j) for i in range(rows.count) for j in range(columns.count)]
        sums = {cell: [cgutils.alloca_once_value(builder, constant(0.0)) for _ in range(2)] for cell in cells}
        position = cgutils.alloca_once_value(builder, at)

        def broadcast(pointer: Any) -> Any:
            single = builder.insert_element(undefined, builder.load(pointer), ir.Constant(INT32, 0))
            return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))

        def add(cell: tuple[int, int], part: int, a: Any, b: Any, minus: bool = False) -> None:
            total = builder.load(sums[cell][part])
            combine = builder.fsub if minus else builder.fadd
            builder.store(combine(total, builder.fmul(a, b, flags=FUSED), flags=FUSED), sums[cell][part])

        with cgutils.for_range(builder, groups) as group:
            first = builder.select(builder.icmp_signed("==", group.index, number(0)), before, number(0))
            begin = builder.add(start, builder.mul(group.index, number(PAIR)))
            with cgutils.for_range(builder, number(LANES), start=first) as lane:
                index = builder.load(position)
                values = []
                for j in range(columns.count):
                    column = builder.add(index, builder.mul(right, number(j)))
                    parts = [vector_at(builder, kernel, builder.add(column, number(k))) for k in (0, LANES)]
                    values.append([load(builder, part) for part in parts])
                for i in range(rows.count):
                    cell = builder.add(builder.add(begin, builder.mul(down, number(i))), lane.index)
                    re, im = (broadcast(builder.gep(source, [builder.add(cell, number(k))])) for k in (0, LANES))
                    for j in range(columns.count):
                        add((i, j), 0, re, values[j][0])
                        add((i, j), 1, re, values[j][1])
                    for j in range(columns.count):
                        add((i, j), 0, im, values[j][1], minus=True)
                        add((i, j), 1, im, values[j][0])
                builder.store(builder.add(index, number(PAIR)), position)
        with builder.if_else(aligned) as (then, otherwise):
            for branch, nontemporal in ((then, True), (otherwise, False)):
                with branch:
                    for i, j in cells:
                        index = builder.add(builder.add(to, builder.mul(below, number(i))), number(j * PAIR))
                        for part in range(2):
                            pointer = vector_at(builder, target, builder.add(index, number(part * LANES)))
                            store(builder, builder.load(sums[i, j][part]), pointer, nontemporal)
        return context.get_dummy_value()

    signature = types.void(
        rows, columns, FLOATS, INT, INT, INT, INT, FLOATS, INT, INT, FLOATS, INT, INT, types.boolean
    )  # fmt: skip
    return signature, generate


def _multiply(v: FloatArray, w: FloatArray, s: FloatArray, before: int, first: int, end: int) -> None:
    """Multiply v (points, tiles, groups * PAIR) by w (points, groups, n_in, PAIR).

    The products for the points from `first` to `end` are stored in s (points, tiles, groups * PAIR). The first `before`
    channels of v have no counterpart in w.
    """
    tiles, down, below = v.shape[1], v.shape[2], s.shape[2]
    groups, n_out, right = down // PAIR, w.shape[1], w.shape[2] * PAIR
    source, kernel, target = v.reshape(-1), w.reshape(-1), s.reshape(-1)
    aligned = s.ctypes.data % 64 == 0
    for point in range(first, end):
        for column in range(0, n_out, 2):
            at = (point * n_out + column) * right
            for tile in range(0, tiles, 6):
                row = point * tiles + max(0, min(tile, tiles - 6))  # the last block may overlap the one before
                x, y = row * down, row * below + column * PAIR
                if tiles >= 6 and column + 2 <= n_out:
                    _block(ROWS, COLUMNS, source, x, down, before, groups, kernel, at, right, target, y, below, aligned)
                elif tiles >= 6:
                    _block(ROWS, ONE, source, x, down, before, groups, kernel, at, right, target, y, below, aligned)
                else:
                    for k in range(tiles):
                        for j in range(min(2, n_out - column)):
                            _block(
                                ONE, ONE, source, x + k * down, down, before, groups, kernel, at + j * right, right,
                                target, y + k * below + j * PAIR, below, aligned,
                            )  # fmt: skip
    fence()


@cache
def compiled() -> Callable[..., None]:
    """Compile the products to machine code."""
    return machine_code.compiled(_multiply)
