"""Checks of which nodes can be predicted densely, and of which images fit them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.casts import fits_kind
from neuromancer.dense.axes import AxisGeometry
from neuromancer.errors import GraphError, InputTypeError, ShapeError
from neuromancer.graph.geometry import ancestors
from neuromancer.graph.sizes import conflict
from neuromancer.graph.window import WholeWindow

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode

MAX_NDIM = 3


def common_source(nodes: Sequence[GraphNode], whole_image: bool = False) -> GraphNode:
    """Return the single source shared by all nodes, or raise GraphError.

    Parameters
    ----------
    nodes : sequence of GraphNode
    whole_image : bool
        Whether the network is evaluated on the whole image, so that nodes may depend on all of it.
    """
    sources = [_only_source(node, whole_image) for node in nodes]
    for node, source in zip(nodes, sources, strict=True):
        if source is not sources[0]:
            raise GraphError(
                "nodes that are predicted together need the same image as input",
                node=node,
                got=f"source {source.name!r}",
                expected=f"source {sources[0].name!r}, as for {nodes[0].name!r}",
            )
    return sources[0]


def only_image(node: GraphNode) -> GraphNode:
    """Return the single source of a node, or raise GraphError if the node or the source is not an image."""
    if node.shape is None or not 1 <= node.shape.ndim <= MAX_NDIM:
        raise GraphError(
            "dense prediction needs spatial axes",
            node=node,
            got=repr(node.shape),
            expected="1 to 3 axes tagged z, y or x",
        )
    sources = node.input_nodes
    if len(sources) != 1 or sources[0].shape is None:
        raise GraphError(
            "dense prediction needs exactly one tensor source",
            node=node,
            got=[s.name for s in sources],
            expected="a node that depends only on the image",
        )
    for n in (sources[0], node):
        if sorted(t for t in n.shape.tags if t not in ("z", "y", "x")) != ["b", "f"]:
            raise GraphError("dense prediction needs the axes b, f and spatial axes", node=n, got=n.shape.tags)
    return sources[0]


def _only_source(node: GraphNode, whole_image: bool) -> GraphNode:
    """Return the single source of a node, or raise GraphError if the node cannot be predicted densely."""
    source = only_image(node)
    if not whole_image:
        _require_no_whole_image(node)
    for n in parts_of_image(node):
        moves = n.equivariant or (whole_image and n.whole_image)
        if not moves or (n is not source and n.shape is not None and n.shape.ndim not in (0, source.shape.ndim)):
            raise GraphError(
                "moving the image does not move the output of this node with it, so it cannot be predicted densely",
                node=n,
                got=f"needed by {node.name!r}",
                expected="translation-equivariant nodes",
            )
    if [t for t in node.shape.tags if t in "zyx"] != [t for t in source.shape.tags if t in "zyx"]:
        raise GraphError(
            "output and image have different spatial axes",
            node=node,
            got=node.shape.tags,
            expected=source.shape.tags,
        )
    return source


def parts_of_image(node: GraphNode) -> list[GraphNode]:
    """Return the node and those of its ancestors whose voxels lie somewhere on the image, parents first.

    The others are what pools make of the whole image, whose number of voxels does not depend on it, and constants.
    """
    found: dict[int, GraphNode] = {}
    for n in node.sub_graph():
        if pools_image(n):
            continue
        if n.is_source or not n.parents or any(id(p) in found for p in n.parents):
            found[id(n)] = n
    return list(found.values())


def pools_image(node: GraphNode) -> bool:
    """Return whether a node takes fixed numbers of voxels from the whole image."""
    return any(isinstance(w, WholeWindow) for w in node.windows or ())


def depend_on_all(nodes: Sequence[GraphNode]) -> list[GraphNode]:
    """Return the ancestors of nodes whose output depends on the whole image, parents first."""
    inside = {id(n) for node in nodes for n in parts_of_image(node)}
    return [
        n for n in ancestors(nodes) if n.whole_image and not n.equivariant and n.parents and id(n.parents[0]) in inside
    ]


def _require_no_whole_image(node: GraphNode) -> None:
    """Raise GraphError, naming all of them, if the node needs nodes that depend on the whole image."""
    found = [n for n in node.sub_graph() if n.whole_image and not n.equivariant]
    if found:
        raise GraphError(
            "the output depends on the whole image, so tiles cannot be predicted one by one",
            node=node,
            got="; ".join(f"{type(n).__name__} {n.name!r} {n.whole_image}" for n in found),
            expected="nodes with a limited field of view, or a way to predict the others",
            nearest="statistics='volume', the network on the whole image, in passes if memory does not suffice; or "
            "sliding_window=SlidingWindow(...), patches that overlap",
        )


def is_stack(source: GraphNode, node: GraphNode, raw_shape: Sequence[int], dtype: Any) -> bool:
    """Return whether an image is a z stack for a 2-D network; raise if it does not fit the network at all.

    Parameters
    ----------
    source, node : GraphNode
        Source of the network, and the node to name in errors.
    raw_shape : sequence of int
    dtype : numpy dtype

    Raises
    ------
    InputTypeError, ShapeError
    """
    shape = source.shape
    n, channels = shape.ndim, shape["f"]
    spatial = ", ".join(shape.tags[i] for i in shape.spatial_axes)
    expected = f"(f={channels}, {spatial})" + (f" or (f={channels}, z, {spatial})" if n == 2 else "")
    if np.dtype(dtype).kind not in "biuf":
        raise InputTypeError(
            "the image has no numeric dtype",
            node=node,
            got=str(dtype),
            expected="bool, integer or float",
        )
    needed = np.dtype(source.output.dtype)
    if not fits_kind(dtype, needed):
        raise InputTypeError(
            "the image has another kind of dtype than the input", node=node, got=str(dtype), expected=str(needed)
        )
    stack = n == 2 and len(raw_shape) == 4
    if len(raw_shape) != n + 1 and not stack:
        raise ShapeError(
            "the image has the wrong number of axes",
            node=node,
            got=f"shape {tuple(raw_shape)}",
            expected=expected,
            nearest="raw[None], with a channel axis" if len(raw_shape) == n else None,
        )
    if raw_shape[0] != channels:
        raise ShapeError(
            "the image has the wrong number of channels on its first axis",
            node=node,
            got=f"shape {tuple(raw_shape)}",
            expected=expected,
        )
    return stack


def check_size(
    node: GraphNode, axes: Sequence[AxisGeometry], sizes: Sequence[int], volume: Sequence[int], pad_raw: bool
) -> None:
    """Raise ShapeError if an image of `sizes`, mirror-padded to `volume`, is smaller than the field of view."""
    least = [max(1, n - v + max(g.context + 1, g.least)) for n, v, g in zip(sizes, volume, axes, strict=True)]
    if any(n < m for n, m in zip(sizes, least, strict=True)):
        raise ShapeError(
            "the image is smaller than the field of view",
            node=node,
            got=f"spatial shape {tuple(sizes)}",
            expected=f"at least {tuple(least)}",
            nearest=f"{tuple(max(n, m) for n, m in zip(sizes, least, strict=True))}"
            + ("" if pad_raw else ", or pad_raw=True"),
        )


def check_one_pass(node: GraphNode, axes: Sequence[AxisGeometry], sizes: Sequence[int]) -> None:
    """Raise ShapeError for an image that the network cannot take in one pass because its branches do not meet.

    Voxels that pools leave over are another matter: the network has no answer to them but that of a larger image.
    """
    for k, (size, g) in enumerate(zip(sizes, axes, strict=True)):
        if g.one_pass_size(size) == size:
            continue
        found, resized = conflict(node, k, size), next((n for n in node.sub_graph() if n.same_size), None)
        if found is None and resized is not None:
            problem, where, got = "at this size of the image, positions depend on the whole image", resized, ""
            expected = "a size at which the node grows by a whole factor"
        elif found is not None and found.joins:
            problem, where, got = "branches of different sizes meet at this size", found.node, f" ({found.got})"
            expected = "a size at which they are equal"
        else:
            continue
        below = next((n for n in range(size - 1, 0, -1) if g.one_pass_size(n) == n), None)
        near = [n for n in (below, g.one_pass_size(size)) if n is not None]
        raise ShapeError(
            problem,
            node=where,
            got=f"size {size} of the image on axis {node.shape.tags[node.shape.spatial_axes[k]]!r}{got}",
            expected=expected,
            nearest=f"size {' or '.join(map(str, near))}, or pad_raw=True, which mirrors the image to the larger one",
        )


def check_same_grid(nodes: Sequence[GraphNode], axes: Sequence[Sequence[AxisGeometry]]) -> None:
    """Raise GraphError if nodes to predict together have outputs on different grids."""
    for node, own in zip(nodes, axes, strict=True):
        if [g.step for g in own] != [g.step for g in axes[0]]:
            raise GraphError(
                "nodes before and after up-convolutions can be predicted together only on the same grid",
                node=node,
                got=f"strides {[str(g.step) for g in own]}",
                expected=f"{[str(g.step) for g in axes[0]]}, as for {nodes[0].name!r}; or a separate prediction",
            )


def check_same_padding(
    nodes: Sequence[GraphNode], axes: Sequence[Sequence[AxisGeometry]], alone: Sequence[Any], together: Any
) -> None:
    """Raise GraphError if mirror-padding for all nodes would change the output of a node that zero-pads by itself."""
    for node, own, frame in zip(nodes, axes, alone, strict=True):
        pads = any(g.low < 0 or g.high > g.context for g in own)
        if pads and (frame.before, frame.volume) != (together.before, together.volume):
            raise GraphError(
                "the node pads the image with zeros where the others need it mirrored",
                node=node,
                got=f"nodes {[n.name for n in nodes]} with pad_raw=True",
                expected="pad_raw=False, or a separate prediction",
            )
