"""Field of view and halo of an imported network, in words."""

from __future__ import annotations

from collections.abc import Sequence

from neuromancer.graph.geometry import period, raw_interval
from neuromancer.graph.tagged_shape import exact
from neuromancer.nodes.node import Node


def geometry_of(outputs: Sequence[Node]) -> str:
    """Describe field of view and halo of a network, or name the nodes that need the whole image."""
    whole = list(dict.fromkeys(n.name for out in outputs for n in out.sub_graph() if not n.equivariant))
    if whole:
        names = ", ".join(repr(name) for name in whole[:3]) + (f" and {len(whole) - 3} more" if len(whole) > 3 else "")
        text = f"every voxel depends on the whole image (because of {names}),"
        return f"{text} so dense prediction needs statistics='volume' or a sliding window"
    node = outputs[0]
    if node.shape is None or not node.shape.ndim:
        return "no spatial axes"
    axes = ", ".join(node.shape.tags[i] for i in node.shape.spatial_axes)
    fov, strides = tuple(int(n) for n in node.shape.fov), tuple(float(s) for s in node.shape.strides)
    return f"field of view {fov} on axes {axes}, halo {halo(node)}, strides {strides}"


def halo(node: Node) -> tuple[int, ...]:
    """Return how far from its place an output voxel looks, in raw voxels, per spatial axis.

    Where the network up-samples, voxels differ in that; this is the largest.
    """
    reach = []
    for k, (offset, stride) in enumerate(zip(node.shape.centre, node.shape.strides, strict=True)):
        if offset is None:  # no place in the image, so no distance from it
            return ()
        step, far = exact(stride), 0.0
        for i in range(max(1, int(period([node], k) / step))):
            low, high = raw_interval(node, k, i, i)
            place = float(offset + i * step)
            far = max(far, place - float(low), float(high) - place)
        reach.append(-int(-far // 1))
    return tuple(reach)
