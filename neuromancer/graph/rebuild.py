"""Rebuild a graph in another mode: for inference, or for dense prediction at any size.

Every node is copied and its hooks run on the copy, which shares the parameters of the original. Copies are not
registered, so the model is unaffected. User-defined nodes need no extra code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neuromancer import engine as E
from neuromancer.graph.geometry import N, ancestors
from neuromancer.graph.window import BuildMode


def rebuild(
    nodes: Sequence[N],
    mode: BuildMode,
    free_sizes: bool = False,
    replaced: Mapping[N, Callable[[Mapping[N, N]], N]] | None = None,
) -> dict[N, N]:
    """Copy `nodes` and their ancestors, built in another mode.

    Parameters
    ----------
    nodes : sequence of Node
        The output nodes.
    mode : BuildMode
        The mode of the copies.
    free_sizes : bool
        Give the sources new input tensors with unspecified batch and spatial sizes; otherwise the copies share the
        input tensors of the originals.
    replaced : mapping of Node to callable, optional
        Nodes to be replaced by others, which a function makes from the copies of the sources. What only they need is
        not copied.

    Returns
    -------
    dict of Node to Node
        Maps every original to its copy, parents first.
    """
    copies: dict[N, N] = {}
    cuts = replaced or {}
    with E.building():
        for node in _needed(nodes, cuts):
            if node in cuts:
                copies[node] = cuts[node](copies)
                continue
            twin = copy.copy(node)
            tensors = {n.output: c.output for n, c in copies.items() if c.output is not n.output}
            vars(twin).update({key: _map(value, copies, tensors) for key, value in vars(node).items()})
            twin.detach(mode)
            if not node.is_source:
                twin._build()
            elif free_sizes:
                twin.free_sizes()
            copies[node] = twin
    return copies


def _needed(nodes: Sequence[N], cuts: Mapping[N, Any]) -> list[N]:
    """`nodes` and their ancestors, parents first, but not what only nodes in `cuts` need, apart from sources."""
    order = ancestors(nodes)
    needed, todo = {n for n in order if n.is_source}, list(nodes)
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.add(node)
            todo += () if node in cuts else node.parents
    return [n for n in order if n in needed]


def _map(value: Any, copies: Mapping[Any, Any], tensors: dict[Any, Any]) -> Any:
    """Replace nodes (also in lists, tuples and dicts) by their copies, and their outputs in stored expressions."""
    if type(value) in (list, tuple) and any(_is_node(v) and v in copies for v in value):
        return type(value)(_map(v, copies, tensors) for v in value)
    if type(value) is dict and any(_is_node(v) and v in copies for v in value.values()):
        return {key: _map(v, copies, tensors) for key, v in value.items()}
    if isinstance(value, E.Variable) and not isinstance(value, (E.SharedVariable, E.Constant)) and tensors:
        return tensors[value] if value in tensors else E.rewire([value], tensors)[0]
    return copies.get(value, value) if _is_node(value) else value


def _is_node(value: Any) -> bool:
    return hasattr(value, "_calc_comp_cost")
