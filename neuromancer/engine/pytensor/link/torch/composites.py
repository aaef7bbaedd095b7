"""Operations that PyTensor composed for its compilers, such as powers of squares, are taken apart.

Elementwise operations are fused later, for every device; a composed one would be computed in Python, value by value.
"""

from __future__ import annotations

from functools import reduce

from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar.basic import Composite
from pytensor.tensor.basic import as_tensor, second
from pytensor.tensor.elemwise import Elemwise


class TakeApart(GraphRewriter):
    """Replaces every composed elementwise operation by its parts."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite `fgraph` in place."""
        while composed := [node for node in fgraph.toposort() if _is_composed(node)]:  # parts can be composed, too
            for node in composed:
                fgraph.replace_all(list(zip(node.outputs, _parts(node), strict=True)), reason="TakeApart")


def _is_composed(node: Apply) -> bool:
    return isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Composite)


def _parts(node: Apply) -> list[Variable]:
    """Return the outputs of a composed operation, computed by its parts."""
    inner = node.op.scalar_op.fgraph
    known: dict[Variable, Variable] = dict(zip(inner.inputs, node.inputs, strict=True))

    def outside(variable: Variable) -> Variable:
        return as_tensor(variable.data) if isinstance(variable, Constant) else known[variable]

    for part in inner.toposort():
        results = Elemwise(part.op).make_node(*map(outside, part.inputs)).outputs
        known.update(zip(part.outputs, results, strict=True))
    return [
        result if result.broadcastable == old.broadcastable else reduce(_in_shape_of, node.inputs, result)
        for old, result in zip(node.outputs, map(outside, inner.outputs), strict=True)
    ]


def _in_shape_of(values: Variable, other: Variable) -> Variable:
    """Repeat `values`, which do not depend on `other`, as if they did."""
    result: Variable = second(other, values)
    return result
