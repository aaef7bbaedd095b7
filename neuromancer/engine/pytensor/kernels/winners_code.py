"""Machine code of `winners`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, product
from typing import Any

from llvmlite import ir

from neuromancer.engine.pytensor.kernels.native import (
    FLOAT,
    FLOAT_BYTES,
    FLOATS,
    INT,
    Function,
    build,
    counted,
    vectors,
)
from neuromancer.engine.pytensor.kernels.row_code import at, load, store, vector_type

Taps = tuple[int, int, int, int]
Emit = Callable[[Any, list[Any], Any, Any], None]

BYTE, WORD = ir.IntType(8), ir.IntType(32)
ARGUMENTS = [FLOATS, FLOATS, FLOATS, *[INT] * 10]
"""Image, pooled image, numbers of the winners; the first row of windows and the one behind the last, counted over
images, z and y; lengths (z, y, x, vector) of the image and of the pooled one."""


@cache
def pooled(taps: Taps) -> Function:
    """Compile the pooling for windows of a size along (z, y, x, vector)."""

    def window(builder: Any, sources: list[Any], maxima: Any, numbers: Any) -> None:
        lanes = vectors().lanes
        values = [part for source in sources for part in _parts(builder, source, taps[3])]
        integers = ir.VectorType(WORD, lanes)
        largest, winner = values[0], ir.Constant(integers, [0] * lanes)
        for number, value in enumerate(values[1:], 1):
            # NaN wins, as in torch
            wins = builder.or_(builder.fcmp_ordered(">", value, largest), builder.fcmp_unordered("uno", value, value))
            largest = builder.select(wins, value, largest)
            winner = builder.select(wins, ir.Constant(integers, [number] * lanes), winner)
        store(builder, largest, maxima)
        winner = builder.trunc(winner, ir.VectorType(BYTE, lanes))
        builder.store(winner, builder.bitcast(numbers, winner.type.as_pointer()), align=1)

    return build("pooled", ARGUMENTS, _loops(taps, window), apart=True)


@cache
def scattered(taps: Taps) -> Function:
    """Compile the gradient: values go to the winners, zeros to the others."""

    def window(builder: Any, targets: list[Any], slopes: Any, numbers: Any) -> None:
        lanes = vectors().lanes
        kind = ir.VectorType(BYTE, lanes)
        winner = builder.load(builder.bitcast(numbers, kind.as_pointer()), align=1)
        slope, zeros = load(builder, slopes), ir.Constant(vector_type(), None)
        numbers_in_order = count()
        for target in targets:
            parts = [
                builder.select(builder.icmp_unsigned("==", winner, _filled(kind, next(numbers_in_order))), slope, zeros)
                for _ in range(taps[3])
            ]
            _store_parts(builder, parts, target)

    return build("scattered", ARGUMENTS, _loops(taps, window), apart=True)


def _filled(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _loops(taps: Taps, window: Emit) -> Callable[..., None]:
    """Return what emits the loops over windows."""

    def emit(
        module: Any, builder: Any, image: Any, small: Any, numbers: Any, first: Any, end: Any, *lengths: Any
    ) -> None:
        nz, ny, nx, nv, z_out, y_out, x_out, v_out = lengths
        numbers = builder.bitcast(numbers, BYTE.as_pointer())
        lanes = vectors().lanes
        with counted(builder, end, first) as row:
            plane, y = builder.sdiv(row, y_out), builder.srem(row, y_out)
            number, z = builder.sdiv(plane, z_out), builder.srem(plane, z_out)
            top = builder.add(builder.mul(number, nz), builder.mul(z, INT(taps[0])))
            line = builder.add(builder.mul(top, ny), builder.mul(y, INT(taps[1])))
            per_line = builder.mul(nx, nv)
            with counted(builder, x_out) as x, counted(builder, v_out, step=lanes) as start:
                # the last vector may overlap the one before
                last = builder.sub(v_out, INT(lanes))
                v = builder.select(builder.icmp_signed("<", start, last), start, last)
                corner = at(builder, image, (line, per_line), (builder.mul(x, INT(taps[2])), nv), (v, INT(taps[3])))
                sources = [
                    at(builder, corner, (INT(i), builder.mul(ny, per_line)), (INT(j), per_line), (INT(k), nv))
                    for i, j, k in _places(taps)
                ]
                place = builder.add(builder.mul(builder.add(builder.mul(row, x_out), x), v_out), v)
                window(builder, sources, builder.gep(small, [place]), builder.gep(numbers, [place]))

    return emit


def _places(taps: Taps) -> Iterator[tuple[int, ...]]:
    return product(*map(range, taps[:3]))


def _parts(builder: Any, source: Any, width: int) -> list[Any]:
    """Return the first, second, ... elements of windows that lie side by side, as vectors."""
    if width == 1:
        return [load(builder, source)]
    lanes = vectors().lanes
    whole = ir.VectorType(FLOAT, lanes * width)
    values = builder.load(builder.bitcast(source, whole.as_pointer()), align=FLOAT_BYTES)
    return [_shuffled(builder, values, values, [k + width * i for i in range(lanes)]) for k in range(width)]


def _store_parts(builder: Any, parts: list[Any], target: Any) -> None:
    """Store the first, second, ... elements of windows side by side."""
    width, lanes = len(parts), vectors().lanes
    if width == 1:
        store(builder, parts[0], target)
        return
    joined = parts[0]
    for part in parts[1:]:
        # vectors of equal lengths are joined; the rest of the shorter one is undefined
        longer = _shuffled(builder, part, part, [k % lanes for k in range(joined.type.count)])
        joined = _shuffled(
            builder, joined, longer, [*range(joined.type.count), *(joined.type.count + k for k in range(lanes))]
        )
    order = [k * lanes + i for i in range(lanes) for k in range(width)]
    store(builder, _shuffled(builder, joined, joined, order), target)


def _shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(WORD, len(order)), order))
