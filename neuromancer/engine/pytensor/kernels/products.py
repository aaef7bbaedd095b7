"""Products of many complex matrices in the layout of `fourier`, compiled by numba.

Libraries multiply one pair of matrices after the other and rearrange both for each; of matrices of this size that takes
as long as a third of the products. Here everything lies as it is wanted: groups of LANES channels, real parts before
imaginary ones. Of ROWS rows and COLUMNS groups of the result, all sums stay in registers; a part of the right matrix as
wide as that stays in the first cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels import machine_code
from neuromancer.engine.pytensor.kernels.dft import finish

A = npt.NDArray[np.float32]
F = types.Array(types.float32, 1, "C")
INT = types.intp
LANES = 16
PAIR = 2 * LANES
ROWS, COLUMNS, ONE = (0,) * 6, (0,) * 2, (0,)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
WHOLE = ir.IntType(32)
FUSED = ("contract", "nsz")


@intrinsic
def _block(
    typing: Any, rows: Any, columns: Any, x: Any, start: Any, down: Any, before: Any, groups: Any, w: Any, at: Any,
    right: Any, y: Any, to: Any, below: Any, past: Any,
) -> Any:  # fmt: skip
    """Rows of x times columns of w, as many as two tuples are long.

    A row of x is `groups` of channels, of which the first `before` are left out; rows are `down` apart in x and `below`
    in y, columns (groups of channels of the result) `right` apart in w. y is written `past` the caches.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, x, start, down, before, groups, w, at, right, y, to, below, past = args
        source, kernel, target = (context.make_array(F)(context, builder, array).data for array in (x, w, y))
        number = lambda value: ir.Constant(start.type, value)  # noqa: E731
        zero, undefined = ir.Constant(VECTOR, [0.0] * LANES), ir.Constant(VECTOR, ir.Undefined)
        cells = [(i, j) for i in range(rows.count) for j in range(columns.count)]
        sums = {cell: [cgutils.alloca_once_value(builder, zero) for _ in range(2)] for cell in cells}
        place = cgutils.alloca_once_value(builder, at)

        def spread(pointer: Any) -> Any:
            single = builder.insert_element(undefined, builder.load(pointer), ir.Constant(WHOLE, 0))
            return builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(WHOLE, LANES), [0] * LANES))

        def vector(data: Any, index: Any) -> Any:
            return builder.bitcast(builder.gep(data, [index]), VECTOR.as_pointer())

        def add(cell: tuple[int, int], part: int, a: Any, b: Any, minus: bool = False) -> None:
            total = builder.load(sums[cell][part])
            combine = builder.fsub if minus else builder.fadd
            builder.store(combine(total, builder.fmul(a, b, flags=FUSED), flags=FUSED), sums[cell][part])

        with cgutils.for_range(builder, groups) as group:
            first = builder.select(builder.icmp_signed("==", group.index, number(0)), before, number(0))
            begin = builder.add(start, builder.mul(group.index, number(PAIR)))
            with cgutils.for_range(builder, number(LANES), start=first) as lane:
                index = builder.load(place)
                values = []
                for j in range(columns.count):
                    here = builder.add(index, builder.mul(right, number(j)))
                    parts = [vector(kernel, builder.add(here, number(k))) for k in (0, LANES)]
                    values.append([builder.load(part, align=4) for part in parts])
                for i in range(rows.count):
                    cell = builder.add(builder.add(begin, builder.mul(down, number(i))), lane.index)
                    re, im = (spread(builder.gep(source, [builder.add(cell, number(k))])) for k in (0, LANES))
                    for j in range(columns.count):
                        add((i, j), 0, re, values[j][0])
                        add((i, j), 1, re, values[j][1])
                    for j in range(columns.count):
                        add((i, j), 0, im, values[j][1], minus=True)
                        add((i, j), 1, im, values[j][0])
                builder.store(builder.add(index, number(PAIR)), place)
        with builder.if_else(past) as (lines, other):
            for branch, whole in ((lines, True), (other, False)):
                with branch:
                    for i, j in cells:
                        index = builder.add(builder.add(to, builder.mul(below, number(i))), number(j * PAIR))
                        for part in range(2):
                            pointer = vector(target, builder.add(index, number(part * LANES)))
                            done = builder.store(builder.load(sums[i, j][part]), pointer, align=64 if whole else 4)
                            if whole:
                                done.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(WHOLE, 1)]))
        return context.get_dummy_value()

    return types.void(rows, columns, F, INT, INT, INT, INT, F, INT, INT, F, INT, INT, types.boolean), generate


def _multiply(v: A, w: A, s: A, before: int, first: int, end: int) -> None:
    """The products of v (points, tiles, numbers) and w (points, groups, n_in, PAIR) are s (points, tiles, numbers).

    For the points from `first` to `end`; of the channels in v, the first `before` have no place in w.
    """
    tiles, down, below = v.shape[1], v.shape[2], s.shape[2]
    groups, n_out, right = down // PAIR, w.shape[1], w.shape[2] * PAIR
    source, kernel, target = v.reshape(-1), w.reshape(-1), s.reshape(-1)
    past = s.ctypes.data % 64 == 0
    for point in range(first, end):
        for column in range(0, n_out, 2):
            at = (point * n_out + column) * right
            for tile in range(0, tiles, 6):
                row = point * tiles + max(0, min(tile, tiles - 6))  # the last ones may be done twice
                x, y = row * down, row * below + column * PAIR
                if tiles >= 6 and column + 2 <= n_out:
                    _block(ROWS, COLUMNS, source, x, down, before, groups, kernel, at, right, target, y, below, past)
                elif tiles >= 6:
                    _block(ROWS, ONE, source, x, down, before, groups, kernel, at, right, target, y, below, past)
                else:
                    for k in range(tiles):
                        for j in range(min(2, n_out - column)):
                            _block(
                                ONE, ONE, source, x + k * down, down, before, groups, kernel, at + j * right, right,
                                target, y + k * below + j * PAIR, below, past,
                            )  # fmt: skip
    finish()


@cache
def compiled() -> Callable[..., None]:
    """The products as machine code."""
    return machine_code.compiled(_multiply)
