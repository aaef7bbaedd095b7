"""In which order the statistics of a network that depends on the whole image are gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuromancer.dense.checks import depend_on_all
from neuromancer.graph.geometry import ancestors

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode


@dataclass(frozen=True)
class Level:
    """Nodes whose statistics are gathered in one pass, by those of the levels before.

    Parameters
    ----------
    nodes : tuple of GraphNode
        Nodes that depend on the whole image.
    parents : tuple of GraphNode
        The nodes of which statistics are gathered, all on one grid.
    """

    nodes: tuple[GraphNode, ...]
    parents: tuple[GraphNode, ...]


def ungatherable(nodes: Sequence[GraphNode]) -> list[GraphNode]:
    """Return the nodes that depend on the whole image in a way that statistics of features do not replace."""
    return [n for n in depend_on_all(nodes) if not n.statistic_rows]


def levels(nodes: Sequence[GraphNode]) -> list[Level]:
    """Return the passes that gather all statistics of a network, in order.

    Parameters
    ----------
    nodes : sequence of GraphNode
        The nodes to predict.
    """
    wanted = {id(n): n for n in depend_on_all(nodes)}
    depth: dict[int, int] = {}
    found: dict[tuple[int, tuple[float, ...]], list[GraphNode]] = {}
    for n in ancestors(nodes):
        depth[id(n)] = max((depth[id(p)] + (id(p) in wanted) for p in n.parents), default=0)
        if id(n) in wanted:
            found.setdefault((depth[id(n)], tuple(n.parents[0].shape.strides.tolist())), []).append(n)
    ordered = [found[key] for key in sorted(found, key=lambda key: key[0])]
    return [Level(tuple(own), tuple(dict.fromkeys(n.parents[0] for n in own))) for own in ordered]
