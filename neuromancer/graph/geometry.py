"""Where a node's voxels come from: windows between neighbouring nodes, receptive fields, sizes.

Along one spatial axis every node that the package can predict densely is described by a :class:`Window`. Sizes follow
forwards through the graph, needed input ranges follow backwards; both are exact at any depth, also below
up-convolutions, where the receptive field depends on the voxel's phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from math import floor, lcm
from typing import TypeVar

from neuromancer.errors import ShapeError
from neuromancer.graph.protocol import NodeLike
from neuromancer.graph.tagged_shape import TaggedShape, exact
from neuromancer.graph.window import IDENTITY, Window

N = TypeVar("N", bound=NodeLike)


MAX_PHASES = 4096
"""Voxels after which fields of view have to repeat."""

_walking: ContextVar[Callable[[NodeLike, int], None] | None] = ContextVar("walking", default=None)


@contextmanager
def asking(permit: Callable[[NodeLike, int], None]) -> Iterator[None]:
    """Inside the block, call `permit(node, n)` before `n` walks through the graph for a node's field of view.

    What it raises ends the construction of the node.
    """
    token = _walking.set(permit)
    try:
        yield
    finally:
        _walking.reset(token)


def window_shape(node: NodeLike, windows: Sequence[Window], sizes: Sequence[int | None] | None = None) -> TaggedShape:
    """Shape of a node that looks at its parent through `windows`.

    Records the windows on the node and derives sizes, strides, field of view and centre from the (first) parent's.

    Parameters
    ----------
    node : Node
        The node under construction.
    windows : sequence of Window
        One per spatial axis of the parent.
    sizes : sequence of int or None, optional
        Spatial sizes where they do not follow from the windows (fragments).

    Returns
    -------
    TaggedShape
    """
    parent = node.parents[0].shape
    node.windows = tuple(windows)
    node.refined = node.refined or any(w.up > 1 for w in windows)
    if sizes is None:
        sizes = [w.output_size(s) for w, s in zip(windows, parent.spatial_shape, strict=True)]
    shape = list(parent.shape)
    for axis, size in zip(parent.spatial_axes, sizes, strict=True):
        shape[axis] = size
    strides, fov, centre = [], [], []
    for w, s, f, c in zip(windows, parent.strides, parent.fov, parent.centre, strict=True):
        step = exact(s)
        strides.append(step * w.down / w.up)
        fov.append(-1 if f <= 0 else int(f + (w.size - 1) * step))
        if c is not None:
            c += step * (Fraction(w.size - 1, 2) - w.before) - strides[-1] * Fraction(w.up - 1, 2)
        centre.append(c)
    known = None not in centre
    result = TaggedShape(shape, parent.tags, strides, parent.mfp_offsets, fov, centre if known else None)
    if known and node.refined:
        return _with_true_fov(node, result)
    return result


def _with_true_fov(node: NodeLike, shape: TaggedShape) -> TaggedShape:
    """Replace the field of view by the largest one over all phases (they differ below an up-convolution)."""
    node.shape = shape
    phases, permit = [_phases(node, k) for k in range(shape.ndim)], _walking.get()
    if permit is not None:
        permit(node, sum(phases))
    extents = []
    for k, n in enumerate(phases):
        extents.append(max(high - low + 1 for low, high in (raw_interval(node, k, i, i) for i in range(n))))
    return TaggedShape(shape.shape, shape.tags, shape.strides.tolist(), shape.mfp_offsets, extents, shape.centre)


def _phases(node: NodeLike, axis: int) -> int:
    """Number of voxels after which a node's fields of view repeat; ShapeError if no real network has as many."""
    phases = max(1, int(period([node], axis) / exact(node.shape.strides[axis])))
    if phases > MAX_PHASES:
        raise ShapeError(
            "the strides of the branches have no common period",
            node=node,
            got=f"strides of which the least common multiple is over {MAX_PHASES} voxels on axis {axis}",
            expected="strides that are multiples of one another",
        )
    return phases


def ancestors(nodes: Iterable[N]) -> list[N]:
    """All nodes that `nodes` are computed from, themselves included, parents first."""
    order: dict[int, N] = {}
    for node in nodes:
        for n in node.sub_graph():
            order.setdefault(id(n), n)
    return list(order.values())


def windows_of(node: NodeLike) -> tuple[Window, ...]:
    """The node's windows onto its parents, one per spatial axis.

    Nodes that declare none are element-wise, or a user's own: then the windows follow from how strides, field of view
    and centre differ from the parent's.
    """
    if node.windows is not None:
        return node.windows
    shape = getattr(node, "shape", None)
    parents = [p for p in node.parents if p.shape is not None and p.shape.ndim]
    if shape is None or not parents or parents[0].shape.ndim != shape.ndim:
        return () if shape is None else (IDENTITY,) * shape.ndim
    parent, windows = parents[0].shape, []
    for k in range(shape.ndim):
        step = exact(parent.strides[k])
        ratio = exact(shape.strides[k]) / step
        size = (shape.fov[k] - parent.fov[k]) // step + 1
        c, c_parent = shape.centre[k], parent.centre[k]
        if c is None or c_parent is None or ratio < 1:
            windows.append(IDENTITY)
            continue
        before = Fraction(size - 1, 2) - (c - c_parent) / step
        windows.append(Window(size=int(size), down=int(ratio), before=floor(before), after=floor(before)))
    return tuple(windows)


def period(nodes: Iterable[NodeLike], axis: int) -> int:
    """Raw voxels by which the input must move for the whole graph to move along: lcm of all strides."""
    spatial = [n.shape for n in ancestors(nodes) if n.shape is not None and n.shape.ndim > axis]
    return lcm(*(exact(shape.strides[axis]).numerator for shape in spatial))


def raw_interval(node: NodeLike, axis: int, low: int, high: int) -> tuple[int, int]:
    """First and last raw coordinate on which the node's voxels `low` to `high` depend.

    Parameters
    ----------
    node : Node
    axis : int
        Which spatial axis.
    low, high : int
        Output voxels, both included; any integers (the volume is thought to be endless).

    Returns
    -------
    tuple of int
        May reach outside the raw data where the network pads.
    """
    need: dict[int, tuple[int, int]] = {id(node): (low, high)}
    raw: list[tuple[int, int]] = []
    for n in reversed(ancestors([node])):
        if id(n) not in need:
            continue
        lo, hi = need[id(n)]
        if n.is_source:
            step, fov, centre = n.shape.strides[axis], n.shape.fov[axis], n.shape.centre[axis]
            first = floor(centre - Fraction(fov - 1, 2))
            raw.append((int(lo * step) + first, int(hi * step) + first + fov - 1))
        for p in n.parents:
            if p.shape is not None and p.shape.ndim > axis:
                a, b = windows_of(n)[axis].needed(lo, hi)
                old = need.get(id(p), (a, b))
                need[id(p)] = (min(a, old[0]), max(b, old[1]))
    if not raw:
        return low, high
    return min(a for a, _ in raw), max(b for _, b in raw)


def sizes_through(node: NodeLike, axis: int, source_size: int) -> int | None:
    """Output size for a source of `source_size` voxels, or None where the graph cannot take that size.

    A size does not fit when a window leaves voxels over or has too few, or merged branches come out different.
    """
    return sizes_of_all(node, axis, source_size).get(id(node))


def sizes_of_all(node: NodeLike, axis: int, source_size: int) -> dict[int, int]:
    """Sizes of `node` and all that it needs, by their ``id``; empty where `sizes_through` is None."""
    sizes: dict[int, int] = {}
    for n in ancestors([node]):
        if n.shape is None or n.shape.ndim <= axis:
            continue
        if n.is_source:
            sizes[id(n)] = source_size
            continue
        incoming = {sizes[id(p)] for p in n.parents if id(p) in sizes}
        if not incoming:
            continue
        size = max(incoming)
        w = windows_of(n)[axis]
        out = w.output_size(size)
        if len(incoming - {1}) > 1 or out is None or out <= 0 or w.remainder(size):
            return {}
        sizes[id(n)] = out
    return sizes


def merged_geometry(node: NodeLike, shape: TaggedShape) -> TaggedShape:
    """Give a merge node (Concat, Add, ...) the field of view that covers all of its parents'.

    Parameters
    ----------
    node : Node
        The merge node under construction.
    shape : TaggedShape
        Its shape with the first parent's geometry.

    Returns
    -------
    TaggedShape
    """
    # Said outright: a first parent with a smaller field of view than the merged one would look like a window.
    node.windows = (IDENTITY,) * shape.ndim
    spatial = [p for p in node.parents if p.shape is not None and p.shape.ndim == shape.ndim and shape.ndim]
    if len(spatial) < 2 or any(p.shape.fov == [-1] * shape.ndim for p in spatial):
        return shape
    if all(p.shape.fov == shape.fov and p.shape.centre == shape.centre for p in spatial):
        return shape
    return _with_true_fov(node, shape)


def require_same_spatial_rank(node: NodeLike, parents: Sequence[NodeLike]) -> None:
    """Raise ShapeError unless all parents have the same tags in the same order."""
    tags = [list(p.shape.tags) for p in parents]
    if any(t != tags[0] for t in tags):
        raise ShapeError(
            "the inputs have different axes",
            node=node,
            got="; ".join(f"{p.name}: {p.shape!r}" for p in parents),
            expected=f"tags {tags[0]} in all",
        )
