"""Which node it is that cannot take a size of the image, for messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from neuromancer.errors import EngineError, ShapeError
from neuromancer.graph.geometry import first_misfit, sizes_through
from neuromancer.graph.node import GraphNode

FAR = 1 << 10
"""Distance up to which a size that fits is searched for."""


@dataclass(frozen=True)
class Conflict:
    """A node that cannot be evaluated at some size of the image.

    Attributes
    ----------
    node : GraphNode
    got : str
        Sizes of its parents along the axis.
    joins : bool
        Whether branches of different sizes meet here; otherwise the window of the node does not fit its parent.
    """

    node: GraphNode
    got: str
    joins: bool


def conflict(node: GraphNode, axis: int, size: int) -> Conflict | None:
    """Return the first node that does not fit an image of `size` voxels along an axis; None if all do."""
    sizes: dict[int, int] = {}
    # A node that takes its size from another is interpolated to it.
    misfit = first_misfit(node, axis, size, sizes, resized=True)
    if misfit is None:
        return None
    where, joins = misfit
    got = ", ".join(f"{p.name!r}: {sizes[id(p)]}" for p in where.spatial_parents if id(p) in sizes)
    return Conflict(where, got, joins)


def size_error(node: GraphNode, found: Conflict, axis: int, size: int) -> ShapeError:
    """Return an error for an image that a network cannot take, with the nearest sizes that it takes."""
    fits = [n for n in _around(size) if sizes_through(node, axis, n) is not None]
    tag = node.shape.tags[node.shape.spatial_axes[axis]]
    near = sorted({*[n for n in fits if n < size][:1], *[n for n in fits if n > size][:1]})
    return ShapeError(
        "branches of different sizes meet at this size of the image" if found.joins else "the size does not fit",
        node=found.node,
        got=f"size {size} of the image on axis {tag!r} ({found.got})",
        expected="a size at which they are equal" if found.joins else "a size that the windows cover",
        nearest=f"size {' or '.join(map(str, near))}" if near else None,
    )


def _around(size: int) -> Iterator[int]:
    for distance in range(1, FAR):
        yield from (n for n in (size - distance, size + distance) if n > 0)


@contextmanager
def explaining_sizes(node: GraphNode, sources: Sequence[GraphNode], arrays: Sequence[Any]) -> Iterator[None]:
    """If an evaluation fails because of the size of its only image, say which node does not fit, and what would."""
    try:
        yield
    except (EngineError, ShapeError) as error:
        images = [(s, a) for s, a in zip(sources, arrays, strict=True) if s.shape is not None and s.shape.ndim]
        if len(images) != 1 or node.shape is None:
            raise
        source, array = images[0]
        for k, axis in enumerate(source.shape.spatial_axes[: node.shape.ndim]):
            found = conflict(node, k, array.shape[axis])
            if found is not None:
                raise size_error(node, found, k, array.shape[axis]) from error
        raise
