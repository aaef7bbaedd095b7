"""What the graph's own functions and its registry need to know of a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from neuromancer.graph.window import BuildMode, Window


class NodeLike(Protocol):
    """A node, to those that :class:`neuromancer.graph.node.GraphNode` leans on."""

    name: str
    is_source: bool
    refined: bool
    windows: tuple[Window, ...] | None
    construction: tuple[tuple[Any, ...], dict[str, Any]]
    output: Any
    shape: Any
    params: dict[str, Any]
    children: Any

    @property
    def parents(self) -> tuple[Any, ...]:
        """The direct parents."""

    @property
    def input_nodes(self) -> list[Any]:
        """The sources that it needs, in calling order."""

    def sub_graph(self) -> Iterator[Any]:
        """All nodes that it is computed from, itself included, parents first."""

    def detach(self, mode: BuildMode) -> None:
        """Turn a copy into one that is built in another form and belongs to no model."""

    def free_sizes(self) -> None:
        """Give a source's copy an input of open batch and spatial sizes."""

    def _build(self) -> None:
        """Make output and shape anew."""
