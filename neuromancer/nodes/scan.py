"""Recurrence: the graph of one step, repeated with its results fed back into its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from neuromancer.graph.demand import Demand, magnitude, nodes_in
from neuromancer.graph.geometry import ancestors
from neuromancer.graph.registry import model_manager
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.layout import flag, positive_int
from neuromancer.nodes.node import Node
from neuromancer.nodes.scan_step import Nodes, RepeatedStep, names_of, nodes_between


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
    """Turn a graph that computes one step into a recurrence.

    The existing graph is step 0: it reads the initial state `in_memory` and the first slice `in_iterate_0` of the
    sequence `in_iterate`. Step t repeats it on slice t of `in_iterate`, with `out_memory` of step t - 1 as `in_memory`.

    Parameters
    ----------
    step_result : Node or list of Node
        Outputs of the step to return.
    in_memory : Node or list of Node
        Initial state, read by the step.
    out_memory : Node or list of Node, optional
        New state: nodes whose values replace `in_memory` in the next step, in the same order, with the same axes and
        sizes. Default: `step_result`.
    in_iterate : Node or list of Node, optional
        Sequences, with an axis r (time).
    in_iterate_0 : Node or list of Node, optional
        First slice of each sequence, through which the step reads it, in the order of `in_iterate`; e.g. the first part
        of ``split(node, "r", index=1, strip_singleton_dims=True)``.
    n_steps : int, optional
        Number of steps, including step 0; at most the size of axis r (the default).
    unroll_scan : bool
        Unroll the steps into one graph: faster to run, but compile time grows with the number of steps. Otherwise use a
        symbolic loop, which also supports sequences of unknown length. Values and gradients are the same.
    last_only : bool
        Return only the last step, without axis r.
    name : str
        Name of the ScanN node.
    print_repr : bool
    truncate_gradient : int, optional
        Truncated back-propagation through time (Williams & Peng 1990): divide the sequence, counted from its end, into
        pieces of this many steps, and stop gradients between pieces. Values do not change. Default: gradients flow
        through all steps.

    Returns
    -------
    ScanResult, or tuple of ScanResult
        One node named ``scan_out_<name of the result>`` per `step_result`, with a first axis r unless `last_only`;
        not in a tuple if there is only one.

    Raises
    ------
    ArgumentError
        If the numbers of memories or of sequences do not match, or the number of steps is unknown.
    ShapeError
        If a memory and the node fed back into it differ in shape, or a sequence does not match its first slice.
    GraphError
        If no result depends on one of the memories or first slices, or two of them are the same tensor.
    InputTypeError
        If an argument is not a node with a tensor output.

    Notes
    -----
    Random numbers inside the step (dropout, noise) are drawn once per evaluation and shared by all steps (Gal &
    Ghahramani 2016, arXiv:1512.05287). Arrays are passed in the order of the results' sources, followed by sources that
    only `in_memory`, `in_iterate` and `out_memory` need.

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
    with model_manager.all_or_nothing():
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
        outputs = [ScanResult(scan, i, name=f"scan_out_{node.name}") for i, node in enumerate(scan.step_result)]
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


class ScanN(RepeatedStep):
    """Recurrence with several results; created by :func:`Scan`, together with one :class:`ScanResult` per result.

    Parameters
    ----------
    step_result, in_memory, out_memory, in_iterate, in_iterate_0
        See :func:`Scan`.
    n_steps, unroll_scan, last_only, name, print_repr, truncate_gradient
        See :func:`Scan`.

    Attributes
    ----------
    results : list of symbolic variable
        Outputs, one per `step_result`; ``output`` is the first.
    result_shapes : list of TaggedShape
        Their shapes.
    n_steps : int or None
        Number of steps, None if it depends on the data.

    Raises
    ------
    ArgumentError, ShapeError, GraphError, InputTypeError
        See :func:`Scan`.

    Notes
    -----
    The cost is that of the repeated nodes times the number of repetitions (steps after the first).

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
        self.unroll_scan = flag(unroll_scan, "unroll_scan", self)
        self.last_only = flag(last_only, "last_only", self)
        self._connect(step_result, in_memory, out_memory, in_iterate, in_iterate_0)
        self.n_steps = self._count_steps(n_steps)
        self.truncate_gradient = (
            None if truncate_gradient is None else positive_int(truncate_gradient, "truncate_gradient", self)
        )
        parents = [*self.step_result, *self.in_memory, *self.in_iterate]
        above = set(ancestors(parents))
        self.parent = list(dict.fromkeys([*parents, *(n for n in self.out_memory if n not in above)]))
        self.equivariant = self._in_place()

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        names = ("step_result", "out_memory", "in_memory", "in_iterate_0", "in_iterate")
        given = {key: list(nodes_in(arguments.get(key))) for key in names}
        inside = nodes_between(
            {*given["in_memory"], *given["in_iterate_0"]}, given["step_result"] + given["out_memory"]
        )
        one = sum(n.demanded.operations for n in inside)
        lengths = [n.shape["r"] or 0 for n in given["in_iterate"] if n.shape is not None and n.shape.hastag("r")]
        n_steps = arguments.get("n_steps")
        steps = max(lengths, default=0) if n_steps is None else magnitude(n_steps)
        around = len(ancestors([n for nodes in given.values() for n in nodes])) // 8
        # Repeating a step takes about half as long as building it.
        return Demand(32 + around + 2 * one + (steps * (one // 2 + 4) if arguments.get("unroll_scan") else 0))

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
            # Every step enlarges the field of view.
            shapes = [TaggedShape(s.shape, s.tags, s.strides.tolist(), s.mfp_offsets, [-1] * s.ndim) for s in shapes]
        self.result_shapes = [s.copy() for s in shapes]
        self.shape = self.result_shapes[0].copy()

    def _calc_comp_cost(self) -> None:
        one = sum(n.computational_cost for n in self.repeated)
        self.computational_cost = one * (1 if self.n_steps is None else self.n_steps - 1)

    def _repr_extra(self) -> str:
        steps = "?" if self.n_steps is None else self.n_steps
        return f"n_steps={steps}, {'unrolled' if self.unroll_scan else 'loop'}, memory {names_of(self.in_memory)}"


class ScanResult(Node):
    """One result of a :class:`ScanN` as a separate node; created by :func:`Scan`.

    Parameters
    ----------
    parent : ScanN
        Recurrence.
    index : int
        Index of the result, from 0.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If `parent` is not a ScanN or has no result of this index.

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


def _cut(condition: Any, x: Any) -> Any:
    """Return x with its gradient stopped where the condition holds; the graph stays connected in either case."""
    return E.T.switch(condition, E.disconnected_grad(x), x)
