"""Recurrent cells, and steps that are repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromancer.interop.leaving.families.activations import activate
from neuromancer.interop.leaving.families.features import dense
from neuromancer.interop.leaving.layout import dtype_of, like_weights
from neuromancer.interop.leaving.registry import Unsupported, find, leaves
from neuromancer.interop.leaving.target import Target
from neuromancer.interop.leaving.weights import weight
from neuromancer.nodes.recurrent import GRU, LSTM
from neuromancer.nodes.scan import ScanN, ScanResult


class _Cell:
    """A cell with values for its input and its memory."""

    def __init__(self, t: Target, node: Any, x: Any, memory: Any) -> None:
        self.t, self.node, self.axis = t, node, node.axis
        self.ndim = len(node.parents[0].shape)
        self.w, self.b = weight(node, "w"), weight(node, "b")
        self.x = like_weights(t, x, node.parents[0], self.w)
        self.memory = self._aligned(like_weights(t, memory, node.parents[1], self.w))

    def _aligned(self, m: Any) -> Any:
        """Insert the axes that the memory lacks."""
        shape, memory = self.node.parents[0].shape, self.node.parents[1].shape
        missing = [k for k, tag in enumerate(shape.tags) if tag not in memory.tags]
        return self.t.unsqueeze(m, missing) if missing else m

    def block(self, x: Any, first: int, stop: int) -> Any:
        """Take blocks of `n_f` features."""
        n = self.node.n_f
        return self.t.cut(x, {self.axis: (first * n, stop * n)})

    def columns(self, memory: Any, first: int, stop: int) -> Any:
        """Emit ``W [memory, x] + b`` for blocks of columns."""
        t, n = self.t, self.node.n_f
        columns = (first * n, stop * n)
        from_memory = dense(t, memory, self.w.part((0, n), columns), None, self.axis, self.ndim)
        rest = self.w.part((n, n + self.node.n_in), columns)
        return t.binary("add", from_memory, dense(t, self.x, rest, self.b.part(columns), self.axis, self.ndim))

    def activate(self, x: Any) -> Any:
        return activate(self.t, self.node.activation, x, self.axis, self.ndim, 0, None)


@leaves(GRU)
def _gru(t: Target, node: GRU, x: Any, memory: Any) -> Any:
    cell = _Cell(t, node, x, memory)
    gates, m = t.function("sigmoid", cell.columns(cell.memory, 0, 2)), cell.memory
    z, r = cell.block(gates, 0, 1), cell.block(gates, 1, 2)
    h = cell.activate(cell.columns(t.binary("mul", r, m), 2, 3))
    return t.binary("add", m, t.binary("mul", z, t.binary("sub", h, m)))


@leaves(LSTM)
def _lstm(t: Target, node: LSTM, x: Any, memory: Any) -> Any:
    cell = _Cell(t, node, x, memory)
    hidden, state = cell.block(cell.memory, 0, 1), cell.block(cell.memory, 1, 2)
    linear = cell.columns(hidden, 0, 4)
    gates = t.function("sigmoid", cell.block(linear, 0, 3))
    forget, write, read = (cell.block(gates, k, k + 1) for k in range(3))
    new = t.binary("mul", write, cell.activate(cell.block(linear, 3, 4)))
    kept = t.binary("add", t.binary("mul", forget, state), new)
    return t.concat([t.binary("mul", read, cell.activate(kept)), kept], node.axis)


@leaves(ScanN)
def _scan(t: Target, node: ScanN, *_: Any) -> list[Any]:
    if node.n_steps is None:
        raise Unsupported("its number of steps depends on the data (give n_steps)")
    before = dict(t.values)
    state = {end: before[end] for end in [*node.out_memory, *node.step_result]}
    steps = [state]
    for step in range(1, node.n_steps):
        state = _repeated(t, node, before, state, step)
        steps.append(state)
    t.values.update(before)
    if node.last_only:
        return [state[n] for n in node.step_result]
    return [t.concat([t.unsqueeze(s[n], [0]) for s in steps], 0) for n in node.step_result]


def _repeated(t: Target, node: ScanN, before: dict[Any, Any], state: dict[Any, Any], step: int) -> dict[Any, Any]:
    """Emit one more step; return the values of its ends."""
    cut = node.truncate_gradient and (node.n_steps or 1) - step
    for old, new in zip(node.in_memory, node.out_memory, strict=True):
        value = state[new]
        if dtype_of(new) != dtype_of(old):
            value = t.cast(value, dtype_of(old))
        if cut and cut % (node.truncate_gradient or 1) == 0:
            value = t.constant_gradient(value)
        t.values[old] = value
    for sequence, first in zip(node.in_iterate, node.in_iterate_0, strict=True):
        r = sequence.shape.tag2index("r")
        t.values[first] = t.squeeze(t.cut(before[sequence], {r: (step, step + 1)}), [r])
    for each in node.repeated:
        t.begin(each)
        t.values[each] = t.end(each, find(each)(t, each, *(t.values[p] for p in each.parents)))
    t.begin(node)
    return {end: t.values[end] for end in state}


@leaves(ScanResult)
def _scan_result(t: Target, node: ScanResult, values: Sequence[Any]) -> Any:
    return values[node.index]
