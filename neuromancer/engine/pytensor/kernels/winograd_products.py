"""Products of the transformed values of `winograd`: one small matrix product per point of a tile.

The sums over all taps and channels stay in registers. BLAS libraries repack operands and would store the sums after
every tap; with few channels that takes longer than the products.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels.epilogue import repeated
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, Function, vectors
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.values import Value, inner, loop, unless, when, written
from neuromancer.engine.pytensor.kernels.vectors import FUSED, VECTOR, Rows, constant, load, store

ARGUMENTS = [FLOATS, FLOATS, FLOATS, *[INT] * 10]
"""Values, kernel and sums; points, rows, channels of values and sums; parts and taps of the kernel; distances of the
values of points, parts and taps, and of the sums of points."""
BLOCK = [FLOATS, FLOATS, FLOATS, *[INT] * 6]
"""Values, kernel and sums of a block; channels of values and sums; parts and taps of the kernel; distances of the
values of parts and taps."""


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
def multiplier() -> Function:
    """Compile the products of v (parts, points, rows, n_in) and w in `panels`, where k are parts and taps.

    The sums s (points, rows, n_out) are over parts, taps and n_in. Taps apply to later rows.
    """

    def write(
        v: Value, w: Value, s: Value, points: Value, rows: Value, n_in: Value, n_out: Value, parts: Value, taps: Value,
        v_point: Value, v_part: Value, v_tap: Value, s_point: Value,
    ) -> None:  # fmt: skip
        most, columns = block_size()
        blocks = {size: _block(v.builder.module, *size) for size in {(most, columns), (most, 1), (1, columns), (1, 1)}}
        count = (n_out + LANES - 1) // LANES
        per_panel = parts * taps * n_in * LANES

        def product(size: tuple[int, int], point: Value, row: Value, panel: Value) -> None:
            column = (panel * LANES).least(n_out - size[1] * LANES)
            to = s + (point * s_point + row * n_out + column)
            operands = v + (point * v_point + row * n_in), w + (point * count + panel) * per_panel, to
            arguments = *operands, n_in, n_out, parts, taps, v_part, v_tap
            v.builder.call(blocks[size], [argument.raw for argument in arguments])

        def columns_of(width: int, point: Value, panel: Value) -> None:
            many = rows >= most
            with when(many), loop((rows + most - 1) // most) as block:
                # the last block may overlap the one before
                product((most, width), point, (block * most).least(rows - most), panel)
            with unless(many), loop(rows) as row:
                product((1, width), point, row, panel)

        # whole panels first: columns of a block are next to each other
        whole = n_out // (columns * LANES)
        with loop(points) as point:
            with loop(whole) as k:
                columns_of(columns, point, k * columns)
            with loop(count, whole * columns) as panel:
                columns_of(1, point, panel)

    return written("multiply", ARGUMENTS, write, apart=True)


def _block(module: Any, rows: int, columns: int) -> Any:
    """Define the function that computes the sums of some rows, in vectors of columns."""
    function, arguments = inner(module, f"block_{rows}_{columns}", BLOCK)
    v, w, s, n_in, n_out, parts, taps, v_part, v_tap = arguments
    builder = v.builder
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    sums = {cell: builder.alloca(VECTOR) for cell in cells}
    for place in sums.values():
        builder.store(constant(0.0), place)

    per_panel = parts * taps * n_in * LANES
    with loop(parts) as part, loop(taps) as tap:
        values, kernel = v + (part * v_part + tap * v_tap), w + (part * taps + tap) * n_in * LANES
        with loop(n_in) as channel:
            factors = [load(kernel + (channel * LANES + per_panel * j)) for j in range(columns)]
            for i in range(rows):
                number = repeated(builder, (values + (channel + n_in * i)).get().raw, VECTOR)
                for j in range(columns):
                    product = builder.fmul(number, factors[j], flags=FUSED)
                    builder.store(builder.fadd(builder.load(sums[i, j]), product, flags=FUSED), sums[i, j])
    for i in range(rows):
        row = Rows(s + n_out * i, LANES)
        for j in range(columns):
            store(builder.load(sums[i, j]), row.at(j))
    builder.ret_void()
    return function
