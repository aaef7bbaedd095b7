"""Groups of elementwise operations, and sums of their results, become single operations: one pass over memory each.

That is done when a program for the CPU is built, on a copy of the graph: other backends fuse operations themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph, Output
from pytensor.scalar import basic as ps

from neuromancer.engine.pytensor.link.torch.moments import moments_in_one_pass, summed_axes
from neuromancer.engine.pytensor.link.torch.registry import is_size_one
from neuromancer.engine.pytensor.link.torch.translation import COMPARED, Translation
from neuromancer.engine.pytensor.ops.elementwise import Fused, FusedElementwise, FusedSum

LARGEST = 64
"""Maximum number of operations in a group: compile time grows with it."""
REPEATED, REPEATED_CHEAP = 3, 8
"""Maximum number of groups that compute the same operation, each for itself."""
CHEAP = (ps.Add, ps.Sub, ps.Mul, ps.Neg, ps.Abs, ps.Sqr, ps.Maximum, ps.Minimum, ps.Switch, ps.Cast, *COMPARED)
"""Operations of a single instruction."""
SMALL = 1 << 10
"""Results known to have fewer values are not worth the time to compile a group."""
LONG = 32
"""Minimum number of terms of a sum, if it is known: for fewer, torch is as fast."""
NEAR = 4
"""Two sums become one operation if they read the same variable so many operations before."""


@dataclass(eq=False)
class Group:
    """Operations with the same shape, and sums over the same axes.

    Attributes
    ----------
    like : Variable
        Has the shape.
    axes : tuple of int or None
        Of the sums.
    nodes : list of Apply
        In reverse order of computation.
    results : list of Variable
    sums, needs : int
        Bits of the sums in the group and of those on which it depends.
    """

    like: Variable
    axes: tuple[int, ...] | None = None
    nodes: list[Apply] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)
    sums: int = 0
    needs: int = 0


def _pattern(variable: Variable) -> tuple[bool, ...]:
    """Return the axes along which a variable is broadcast."""
    return tuple(size == 1 for size in variable.type.shape)


def _is_small(variable: Variable) -> bool:
    """Return whether a variable is known to have few values, such as one per channel."""
    shape = variable.type.shape
    return None not in shape and prod(shape) < SMALL


def _summed_axes(node: Apply) -> tuple[int, ...] | None:
    """Return the axes of a sum of many float32 values; None for anything else."""
    axes = summed_axes(node)
    if not axes or is_size_one(node.inputs[0]):
        return None
    lengths = [node.inputs[0].type.shape[axis] for axis in axes]
    return axes if None in lengths or prod(lengths) >= LONG else None


def is_elementwise(node: Apply) -> bool:
    """Return whether a node can be part of a group."""
    if len(node.outputs) != 1 or getattr(node.outputs[0].type, "shape", ()) == () or is_size_one(node.outputs[0]):
        return False
    return Translation().add(node) is not None


class Grouping:
    """Finds groups in a graph.

    An operation joins the group that reads its result, if only this group and the outputs of the graph do. If a few
    groups read it, each of them computes it for itself where it would otherwise read the result.

    Parameters
    ----------
    fgraph : FunctionGraph
    parameters : set of Variable
        Inputs that seldom change; operations on them alone do not join others.

    Attributes
    ----------
    groups : list of Group
    """

    def __init__(self, fgraph: FunctionGraph, parameters: set[Variable]) -> None:
        self.fgraph = fgraph
        order = fgraph.toposort()
        self._elementwise = {node for node in order if is_elementwise(node)}
        self._seldom = set(parameters)
        self._needs: dict[Variable, int] = {}
        self._groups_of: dict[Apply, list[Group]] = {}
        self.groups: list[Group] = []
        for number, node in enumerate(order):
            self._look_at(node, number)
        for number, node in reversed(list(enumerate(order))):
            axes = _summed_axes(node)
            if axes is not None:
                self._place_sum(node, axes, 1 << number)
            elif node in self._elementwise:
                self._place(node)

    def _look_at(self, node: Apply, number: int) -> None:
        """Note whether results of a node depend on parameters only, and the sums on which they depend."""
        if all(v in self._seldom or isinstance(v, Constant) for v in node.inputs):
            self._seldom.update(node.outputs)
        needs = 0
        for variable in node.inputs:
            needs |= self._needs.get(variable, 0)
        if _summed_axes(node) is not None:
            needs |= 1 << number
        if needs:
            self._needs.update(dict.fromkeys(node.outputs, needs))

    # sums
    def _place_sum(self, node: Apply, axes: tuple[int, ...], bit: int) -> None:
        x = node.inputs[0]
        new = Group(x, axes, [node], [node.outputs[0]], bit, self._needs[node.outputs[0]] & ~bit)
        read = self._read(x)
        for group in self.groups:
            if group.axes == axes and _pattern(x) == _pattern(group.like) and self._fits(x, group):
                independent = not (group.needs & bit or new.needs & group.sums)
                if independent and any(read & self._read(n.inputs[0]) for n in group.nodes if _summed_axes(n)):
                    self._merge(group, new)
                    return
        self.groups.append(new)
        self._groups_of[node] = [new]

    def _read(self, variable: Variable) -> set[Variable]:
        """Return the variables of the shape of `variable` from which it is computed in a few operations."""
        found, front = {variable}, [variable]
        for _ in range(NEAR):
            front = [
                v
                for known in front
                if known.owner in self._elementwise
                for v in known.owner.inputs
                if getattr(v.type, "shape", ()) and len(v.type.shape) == variable.ndim and not isinstance(v, Constant)
                if _pattern(v) == _pattern(variable)
            ]
            found.update(front)
        return found

    def _merge(self, group: Group, new: Group) -> None:
        group.nodes += new.nodes
        group.results += new.results
        group.sums |= new.sums
        group.needs |= new.needs
        for node in new.nodes:
            self._groups_of[node] = [group]
        for other in self.groups:
            if other.needs & group.sums:
                other.needs |= group.needs | group.sums

    # elementwise operations
    def _place(self, node: Apply) -> None:
        """Let a node join the groups that read it, or begin a new one."""
        out = node.outputs[0]
        clients = [reader for reader, _ in self.fgraph.clients[out]]
        readers = [reader for reader in clients if not isinstance(reader.op, Output)]
        groups = list(dict.fromkeys(g for reader in readers for g in self._groups_of.get(reader, ())))
        is_output = len(readers) < len(clients)
        inside = bool(groups) and all(reader in self._groups_of for reader in readers)
        inside = inside and all(self._fits(out, group) for group in groups)
        if inside and len(groups) > 1:
            cheap = isinstance(getattr(node.op, "scalar_op", None), CHEAP)
            inside = not is_output and len(groups) <= (REPEATED_CHEAP if cheap else REPEATED)
            inside = inside and all(self._adds_little(node, group) for group in groups)
        if inside and is_output:
            inside = groups[0].axes is None
        if not inside:
            groups = [Group(out, results=[out])]
            self.groups += groups
        elif is_output:
            groups[0].results.append(out)
        for group in groups:
            group.nodes.append(node)
        self._groups_of[node] = groups

    def _fits(self, out: Variable, group: Group) -> bool:
        return (
            len(group.nodes) < LARGEST
            and out.dtype in ("float32", "bool")
            and _pattern(out) == _pattern(group.like)
            and (out in self._seldom) == (group.like in self._seldom)
        )

    def _adds_little(self, node: Apply, group: Group) -> bool:
        """Return whether a group that computes a node instead of reading its result does not read more."""
        pattern, known = _pattern(node.outputs[0]), {v for member in group.nodes for v in member.inputs}
        full = {v for v in node.inputs if not isinstance(v, Constant) and _pattern(v) == pattern}
        return len(full - known) <= 1


def _fused(group: Group) -> Apply | None:
    """Return the one operation that replaces a group; None if it cannot be expressed."""
    translation, nodes = Translation(), group.nodes[::-1]
    if any(translation.add(node) is None for node in nodes if _summed_axes(node) is None):
        return None
    wanted = group.results
    if group.axes is None:
        expressions = [translation.read(v) for v in wanted]
    else:
        expressions = [translation.summed(v.owner) for v in wanted]
    if any(e is None for e in expressions):
        return None
    found = [e for e in expressions if e is not None]
    operation: Fused = (
        FusedElementwise(found, wanted, nodes, translation.operands)
        if group.axes is None
        else FusedSum(found, wanted, nodes, translation.operands, group.axes)
    )
    return operation.make_node(*translation.operands)


def grouped(fgraph: FunctionGraph, parameters: set[Variable]) -> tuple[FunctionGraph, dict[Variable, Variable]]:
    """Return a copy of a graph in which groups of elementwise operations and sums are single operations.

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
    moments_in_one_pass(copy)
    for group in Grouping(copy, {copies[v] for v in parameters}).groups:
        if len(group.nodes) > 1 and not _is_small(group.like):
            fused = _fused(group)
            if fused is not None:
                copy.replace_all(list(zip(group.results, fused.outputs, strict=True)), reason="grouped")
    return copy, copies
