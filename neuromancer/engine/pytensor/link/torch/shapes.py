"""Shapes for PyTensor's rewrites, inferred on demand.

Older versions of PyTensor infer the shape of every variable as soon as it enters the graph, although few rewrites ask
for one; that took more than 40 % of the time to compile a training step. Newer versions infer shapes on demand
themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.tensor.rewriting.shape import ShapeFeature
from pytensor.tensor.shape import Shape_i

ON_DEMAND = hasattr(ShapeFeature, "get_non_recursive_shape")
"""Whether PyTensor infers shapes on demand."""


class _Shapes(dict[Variable, Any]):
    """Shapes by variable; `infer` adds one that is asked for."""

    def __init__(self, infer: Callable[[Variable], None]) -> None:
        super().__init__()
        self._infer = infer

    def __missing__(self, variable: Variable) -> Any:
        self._infer(variable)
        return self[variable]


class LazyShapes(ShapeFeature):
    """PyTensor's shape feature, which infers a shape when a rewrite asks for it."""

    def on_attach(self, fgraph: FunctionGraph) -> None:
        """Begin without any shapes."""
        super().on_attach(fgraph)
        self.shape_of = _Shapes(self._infer)

    def on_import(self, fgraph: FunctionGraph, node: Apply, reason: str) -> None:
        """Infer nothing yet."""

    def on_change_input(
        self, fgraph: FunctionGraph, node: Any, i: int, r: Variable, new_r: Variable, reason: str
    ) -> None:
        """Give a variable the shape of the one that it replaces, if that is known."""
        known = self.shape_of.get(r)
        alone = new_r.owner is None or len(new_r.owner.outputs) == 1  # outputs are inferred together
        if known is not None and alone and new_r not in self.shape_of and not any(_is_size_of(r, n) for n in known):
            self.set_shape(new_r, known)  # spares inferring it
        if r in self.shape_of or self.shape_of_reverse_index.get(r):
            for variable in (r, new_r):
                self._infer(variable)
            super().on_change_input(fgraph, node, i, r, new_r, reason)

    def _infer(self, variable: Variable) -> None:
        """Infer the shape of a variable, after those of its ancestors; without recursion, for graphs of any depth."""
        pending = [variable]
        while pending:
            node = pending[-1].owner
            if node is None:
                self.init_r(pending.pop())
            elif node.outputs[0] in self.shape_of:
                pending.pop()
            else:
                unknown = [v for v in node.inputs if v.owner is not None and v.owner.outputs[0] not in self.shape_of]
                if not unknown:
                    super().on_import(self.fgraph, node, "a rewrite asks for a shape")
                pending += unknown


def _is_size_of(variable: Variable, size: Variable) -> bool:
    """Whether a size is looked up in the variable itself."""
    return size.owner is not None and isinstance(size.owner.op, Shape_i) and size.owner.inputs[0] is variable


class AttachShapes(GraphRewriter):
    """Rewrite that attaches `LazyShapes` to a graph."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Attach the feature."""
        fgraph.attach_feature(LazyShapes())
