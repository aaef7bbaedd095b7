"""Long runs of elementwise operations, cut into pieces before PyTensor's rewrites see them.

The rewrites of sums and products collect a run into one operation with all its terms, and the gradient of a chain of n
such steps has n runs of up to n factors. This is fast for a few steps and takes hours for a thousand.
"""

from __future__ import annotations

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot

from neuromancer.engine.pytensor.ops.fence import Fence

LONG = 64
"""Minimum length of a run that is cut; runs in networks are far shorter."""
PIECE = 12
"""Length of the pieces."""


class CutRuns(GraphRewriter):
    """Inserts fences into long runs of elementwise operations; graphs without such runs stay unchanged."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite `fgraph`."""
        order = fgraph.toposort()
        if max(_runs(order, len(order) + 1).values(), default=0) <= LONG:
            return
        for variable, run in _runs(order, PIECE).items():
            if run == PIECE and fgraph.clients[variable]:
                _fence(fgraph, variable)


def _runs(order: list[Apply], longest: int) -> dict[Variable, int]:
    """Return the length of the run that ends at every variable, starting again from 0 after `longest`."""
    runs: dict[Variable, int] = {}
    for node in order:
        if _elementwise(node):
            before = max((runs.get(v, 0) for v in node.inputs), default=0)
            runs.update((v, before % longest + 1) for v in node.outputs)
    return runs


def _elementwise(node: Apply) -> bool:
    """Return whether rewrites collect terms across `node`; a dot product of length-1 vectors becomes elementwise."""
    if isinstance(node.op, Dot):
        return node.inputs[0].ndim > 0 and node.inputs[0].type.shape[-1] == 1
    return isinstance(node.op, Elemwise | DimShuffle)


def _fence(fgraph: FunctionGraph, variable: Variable) -> None:
    readers = list(fgraph.clients[variable])
    fenced = Fence()(variable)
    for node, position in readers:
        fgraph.change_node_input(node, position, fenced, reason="CutRuns")
