"""The interface of a node that the graph functions and the registry rely on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from neuromancer.graph.window import BuildMode, Window


class NodeLike(Protocol):
    """A node as seen by the modules that :class:`neuromancer.graph.node.GraphNode` imports."""

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
    def spatial_parents(self) -> tuple[Any, ...]:
        """The parents whose voxels the node reads."""

    @property
    def same_size(self) -> tuple[Any, ...]:
        """Nodes of which the spatial sizes must be those of this node."""

    @property
    def input_nodes(self) -> list[Any]:
        """The sources that the node depends on, in calling order."""

    def sub_graph(self) -> Iterator[Any]:
        """Yield the node and all its ancestors, parents first."""

    def detach(self, mode: BuildMode) -> None:
        """Prepare a copy for being built in another mode, outside of any model."""

    def free_sizes(self) -> None:
        """Give a copied source a new input whose batch and spatial sizes are unspecified."""

    def _build(self) -> None:
        """Rebuild output and shape."""
