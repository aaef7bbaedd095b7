"""Which nodes can be predicted densely, and which images fit them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.casts import fits_kind
from neuromancer.dense.geometry import AxisGeometry
from neuromancer.errors import GraphError, InputTypeError, ShapeError

if TYPE_CHECKING:
    from neuromancer.graph.node import GraphNode

MAX_NDIM = 3


def common_source(nodes: Sequence[GraphNode]) -> GraphNode:
    """The one source of all nodes; raises GraphError with the reason where they have none or several."""
    sources = [only_source(node) for node in nodes]
    for node, source in zip(nodes, sources, strict=True):
        if source is not sources[0]:
            raise GraphError(
                "nodes that are predicted together need the same image",
                node=node,
                got=f"source {source.name!r}",
                expected=f"source {sources[0].name!r}, as {nodes[0].name!r} has",
            )
    return sources[0]


def only_source(node: GraphNode) -> GraphNode:
    """The one source of a node that can be predicted densely; raises GraphError with the reason otherwise."""
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
            expected="a node that depends on the image alone",
        )
    source = sources[0]
    for n in (source, node):
        if sorted(t for t in n.shape.tags if t not in ("z", "y", "x")) != ["b", "f"]:
            raise GraphError("dense prediction needs the axes b, f and space", node=n, got=n.shape.tags)
    for n in node.sub_graph():
        shaped = n.shape is not None and n.shape.ndim
        if not n.equivariant or (n is not source and shaped and n.shape.ndim != source.shape.ndim):
            raise GraphError(
                "moving the image does not move the output of this node along, so it cannot be predicted densely",
                node=n,
                got=f"needed by {node.name!r}",
                expected="nodes that treat every position alike",
            )
    if [t for t in node.shape.tags if t in "zyx"] != [t for t in source.shape.tags if t in "zyx"]:
        raise GraphError(
            "output and image have different spatial axes",
            node=node,
            got=node.shape.tags,
            expected=source.shape.tags,
        )
    return source


def is_stack(source: GraphNode, node: GraphNode, raw_shape: Sequence[int], dtype: Any) -> bool:
    """Whether an image is a stack for a 2-D network; raises if it fits the network neither way.

    Parameters
    ----------
    source, node : GraphNode
        Source of the network, and the node that errors name.
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
    wanted = np.dtype(source.output.dtype)
    if not fits_kind(dtype, wanted):
        raise InputTypeError("the image is of another kind", node=node, got=str(dtype), expected=str(wanted))
    stack = n == 2 and len(raw_shape) == 4
    if len(raw_shape) != n + 1 and not stack:
        raise ShapeError(
            "the image has the wrong number of axes",
            node=node,
            got=f"shape {tuple(raw_shape)}",
            expected=expected,
            nearest="raw[None], with an axis for the channel" if len(raw_shape) == n else None,
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
    """Raise ShapeError unless an image of `sizes`, mirrored to `volume`, holds a field of view."""
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


def check_same_grid(nodes: Sequence[GraphNode], axes: Sequence[Sequence[AxisGeometry]]) -> None:
    """Raise GraphError where nodes that are predicted together come out on different grids."""
    for node, own in zip(nodes, axes, strict=True):
        if [g.step for g in own] != [g.step for g in axes[0]]:
            raise GraphError(
                "nodes above or below up-convolutions are predicted together only on the same grid",
                node=node,
                got=f"strides {[str(g.step) for g in own]}",
                expected=f"{[str(g.step) for g in axes[0]]}, as {nodes[0].name!r} has; or a prediction of its own",
            )


def check_same_padding(
    nodes: Sequence[GraphNode], axes: Sequence[Sequence[AxisGeometry]], alone: Sequence[Any], together: Any
) -> None:
    """Raise GraphError where mirroring the image for all nodes would change what one that pads by itself gives."""
    for node, own, frame in zip(nodes, axes, alone, strict=True):
        pads = any(g.low < 0 or g.high > g.context for g in own)
        if pads and (frame.before, frame.volume) != (together.before, together.volume):
            raise GraphError(
                "the node pads the image with zeros, and the others need it mirrored at the same place",
                node=node,
                got=f"nodes {[n.name for n in nodes]} with pad_raw=True",
                expected="pad_raw=False, or a prediction of its own",
            )
