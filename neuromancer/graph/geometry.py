"""Spatial geometry of a graph: windows between a node and its parents, receptive fields, sizes.

Along each spatial axis, every node that supports dense prediction is described by a :class:`Window`. Sizes propagate
forwards through the graph, required input ranges backwards; both are exact at any depth, even after up-convolutions,
where the receptive field depends on the phase of the voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from neuromancer.errors import ShapeError
from neuromancer.graph.protocol import NodeLike
from neuromancer.graph.tagged_shape import TaggedShape, exact
from neuromancer.graph.window import IDENTITY, Window, least, most

N = TypeVar("N", bound=NodeLike)
Integers = npt.NDArray[np.int64]


MAX_PHASES = 4096
"""Upper limit on the number of distinct fields of view (phases) along an axis."""

_walking: ContextVar[Callable[[NodeLike, int], None] | None] = ContextVar("walking", default=None)


@contextmanager
def asking(permit: Callable[[NodeLike, int], None]) -> Iterator[None]:
    """Within the block, call `permit(node, n)` before the graph is traversed `n` times for a node's field of view.

    An exception raised by `permit` aborts the construction of the node.
    """
    token = _walking.set(permit)
    try:
        yield
    finally:
        _walking.reset(token)


def window_shape(node: NodeLike, windows: Sequence[Window], sizes: Sequence[int | None] | None = None) -> TaggedShape:
    """Return the shape of a node that sees its parent through `windows`.

    Stores the windows on the node and derives sizes, strides, field of view and centre from those of its first parent.

    Parameters
    ----------
    node : Node
        The node under construction.
    windows : sequence of Window
        One per spatial axis of the parent.
    sizes : sequence of int or None, optional
        Spatial sizes, if they do not follow from the windows (fragments).

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
    _require_factors(node, windows, parent)
    strides, fov, centre = [], [], []
    for w, s, f, c in zip(windows, parent.strides, parent.fov, parent.centre, strict=True):
        step = exact(s)
        strides.append(step * w.down / w.up)
        fov.append(-1 if f <= 0 else int(f + (w.size - 1) * step))
        if c is not None:
            c += step * w.centre
        centre.append(c)
    known = None not in centre
    result = TaggedShape(shape, parent.tags, strides, parent.mfp_offsets, fov, centre if known else None)
    if known and node.refined:
        return _with_true_fov(node, result)
    return result


def _require_factors(node: NodeLike, windows: Sequence[Window], parent: TaggedShape) -> None:
    """Raise ShapeError if a factor makes the grid of a node too fine."""
    for w, s, axis in zip(windows, parent.strides, parent.spatial_axes, strict=True):
        if w.up > 1 and (exact(s) / w.up).denominator > MAX_PHASES:
            raise ShapeError(
                "the factor makes the grid too fine",
                node=node,
                got=f"factor {w.up} on axis {parent.tags[axis]!r}, where voxels are {exact(s)} raw voxels apart",
                expected=f"at most {MAX_PHASES} voxels per raw voxel",
                nearest=f"factor {max(1, int(exact(s) * MAX_PHASES))}",
            )


def _with_true_fov(node: NodeLike, shape: TaggedShape) -> TaggedShape:
    """Replace the field of view by its maximum over all phases (they differ after an up-convolution)."""
    node.shape = shape
    phases, permit = [_phases(node, k) for k in range(shape.ndim)], _walking.get()
    if permit is not None:
        permit(node, sum(phases))
    extents = []
    for k, n in enumerate(phases):
        voxels = np.arange(n)
        low, high = raw_interval(node, k, voxels, voxels)
        extents.append(int((high - low).max()) + 1)
    return TaggedShape(shape.shape, shape.tags, shape.strides.tolist(), shape.mfp_offsets, extents, shape.centre)


def _phases(node: NodeLike, axis: int) -> int:
    """Return the number of voxels after which the fields of view repeat; ShapeError if it is unrealistically large."""
    phases = max(1, int(period([node], axis) / exact(node.shape.strides[axis])))
    if phases > MAX_PHASES:
        raise ShapeError(
            "the strides of the branches have no common period",
            node=node,
            got=f"strides whose least common multiple exceeds {MAX_PHASES} voxels on axis {axis}",
            expected="strides that are multiples of one another",
        )
    return phases


def ancestors(nodes: Iterable[N]) -> list[N]:
    """Return `nodes` and all their ancestors, parents first."""
    order: dict[int, N] = {}
    for node in nodes:
        for n in node.sub_graph():
            order.setdefault(id(n), n)
    return list(order.values())


def windows_of(node: NodeLike) -> tuple[Window, ...]:
    """Return the node's windows onto its parents, one per spatial axis.

    Element-wise and user-defined nodes may not declare any: their windows are inferred by comparing strides, field of
    view and centre with those of the first parent.
    """
    if node.windows is not None:
        return node.windows
    shape: TaggedShape | None = getattr(node, "shape", None)
    parents = [p for p in node.parents if p.shape is not None and p.shape.ndim]
    if shape is None or not parents or parents[0].shape.ndim != shape.ndim:
        return () if shape is None else (IDENTITY,) * shape.ndim
    parent, windows = parents[0].shape, []
    if shape.same_grid(parent):
        return (IDENTITY,) * shape.ndim
    for k in range(shape.ndim):
        step = exact(parent.strides[k])
        ratio = exact(shape.strides[k]) / step
        c, c_parent = shape.centre[k], parent.centre[k]
        if c is None or c_parent is None or ratio < 1:
            windows.append(IDENTITY)
            continue
        # A field of view that grows by less than a stride of the parent covers some of its voxels in part.
        middle, reach = (c - c_parent) / step, max(0, shape.fov[k] - parent.fov[k]) / (2 * step)
        first, last = floor(middle - reach), ceil(middle + reach)
        windows.append(Window(size=last - first + 1, down=int(ratio), before=-first, after=-first))
    return tuple(windows)


def period(nodes: Iterable[NodeLike], axis: int) -> int:
    """Return the smallest shift of the input, in raw voxels, that shifts every node by whole voxels: lcm of strides."""
    spatial = [n.shape for n in ancestors(nodes) if n.shape is not None and n.shape.ndim > axis]
    return lcm(*(exact(shape.strides[axis]).numerator for shape in spatial))


@overload
def raw_interval(node: NodeLike, axis: int, low: int, high: int) -> tuple[int, int]: ...


@overload
def raw_interval(node: NodeLike, axis: int, low: Integers, high: Integers) -> tuple[Integers, Integers]: ...


def raw_interval(node: NodeLike, axis: int, low: Any, high: Any) -> tuple[Any, Any]:
    """Return the first and last raw coordinate that voxels `low` to `high` of a node depend on.

    Parameters
    ----------
    node : Node
    axis : int
        Index of the spatial axis.
    low, high : int or array of int
        Output voxels, inclusive; any integers (the volume is treated as infinite). With arrays, many ranges at once.

    Returns
    -------
    tuple of int or of array
        May lie outside the raw data if the network pads.
    """
    found: tuple[Any, Any] | None = None
    for n, (lo, hi) in intervals(node, axis, low, high):
        if n.is_source:
            a, b = source_interval(n, axis, lo, hi)
            found = (a, b) if found is None else (least(found[0], a), most(found[1], b))
    return (low, high) if found is None else found


def source_interval(source: NodeLike, axis: int, low: Any, high: Any) -> tuple[Any, Any]:
    """Return the first and last raw coordinate of voxels `low` to `high` of a source; see `raw_interval`."""
    step, fov, centre = source.shape.strides[axis], source.shape.fov[axis], source.shape.centre[axis]
    first = floor(centre - Fraction(fov - 1, 2))
    return _whole(low * step) + first, _whole(high * step) + first + fov - 1


def _whole(value: Any) -> Any:
    """Round towards 0."""
    return value.astype(int) if isinstance(value, np.ndarray) else int(value)


def intervals(node: N, axis: int, low: Any, high: Any) -> Iterator[tuple[N, tuple[Any, Any]]]:
    """Yield `node` and its ancestors with the first and last of their voxels that `low` to `high` depend on."""
    need: dict[int, tuple[Any, Any]] = {id(node): (low, high)}
    for n in reversed(ancestors([node])):
        if id(n) not in need:
            continue
        lo, hi = need[id(n)]
        yield n, (lo, hi)
        for p in n.spatial_parents:
            if p.shape is not None and p.shape.ndim > axis:
                a, b = windows_of(n)[axis].needed(lo, hi)
                old = need.get(id(p), (a, b))
                need[id(p)] = (least(a, old[0]), most(b, old[1]))


def bounded_intervals(
    node: N, axis: int, low: Any, high: Any, sizes: dict[int, int], dilated: bool = False
) -> Iterator[tuple[N, tuple[Any, Any]]]:
    """Yield `node` and its ancestors with the first and last of their voxels that `low` to `high` have values from.

    Unlike `intervals`, it ends at the borders of the image, and follows padding to the voxels whose values it has.

    Parameters
    ----------
    node : Node
    axis : int
        Which spatial axis.
    low, high : int or array of int
        Output voxels, both included. With arrays, many ranges at once.
    sizes : dict of int to int
        Size of every node by its ``id``, as from `sizes_of_all`.
    dilated : bool
        Whether the graph is built in the dense form, in which strides are dilations.
    """
    need: dict[int, tuple[Any, Any]] = {id(node): (low, high)}
    for n in reversed(ancestors([node])):
        if id(n) not in need:
            continue
        lo, hi = need[id(n)]
        yield n, (lo, hi)
        for p in n.spatial_parents:
            if id(p) in sizes:
                w, d = windows_of(n)[axis], int(p.shape.strides[axis]) if dilated else 1
                a, b = (lo - w.before * d, hi + (w.size - 1 - w.before) * d) if dilated else w.needed(lo, hi)
                a, b = w.sources(a, b, sizes[id(p)], d)
                old = need.get(id(p), (a, b))
                need[id(p)] = (np.minimum(a, old[0]), np.maximum(b, old[1]))


def sizes_through(node: NodeLike, axis: int, source_size: int) -> int | None:
    """Return the output size for a source of `source_size` voxels, or None if the graph cannot take that size.

    A size is invalid if a window leaves a remainder or does not fit, or if merged branches differ in size.
    """
    return sizes_of_all(node, axis, source_size).get(id(node))


def sizes_of_all(node: NodeLike, axis: int, source_size: int, resized: bool = False) -> dict[int, int]:
    """Return the sizes of `node` and its ancestors, keyed by ``id``; empty if `sizes_through` returns None.

    Parameters
    ----------
    node : Node
    axis : int
    source_size : int
    resized : bool
        Whether a node that takes its size from another may be interpolated by a fraction, so that positions depend on
        the size of the image.
    """
    sizes: dict[int, int] = {}
    return sizes if first_misfit(node, axis, source_size, sizes, resized) is None else {}


def first_misfit(
    node: N, axis: int, source_size: int, sizes: dict[int, int], resized: bool = False
) -> tuple[N, bool] | None:
    """Return the first node that does not fit a source of `source_size` voxels, and whether branches meet there.

    The sizes of the nodes before it are written to `sizes`, keyed by ``id``. See `sizes_of_all` for the arguments.
    """
    for n in ancestors([node]):
        if n.shape is None or n.shape.ndim <= axis:
            continue
        if n.is_source:
            sizes[id(n)] = source_size
            continue
        incoming = [p for p in n.spatial_parents if id(p) in sizes]
        if not incoming:
            continue
        size = common_size([sizes[id(p)] for p in incoming], [p.shape.spatial_shape[axis] for p in incoming])
        if size is None:
            return n, True
        w = windows_of(n)[axis]
        out = w.output_size(size)
        if out is None or not w.accepts(size):
            return n, False
        others = {sizes.get(id(other), out) for other in n.same_size}
        if others - {out}:
            if not resized:
                return n, False
            out = others.pop()
        sizes[id(n)] = out
    return None


def common_size(sizes: Sequence[int], declared: Sequence[int | None]) -> int | None:
    """Return the size that branches have where they meet, or None if they differ.

    Parameters
    ----------
    sizes : sequence of int
    declared : sequence of int or None
        Sizes in the nodes' shapes: only an axis that is declared to have size 1 is repeated.

    Examples
    --------
    >>> common_size([1, 4], [1, None]), common_size([1, 4], [None, None])
    (4, None)
    """
    fixed = {size for size, known in zip(sizes, declared, strict=True) if size != 1 or known != 1}
    return None if len(fixed) > 1 else next(iter(fixed), 1)


def merged_geometry(node: NodeLike, shape: TaggedShape) -> TaggedShape:
    """Give a merge node (Concat, Add, ...) a field of view that covers those of all parents.

    Parameters
    ----------
    node : Node
        The merge node under construction.
    shape : TaggedShape
        Shape of the node, with the geometry of its first parent.

    Returns
    -------
    TaggedShape
    """
    # Explicit, since a first parent with a smaller field of view than the merged one would be mistaken for a window.
    node.windows = (IDENTITY,) * shape.ndim
    spatial = [p for p in node.spatial_parents if p.shape is not None and p.shape.ndim == shape.ndim and shape.ndim]
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
