"""Sizes of the example that the strides of a network divide."""

from __future__ import annotations

from neuromancer.graph.geometry import ancestors, period, windows_of
from neuromancer.graph.window import Window
from neuromancer.interop.network import Network, Value
from neuromancer.nodes.node import Node

MAX_STEPS = 256
"""Upper limit on how far sizes are rounded up."""


class OtherSizes(Exception):
    """The network should be traced at other spatial sizes of its inputs, which are `sizes`."""

    def __init__(self, sizes: list[tuple[int, ...]]) -> None:
        super().__init__(sizes)
        self.sizes = sizes


def require_fitting(net: Network, outputs: list[Value]) -> None:
    """Raise OtherSizes unless all strides divide the sizes that the example has at their place in the network.

    At other sizes, a trace holds padding and cropping that only these sizes need.
    """
    ndim = len(net.space)
    nodes = [v.node for v in outputs if v.node.shape.ndim == ndim]
    if net.fixed or not nodes or not ndim:
        return
    before = [v.sizes for v in net.inputs]
    more = [_growth(nodes, k, {id(v.node): v.sizes[k] for v in net.inputs}) for k in range(ndim)]
    after = [tuple(n + m for n, m in zip(sizes, more, strict=True)) for sizes in before]
    if after != before:
        raise OtherSizes(after)


def _growth(nodes: list[Node], axis: int, sizes: dict[int, int]) -> int:
    """Return how many voxels the inputs lack along an axis."""
    order = [n for n in ancestors(nodes) if n.shape is not None and n.shape.ndim > axis]
    windows = {id(n): windows_of(n)[axis] for n in order}
    step = min(int(period(nodes, axis)), MAX_STEPS)
    for more in range(step):
        if _fits(order, windows, {key: n + more for key, n in sizes.items()}):
            return more
    return -max(sizes.values()) % step


def _fits(order: list[Node], windows: dict[int, Window], sizes: dict[int, int]) -> bool:
    for n in order:
        if n.is_source:
            continue
        # Parents of size 1 are repeated.
        size = max((sizes[id(p)] for p in n.spatial_parents if id(p) in sizes), default=1)
        w = windows[id(n)]
        # Padded windows end beyond the borders of the image, and small ones leave gaps; all others have to fill it.
        fills = not w.pads and w.size >= w.down
        if w.down > 1 and (size - w.size if fills else size) % w.down:
            return False
        out = [sizes[id(same)] for same in n.same_size] or [w.output_size(size) or 0]
        if out[0] < 1:
            return False
        sizes[id(n)] = out[0]
    return True
