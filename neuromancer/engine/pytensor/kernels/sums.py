"""Sums of elementwise expressions over axes of tensors on the CPU, in one pass over memory and in float64."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels.elementwise import PLANS, Elementwise, addressed
from neuromancer.engine.pytensor.kernels.elementwise_code import Kind, compiled
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.native import Function, vectors
from neuromancer.engine.pytensor.kernels.row_layout import (
    LONG_ENOUGH,
    SHARE,
    SMALL,
    Copy,
    Ints,
    Operand,
    arranged,
    format_of,
    sizes,
)
from neuromancer.engine.pytensor.kernels.threads import each

MANY = 1 << 20
"""Of more sums than this, torch computes each, from values in memory."""


@dataclass
class _Plan:
    """How a call on operands of certain shapes is computed.

    Attributes
    ----------
    function : Function
    prepare : list
        (position, function) for operands that have to be copied first.
    table : list of int
        What follows the addresses in the table that `function` takes.
    shares : list
        (first row, last row, first column, last column) of each task.
    parts : tuple of int
        Shape of the sums in memory: the second of three axes is to be added up.
    lengths : tuple of int
        Shape of the sums in the order of memory.
    rest, order : tuple of int
        Axes of this shape to be added up, and the order of the others in the result.
    """

    function: Function
    prepare: list[tuple[int, Copy]]
    table: list[int]
    shares: list[tuple[int, int, int, int]]
    parts: Ints
    lengths: Ints
    rest: Ints
    order: Ints


class Sums:
    """Computes sums of expressions; many threads may call it.

    Parameters
    ----------
    *expressions : Expression
        What is added up; operand k is the k-th argument of a call.
    axes : sequence of int
        All sums are over these axes.
    squared : sequence of bool, optional
        Whether squares of an expression are added up; default: none.

    Examples
    --------
    >>> x = Expression.operand(0)
    >>> squares = Sums(Expression("sqr", x), axes=[1])
    >>> squares((torch.tensor([[1.0, 2.0], [3.0, 4.0]]),))
    (tensor([ 5., 25.]),)
    """

    def __init__(self, *expressions: Expression, axes: Sequence[int], squared: Sequence[bool] = ()) -> None:
        self.expressions, self.axes = expressions, tuple(axes)
        self.squared = tuple(squared) or (False,) * len(expressions)
        self._values = Elementwise(*expressions)
        self._plans: dict[Any, _Plan | None] = {}

    def __call__(self, operands: Sequence[Operand]) -> tuple[torch.Tensor, ...]:
        """Compute the sums, in float32, from operands like those of `Elementwise`."""
        return self._computed(operands, torch.float32)

    def exact(self, operands: Sequence[Operand]) -> tuple[torch.Tensor, ...]:
        """Compute the sums in float64."""
        return self._computed(operands, torch.float64)

    def _computed(self, operands: Sequence[Operand], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        key = tuple((o.dtype, o.shape, o.stride()) if isinstance(o, torch.Tensor) else None for o in operands)
        key += (torch.get_num_threads(),)
        if key not in self._plans:
            if len(self._plans) >= PLANS:
                self._plans = {}
            self._plans[key] = self._planned(operands)
        plan = self._plans[key]
        return self._by_torch(operands, dtype) if plan is None else self._run(plan, list(operands), dtype)

    def _by_torch(self, operands: Sequence[Operand], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        if all(e.operation == "operand" for e in self.expressions):
            values = tuple(operands[e.arguments[0]] for e in self.expressions)
        else:
            values = self._values(operands)
        return tuple(
            torch.sum(v.to(dtype).square() if square else v, self.axes, dtype=dtype)
            for v, square in zip(values, self.squared, strict=True)
        )

    def _run(self, plan: _Plan, operands: list[Any], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        for k, function in plan.prepare:
            operands[k] = function(operands[k])
        addresses, _memory = addressed(operands)
        size, tasks = prod(plan.parts), len(plan.shares)
        # vectors may reach beyond the last sum, to which they then add zeros
        memory = torch.zeros((len(self.expressions), tasks, size + vectors().lanes), dtype=torch.float64)
        step, one = memory.stride(0) * memory.itemsize, memory.stride(1) * memory.itemsize

        def part(task: int) -> None:
            own = [memory.data_ptr() + k * step + task * one for k in range(len(self.expressions))]
            table = (ctypes.c_int64 * (len(addresses) + len(own) + len(plan.table)))(*addresses, *own, *plan.table)
            plan.function(ctypes.addressof(table), *plan.shares[task])

        each(part, range(tasks), 1 if tasks == 1 else torch.get_num_threads())
        total = memory[:, :, :size].sum(1) if tasks > 1 else memory[:, 0, :size]
        total = total.reshape(-1, *plan.parts).sum(2) if plan.parts[1] > 1 else total
        total = total.reshape(-1, *plan.lengths)
        total = total.sum([1 + k for k in plan.rest]) if plan.rest else total
        return tuple(t.permute(plan.order).contiguous() for t in total.to(dtype))

    def _planned(self, operands: Sequence[Operand]) -> _Plan | None:
        shape, strides = format_of([o for o in operands if isinstance(o, torch.Tensor)])
        rest = _added_later(shape, strides, self.axes)
        left = [k for k in range(len(shape)) if k not in self.axes or k in rest]
        lengths = tuple(shape[k] for k in left)
        if prod(lengths) > MANY or prod(shape) < SHARE:
            return None
        slowest_first = sorted(left, key=lambda k: -strides[k])
        kept = [k for k in slowest_first if k not in rest]
        steps = {k: prod(shape[j] for j in slowest_first[i + 1 :]) for i, k in enumerate(slowest_first)}
        own = tuple(steps.get(k, 0) for k in range(len(shape)))
        rows, prepare, kinds = arranged(operands, shape, strides, [own] * len(self.expressions))
        inner = rows.axes[-1]
        period = inner.length // rows.times if rows.times > 1 else 1
        single = inner.strides[-1] == 0
        results = tuple(Kind(torch.float64, single, added=True, squared=square) for square in self.squared)
        threads = max(1, min(torch.get_num_threads(), prod(shape) // SHARE))
        return _Plan(
            function=compiled(self.expressions, kinds, results, len(rows.axes) - 1),
            prepare=prepare,
            table=rows.table(sizes((*kinds, *results))),
            shares=rows.shares(threads),
            parts=(prod(lengths) // period, rows.times, period),
            lengths=tuple(shape[k] for k in slowest_first),
            rest=tuple(slowest_first.index(k) for k in rest),
            order=tuple(kept.index(k) for k in sorted(kept)),
        )


def _added_later(shape: Ints, strides: Ints, axes: Ints) -> list[int]:
    """Return axes over which sums are added up after the pass over memory, so that it has long rows.

    Of an image whose fastest axes are groups and channels of a group, sums per group would take every group of a voxel
    as a row. Sums per channel are computed from whole vectors.
    """
    inner, passed, later = 1, [], []
    for k in sorted((k for k, n in enumerate(shape) if n > 1), key=lambda k: strides[k]):
        if inner >= LONG_ENOUGH:
            break
        if k in axes:
            passed.append(k)
        else:
            later = list(passed)
        inner *= shape[k]
    count = prod(n for k, n in enumerate(shape) if k not in axes or k in later)
    return later if count * SMALL <= prod(shape) else []
