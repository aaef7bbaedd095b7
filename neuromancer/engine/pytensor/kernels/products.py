"""Products of many small complex matrices in the layout of `fourier`.

BLAS libraries repack both operands of every product; for matrices of this size that costs a third of the time. Here
operands are stored as they are read: groups of LANES channels, real parts before imaginary ones. Register blocking
keeps the sums of a block of rows and groups of the result in registers; a panel of the right matrix as wide as a block
stays in the L1 cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from neuromancer.engine.pytensor.kernels.epilogue import repeated
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, Function, vectors
from neuromancer.engine.pytensor.kernels.simd import CACHE_LINE, LANES, PAIR
from neuromancer.engine.pytensor.kernels.values import Value, inner, loop, unless, when, written
from neuromancer.engine.pytensor.kernels.vectors import FUSED, VECTOR, Rows, constant, load, store

ARGUMENTS = [FLOATS, FLOATS, FLOATS, *[INT] * 7]
"""Left, right and resulting matrices; number of rows, groups of the left and of the right matrix, rows of the right
matrix, channels of the left matrix to be skipped; first point and end."""
BLOCK = [FLOATS, FLOATS, FLOATS, *[INT] * 5]
"""Left, right and resulting matrices of a block; distances of rows of the left matrix, groups of the right one and rows
of the result; groups of the left matrix, channels to be skipped."""


def multiplier(v: np.ndarray, w: np.ndarray, s: np.ndarray, before: int) -> Callable[[tuple[int, int]], None]:
    """Return a function that multiplies v (points, tiles, groups * PAIR) by w (points, groups, n_in, PAIR).

    For a range of points (first, end), it stores the products in s (points, tiles, groups * PAIR). The first `before`
    channels of v have no counterpart in w.
    """
    run = compiled(s.ctypes.data % CACHE_LINE == 0)

    def multiply(points: tuple[int, int]) -> None:
        arrays = (v.ctypes.data, w.ctypes.data, s.ctypes.data)
        run(*arrays, v.shape[1], v.shape[2] // PAIR, w.shape[1], w.shape[2], before, *points)

    return multiply


def block_size() -> tuple[int, int]:
    """Return the rows and groups of a block whose sums, factors and one complex number per row fit into the registers.

    A part of a group takes several registers if these are narrow.
    """
    parts = 2 * LANES // vectors().lanes
    columns = 2 if parts == 2 else 1
    return max(1, (vectors().registers - 2) // (parts * columns) - 1), columns


@cache
def compiled(nontemporal: bool) -> Function:
    """Compile the products; `nontemporal` stores bypass the caches and need a result that is aligned to cache lines."""

    def write(
        v: Value, w: Value, s: Value, tiles: Value, groups: Value, n_out: Value, n_in: Value, before: Value,
        first: Value, end: Value,
    ) -> None:  # fmt: skip
        rows, columns = block_size()
        sizes = {(rows, columns), (rows, 1), (1, 1)}
        blocks = {size: _block(v.builder.module, *size, nontemporal) for size in sizes}
        down, right, below = groups * PAIR, n_in * PAIR, n_out * PAIR

        def product(size: tuple[int, int], row: Value, column: Value) -> None:
            operands = v + row * down, w + (point * n_out + column) * right, s + row * below + column * PAIR
            arguments = *operands, down, right, below, groups, before
            v.builder.call(blocks[size], [argument.raw for argument in arguments])

        with loop(end, first) as point:
            many = tiles >= rows
            with (
                loop((n_out + columns - 1) // columns) as panel,
                when(many),
                loop((tiles + rows - 1) // rows) as block,
            ):
                column = panel * columns
                # the last block may overlap the one before
                row = point * tiles + (block * rows).least(tiles - rows)
                whole = column + columns < n_out + 1
                with when(whole):
                    product((rows, columns), row, column)
                with unless(whole):
                    product((rows, 1), row, column)
            with unless(many), loop(n_out) as column, loop(tiles) as tile:
                product((1, 1), point * tiles + tile, column)
        # nontemporal stores become visible to all threads
        v.builder.fence("seq_cst")

    return written("multiply", ARGUMENTS, write, apart=True)


def _block(module: Any, rows: int, columns: int, nontemporal: bool) -> Any:
    """Define the function that multiplies rows with columns, which are groups of channels."""
    function, arguments = inner(module, f"block_{rows}_{columns}", BLOCK)
    x, w, y, down, right, below, groups, before = arguments
    builder = x.builder
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    sums = {cell: [builder.alloca(VECTOR) for _ in range(2)] for cell in cells}
    for parts in sums.values():
        for place in parts:
            builder.store(constant(0.0), place)

    def add(place: Any, a: Any, b: Any, minus: bool = False) -> None:
        combine = builder.fsub if minus else builder.fadd
        builder.store(combine(builder.load(place), builder.fmul(a, b, flags=FUSED), flags=FUSED), place)

    with loop(groups) as group:
        skipped = (group < 1).choose(before, 0)
        with loop(w.constant(LANES), skipped) as lane:
            kernel = Rows(w + (group * LANES + lane - before) * PAIR, right)
            values = [(kernel.load(j), load(kernel.at(j, LANES))) for j in range(columns)]
            for i in range(rows):
                cell = x + group * PAIR + lane + down * i
                re, im = (repeated(builder, part.get().raw, VECTOR) for part in (cell, cell + LANES))
                for j in range(columns):
                    add(sums[i, j][0], re, values[j][0])
                    add(sums[i, j][1], re, values[j][1])
                for j in range(columns):
                    add(sums[i, j][0], im, values[j][1], minus=True)
                    add(sums[i, j][1], im, values[j][0])
    for i, j in cells:
        for part, place in enumerate(sums[i, j]):
            store(builder.load(place), y + below * i + j * PAIR + part * LANES, nontemporal)
    builder.ret_void()
    return function
