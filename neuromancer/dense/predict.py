"""The dense predictor of a node: checks, tiles, evaluation, assembly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.dense.costs import Costs
from neuromancer.dense.geometry import (
    AxisGeometry,
    can_slide,
    plain_geometry,
    require_declared_sizes,
    sliding_geometry,
)
from neuromancer.dense.memory import memory_budget
from neuromancer.dense.planner import choose
from neuromancer.dense.raw import normalise, read
from neuromancer.dense.tiles import Tile, tiles
from neuromancer.errors import GraphError, InputTypeError, ShapeError
from neuromancer.graph.function import make_func
from neuromancer.graph.rebuild import BuildMode, rebuild
from neuromancer.progress import voxel_bar

if TYPE_CHECKING:
    from neuromancer.graph.node import Node

MAX_NDIM = 3


def predict_dense(
    node: Node,
    raw_img: Any,
    as_uint8: bool = False,
    pad_raw: bool = False,
    progress: bool | None = None,
    precision: str = "f32",
) -> np.ndarray:
    """Dense prediction of `node`; see :meth:`neuromancer.node_basic.Node.predict_dense`."""
    key = "dense"
    if key not in node._functions:
        node._functions[key] = DensePredictor(node)  # type: ignore[assignment]
    predictor: DensePredictor = node._functions[key]  # type: ignore[assignment]
    return predictor(raw_img, as_uint8, pad_raw, progress, precision)


class DensePredictor:
    """A node's network in its dense form, ready for volumes of any size.

    Parameters
    ----------
    node : Node
        A node with spatial axes that depends on one tensor source.

    Raises
    ------
    GraphError
        If the network cannot be predicted densely; the message says which node is the reason.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.source = _only_source(node)
        require_declared_sizes(node)
        sliding = can_slide(node)
        copies = rebuild([node], BuildMode(inference=True, dense=sliding), free_sizes=True)
        twin = copies[node]
        self.twin = twin
        self.axes: Sequence[AxisGeometry]
        if sliding:
            self.axes, lost = sliding_geometry(node, twin)
        else:
            self.axes, lost = plain_geometry(node), []
        self._input = copies[self.source].output
        self._funcs: dict[str, make_func] = {}
        self.costs = Costs(twin, lost)

    def func(self, precision: str) -> make_func:
        """The network's function in a precision."""
        if precision not in self._funcs:
            name = f"{self.node.name}_dense"
            self._funcs[precision] = make_func([self._input], self.twin.output, name=name, precision=precision)
        return self._funcs[precision]

    def __call__(
        self, raw: Any, as_uint8: bool, pad_raw: bool, progress: bool | None, precision: str = "f32"
    ) -> np.ndarray:
        raw = raw if hasattr(raw, "shape") and hasattr(raw, "dtype") else np.asarray(raw)
        stack = self._check_raw(raw)
        lead = 2 if stack else 1
        sizes = tuple(int(n) for n in raw.shape[lead:])
        before, after = self._padding(pad_raw)
        volume = [n + a + b for n, a, b in zip(sizes, before, after, strict=True)]
        self._check_size(sizes, volume, pad_raw)
        full = [self._span(k, n) for k, n in enumerate(volume)]
        images = int(raw.shape[1]) if stack else 1
        dtype = np.dtype("uint8") if as_uint8 else np.dtype(self.twin.output.dtype)
        result = np.empty((self.node.shape["f"], images, *full), dtype)
        func = self.func(precision).compile()
        whole = [g.one_pass_size(n) for g, n in zip(self.axes, volume, strict=True)]
        cost = self.costs(whole, images)
        func.expect(prod(self._steps) * cost.products, prod(self._steps) * cost.work)
        try:
            with voxel_bar(images * prod(full), f"predicting {self.node.name}", progress) as bar:
                for head, images_at, tile, shift in self._work(volume, images, stack):
                    start = [a + s - p for a, s, p in zip(tile.raw_start, shift, before, strict=True)]
                    stop = [b + s - p for b, s, p in zip(tile.raw_stop, shift, before, strict=True)]
                    values = self._evaluate(func, read(raw, head, start, stop), tile)
                    place = tuple(
                        slice(s + a * d, s + (b - 1) * d + 1, d)
                        for s, a, b, d in zip(shift, tile.out_start, tile.out_stop, self._steps, strict=True)
                    )
                    result[(slice(None), images_at, *place)] = _as_uint8(values) if as_uint8 else values
                    bar.update(values[0].size / 1e6)
        finally:
            func.release()
        return (
            self._cut(result if stack else result[:, 0], sizes, before, lead)
            if pad_raw
            else result
            if stack
            else result[:, 0]
        )

    # ---- checks
    def _check_raw(self, raw: Any) -> bool:
        """Whether `raw` is a stack for a 2-D network; raises if it fits neither way."""
        shape = self.source.shape
        n, channels = shape.ndim, shape["f"]
        spatial = ", ".join(shape.tags[i] for i in shape.spatial_axes)
        expected = f"(f={channels}, {spatial})" + (f" or (f={channels}, z, {spatial})" if n == 2 else "")
        if np.dtype(raw.dtype).kind not in "biuf":
            raise InputTypeError(
                "the image has no numeric dtype",
                node=self.node,
                got=str(raw.dtype),
                expected="bool, integer or float",
            )
        stack = n == 2 and len(raw.shape) == 4
        if len(raw.shape) != n + 1 and not stack:
            raise ShapeError(
                "the image has the wrong number of axes",
                node=self.node,
                got=f"shape {tuple(raw.shape)}",
                expected=expected,
                nearest="raw[None], with an axis for the channel" if len(raw.shape) == n else None,
            )
        if raw.shape[0] != channels:
            raise ShapeError(
                "the image has the wrong number of channels on its first axis",
                node=self.node,
                got=f"shape {tuple(raw.shape)}",
                expected=expected,
            )
        return stack

    def _check_size(self, sizes: Sequence[int], volume: Sequence[int], pad_raw: bool) -> None:
        least = [max(1, n - v + max(g.context + 1, g.least)) for n, v, g in zip(sizes, volume, self.axes, strict=True)]
        if any(n < m for n, m in zip(sizes, least, strict=True)):
            raise ShapeError(
                "the image is smaller than the field of view",
                node=self.node,
                got=f"spatial shape {tuple(sizes)}",
                expected=f"at least {tuple(least)}",
                nearest=f"{tuple(max(n, m) for n, m in zip(sizes, least, strict=True))}"
                + ("" if pad_raw else ", or pad_raw=True"),
            )

    # ---- geometry
    @property
    def _steps(self) -> list[int]:
        """Distance in the result between voxels of one evaluation; above 1 the network is shifted and interleaved."""
        return [max(1, int(g.step)) for g in self.axes]

    def _padding(self, pad_raw: bool) -> tuple[list[int], list[int]]:
        if not pad_raw:
            return [0] * len(self.axes), [0] * len(self.axes)
        return [max(0, g.offset) for g in self.axes], [max(0, g.context - g.offset) for g in self.axes]

    def _span(self, k: int, size: int) -> int:
        """Size of the result along an axis for a (padded) raw size."""
        g = self.axes[k]
        return size - g.context if g.step >= 1 else g.outputs(size)

    def _cut(self, result: np.ndarray, sizes: Sequence[int], before: Sequence[int], lead: int) -> np.ndarray:
        """Drop what lies outside the raw data, which only networks that pad more than they consume yield."""
        ranges = []
        for g, n, p in zip(self.axes, sizes, before, strict=True):
            first = int((p - g.offset) / g.step) if g.offset < 0 else 0
            ranges.append(slice(first, first + int(n / g.step if g.step < 1 else n)))
        return result[(slice(None),) * lead + tuple(ranges)]

    def _work(
        self, volume: Sequence[int], images: int, stack: bool
    ) -> Iterator[tuple[tuple[slice, ...], slice, Tile, tuple[int, ...]]]:
        """Everything to evaluate: (what to read of the leading axes, images, tile, shift)."""
        budget = memory_budget()
        for shift in product(*(range(s) for s in self._steps)):
            sizes = [n - s for n, s in zip(volume, shift, strict=True)]
            outs = [g.outputs(n) for g, n in zip(self.axes, sizes, strict=True)]
            if min(outs) < 1:
                continue
            passes = [g.one_pass_size(n) for g, n in zip(self.axes, sizes, strict=True)]
            choice = choose(self.axes, outs, self.costs, budget, images)
            for tile in tiles(self.axes, [0] * len(outs), outs, passes, choice.tile):
                for first in range(0, images, choice.images):
                    some = slice(first, min(first + choice.images, images))
                    yield ((slice(None), some) if stack else (slice(None),)), some, tile, shift

    # ---- evaluation
    def _evaluate(self, func: Callable[..., np.ndarray], block: np.ndarray, tile: Tile) -> np.ndarray:
        """Values of a tile, (f, images, *spatial), from its raw block, (f, [images,] *spatial)."""
        n = len(self.axes)
        block = normalise(block, self.source.output.dtype)
        block = block[:, None] if block.ndim == n + 1 else block
        values = func(np.ascontiguousarray(np.transpose(block, _axis_order(self.source, from_result=True))))
        values = np.transpose(values, _axis_order(self.twin, from_result=False))
        expected = tuple(g.outputs(b - a) for g, a, b in zip(self.axes, tile.raw_start, tile.raw_stop, strict=True))
        if values.shape[2:] != expected:
            raise GraphError(
                "the output has another size than the shapes of the nodes say",
                node=self.node,
                got=f"{values.shape[2:]} for {block.shape[2:]} raw voxels",
                expected=f"{expected}; a node of your own has to set fov, strides and centre in _calc_shape",
            )
        inside = tuple(slice(a - f, b - f) for a, b, f in zip(tile.out_start, tile.out_stop, tile.first, strict=True))
        return values[(slice(None), slice(None), *inside)]


def _axis_order(node: Node, from_result: bool) -> list[int]:
    """Axis permutation between a node's layout and (f, b, *spatial)."""
    shape = node.shape
    ours = [shape.tag2index("f"), shape.tag2index("b"), *shape.spatial_axes]
    return [ours.index(i) for i in range(len(ours))] if from_result else ours


def _as_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values * 255), 0, 255).astype("uint8")


def _only_source(node: Node) -> Node:
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
