"""Mean and variance in one pass over memory instead of two."""

from __future__ import annotations

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.scalar import basic as ps
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Sum

from neuromancer.engine.pytensor.ops.moments import CentredSums, RawMoments
from neuromancer.engine.pytensor.ops.square_sum import SquareSum


def summed_axes(node: Apply) -> tuple[int, ...] | None:
    """Return the axes of a sum, or a sum of squares, of float32 values; None for anything else."""
    if not isinstance(node.op, Sum | SquareSum):
        return None
    x, op = node.inputs[0], node.op
    if x.dtype != "float32" or node.outputs[0].dtype != "float32":
        return None
    axes = op.axes if isinstance(op, SquareSum) else op.axis
    return tuple(range(x.ndim)) if axes is None else tuple(sorted(axis % x.ndim for axis in axes))


def _sums_of(fgraph: FunctionGraph, variable: Variable, axes: tuple[int, ...], kind: type) -> list[Variable]:
    """Return the sums of a variable, or of its squares, over some axes."""
    readers = (reader for reader, _ in fgraph.clients[variable])
    return [r.outputs[0] for r in readers if isinstance(r.op, kind) and summed_axes(r) == axes]


def moments_in_one_pass(fgraph: FunctionGraph) -> None:
    """Replace sum(x), sum(x - c) and sum((x - c) ** 2), with one c per sum, by operations that read x once."""
    for node in fgraph.toposort():
        if not isinstance(node.op, Elemwise) or type(node.op.scalar_op) is not ps.Sub:
            continue
        (x, center), deviations = node.inputs, node.outputs[0]
        squares = [reader for reader, _ in fgraph.clients[deviations] if isinstance(reader.op, SquareSum)]
        axes = summed_axes(squares[0]) if squares else None
        if not axes or x.type.broadcastable != deviations.type.broadcastable:
            continue
        if x.dtype != "float32" or center.dtype != "float32" or not all(center.type.shape[k] == 1 for k in axes):
            continue
        plain = _sums_of(fgraph, x, axes, Sum)
        if not plain:
            continue
        total, raw = RawMoments(axes)(x)
        first, second = CentredSums(axes)(raw, center)
        pairs = [(v, total) for v in plain]
        pairs += [(v, first) for v in _sums_of(fgraph, deviations, axes, Sum)]
        pairs += [(v, second) for v in _sums_of(fgraph, deviations, axes, SquareSum)]
        if all(old.type == new.type for old, new in pairs):
            fgraph.replace_all(pairs, reason="moments_in_one_pass")
