"""Expressions of elementwise operations over tensors on the CPU, in one pass over memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import torch

from neuromancer.engine.pytensor.kernels.elementwise_code import DTYPES, Kind, compiled
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.memory import LARGE, empty
from neuromancer.engine.pytensor.kernels.native import Function, vectors
from neuromancer.engine.pytensor.kernels.threads import each

Ints = tuple[int, ...]
Operand: TypeAlias = torch.Tensor | float

ROW = 1 << 12
"""Minimum number of values of a row, where shorter ones can be joined."""
SHARE = 1 << 18
"""Minimum number of values per thread."""
PLANS = 64
"""Maximum number of shapes for which one object keeps its plan."""


@dataclass
class _Axis:
    """An axis of the result, with the distances of all arrays along it (in values)."""

    length: int
    strides: Ints


@dataclass
class _Plan:
    """How a call on operands of certain shapes is computed.

    Attributes
    ----------
    function : Function
    shape, strides : tuple of int
        Of the results.
    large : bool
        Whether results of float32 are allocated where large ones are.
    prepare : list
        (position, function) for operands that have to be copied first.
    table : list of int
        What follows the addresses in the table that `function` takes.
    shares : list
        (first row, last row, first column, last column) of each task.
    threads : int
    """

    function: Function
    shape: Ints
    strides: Ints
    large: bool
    prepare: list[tuple[int, Callable[[torch.Tensor], torch.Tensor]]]
    table: list[int]
    shares: list[tuple[int, int, int, int]]
    threads: int


class Elementwise:
    """Computes expressions of tensors on the CPU and of numbers; many threads may call it.

    Parameters
    ----------
    *expressions : Expression
        Results; operand k is the k-th argument of a call.
    dtypes : sequence of torch.dtype, optional
        Of the results; default: float32.

    Examples
    --------
    >>> x = Expression.operand(0)
    >>> silu = Elementwise(Expression("mul", x, Expression("sigmoid", x)))
    >>> silu((torch.tensor([0.0, 50.0]),))
    (tensor([ 0., 50.]),)
    """

    def __init__(self, *expressions: Expression, dtypes: Sequence[torch.dtype] | None = None) -> None:
        self.expressions = expressions
        self.dtypes = (torch.float32,) * len(expressions) if dtypes is None else tuple(dtypes)
        self._plans: dict[Any, _Plan] = {}

    @staticmethod
    def takes(operand: Any) -> bool:
        """Return whether a value can be an operand."""
        return isinstance(operand, float) or (operand.device.type == "cpu" and operand.dtype in DTYPES)

    def __call__(
        self, operands: Sequence[Operand], into: Sequence[int | None] | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Compute the results.

        Parameters
        ----------
        operands : sequence
            Tensors that broadcast to one shape, all with the same number of axes, and numbers; at least one tensor.
        into : sequence, optional
            Per result the position of an operand that it may overwrite, or None.

        Returns
        -------
        tuple of torch.Tensor
            In the memory format of the first operand that has their shape.
        """
        into = into or (None,) * len(self.expressions)
        key = (*((o.dtype, o.shape, o.stride()) if isinstance(o, torch.Tensor) else None for o in operands), *into)
        key += (torch.get_num_threads(),)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._planned(operands)
            if len(self._plans) >= PLANS:
                self._plans = {}
            self._plans[key] = plan
        results = tuple(
            _result(plan, dtype, None if k is None else operands[k]) for k, dtype in zip(into, self.dtypes, strict=True)
        )
        if plan.shares:
            self._run(plan, list(operands), results)
        return results

    def _run(self, plan: _Plan, operands: list[Any], results: tuple[torch.Tensor, ...]) -> None:
        for k, function in plan.prepare:
            operands[k] = function(operands[k])
        numbers = [o for o in operands if not isinstance(o, torch.Tensor)]
        memory = (ctypes.c_float * len(numbers))(*numbers)
        address = ctypes.addressof(memory)
        addresses = []
        for operand in (*operands, *results):
            if isinstance(operand, torch.Tensor):
                addresses.append(operand.data_ptr())
            else:
                addresses.append(address)
                address += ctypes.sizeof(ctypes.c_float)
        table = (ctypes.c_int64 * (len(addresses) + len(plan.table)))(*addresses, *plan.table)
        at = ctypes.addressof(table)
        if plan.threads == 1:
            plan.function(at, *plan.shares[0])
        else:
            each(lambda share: plan.function(at, *share), plan.shares, plan.threads)

    def _planned(self, operands: Sequence[Operand]) -> _Plan:
        tensors = [o for o in operands if isinstance(o, torch.Tensor)]
        shape = tuple(torch.broadcast_shapes(*(t.shape for t in tensors)))
        strides = _result_strides(shape, tensors)
        prepare: list[tuple[int, Callable[[torch.Tensor], torch.Tensor]]] = []
        distances: list[Ints] = []
        fastest = min((k for k, n in enumerate(shape) if n > 1), key=lambda k: strides[k], default=None)
        for k, operand in enumerate(operands):
            along = tuple(operand.expand(shape).stride()) if isinstance(operand, torch.Tensor) else (0,) * len(shape)
            if fastest is not None and along[fastest] not in (0, 1):
                prepare.append((k, _copier(shape, strides)))
                along = strides
            distances.append(along)
        distances += [strides] * len(self.expressions)
        axes = _joined(shape, distances)
        joined = _long_rows(axes, len(operands))
        for k, copier in joined.copies:
            prepare.append((k, copier))
        kinds = tuple(
            Kind(o.dtype if isinstance(o, torch.Tensor) else torch.float32, joined.axes[-1].strides[k] == 0)
            for k, o in enumerate(operands)
        )
        sizes = [DTYPES_BYTES[kind.dtype] for kind in kinds] + [DTYPES_BYTES[dtype] for dtype in self.dtypes]
        *outer, inner = joined.axes
        table = []
        for axis in reversed(outer):
            table += [axis.length, *(stride * size for stride, size in zip(axis.strides, sizes, strict=True))]
        table += [inner.length, joined.extent]
        function = compiled(self.expressions, kinds, self.dtypes, len(outer))
        rows = prod(axis.length for axis in outer)
        threads = max(1, min(torch.get_num_threads(), prod(shape) // SHARE))
        shares = _shares(rows, inner.length, threads) if prod(shape) else []
        large = 4 * prod(shape) >= LARGE
        return _Plan(function, shape, strides, large, prepare, table, shares, threads if len(shares) > 1 else 1)


DTYPES_BYTES = {dtype: dtype.itemsize for dtype in DTYPES}


def _result(plan: _Plan, dtype: torch.dtype, over: Any) -> torch.Tensor:
    """Return the memory of a result: that of an operand if it has the right format, else new memory."""
    shape, strides = plan.shape, plan.strides
    if over is not None and over.dtype is dtype and over.shape == shape and over.stride() == strides:
        return over
    if dtype is not torch.float32 or not plan.large:
        return torch.empty_strided(shape, strides, dtype=dtype)
    order = sorted(range(len(shape)), key=lambda k: (-strides[k], k))
    return empty(*(shape[k] for k in order)).permute([order.index(k) for k in range(len(shape))])


def _result_strides(shape: Ints, tensors: Sequence[torch.Tensor]) -> Ints:
    """Return the strides of new tensors in the memory format of the first tensor that has their shape."""
    full = [t for t in tensors if t.shape == shape]
    full = [t for t in full if t.dtype is torch.float32] or full
    if not full:
        return tuple(torch.empty(shape, device="meta").stride())
    like = torch.empty_strided(shape, full[0].stride(), device="meta")
    return tuple(torch.empty_like(like).stride())


def _copier(shape: Ints, strides: Ints) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda t: torch.empty_strided(shape, strides, dtype=t.dtype).copy_(t.expand(shape))


def _joined(shape: Ints, strides: Sequence[Ints]) -> list[_Axis]:
    """Return the axes from the slowest to the fastest of the last array, joined where no array has a gap between."""
    order = sorted((k for k, n in enumerate(shape) if n != 1), key=lambda k: -strides[-1][k])
    axes: list[_Axis] = []
    for k in order:
        here = _Axis(shape[k], tuple(s[k] for s in strides))
        if axes and all(a == b * here.length for a, b in zip(axes[-1].strides, here.strides, strict=True)):
            axes[-1] = _Axis(axes[-1].length * here.length, here.strides)
        else:
            axes.append(here)
    return axes or [_Axis(1, (0,) * (len(strides) - 1) + (1,))]


@dataclass
class _Rows:
    """Axes of which the last one is the row; `copies` are operands to be repeated along it."""

    axes: list[_Axis]
    extent: int
    copies: list[tuple[int, Callable[[torch.Tensor], torch.Tensor]]]


def _long_rows(axes: list[_Axis], n_operands: int) -> _Rows:
    """Return axes with rows of a length that is neither too short for vectors nor too long for threads.

    Values per channel repeat along memory in a channels-last format. So that a row is not a single position, they are
    written several times, one after the other.
    """
    inner = axes[-1]
    if len(axes) == 1:
        step = max(1, -(-min(inner.length, 4 * ROW) // vectors().lanes)) * vectors().lanes
        outer = _Axis(-(-inner.length // step), tuple(step * s for s in inner.strides))
        return _Rows([outer, _Axis(step, inner.strides)], inner.length, [])
    before = axes[-2]
    dense = [a == inner.length * b for a, b in zip(before.strides, inner.strides, strict=True)]
    periodic = [a == 0 and b == 1 for a, b in zip(before.strides, inner.strides, strict=True)]
    whole = before.length * inner.length
    if inner.length >= ROW // 4 or not all(a or b for a, b in zip(dense, periodic, strict=True)):
        return _Rows(axes, whole, [])
    times = min(before.length, -(-ROW // inner.length))
    length = times * inner.length
    slower = axes[:-2]
    copies: list[tuple[int, Callable[[torch.Tensor], torch.Tensor]]] = []
    for k in range(n_operands):
        if periodic[k]:
            own = [axis.length if axis.strides[k] else 1 for axis in slower]
            copies.append((k, _repeater(own, [a.strides[k] for a in slower], times, inner.length)))
            steps = _dense_strides(own, length)
            slower = [
                _Axis(a.length, (*a.strides[:k], step if a.strides[k] else 0, *a.strides[k + 1 :]))
                for a, step in zip(slower, steps, strict=True)
            ]
    strides = tuple(0 if p else length * s for p, s in zip(periodic, inner.strides, strict=True))
    return _Rows(
        [*slower, _Axis(-(-before.length // times), strides), _Axis(length, inner.strides)], whole, copies
    )  # fmt: skip


def _dense_strides(lengths: Sequence[int], inner: int) -> list[int]:
    """Return the strides of axes in front of a dense block of `inner` values."""
    return [inner * prod(lengths[k + 1 :]) for k in range(len(lengths))]


def _repeater(
    lengths: list[int], strides: list[int], times: int, period: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that writes the last axis of a tensor several times, one after the other."""
    return lambda t: t.as_strided((*lengths, times, period), (*strides, 0, 1)).contiguous()


def _shares(rows: int, columns: int, threads: int) -> list[tuple[int, int, int, int]]:
    """Divide rows, or if there are too few of them columns, among threads."""
    if threads == 1:
        return [(0, rows, 0, columns)]
    if rows >= 2 * threads:
        bounds = [rows * k // threads for k in range(threads + 1)]
        return [(a, b, 0, columns) for a, b in pairwise(bounds)]
    lanes = vectors().lanes
    step = -(-columns // (threads * lanes)) * lanes
    return [(0, rows, k, min(k + step, columns)) for k in range(0, columns, step)]
