"""Maxima of sliding windows over several axes in one pass over memory.

Axis by axis, every pass would read and write the whole array. Here the maxima across rows are taken first, then those
along the row, which stays in a core's own cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, Function
from neuromancer.engine.pytensor.kernels.values import Value, loop, written
from neuromancer.engine.pytensor.kernels.vectors import load, store, vectors

ARGUMENTS = [FLOATS, FLOATS, FLOATS, *[INT] * 9]
"""x (z, y, values of a row), maxima of the same axes, buffer for a row; rows of a plane and values of a row of x, the
same for the maxima; distances of the voxels of a window in planes, rows and values of a row; first plane and end."""


@cache
def compiled(planes: int, rows: int, along: int) -> Function:
    """Compile the maxima of windows of a size in planes, rows and voxels of a row."""

    def write(
        x: Value, y: Value, row: Value, height: Value, length: Value, outputs: Value, values: Value, dz: Value,
        dy: Value, step: Value, first: Value, end: Value,
    ) -> None:  # fmt: skip
        with loop(end, first) as i, loop(outputs) as j:
            source, target = x + (i * height + j) * length, y + (i * outputs + j) * values
            with vectors(length) as k:
                taps = [
                    source + (k + dz * height * length * p + dy * length * q)
                    for p in range(planes)
                    for q in range(rows)
                ]
                store(_largest(taps), row + k)
            with vectors(values) as k:
                store(_largest([row + (k + step * p) for p in range(along)]), target + k)

    return written("maxima", ARGUMENTS, write, apart=True)


def _largest(addresses: list[Value]) -> Any:
    """Return the elementwise maximum of vectors; NaN where any is NaN."""
    builder = addresses[0].builder
    largest, *others = (load(address) for address in addresses)
    for value in others:
        is_larger = builder.or_(builder.fcmp_ordered(">", value, largest), builder.fcmp_unordered("uno", value, value))
        largest = builder.select(is_larger, value, largest)
    return largest
