"""The course of every translation: each node in turn, after all its parents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromancer.errors import GraphError, node_label
from neuromancer.graph.geometry import ancestors
from neuromancer.interop.leaving import families
from neuromancer.interop.leaving.layout import sources_of
from neuromancer.interop.leaving.registry import Unsupported, find
from neuromancer.interop.leaving.target import Target
from neuromancer.nodes.node import Node
from neuromancer.nodes.scan import ScanN

SHOWN = 20
"""Nodes listed in an error."""

assert families.__all__  # importing the package has registered the handlers


def translate(target: Target, nodes: Sequence[Node]) -> list[Any]:
    """Emit the operations of nodes and all their ancestors; return the values of the nodes.

    Raises
    ------
    GraphError
        If nodes have no counterpart; all of them are listed.
    """
    values = target.values
    problems: list[tuple[Node, str]] = []
    for node in dict.fromkeys([*sources_of(nodes), *ancestors(nodes)]):
        try:
            values[node] = one(target, node)
        except Unsupported as reason:
            # The others are translated, too, to find all that cannot be.
            problems.append((node, str(reason)))
            nothing = target.nothing(node)
            values[node] = [nothing] * len(node.step_result) if isinstance(node, ScanN) else nothing
    if problems:
        listed = "; ".join(f"{node_label(node)}: {reason}" for node, reason in problems[:SHOWN])
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise GraphError(
            f"{len(problems)} node{'s have' if len(problems) > 1 else ' has'} no counterpart in {target.library}",
            where=target.label,
            got=listed + more,
            expected="nodes of the table in docs/export.md",
        )
    return [values[node] for node in nodes]


def one(target: Target, node: Node) -> Any:
    """Emit the operations of one node, whose parents have values."""
    handler = find(node)
    target.begin(node)
    return target.end(node, handler(target, node, *(target.values[p] for p in node.parents)))
