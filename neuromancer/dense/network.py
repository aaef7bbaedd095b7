"""Nodes in dense form: checked, with their geometry, ready to evaluate a block of the image."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from neuromancer import engine as E
from neuromancer.dense.checks import check_same_grid, common_source
from neuromancer.dense.costs import Costs
from neuromancer.dense.gathered import Frozen, Gathered
from neuromancer.dense.geometry import (
    AxisGeometry,
    can_slide,
    covering,
    plain_geometry,
    require_declared_sizes,
    sliding_geometry,
)
from neuromancer.dense.raw import normalise
from neuromancer.errors import GraphError, ShapeError
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode

if TYPE_CHECKING:
    from neuromancer.dense.tiles import Tile, TilePass
    from neuromancer.graph.node import GraphNode

W = TypeVar("W")
Evaluation = Generator[None, None, list[np.ndarray]]
"""An evaluation that yields while a device call is pending, and returns the values per node."""


class DenseNetwork:
    """One or several nodes in dense form; shared layers are evaluated once.

    Parameters
    ----------
    nodes : sequence of GraphNode
        Nodes with spatial axes that share a single tensor source.

    Attributes
    ----------
    axes : list of list of AxisGeometry
        Per node and spatial axis.
    joint : list of AxisGeometry
        Per spatial axis: geometry that covers the needs of all nodes.
    form : {'sliding', 'plain'}
        Whether pooling slides and later layers are dilated, or the network is evaluated unchanged.
    costs : Costs
        Cost model of an evaluation.
    frozen : Frozen or None
        How it is evaluated if it depends on the whole image.
    reads_image : bool
        Whether the image itself is needed.
    divisible : bool
        Whether a tile can be divided if memory does not suffice.

    Raises
    ------
    GraphError
        If the network cannot be predicted densely; the error names the node that prevents it.
    """

    frozen: Frozen | None = None
    reads_image = True
    divisible = True
    stored_voxel = 0.0
    """Bytes per voxel of the image that are read besides the image."""

    def __init__(self, nodes: Sequence[GraphNode]) -> None:
        self.nodes = tuple(nodes)
        self.source = common_source(self.nodes)
        for node in self.nodes:
            require_declared_sizes(node)
        sliding = can_slide(self.nodes)
        self.form = "sliding" if sliding else "plain"
        copies = rebuild(self.nodes, BuildMode(inference=True, dense=sliding), free_sizes=True)
        self.twins = [copies[node] for node in self.nodes]
        self.axes: list[Sequence[AxisGeometry]]
        lost: list[dict[int, int]] = []
        if sliding:
            found = [sliding_geometry(node, twin) for node, twin in zip(self.nodes, self.twins, strict=True)]
            self.axes = [axes for axes, _ in found]
            lost = [{k: n for _, own in found for k, n in own[axis].items()} for axis in range(len(found[0][1]))]
        else:
            self.axes = list(plain_geometry(self.nodes))
        check_same_grid(self.nodes, self.axes)
        self.joint = [covering(tuple(axes)) for axes in zip(*self.axes, strict=True)]
        self._inputs = [copies[self.source].output]
        self.costs = Costs(self.twins, lost)
        self.lock = Lock()
        self._funcs: dict[str, LazyFunction] = {}

    @property
    def name(self) -> str:
        """Names of all nodes, as one text."""
        return ", ".join(node.name for node in self.nodes)

    @property
    def names(self) -> list[str]:
        """Names of the nodes."""
        return [node.name for node in self.nodes]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the output."""
        found: np.dtype[Any] = np.dtype(self.twins[0].output.dtype)
        return found

    @property
    def spatial(self) -> str:
        """Tags of the spatial axes in order, e.g. ``'zyx'``."""
        shape = self.source.shape
        return "".join(shape.tags[i] for i in shape.spatial_axes)

    def func(self, precision: str) -> LazyFunction:
        """Return the network's function for a precision."""
        if precision not in self._funcs:
            outputs = [twin.output for twin in self.twins]
            made = LazyFunction(
                self._inputs, outputs[0] if len(outputs) == 1 else outputs, name=self.name + "_dense",
                precision=precision,
            )  # fmt: skip
            self._funcs.setdefault(precision, made)
        return self._funcs[precision]

    def start(
        self, func: Any, block: np.ndarray, tile: Tile, images_per_batch: int, gathered: Gathered | None = None
    ) -> Callable[[], list[np.ndarray]]:
        """Start to evaluate a tile; return a function that waits for its values.

        Parameters
        ----------
        func : compiled function
            Compiled function of the network.
        block : numpy.ndarray, (f, [z of a stack,] *spatial)
            Raw block of the tile.
        tile : Tile
        images_per_batch : int
            Images of a stack per evaluation.
        gathered : Gathered, optional
            What earlier passes over the image gathered.

        Returns
        -------
        function that returns a list of numpy.ndarray, (f, images, *spatial)
            Values per node, averaged over the tile's views.
        """
        steps = self._evaluation(func, block, tile, images_per_batch, gathered)
        next(steps)
        return lambda: _rest(steps)

    def _evaluation(
        self, func: Any, block: np.ndarray, tile: Tile, images_per_batch: int, gathered: Gathered | None
    ) -> Evaluation:
        """Evaluate a tile call by call; yields while a call is pending."""
        block = block[:, None] if block.ndim == len(self.joint) + 1 else block
        images = block.shape[1]
        if images <= images_per_batch:
            return (yield from self._images(func, block, tile, tile.images[0], gathered))
        batches = []
        for i in range(0, images, images_per_batch):
            part = block[:, i : i + images_per_batch]
            values = yield from self._images(func, part, tile, tile.images[0] + i, gathered)
            batches.append(values)
        return [np.concatenate(parts, axis=1) for parts in zip(*batches, strict=True)]

    def _images(self, func: Any, block: np.ndarray, tile: Tile, first: int, gathered: Gathered | None) -> Evaluation:
        block = normalise(block, self.source.output.dtype)
        # A single evaluation that covers the tile: return its result without a copy.
        if len(tile.passes) == 1 and tile.passes[0].whole:
            return (yield from self._pass(func, block, tile, tile.passes[0], first, gathered))
        sums = [
            np.zeros((node.shape["f"], block.shape[1], *shape), self.dtype)
            for node, shape in zip(self.nodes, tile.shapes, strict=True)
        ]
        views = dict.fromkeys(each.view for each in tile.passes)
        for each in tile.passes:
            found = yield from self._pass(func, block, tile, each, first, gathered)
            for total, values, place in zip(sums, found, each.place, strict=True):
                inside = each.view.apply(total)[(slice(None), slice(None), *place)]
                if len(views) == 1:
                    inside[...] = values
                else:
                    inside += values
            del found
        if len(views) > 1:
            for total in sums:
                total /= np.asarray(len(views), total.dtype)
        return sums

    def _arguments(
        self, inside: np.ndarray, tile: Tile, each: TilePass, images: tuple[int, int], gathered: Gathered | None
    ) -> list[np.ndarray]:
        """Arrays to call the function with for one evaluation of a tile, for some of its images."""
        return [np.ascontiguousarray(np.transpose(inside, axis_order(self.source, from_result=True)))]

    def _pass(
        self, func: Any, block: np.ndarray, tile: Tile, tile_pass: TilePass, first: int, gathered: Gathered | None
    ) -> Evaluation:
        """Values of one evaluation per node, in the orientation of its view."""
        inside = tile_pass.view.apply(block[(slice(None), slice(None), *tile_pass.inside)])
        call = func.start(*self._arguments(inside, tile, tile_pass, (first, first + block.shape[1]), gathered))
        yield
        results = call.result()
        results = results if isinstance(results, list) else [results]
        cut = []
        for node, twin, axes, values, ranges in zip(
            self.nodes, self.twins, self.axes, results, tile_pass.cut, strict=True
        ):
            values = np.transpose(values, axis_order(twin, from_result=False))
            expected = tuple(g.outputs(n) for g, n in zip(axes, inside.shape[2:], strict=True))
            if values.shape[2:] != expected:
                raise GraphError(
                    "the output has another size than the shapes of the nodes say",
                    node=node,
                    got=f"{values.shape[2:]} for {inside.shape[2:]} raw voxels",
                    expected=f"{expected}; user-defined nodes have to set fov, strides and centre in _calc_shape",
                )
            cut.append(values[(slice(None), slice(None), *ranges)])
        return cut


def _rest(steps: Evaluation) -> list[np.ndarray]:
    """Run the rest of an evaluation without pausing."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            values: list[np.ndarray] = end.value
            return values


def checked_nodes(nodes: GraphNode | Sequence[GraphNode]) -> Sequence[GraphNode]:
    """Return one or several nodes as a sequence; raise ShapeError if there is none."""
    several: Sequence[GraphNode] = nodes if isinstance(nodes, (list, tuple)) else [nodes]  # type: ignore[list-item]
    if not several:
        raise ShapeError("there is no node to predict", where="predict_dense", got="[]", expected="at least one node")
    return several


def dense_network(nodes: GraphNode | Sequence[GraphNode]) -> DenseNetwork:
    """Return the dense form of one or several nodes, built once and cached on the first of them.

    Raises
    ------
    ShapeError
        If no node is given.
    GraphError
        If they cannot be predicted densely.
    """
    several = checked_nodes(nodes)
    return cached(several, "", lambda: DenseNetwork(several))


def cached(nodes: Sequence[GraphNode], form: str, make: Callable[[], W]) -> W:
    """Return a network of some nodes in a form, made once and cached on the first of them."""
    key = " ".join(["dense", *filter(None, [form]), *(str(id(n)) for n in nodes[1:])])
    cache: dict[str, Any] = nodes[0].compiled_functions
    if key not in cache:
        with E.building():
            if key not in cache:  # another thread may have been first
                cache[key] = make()
    network: W = cache[key]
    return network


def axis_order(node: GraphNode, from_result: bool) -> list[int]:
    """Axis permutation between a node's axis order and (f, b, *spatial)."""
    shape = node.shape
    ours = [shape.tag2index("f"), shape.tag2index("b"), *shape.spatial_axes]
    return [ours.index(i) for i in range(len(ours))] if from_result else ours
