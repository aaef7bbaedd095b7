"""The step that a recurrence repeats: its checks, and the nodes that have to be computed in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, GraphError, ShapeError
from neuromancer.graph.geometry import windows_of
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import IDENTITY
from neuromancer.nodes.layout import positive_int, require_tensor
from neuromancer.nodes.node import Node

Nodes = Node | Sequence[Node] | None


class RepeatedStep(Node):
    """Base of a node that repeats a step; see :func:`neuromancer.nodes.scan.Scan` for the arguments.

    Attributes
    ----------
    step_result, in_memory, out_memory, in_iterate, in_iterate_0 : list of Node
    n_steps : int or None
        Number of steps, None if it depends on the data.
    """

    step_result: list[Node]
    in_memory: list[Node]
    out_memory: list[Node]
    in_iterate: list[Node]
    in_iterate_0: list[Node]
    n_steps: int | None
    unroll_scan: bool
    last_only: bool

    def _connect(
        self, step_result: Nodes, in_memory: Nodes, out_memory: Nodes, in_iterate: Nodes, in_iterate_0: Nodes
    ) -> None:
        """Store the nodes of the step and check that they fit together."""
        self.step_result, self.in_memory = _as_list(step_result), _as_list(in_memory)
        self.out_memory = self.step_result if out_memory is None else _as_list(out_memory)
        self.in_iterate, self.in_iterate_0 = _as_list(in_iterate), _as_list(in_iterate_0)
        self._check_tensors()
        self._check_counts(out_memory is None)
        self._check_memories()
        self._check_sequences()
        self._check_results()
        self._check_starts()

    def _check_tensors(self) -> None:
        for what, nodes in (
            ("a step_result", self.step_result),
            ("an in_memory", self.in_memory),
            ("an out_memory", self.out_memory),
            ("an in_iterate", self.in_iterate),
            ("an in_iterate_0", self.in_iterate_0),
        ):
            for node in nodes:
                require_tensor(node, self, what)
            once = what in ("a step_result", "an in_memory", "an in_iterate_0")
            if once and len(set(nodes)) != len(nodes):
                raise ArgumentError(f"{what} is given twice", node=self, got=names_of(nodes))

    def _check_counts(self, default_memory: bool) -> None:
        if not self.step_result or not self.in_memory:
            raise ArgumentError(
                "needs at least one step_result and one in_memory",
                node=self,
                got=f"step_result {names_of(self.step_result)}, in_memory {names_of(self.in_memory)}",
            )
        if len(self.in_memory) != len(self.out_memory):
            raise ArgumentError(
                "every in_memory needs one out_memory that is fed back into it",
                node=self,
                got=f"in_memory {names_of(self.in_memory)}, "
                f"out_memory {names_of(self.out_memory)}{' (the default: step_result)' if default_memory else ''}",
                expected="equal numbers" + (", or out_memory=..." if default_memory else ""),
            )
        if len(self.in_iterate) != len(self.in_iterate_0):
            raise ArgumentError(
                "every in_iterate needs one in_iterate_0, the node of its first slice",
                node=self,
                got=f"in_iterate {names_of(self.in_iterate)}, in_iterate_0 {names_of(self.in_iterate_0)}",
                expected="equal numbers",
                nearest="the first part of split(node, 'r', index=1, strip_singleton_dims=True)",
            )

    def _check_memories(self) -> None:
        for old, new in zip(self.in_memory, self.out_memory, strict=True):
            if not _same_shape(old.shape, new.shape):
                raise ShapeError(
                    f"{new.name!r} cannot be fed back into the memory {old.name!r}",
                    node=self,
                    got=repr(new.shape),
                    expected=repr(old.shape),
                )

    def _check_sequences(self) -> None:
        for sequence, first in zip(self.in_iterate, self.in_iterate_0, strict=True):
            if not sequence.shape.hastag("r"):
                raise ShapeError("a sequence needs an axis r", node=self, got=f"{sequence.name}: {sequence.shape!r}")
            if not _same_shape(sequence.shape.delaxis("r"), first.shape):
                raise ShapeError(
                    f"{first.name!r} is not a slice of the sequence {sequence.name!r}",
                    node=self,
                    got=repr(first.shape),
                    expected=repr(sequence.shape.delaxis("r")),
                )

    def _check_results(self) -> None:
        if not self.last_only and any(n.shape.hastag("r") for n in self.step_result):
            raise ShapeError(
                "a step_result already has an axis r",
                node=self,
                got=next(f"{n.name}: {n.shape!r}" for n in self.step_result if n.shape.hastag("r")),
                expected="results without axis r, or last_only=True",
            )

    def _check_starts(self) -> None:
        starts = [*self.in_memory, *self.in_iterate_0]
        if len({id(n.output) for n in starts}) != len(starts):
            raise GraphError("two memories or first slices are the same tensor", node=self, got=names_of(starts))
        reached = set(self._inside())
        unused = [n for n in starts if n not in reached]
        if unused:
            raise GraphError(
                "no result of the step depends on a memory or first slice",
                node=self,
                got=names_of(unused),
                expected=f"nodes that {names_of(self._ends)} depend on",
            )

    def _count_steps(self, n_steps: Any) -> int | None:
        lengths = [n.shape["r"] for n in self.in_iterate if n.shape["r"] is not None]
        if n_steps is not None:
            count = positive_int(n_steps, "n_steps", self)
            if lengths and count > min(lengths):
                raise ArgumentError(
                    "n_steps exceeds the length of the sequences",
                    node=self,
                    got=f"n_steps={count}",
                    expected=f"at most {min(lengths)}",
                    nearest=str(min(lengths)),
                )
            return count
        if len(set(lengths)) > 1:
            raise ShapeError(
                "the sequences differ in length", node=self, got=lengths, nearest=f"n_steps={min(lengths)}"
            )
        if lengths:
            return positive_int(lengths[0], "the length of axis r", self)
        if not self.in_iterate or self.unroll_scan:
            raise ArgumentError(
                "the number of steps is not known",
                node=self,
                got="n_steps=None and " + ("axis r of unknown size" if self.in_iterate else "no in_iterate"),
                expected="n_steps=..." + (", or unroll_scan=False" if self.in_iterate else ""),
            )
        return None

    # ---- the step
    @property
    def _ends(self) -> list[Node]:
        """What every step computes: the new memories first, then the other results."""
        return list(dict.fromkeys([*self.out_memory, *self.step_result]))

    def _inside(self) -> list[Node]:
        """Nodes of the step, from the memories and first slices (included) to its ends; parents first."""
        return nodes_between({*self.in_memory, *self.in_iterate_0}, self._ends)

    @property
    def repeated(self) -> list[Node]:
        """Nodes that every later step recomputes, parents first: those that depend on a memory or a first slice."""
        starts = {*self.in_memory, *self.in_iterate_0}
        moving, repeated = set(starts), []
        for node in self._inside():
            if node not in starts and any(p in moving for p in node.parents):
                moving.add(node)
                repeated.append(node)
        return repeated

    def _fixed(self) -> list[Node]:
        """Nodes that the repeated ones read and whose values are the same in all steps."""
        starts, repeated = [*self.in_memory, *self.in_iterate_0], self.repeated
        outside = dict.fromkeys(p for n in repeated for p in n.parents if p not in {*starts, *repeated})
        return [n for n in outside if isinstance(n.shape, TaggedShape)]

    def _in_place(self) -> bool:
        """Whether no step reads neighbouring voxels, so that the field of view does not grow."""
        return self.n_steps == 1 or all(w == IDENTITY for n in self.repeated for w in windows_of(n))

    def _step(self, values: dict[Node, Any]) -> dict[Node, Any]:
        """Ends of the step, with the given tensors substituted for the outputs of some nodes."""
        ends = self._ends
        tensors = E.rewire([n.output for n in ends], {n.output: value for n, value in values.items()})
        return dict(zip(ends, tensors, strict=True))

    def _feedback(self, state: dict[Node, Any]) -> list[Any]:
        """Memories after a step, in the dtypes in which the next step reads them."""
        return [
            E.T.cast(state[new], old.output.dtype) if state[new].dtype != old.output.dtype else state[new]
            for old, new in zip(self.in_memory, self.out_memory, strict=True)
        ]

    def _sequences(self) -> list[Any]:
        """Sequences with axis r moved to the front."""
        tensors = []
        for node in self.in_iterate:
            r, x = node.shape.tag2index("r"), node.output
            tensors.append(x.dimshuffle(r, *(i for i in range(x.ndim) if i != r)) if r else x)
        return tensors


def nodes_between(starts: set[Node], ends: Sequence[Node]) -> list[Node]:
    """Nodes that `ends` depend on, without going above `starts` (included); parents first."""
    found: dict[Node, None] = {}
    stack: list[tuple[Node, bool]] = [(n, False) for n in reversed(ends)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            found[node] = None
        elif node not in found:
            stack.append((node, True))
            if node not in starts:
                stack.extend((p, False) for p in reversed(node.parents) if p not in found)
    return list(found)


def _as_list(nodes: Any) -> list[Any]:
    if nodes is None:
        return []
    return list(nodes) if isinstance(nodes, (list, tuple)) else [nodes]


def names_of(nodes: Sequence[Node]) -> list[str]:
    return [n.name for n in nodes]


def _same_shape(a: TaggedShape, b: TaggedShape) -> bool:
    """Whether tags and known sizes agree; an unknown size never matches 1, as it would not broadcast at run time."""
    pairs = list(zip(a.shape, b.shape, strict=False))
    return list(a.tags) == list(b.tags) and all(m == n or (None in (m, n) and 1 not in (m, n)) for m, n in pairs)
