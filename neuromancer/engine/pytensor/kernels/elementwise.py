"""Expressions of elementwise operations over tensors on the CPU, in one pass over memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels.elementwise_code import Kind, compiled
from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.kernels.memory import LARGE, empty
from neuromancer.engine.pytensor.kernels.native import Function
from neuromancer.engine.pytensor.kernels.row_layout import (
    SHARE,
    Copy,
    Ints,
    Operand,
    arranged,
    format_of,
    readable,
    sizes,
)
from neuromancer.engine.pytensor.kernels.threads import each

PLANS = 64
"""Maximum number of shapes for which one object keeps its plan."""


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
    """

    function: Function
    shape: Ints
    strides: Ints
    large: bool
    prepare: list[tuple[int, Copy]]
    table: list[int]
    shares: list[tuple[int, int, int, int]]


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
        return isinstance(operand, float) or readable(operand)

    def __call__(
        self, operands: Sequence[Operand], into: Sequence[int | torch.Tensor | None] | None = None
    ) -> tuple[torch.Tensor, ...]:
        """Compute the results.

        Parameters
        ----------
        operands : sequence
            Tensors that broadcast to one shape, all with the same number of axes, and numbers; at least one tensor.
        into : sequence, optional
            Per result the position of an operand that it may overwrite, or other memory, or None. Memory of another
            format is not used.

        Returns
        -------
        tuple of torch.Tensor
            In the memory format of the first operand that has their shape.
        """
        into = into or (None,) * len(self.expressions)
        key = tuple((o.dtype, o.shape, o.stride()) if isinstance(o, torch.Tensor) else None for o in operands)
        key += (torch.get_num_threads(),)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._planned(operands)
            if len(self._plans) >= PLANS:
                self._plans = {}
            self._plans[key] = plan
        results = tuple(
            _result(plan, dtype, operands[over] if isinstance(over, int) else over)
            for over, dtype in zip(into, self.dtypes, strict=True)
        )
        if plan.shares:
            self._run(plan, list(operands), results)
        return results

    def _run(self, plan: _Plan, operands: list[Any], results: tuple[torch.Tensor, ...]) -> None:
        for k, function in plan.prepare:
            operands[k] = function(operands[k])
        addresses, _memory = addressed([*operands, *results])
        if 0 in addresses:
            raise RuntimeError("an operand has no memory")
        table = (ctypes.c_int64 * (len(addresses) + len(plan.table)))(*addresses, *plan.table)
        at = ctypes.addressof(table)
        if len(plan.shares) == 1:
            plan.function(at, *plan.shares[0])
        else:
            each(lambda share: plan.function(at, *share), plan.shares, torch.get_num_threads())

    def _planned(self, operands: Sequence[Operand]) -> _Plan:
        shape, strides = format_of([o for o in operands if isinstance(o, torch.Tensor)])
        rows, prepare, kinds = arranged(operands, shape, strides, [strides] * len(self.expressions))
        results = tuple(Kind(dtype) for dtype in self.dtypes)
        threads = max(1, min(torch.get_num_threads(), prod(shape) // SHARE))
        return _Plan(
            function=compiled(self.expressions, kinds, results, len(rows.axes) - 1),
            shape=shape,
            strides=strides,
            large=4 * prod(shape) >= LARGE,
            prepare=prepare,
            table=rows.table(sizes((*kinds, *results))),
            shares=rows.shares(threads) if prod(shape) else [],
        )


def addressed(operands: Sequence[Operand]) -> tuple[list[int], Any]:
    """Return the addresses of operands, and memory for those that are numbers, to be kept until they have been read."""
    numbers = [o for o in operands if not isinstance(o, torch.Tensor)]
    memory = (ctypes.c_float * len(numbers))(*numbers)
    free = iter(range(ctypes.addressof(memory), ctypes.addressof(memory) + ctypes.sizeof(memory), 4))
    return [o.data_ptr() if isinstance(o, torch.Tensor) else next(free) for o in operands], memory


def _result(plan: _Plan, dtype: torch.dtype, over: Any) -> torch.Tensor:
    """Return the memory of a result: that of an operand if it has the right format, else new memory."""
    shape, strides = plan.shape, plan.strides
    if over is not None and over.dtype is dtype and over.shape == shape and over.stride() == strides:
        return over
    if dtype is not torch.float32 or not plan.large:
        return torch.empty_strided(shape, strides, dtype=dtype)
    order = sorted(range(len(shape)), key=lambda k: (-strides[k], k))
    return empty(*(shape[k] for k in order)).permute([order.index(k) for k in range(len(shape))])
