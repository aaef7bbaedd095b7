"""Machine code that transposes matrices, square by square in registers."""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, Function, build, counted, vectors
from neuromancer.engine.pytensor.kernels.row_code import at, load, store


@cache
def compiled(columns_first: bool) -> Function:
    """Compile a function of x, y, rows, columns, the distances of rows in x and in y; number and distances of matrices.

    Rows and columns are at least as many as the values of a vector. The outer loop of a matrix is over the columns if
    `columns_first`.
    """
    lanes = vectors().lanes

    def emit(
        module: Any, builder: Any, x: Any, y: Any, rows: Any, columns: Any, x_apart: Any, y_apart: Any, count: Any,
        x_step: Any, y_step: Any,
    ) -> None:  # fmt: skip
        lengths = (columns, rows) if columns_first else (rows, columns)
        with (
            counted(builder, count) as matrix,
            counted(builder, lengths[0], step=lanes) as first,
            counted(builder, lengths[1], step=lanes) as second,
        ):
            # the last square may overlap the one before
            first, second = (_at_most(builder, k, n) for k, n in zip((first, second), lengths, strict=True))
            row, column = (second, first) if columns_first else (first, second)
            source = builder.gep(at(builder, x, (matrix, x_step), (row, x_apart)), [column])
            target = builder.gep(at(builder, y, (matrix, y_step), (column, y_apart)), [row])
            values = [load(builder, at(builder, source, (INT(k), x_apart))) for k in range(lanes)]
            for k, value in enumerate(_transposed(builder, values)):
                store(builder, value, at(builder, target, (INT(k), y_apart)))

    return build("transpose", [FLOATS, FLOATS, *[INT] * 7], emit, apart=True)


def _at_most(builder: Any, index: Any, length: Any) -> Any:
    last = builder.sub(length, INT(vectors().lanes))
    return builder.select(builder.icmp_signed("<", index, last), index, last)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of a square of vectors: halves of ever smaller blocks change places."""
    lanes = len(rows)
    size = lanes // 2
    while size:
        for first in range(lanes):
            if first & size:
                continue
            a, b = rows[first], rows[first + size]
            low = [k + (lanes - size if k & size else 0) for k in range(lanes)]
            high = [k + size if not k & size else k + lanes for k in range(lanes)]
            rows[first], rows[first + size] = (_shuffled(builder, a, b, order) for order in (low, high))
        size //= 2
    return rows


def _shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))
