"""Machine code of matrix products: of one large one, or of the many small ones of `winograd`, one per point of a tile.

The sums over all rows of the right matrix stay in registers, in `winograd` those over all taps and channels. BLAS
libraries repack operands and would store the sums after every tap; with few channels that takes longer than the
products.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels.epilogue import CHANNEL, FULL, PLAIN, Epilogue, repeated
from neuromancer.engine.pytensor.kernels.expressions import emit
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, Function, processor, vectors
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.values import Value, inner, loop, unless, when, written
from neuromancer.engine.pytensor.kernels.vectors import FUSED, VECTOR, Rows, constant, load, store

__all__ = ["ARGUMENTS", "block_size", "multiplier", "panels", "processor", "vectors"]

NUMBERS = (
    "points", "rows", "n_in", "n_out", "parts", "taps",
    "v_point", "v_part", "v_tap", "v_row", "v_channel", "s_point", "s_row",
)  # fmt: skip
"""Points, rows, channels of values and sums; parts and taps of the kernel; distances of the values of points, parts,
taps, rows and channels, and of the sums of points and rows."""
ARGUMENTS = [FLOATS, FLOATS, FLOATS, FLOATS, *[INT] * len(NUMBERS)]
"""Values, kernel, bias and sums; `NUMBERS`; the operands of the epilogue follow."""
BLOCK = [FLOATS, FLOATS, FLOATS, FLOATS, *[INT] * 8]
"""Values, kernel, bias and sums of a block; channels; parts and taps of the kernel; distances of the values of parts,
taps, rows and channels, and of the sums of rows; the operands of the epilogue follow."""


def block_size() -> tuple[int, int]:
    """Return the rows and vectors of a block whose sums, factors and one value per row fit into the registers."""
    parts = LANES // min(LANES, vectors().lanes)
    columns = 2 if parts == 1 else 1
    return max(1, (vectors().registers - 1) // (parts * columns) - 1), columns


def panels(w: torch.Tensor) -> torch.Tensor:
    """Arrange a kernel (k, points, n_in, n_out) for the products: (points, panels, k, n_in, LANES).

    A panel is LANES output channels, whose values are read one after the other. The last one may overlap the one
    before. There are at least LANES channels.
    """
    n_out = w.shape[-1]
    if n_out % LANES:
        starts = torch.arange(0, n_out, LANES).clamp(max=n_out - LANES)
        w = w[..., (starts[:, None] + torch.arange(LANES)).flatten()]
    return w.unflatten(-1, (-1, LANES)).permute(1, 3, 0, 2, 4).contiguous()


@cache
def multiplier(biased: bool = False, epilogue: Epilogue = PLAIN) -> Function:
    """Compile the products of v (parts, points, rows, n_in) and w in `panels`, where k are parts and taps.

    The sums s (points, rows, n_out) are over parts, taps and n_in. Taps apply to later rows. They begin with the bias
    (n_out,) if there is one; otherwise that is not read. An epilogue is for a single point.
    """

    def write(v: Value, w: Value, bias: Value, s: Value, *numbers: Value) -> None:
        n, beside = dict(zip(NUMBERS, numbers, strict=False)), numbers[len(NUMBERS) :]
        rows, n_out = n["rows"], n["n_out"]
        most, columns = block_size()
        sizes = {(most, columns), (most, 1), (1, columns), (1, 1)}
        blocks = {size: _block(v.builder.module, *size, biased, epilogue) for size in sizes}
        count = (n_out + LANES - 1) // LANES
        per_panel = n["parts"] * n["taps"] * n["n_in"] * LANES
        of_block = [n[name] for name in ("n_in", "parts", "taps", "v_part", "v_tap", "v_row", "v_channel", "s_row")]

        def product(size: tuple[int, int], point: Value, row: Value, panel: Value) -> None:
            column = (panel * LANES).least(n_out - size[1] * LANES)
            kernel, to = w + (point * count + panel) * per_panel, point * n["s_point"] + row * n["s_row"] + column
            operands = v + (point * n["v_point"] + row * n["v_row"]), kernel, bias + column, s + to
            others = [b + (column if kind == CHANNEL else to) for b, kind in zip(beside, epilogue.kinds, strict=True)]
            v.builder.call(blocks[size], [argument.raw for argument in (*operands, *of_block, *others)])

        def columns_of(width: int, point: Value, panel: Value) -> None:
            many = rows >= most
            with when(many), loop((rows + most - 1) // most) as block:
                # the last block may overlap the one before
                product((most, width), point, (block * most).least(rows - most), panel)
            with unless(many), loop(rows) as row:
                product((1, width), point, row, panel)

        # whole panels first: columns of a block are next to each other
        whole = n_out // (columns * LANES)
        with loop(n["points"]) as point:
            with loop(whole) as k:
                columns_of(columns, point, k * columns)
            with loop(count, whole * columns) as panel:
                columns_of(1, point, panel)

    return written("multiply", [*ARGUMENTS, *[FLOATS] * len(epilogue.kinds)], write, apart=True)


def _block(module: Any, rows: int, columns: int, biased: bool, epilogue: Epilogue) -> Any:
    """Define the function that computes the sums of some rows, in vectors of columns, and the epilogue."""
    kinds = [*BLOCK, *[FLOATS] * len(epilogue.kinds)]
    function, arguments = inner(module, f"block_{rows}_{columns}", kinds)
    v, w, bias, s, n_in, parts, taps, v_part, v_tap, v_row, v_channel, s_row, *others = arguments
    builder = v.builder
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    sums = {cell: builder.alloca(VECTOR) for cell in cells}
    first = [load(bias + LANES * j) if biased else constant(0.0) for j in range(columns)]
    for (_, j), place in sums.items():
        builder.store(first[j], place)

    per_panel = parts * taps * n_in * LANES
    with loop(parts) as part, loop(taps) as tap:
        values, kernel = v + (part * v_part + tap * v_tap), w + (part * taps + tap) * n_in * LANES
        with loop(n_in) as channel:
            factors = [load(kernel + (channel * LANES + per_panel * j)) for j in range(columns)]
            for i in range(rows):
                number = repeated(builder, (values + (channel * v_channel + v_row * i)).get().raw, VECTOR)
                for j in range(columns):
                    product = builder.fmul(number, factors[j], flags=FUSED)
                    builder.store(builder.fadd(builder.load(sums[i, j]), product, flags=FUSED), sums[i, j])
    for i in range(rows):
        row = Rows(s + s_row * i, LANES)
        for j in range(columns):
            store(builder.load(sums[i, j]), row.at(j))
    if epilogue != PLAIN:  # the sums are still in the cache
        beside = list(zip(others, epilogue.kinds, strict=True))
        with loop(s.constant(rows)) as k:
            for j in range(columns):
                at = s_row * k + LANES * j
                places = [s + at, *(b + (at if kind == FULL else LANES * j) for b, kind in beside)]
                store(emit(builder, epilogue.expression, [load(place) for place in places], LANES), s + at)
    builder.ret_void()
    return function
