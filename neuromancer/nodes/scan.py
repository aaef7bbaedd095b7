"""Recurrence: a graph of one step, applied again and again with its results fed back into its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, GraphError, ShapeError
from neuromancer.graph.demand import Demand, magnitude, nodes_in
from neuromancer.graph.geometry import ancestors, windows_of
from neuromancer.graph.registry import model_manager
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import IDENTITY
from neuromancer.nodes.layout import positive_int, require_tensor
from neuromancer.nodes.node import Node

Nodes = Node | Sequence[Node] | None


def Scan(
    step_result: Node | Sequence[Node],
    in_memory: Node | Sequence[Node],
    out_memory: Nodes = None,
    in_iterate: Nodes = None,
    in_iterate_0: Nodes = None,
    n_steps: int | None = None,
    unroll_scan: bool = True,
    last_only: bool = False,
    name: str = "scan",
    print_repr: bool = True,
    truncate_gradient: int | None = None,
) -> ScanResult | tuple[ScanResult, ...]:
    """Make a recurrence out of a graph that computes one step.

    The graph as it stands is step 0: it reads `in_memory`, the state before the first step, and `in_iterate_0`, the
    first slice of `in_iterate`. In step t it is computed again with `in_iterate` at t, and with the results
    `out_memory` of step t - 1 in place of `in_memory`.

    Parameters
    ----------
    step_result : Node or list of Node
        What is wanted of every step.
    in_memory : Node or list of Node
        State before the first step; the step reads it.
    out_memory : Node or list of Node, optional
        Nodes whose values become the state of the next step, in the order of `in_memory`; same axes and sizes.
        Default: `step_result`.
    in_iterate : Node or list of Node, optional
        Sequences, with an axis r.
    in_iterate_0 : Node or list of Node, optional
        The nodes through which the step reads the sequences, in the order of `in_iterate`: their first slices, e.g. the
        first part of ``split(node, "r", index=1, strip_singleton_dims=True)``.
    n_steps : int, optional
        Number of steps, step 0 included; at most the size of axis r, which is the default.
    unroll_scan : bool
        Write all steps out as one graph; fast to run, and the time of compiling grows with the number of steps.
        Otherwise a symbolic loop, which also takes sequences of unknown length. Values and gradients are the same.
    last_only : bool
        Return the last step only, without an axis r.
    name : str
        Name of the ScanN node.
    print_repr : bool
    truncate_gradient : int, optional
        Cut the sequence, counted from its end, into pieces of this many steps; gradients do not pass from one piece
        into the one before (truncated back-propagation through time, Williams & Peng 1990). Values are the same.
        Default: gradients flow through all steps.

    Returns
    -------
    ScanResult, or tuple of ScanResult
        One node named ``scan_out_<name of the result>`` per `step_result`, with a first axis r unless `last_only`;
        bare if `step_result` is a single node or a list of one.

    Raises
    ------
    ArgumentError
        If numbers of memories or sequences do not match, or the number of steps cannot be known.
    ShapeError
        If a memory and what is fed back into it differ in shape, or a sequence and its first slice.
    GraphError
        If no result depends on one of the memories or first slices.
    InputTypeError
        If something is no node with a tensor.

    Notes
    -----
    Random numbers inside the step (dropout, noise) are drawn once per evaluation and are the same in all of its steps
    (Gal & Ghahramani 2016, arXiv:1512.05287). The order of sources is that of the results, then those which only
    `in_memory`, `in_iterate` and `out_memory` need.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import GRU, InitialState_like, Input, split
    >>> inp = Input((7, 2, 5), "r,b,f", print_repr=False)
    >>> first, _ = split(inp, "r", index=1, strip_singleton_dims=True)
    >>> memory = InitialState_like(first, 3, print_repr=False)
    >>> step = GRU(first, memory, 3, print_repr=False)
    >>> Scan(step, memory, in_iterate=inp, in_iterate_0=first, print_repr=False).shape
    [(7,r), (2,b), (3,f)]
    """
    scan = ScanN(
        step_result,
        in_memory,
        out_memory,
        in_iterate,
        in_iterate_0,
        n_steps,
        unroll_scan,
        last_only,
        name=name,
        print_repr=print_repr,
        truncate_gradient=truncate_gradient,
    )
    outputs: list[ScanResult] = []
    try:
        for i, result in enumerate(scan.step_result):
            outputs.append(ScanResult(scan, i, name=f"scan_out_{result.name}"))
    except BaseException:
        _forget([scan, *outputs])
        raise
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


class ScanN(Node):
    """The recurrence itself; :func:`Scan` makes it, together with one :class:`ScanResult` per result.

    Parameters
    ----------
    step_result, in_memory, out_memory, in_iterate, in_iterate_0, n_steps, unroll_scan, last_only, name, print_repr,
    truncate_gradient
        See :func:`Scan`.

    Attributes
    ----------
    results : list of symbolic variable
        All outputs; ``output`` is the first of them.
    result_shapes : list of TaggedShape
    n_steps : int or None
        Number of steps, None if only the data tells.

    Raises
    ------
    ArgumentError, ShapeError, GraphError, InputTypeError
        See :func:`Scan`.

    Notes
    -----
    The cost is that of the nodes which are repeated, times the number of repetitions (steps after the first).

    Examples
    --------
    See :func:`Scan`.
    """

    def __init__(
        self,
        step_result: Node | Sequence[Node],
        in_memory: Node | Sequence[Node],
        out_memory: Nodes = None,
        in_iterate: Nodes = None,
        in_iterate_0: Nodes = None,
        n_steps: int | None = None,
        unroll_scan: bool = True,
        last_only: bool = False,
        name: str = "scan",
        print_repr: bool = True,
        truncate_gradient: int | None = None,
    ) -> None:
        super().__init__(None, name, print_repr)
        self.step_result = _list(step_result)
        self.in_memory = _list(in_memory)
        self.out_memory = self.step_result if out_memory is None else _list(out_memory)
        self.in_iterate, self.in_iterate_0 = _list(in_iterate), _list(in_iterate_0)
        self.unroll_scan, self.last_only = bool(unroll_scan), bool(last_only)
        self._check_tensors()
        self._check_counts(out_memory is None)
        self._check_memories()
        self._check_sequences()
        self._check_results()
        self._check_starts()
        self.n_steps = self._count_steps(n_steps)
        self.truncate_gradient = (
            None if truncate_gradient is None else positive_int(truncate_gradient, "truncate_gradient", self)
        )
        wanted = [*self.step_result, *self.in_memory, *self.in_iterate]
        above = set(ancestors(wanted))
        self.parent = list(dict.fromkeys([*wanted, *(n for n in self.out_memory if n not in above)]))
        self.equivariant = self._in_place()

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        names = ("step_result", "out_memory", "in_memory", "in_iterate_0", "in_iterate")
        given = {key: list(nodes_in(arguments.get(key))) for key in names}
        inside = _between({*given["in_memory"], *given["in_iterate_0"]}, given["step_result"] + given["out_memory"])
        one = sum(n.demanded.operations for n in inside)
        lengths = [n.shape["r"] or 0 for n in given["in_iterate"] if n.shape is not None and n.shape.hastag("r")]
        n_steps = arguments.get("n_steps")
        steps = max(lengths, default=0) if n_steps is None else magnitude(n_steps)
        around = len(ancestors([n for nodes in given.values() for n in nodes])) // 8
        # To write a step again takes about half as long as to write it.
        return Demand(32 + around + 2 * one + (steps * (one // 2 + 4) if arguments.get("unroll_scan") else 0))

    # ---- checks
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
                raise ArgumentError(f"{what} is given twice", node=self, got=_names(nodes))

    def _check_counts(self, default_memory: bool) -> None:
        if not self.step_result or not self.in_memory:
            raise ArgumentError(
                "needs at least one step_result and one in_memory",
                node=self,
                got=f"step_result {_names(self.step_result)}, in_memory {_names(self.in_memory)}",
            )
        if len(self.in_memory) != len(self.out_memory):
            raise ArgumentError(
                "every memory needs one node that is fed back into it",
                node=self,
                got=f"in_memory {_names(self.in_memory)}, "
                f"out_memory {_names(self.out_memory)}{' (the default: step_result)' if default_memory else ''}",
                expected="as many of both" + (", or out_memory=..." if default_memory else ""),
            )
        if len(self.in_iterate) != len(self.in_iterate_0):
            raise ArgumentError(
                "every sequence needs the node through which the step reads its first slice",
                node=self,
                got=f"in_iterate {_names(self.in_iterate)}, in_iterate_0 {_names(self.in_iterate_0)}",
                expected="as many of both",
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
                    f"{first.name!r} is no slice of the sequence {sequence.name!r}",
                    node=self,
                    got=repr(first.shape),
                    expected=repr(sequence.shape.delaxis("r")),
                )

    def _check_results(self) -> None:
        if not self.last_only and any(n.shape.hastag("r") for n in self.step_result):
            raise ShapeError(
                "a result has an axis r already",
                node=self,
                got=next(f"{n.name}: {n.shape!r}" for n in self.step_result if n.shape.hastag("r")),
                expected="results without it, or last_only=True",
            )

    def _check_starts(self) -> None:
        starts = [*self.in_memory, *self.in_iterate_0]
        if len({id(n.output) for n in starts}) != len(starts):
            raise GraphError("two memories or first slices are the same tensor", node=self, got=_names(starts))
        reached = set(self._inside())
        unused = [n for n in starts if n not in reached]
        if unused:
            raise GraphError(
                "no result of the step depends on a memory or first slice, so that it would be lost",
                node=self,
                got=_names(unused),
                expected=f"nodes that {_names(self._ends)} are computed from",
            )

    def _count_steps(self, n_steps: Any) -> int | None:
        lengths = [n.shape["r"] for n in self.in_iterate if n.shape["r"] is not None]
        if n_steps is not None:
            count = positive_int(n_steps, "n_steps", self)
            if lengths and count > min(lengths):
                raise ArgumentError(
                    "more steps than the sequences have",
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
        """What every step computes: first the memories, then the results that are none."""
        return list(dict.fromkeys([*self.out_memory, *self.step_result]))

    def _inside(self) -> list[Node]:
        """Nodes from which the step is computed, up to memories and first slices, these included; parents first."""
        return _between({*self.in_memory, *self.in_iterate_0}, self._ends)

    def _repeated(self) -> list[Node]:
        """The nodes that later steps compute anew: those below memories and first slices."""
        starts = {*self.in_memory, *self.in_iterate_0}
        moving, repeated = set(starts), []
        for node in self._inside():
            if node not in starts and any(p in moving for p in node.parents):
                moving.add(node)
                repeated.append(node)
        return repeated

    def _fixed(self) -> list[Node]:
        """The nodes that repeated ones read and that are the same in all steps."""
        starts, repeated = [*self.in_memory, *self.in_iterate_0], self._repeated()
        outside = dict.fromkeys(p for n in repeated for p in n.parents if p not in {*starts, *repeated})
        return [n for n in outside if isinstance(n.shape, TaggedShape)]

    def _in_place(self) -> bool:
        """Whether a step looks at no neighbouring voxels, so that its field of view does not grow."""
        return self.n_steps == 1 or all(w == IDENTITY for n in self._repeated() for w in windows_of(n))

    def _step(self, values: dict[Node, Any]) -> dict[Node, Any]:
        """The step's ends with other values of some nodes."""
        ends = self._ends
        tensors = E.rewire([n.output for n in ends], {n.output: value for n, value in values.items()})
        return dict(zip(ends, tensors, strict=True))

    def _feedback(self, state: dict[Node, Any]) -> list[Any]:
        """The memories after a step, as the next one reads them."""
        return [
            E.T.cast(state[new], old.output.dtype) if state[new].dtype != old.output.dtype else state[new]
            for old, new in zip(self.in_memory, self.out_memory, strict=True)
        ]

    def _sequences(self) -> list[Any]:
        """The sequences with axis r in front."""
        tensors = []
        for node in self.in_iterate:
            r, x = node.shape.tag2index("r"), node.output
            tensors.append(x.dimshuffle(r, *(i for i in range(x.ndim) if i != r)) if r else x)
        return tensors

    # ---- the recurrence
    def _make_output(self) -> None:
        self.results = self._unrolled() if self.unroll_scan or self.n_steps == 1 else self._looped()
        self.output = self.results[0]

    def _unrolled(self) -> list[Any]:
        state = {n: n.output for n in self._ends}
        steps, sequences, n = [state], self._sequences(), self.n_steps or 1
        for t in range(1, n):
            memory = self._feedback(state)
            if self.truncate_gradient and (n - t) % self.truncate_gradient == 0:
                memory = [_cut(E.constant(np.array(True)), m) for m in memory]
            current = dict(zip(self.in_memory, memory, strict=True))
            current.update(zip(self.in_iterate_0, (s[t] for s in sequences), strict=True))
            state = self._step(current)
            steps.append(state)
        if self.last_only:
            return [state[n] for n in self.step_result]
        return [E.T.stack([s[n] for s in steps]) for n in self.step_result]

    def _looped(self) -> list[Any]:
        sequences, fixed = self._sequences(), self._fixed()
        n = self.n_steps if self.n_steps is not None else sequences[0].shape[0]
        first = {end: end.output for end in self._ends}
        kept = {new: old.output.dtype for old, new in zip(self.in_memory, self.out_memory, strict=True)}
        others = [end for end in self._ends if kept.get(end) != end.output.dtype]
        n_sequences, n_memories = len(sequences), len(self.in_memory)

        def step(cut: Any, *args: Any) -> list[Any]:
            memory = list(args[n_sequences : n_sequences + n_memories])
            if self.truncate_gradient:
                memory = [_cut(E.T.eq(cut, 1), m) for m in memory]
            current = dict(zip(self.in_iterate_0, args[:n_sequences], strict=True))
            current.update(zip(fixed, args[n_sequences + n_memories :], strict=True))
            current.update(zip(self.in_memory, memory, strict=True))
            state = self._step(current)
            return [*self._feedback(state), *(state[end] for end in others)]

        cuts = E.T.eq((n - E.T.arange(1, n)) % (self.truncate_gradient or 1), 0)
        traces = E.scan(
            step,
            [E.T.cast(cuts, "int64"), *(s[1:n] for s in sequences)],
            [*self._feedback(first), *(None for _ in others)],
            [node.output for node in fixed],
            n_steps=n - 1,
            name=self.name,
        )
        traces = traces if isinstance(traces, list) else [traces]
        later = dict(zip([*self.out_memory, *others], traces, strict=True))
        if self.last_only and self.n_steps is not None:
            return [later[end][-1] for end in self.step_result]
        as_step = {end: first[end].dimshuffle("x", *range(first[end].ndim)) for end in self.step_result}
        whole = [E.T.concatenate([as_step[end], later[end]], axis=0) for end in self.step_result]
        return [w[-1] for w in whole] if self.last_only else whole

    def _calc_shape(self) -> None:
        shapes = [n.shape if self.last_only else n.shape.addaxis(0, self.n_steps, "r") for n in self.step_result]
        if not self.equivariant:
            # Every step adds to the field of view.
            shapes = [TaggedShape(s.shape, s.tags, s.strides.tolist(), s.mfp_offsets, [-1] * s.ndim) for s in shapes]
        self.result_shapes = [s.copy() for s in shapes]
        self.shape = self.result_shapes[0].copy()

    def _calc_comp_cost(self) -> None:
        one = sum(n.computational_cost for n in self._repeated())
        self.computational_cost = one * (1 if self.n_steps is None else self.n_steps - 1)

    def _repr_extra(self) -> str:
        steps = "?" if self.n_steps is None else self.n_steps
        return f"n_steps={steps}, {'unrolled' if self.unroll_scan else 'loop'}, memory {_names(self.in_memory)}"


class ScanResult(Node):
    """One result of a :class:`ScanN` as a node of its own.

    Parameters
    ----------
    parent : ScanN
    index : int
        Which of its results.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If `parent` is no ScanN or has no such result.

    Examples
    --------
    See :func:`Scan`.
    """

    def __init__(self, parent: ScanN, index: int, name: str = "scan_out", print_repr: bool = False) -> None:
        super().__init__(parent, name, print_repr)
        if not isinstance(parent, ScanN):
            raise ArgumentError("the parent must be a ScanN", node=self, got=repr(parent)[:200])
        if not isinstance(index, (int, np.integer)) or not 0 <= index < len(parent.step_result):
            raise ArgumentError("no such result", node=self, got=index, expected=f"0 to {len(parent.step_result) - 1}")
        self.index = int(index)

    def _make_output(self) -> None:
        self.output = self.parent.results[self.index]

    def _calc_shape(self) -> None:
        self.shape = self.parent.result_shapes[self.index].copy()

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0


def _between(starts: set[Node], ends: Sequence[Node]) -> list[Node]:
    """Nodes from which `ends` are computed, up to `starts`, these included; parents first."""
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


def _list(nodes: Any) -> list[Any]:
    if nodes is None:
        return []
    return list(nodes) if isinstance(nodes, (list, tuple)) else [nodes]


def _names(nodes: Sequence[Node]) -> list[str]:
    return [n.name for n in nodes]


def _same_shape(a: TaggedShape, b: TaggedShape) -> bool:
    """Whether tags are the same, and sizes as far as they are known; a 1 in only one of them would not broadcast."""
    pairs = list(zip(a.shape, b.shape, strict=False))
    return list(a.tags) == list(b.tags) and all(m == n or (None in (m, n) and 1 not in (m, n)) for m, n in pairs)


def _cut(condition: Any, x: Any) -> Any:
    """x, whose gradient is 0 where the condition holds; the graph stays connected in either case."""
    return E.T.switch(condition, E.disconnected_grad(x), x)


def _forget(nodes: Sequence[Node]) -> None:
    """Take nodes back out of the model."""
    model = model_manager.active()
    for node in nodes:
        for parent in node.parents:
            parent.children.pop(node.name, None)
        model.nodes.pop(node.name, None)
