"""Valid input (patch) sizes of a graph, and those nearest to a requested size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from neuromancer.errors import GraphError, ShapeError
from neuromancer.graph.geometry import ancestors, windows_of
from neuromancer.graph.node import GraphNode
from neuromancer.graph.tagged_shape import exact

N = TypeVar("N", bound=GraphNode)

MARGIN = 128
"""Search range around a requested size, in multiples of the largest stride of the graph."""


EFFORT = 2_000_000
"""Maximum number of node visits in the search for a valid size."""


def patch_source(node: N) -> N:
    """Return the first source of `node` that has spatial axes; GraphError if there is none."""
    for source in node.input_nodes:
        if source.shape is not None and source.shape.ndim:
            return cast(N, source)
    raise GraphError("no source with spatial axes", node=node, got=[n.name for n in node.input_nodes])


def patch_size_through(
    node: GraphNode, axis: int, size: int, mfp: bool = False, source: GraphNode | None = None
) -> dict[GraphNode, int] | None:
    """Return the sizes of all nodes along one axis for a given source size, or None if the graph cannot take it.

    Parameters
    ----------
    node : GraphNode
    axis : int
        Index of the spatial axis.
    size : int
        Size of the source.
    mfp : bool
        Assume max-fragment pooling in every layer that supports it. The sizes returned are those of one fragment.
    source : GraphNode, optional
        The source to resize; default: the first with spatial axes. Nodes that depend on others alone keep their sizes;
        what is merged with another source directly is taken to fit.

    Returns
    -------
    dict of GraphNode to int, or None
    """
    source = source or patch_source(node)
    sizes: dict[GraphNode, int] = {}
    for n in ancestors([node]):
        if n is source:
            sizes[n] = size
            continue
        incoming = [p for p in n.spatial_parents if p in sizes]
        fixed = getattr(n, "flatten", False) or not n.takes_any_size
        if fixed and any(sizes[p] != p.shape.spatial_shape[axis] for p in incoming):
            return None
        if n.shape is None or n.shape.ndim <= axis:
            continue
        if not incoming or fixed:
            declared = n.shape.spatial_shape[axis]
            if declared is not None and not n.is_source:
                sizes[n] = declared
            continue
        met = {sizes[p] for p in incoming}
        if len(met - {1} if n.broadcasts else met) > 1:
            return None
        out = _size_after(n, axis, max(met), mfp)
        if out is None or any(sizes.get(other, out) != out for other in n.same_size):
            return None
        sizes[n] = out
    return sizes


def _size_after(n: GraphNode, axis: int, size: int, mfp: bool) -> int | None:
    if _joins_fragments(n):
        return size * int(n.parents[0].shape.strides[axis])
    w = windows_of(n)[axis]
    if w.down > 1 and (getattr(n, "mfp", False) or (mfp and hasattr(n, "mfp"))):
        # All fragments must have the same size.
        positions = size + w.before + w.after - w.size + 1
        return positions // w.down if positions >= w.down and positions % w.down == 0 else None
    out = w.output_size(size)
    return out if w.accepts(size) else None


def _joins_fragments(n: GraphNode) -> bool:
    if n.shape is None or not n.parents or n.parents[0].shape is None:
        return False
    return len(n.parents[0].shape.mfp_offsets) > len(n.shape.mfp_offsets)


def get_valid_patch_sizes(node: GraphNode, low: int = 1, high: int | None = None, mfp: bool = False) -> list[list[int]]:
    """Return all valid sizes of a graph's source.

    They are computed from the windows of all nodes, which accounts for branches, up-convolutions, padding and any
    pooling factor.

    Parameters
    ----------
    node : GraphNode
        Usually the prediction node.
    low, high : int
        Range of sizes, inclusive; by default, `high` leaves room for a few sizes above the declared one.
    mfp : bool
        Return the sizes for max-fragment pooling in all pooling layers.

    Returns
    -------
    list of list of int
        Per spatial axis of the source, ascending.

    Raises
    ------
    GraphError
        If no source has spatial axes.

    Examples
    --------
    >>> from neuromancer import Conv, Input
    >>> inp = Input((1, 1, 11), "b,f,x", print_repr=False)
    >>> conv = Conv(inp, 4, (3,), (3,), print_repr=False)
    >>> get_valid_patch_sizes(conv, high=15)
    [[5, 8, 11, 14]]
    >>> get_valid_patch_sizes(conv, high=15, mfp=True)
    [[7, 10, 13]]
    """
    source = patch_source(node)
    result = []
    for axis, declared in enumerate(source.shape.spatial_shape):
        top = high if high is not None else max(declared or 1, node.shape.fov[axis], 1) + 4 * _step(node, axis)
        sizes = range(max(1, low), top + 1)
        result.append([s for s in sizes if patch_size_through(node, axis, s, mfp, source) is not None])
    return result


def _step(node: GraphNode, axis: int) -> int:
    """Return the largest stride of the graph along an axis."""
    shapes = [n.shape for n in ancestors([node]) if n.shape is not None and n.shape.ndim > axis]
    return max([1, *(int(exact(s.strides[axis])) for s in shapes)])


def nearest_patch_sizes(node: GraphNode, axis: int, size: int, mfp: bool = False) -> list[int]:
    """Return the valid sizes nearest to `size` along an axis: itself, or the next below and above, if any.

    Parameters
    ----------
    node : GraphNode
    axis : int
        Index of the spatial axis.
    size : int
    mfp : bool
        See :func:`get_valid_patch_sizes`.

    Returns
    -------
    list of int

    Examples
    --------
    >>> from neuromancer import Conv, Input
    >>> inp = Input((1, 1, 11), "b,f,x", print_repr=False)
    >>> nearest_patch_sizes(Conv(inp, 4, (3,), (3,), print_repr=False), 0, 12)
    [11, 14]
    """
    source = patch_source(node)

    def fits(s: int) -> bool:
        return patch_size_through(node, axis, s, mfp, source) is not None

    if size >= 1 and fits(size):
        return [size]
    reach = MARGIN * _step(node, axis) + max(node.shape.fov[axis] if node.shape.ndim > axis else 1, 1)
    reach = min(reach, max(MARGIN, EFFORT // sum(1 + len(n.parents) for n in ancestors([node]))))
    below = next((s for s in range(size - 1, max(0, size - 1 - reach), -1) if fits(s)), None)
    above = next((s for s in range(max(size, 0) + 1, max(size, 0) + 1 + reach) if fits(s)), None)
    return [s for s in (below, above) if s is not None]


def require_patch_size(node: GraphNode, sizes: Sequence[int], mfp: bool = False) -> None:
    """Raise ShapeError, with the nearest valid sizes per axis, unless the graph can take a patch of these sizes."""
    source = patch_source(node)
    tags = [source.shape.tags[i] for i in source.shape.spatial_axes]
    if len(sizes) != len(tags):
        raise ShapeError(
            "a patch size needs one entry per spatial axis", node=source, got=list(sizes), expected=f"axes {tags}"
        )
    near = [nearest_patch_sizes(node, axis, size, mfp) for axis, size in enumerate(sizes)]
    if any([size] != n for size, n in zip(sizes, near, strict=True)):
        raise ShapeError(
            "the graph cannot take a patch of this size" + (" with max-fragment pooling" if mfp else ""),
            node=source,
            got=f"{list(sizes)} on axes {tags}",
            nearest="; ".join(
                f"{tag}: {' or '.join(map(str, n)) or 'none'}" for tag, n in zip(tags, near, strict=True)
            ),
        )
