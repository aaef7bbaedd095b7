"""Groups of elementwise operations in a graph become single operations, which make one pass over memory.

That is done when a program for the CPU is built, on a copy of the graph: other backends fuse operations themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph, Output

from neuromancer.engine.pytensor.link.torch.registry import is_size_one
from neuromancer.engine.pytensor.link.torch.translation import Translation
from neuromancer.engine.pytensor.ops.elementwise import FusedElementwise

LARGEST = 64
"""Maximum number of operations in a group: compile time grows with it."""


@dataclass
class Group:
    """Operations with the same shape; `nodes` are in reverse order of computation."""

    nodes: list[Apply] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)


def _pattern(variable: Variable) -> tuple[bool, ...]:
    """Return the axes along which a variable is broadcast."""
    return tuple(size == 1 for size in variable.type.shape)


class Grouping:
    """Finds groups in a graph.

    An operation joins the group that reads its result, if nothing but this group and the outputs of the graph read it.

    Parameters
    ----------
    fgraph : FunctionGraph
    parameters : set of Variable
        Inputs that seldom change; operations on them alone do not join others.
    """

    def __init__(self, fgraph: FunctionGraph, parameters: set[Variable]) -> None:
        self.fgraph = fgraph
        self._seldom = set(parameters)
        self._group_of: dict[Apply, Group] = {}
        order = fgraph.toposort()
        for node in order:
            if all(v in self._seldom or isinstance(v, Constant) for v in node.inputs):
                self._seldom.update(node.outputs)
        self.groups: list[Group] = []
        for node in reversed(order):
            if self._can_be_grouped(node):
                self._place(node)
        self.groups.reverse()

    @staticmethod
    def _can_be_grouped(node: Apply) -> bool:
        if len(node.outputs) != 1 or getattr(node.outputs[0].type, "shape", ()) == () or is_size_one(node.outputs[0]):
            return False
        return Translation().add(node) is not None

    def _place(self, node: Apply) -> None:
        """Let a node join the group that reads it, or begin a new one."""
        out = node.outputs[0]
        readers = [reader for reader, _ in self.fgraph.clients[out] if not isinstance(reader.op, Output)]
        groups = {id(self._group_of.get(reader)): self._group_of.get(reader) for reader in readers}
        group = next(iter(groups.values())) if len(groups) == 1 else None
        if group is None or len(group.nodes) >= LARGEST or not self._fits(out, group):
            group = Group()
            self.groups.append(group)
        group.nodes.append(node)
        self._group_of[node] = group
        if not group.results or len(readers) < len(self.fgraph.clients[out]):
            group.results.append(out)

    def _fits(self, out: Variable, group: Group) -> bool:
        result = group.results[0]
        return (
            out.dtype in ("float32", "bool")
            and _pattern(out) == _pattern(result)
            and (out in self._seldom) == (result in self._seldom)
        )


def _fused(group: Group) -> Apply | None:
    """Return the one operation that replaces a group; None if it cannot be expressed."""
    translation, nodes = Translation(), group.nodes[::-1]
    if any(translation.add(node) is None for node in nodes):
        return None
    expressions = [translation.read(v) for v in group.results]
    operation = FusedElementwise([e for e in expressions if e is not None], group.results, nodes, translation.operands)
    return operation.make_node(*translation.operands)


def grouped(fgraph: FunctionGraph, parameters: set[Variable]) -> tuple[FunctionGraph, dict[Variable, Variable]]:
    """Return a copy of a graph in which groups of elementwise operations are single ones.

    Parameters
    ----------
    fgraph : FunctionGraph
        Left as it is.
    parameters : set of Variable
        Inputs that seldom change.

    Returns
    -------
    FunctionGraph
    dict
        Variable of `fgraph` -> its copy.
    """
    copy, copies = fgraph.clone_get_equiv(check_integrity=False, attach_feature=False)
    for group in Grouping(copy, {copies[v] for v in parameters}).groups:
        if len(group.nodes) > 1:
            fused = _fused(group)
            if fused is not None:
                copy.replace_all(list(zip(group.results, fused.outputs, strict=True)), reason="grouped")
    return copy, copies
