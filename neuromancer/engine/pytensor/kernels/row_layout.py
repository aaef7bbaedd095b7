"""Tensors as rows of values that machine code runs along, and the division of rows among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm, prod
from typing import TypeAlias

import numpy as np
import torch

from neuromancer.engine.pytensor.kernels.elementwise_code import DTYPES, Kind
from neuromancer.engine.pytensor.kernels.layout import to_channels_last, to_contiguous
from neuromancer.engine.pytensor.kernels.native import vectors

Ints = tuple[int, ...]
Operand: TypeAlias = torch.Tensor | float
Copy = Callable[[torch.Tensor], torch.Tensor]

ROW = 1 << 12
"""Minimum number of values of a row, where shorter ones can be joined."""
REPEATED_ROW = 1 << 9
"""The same for rows along which an operand is repeated, which should stay in the fastest cache."""
LONG_ENOUGH = ROW // 4
"""Rows of so many values are not joined to longer ones."""
SMALL = 16
"""An operand may be repeated in memory if it then has fewer values than all, by this factor."""
SHARE = 1 << 15
"""Minimum number of values per thread."""


@dataclass
class Axis:
    """An axis, with the distances of all arrays along it (in values)."""

    length: int
    strides: Ints


@dataclass
class Rows:
    """Axes of which the last one is the row.

    Attributes
    ----------
    axes : list of Axis
    extent : int
        Number of values in all rows of the last axis but one.
    times : int
        So often the last array is repeated along the row.
    copies : list
        (position, function) for arrays that have to be repeated along the row.
    """

    axes: list[Axis]
    extent: int
    times: int
    copies: list[tuple[int, Copy]]

    @property
    def count(self) -> int:
        """Number of rows."""
        return prod(axis.length for axis in self.axes[:-1])

    def table(self, nbytes: Sequence[int]) -> list[int]:
        """Return what machine code is told about the axes; `nbytes` are the sizes of values of each array."""
        table: list[int] = []
        for axis in reversed(self.axes[:-1]):
            table += [axis.length, *(stride * size for stride, size in zip(axis.strides, nbytes, strict=True))]
        return [*table, self.axes[-1].length, self.extent]

    def shares(self, threads: int) -> list[tuple[int, int, int, int]]:
        """Divide rows, or if there are too few of them columns; each share is (first row, end, first column, end)."""
        rows, columns = self.count, self.axes[-1].length
        if threads == 1:
            return [(0, rows, 0, columns)]
        if rows >= 2 * threads:
            return [(a, b, 0, columns) for a, b in pairwise(rows * k // threads for k in range(threads + 1))]
        lanes = vectors().lanes
        step = -(-columns // (threads * lanes)) * lanes
        return [(0, rows, k, min(k + step, columns)) for k in range(0, columns, step)]


def format_of(tensors: Sequence[torch.Tensor]) -> tuple[Ints, Ints]:
    """Return the shape to which tensors broadcast, and the strides of the first one of this shape, without gaps."""
    # torch's own functions for this import sympy, which takes seconds
    shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
    full = [t for t in tensors if t.shape == shape and all(s or n == 1 for s, n in zip(t.stride(), shape, strict=True))]
    full = [t for t in full if t.dtype is torch.float32] or full
    order = list(range(len(shape)))
    if full:
        order.sort(key=lambda k: -full[0].stride(k))
    return shape, tuple(prod(shape[j] for j in order[order.index(k) + 1 :]) for k in range(len(shape)))


def arranged(
    operands: Sequence[Operand], shape: Ints, strides: Ints, results: Sequence[Ints]
) -> tuple[Rows, list[tuple[int, Copy]], tuple[Kind, ...]]:
    """Arrange operands and results as rows.

    Parameters
    ----------
    operands : sequence of torch.Tensor or float
    shape, strides : tuple of int
        As from `format_of`.
    results : sequence of tuple of int
        Their strides.

    Returns
    -------
    Rows
    list of (int, callable)
        Operands that have to be copied before, by which function, in this order.
    tuple of Kind
        Of the operands.
    """
    copies: list[tuple[int, Copy]] = []
    distances: list[Ints] = []
    fastest = min((k for k, n in enumerate(shape) if n > 1), key=lambda k: strides[k], default=None)
    for k, operand in enumerate(operands):
        along = (0,) * len(shape)
        if isinstance(operand, torch.Tensor):
            along = tuple(s if n != 1 else 0 for s, n in zip(operand.expand(shape).stride(), shape, strict=True))
            small = _repeated(tuple(operand.shape), along, shape, strides)
            if small is not None and along != (wanted := _dense(small, strides)):
                copies.append((k, _copier(small, wanted)))
                along = wanted
            elif fastest is not None and along[fastest] not in (0, 1):
                copies.append((k, _copier(shape, strides)))
                along = strides
        distances.append(along)
    rows = _long_rows(_joined(shape, strides, [*distances, *results]), len(operands))
    kinds = tuple(
        Kind(o.dtype if isinstance(o, torch.Tensor) else torch.float32, rows.axes[-1].strides[k] == 0)
        for k, o in enumerate(operands)
    )
    return rows, copies + rows.copies, kinds


def sizes(kinds: Sequence[Kind]) -> list[int]:
    """Return the sizes of values in bytes."""
    return [kind.dtype.itemsize for kind in kinds]


def readable(value: torch.Tensor) -> bool:
    """Return whether machine code can read a tensor."""
    return value.device.type == "cpu" and value.dtype in DTYPES


def _repeated(own: Ints, along: Ints, shape: Ints, strides: Ints) -> Ints | None:
    """Return the shape to which a small operand has to be repeated so that rows are long; None for a large operand.

    Values per group of channels, in an image whose fastest axes are groups and channels of a group, would make every
    group of a voxel a row. Repeated for every channel, they are like values per channel.
    """
    inner, passed, result = 1, list(own), own
    for k in sorted((k for k, n in enumerate(shape) if n > 1), key=lambda k: strides[k]):
        if inner >= LONG_ENOUGH:
            break
        passed[k], inner = shape[k], inner * shape[k]
        if along[k]:
            result = tuple(passed)
    return None if prod(result) * SMALL > prod(shape) else result


def _dense(shape: Ints, order: Ints) -> Ints:
    """Return strides without gaps, 0 along axes of length 1; axes with larger numbers in `order` are slower."""
    slowest_first = sorted(range(len(shape)), key=lambda k: -order[k])
    after = {k: prod(shape[j] for j in slowest_first[i + 1 :]) for i, k in enumerate(slowest_first)}
    return tuple(after[k] if shape[k] != 1 else 0 for k in range(len(shape)))


def _copier(shape: Ints, strides: Ints) -> Copy:
    """Return a function that copies a tensor to a shape and memory format; images fast."""
    dense = tuple(prod(shape[k + 1 :]) for k in range(len(shape)))
    last = tuple(1 if k == 1 else n * (shape[1] if k > 1 else 1) for k, n in enumerate(dense)) if len(shape) > 2 else ()

    def copy(t: torch.Tensor) -> torch.Tensor:
        if t.shape == shape and strides == dense:
            return to_contiguous(t)
        if t.shape == shape and strides == last:
            return to_channels_last(t)
        return torch.empty_strided(shape, strides, dtype=t.dtype).copy_(t.expand(shape))

    return copy


def _joined(shape: Ints, order: Ints, strides: Sequence[Ints]) -> list[Axis]:
    """Return the axes from the slowest to the fastest, joined where no array has a gap between."""
    axes: list[Axis] = []
    for k in sorted((k for k, n in enumerate(shape) if n != 1), key=lambda k: -order[k]):
        here = Axis(shape[k], tuple(s[k] for s in strides))
        if axes and all(a == b * here.length for a, b in zip(axes[-1].strides, here.strides, strict=True)):
            axes[-1] = Axis(axes[-1].length * here.length, here.strides)
        else:
            axes.append(here)
    return axes or [Axis(1, (1,) * len(strides))]


def _long_rows(axes: list[Axis], n_operands: int) -> Rows:
    """Return axes with rows of a length that is neither too short for vectors nor too long for threads.

    Values per channel repeat along memory in a channels-last format. So that a row is not a single position, they are
    written several times, one after the other.
    """
    inner = axes[-1]
    if len(axes) == 1:
        lanes = vectors().lanes
        step = max(1, -(-min(inner.length, 4 * ROW) // lanes)) * lanes
        outer = Axis(-(-inner.length // step), tuple(step * s for s in inner.strides))
        return Rows([outer, Axis(step, inner.strides)], inner.length, 1, [])
    before = axes[-2]
    dense = [a == inner.length * b for a, b in zip(before.strides, inner.strides, strict=True)]
    periodic = [a == 0 and b == 1 for a, b in zip(before.strides, inner.strides, strict=True)]
    whole = before.length * inner.length
    if inner.length >= LONG_ENOUGH or not all(a or b for a, b in zip(dense, periodic, strict=True)):
        return Rows(axes, whole, 1, [])
    wanted = -(-(REPEATED_ROW if any(periodic) else ROW) // inner.length)
    if periodic[-1]:
        # rows that are added to the same sums are computed together, fastest if near one another
        vector_row = lcm(inner.length, vectors().lanes)
        wanted = vector_row // inner.length if vector_row <= 2 * REPEATED_ROW else 1
    times = min(before.length, wanted)
    length = times * inner.length
    slower, copies = axes[:-2], []
    for k in (k for k, repeated in enumerate(periodic) if repeated):
        own = [axis.length if axis.strides[k] else 1 for axis in slower]
        if k < n_operands:
            copies.append((k, _repeater(own, [axis.strides[k] for axis in slower], times, inner.length)))
        steps = [length * prod(own[j + 1 :]) if axis.strides[k] else 0 for j, axis in enumerate(slower)]
        slower = [
            Axis(axis.length, (*axis.strides[:k], step, *axis.strides[k + 1 :]))
            for axis, step in zip(slower, steps, strict=True)
        ]
    outer = Axis(
        -(-before.length // times), tuple(0 if p else length * s for p, s in zip(periodic, inner.strides, strict=True))
    )
    return Rows([*slower, outer, Axis(length, inner.strides)], whole, times if periodic[-1] else 1, copies)


def _repeater(lengths: list[int], strides: list[int], times: int, period: int) -> Copy:
    """Return a function that writes the last axis of a tensor several times, one after the other."""
    return lambda t: t.as_strided((*lengths, times, period), (*strides, 0, 1)).contiguous()
