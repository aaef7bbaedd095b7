"""Tensors of a model as a package describes them: axes, valid sizes, halo."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from neuromancer.errors import GraphError
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.geometry import period, sizes_through
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.tagged_shape import exact
from neuromancer.graph.window import BuildMode
from neuromancer.interop.bioimageio.halo import halo_of, plain_axes
from neuromancer.interop.leaving.probe import Probe
from neuromancer.models.model import Model
from neuromancer.nodes.node import Node

INPUT, OUTPUT = "input", "output"
NAMES = {"b": "batch", "f": "channel", "z": "z", "y": "y", "x": "x"}
MOST_STEPS = 4096
"""Number of sizes that are looked at."""
MAX_CHANNELS = 4096


@dataclass(frozen=True)
class Size:
    """Valid sizes of an input along an axis, and the sizes of the output.

    Attributes
    ----------
    least : int
    step : int
        0 if it is the only one.
    stride : Fraction
        Voxels of the input per voxel of the output.
    offset : int
        Size of the output minus that of the input divided by the stride, rounded down.
    halo : int
        Voxels of the output to cut off at both ends of a tile; 0 if no tiles are possible.
    """

    least: int
    step: int
    stride: Fraction
    offset: int
    halo: int

    def nearest(self, size: int) -> int:
        """Return the smallest valid size that is at least `size`."""
        if not self.step:
            return self.least
        return max(self.least, size + (self.least - size) % self.step)

    @property
    def even(self) -> bool:
        """Whether the output has exactly the size of the input divided by the stride, plus the offset."""
        return bool((self.least / self.stride).denominator == 1)

    def output(self, size: int) -> int:
        """Return the size of the output for a valid size."""
        return int(size / self.stride) + self.offset

    def valid(self, size: int) -> bool:
        """Return whether a size is valid."""
        return self.nearest(size) == size


def tensors_of(model: Model) -> tuple[Node, Node, dict[str, Size], list[str]]:
    """Return input and output of a model, the sizes per spatial tag, and remarks.

    Raises
    ------
    GraphError
        If a package cannot describe them.
    """
    node = model.prediction_node
    if node is None:
        raise GraphError("no prediction_node is designated", where=f"model {model.name}")
    if len(node.input_nodes) != 1:
        raise GraphError(
            "only networks with one input can be described", node=node, got=[n.name for n in node.input_nodes]
        )
    source = node.input_nodes[0]
    for each in (source, node):
        tags = list(each.shape.tags) if each.shape is not None else []
        if sorted(set(tags)) != sorted(tags) or not {"b", "f"} <= set(tags) <= set(NAMES):
            raise GraphError("axes without a counterpart", node=each, got=tags, expected="b, f and space")
        if each.shape["f"] is None or each.shape["f"] > MAX_CHANNELS:
            raise GraphError("the number of channels is open or too large", node=each, got=each.shape["f"])
    if np.dtype(source.output.dtype).kind != "f":
        raise GraphError(
            "only networks of floating point numbers can be described", node=source, got=str(source.output.dtype),
            expected="an input of float32, and model.preprocessing for images of integers",
        )  # fmt: skip
    spatial = [[tag for tag in each.shape.tags if tag not in "bf"] for each in (source, node)]
    if not node.shape.ndim or spatial[0] != spatial[1]:
        raise GraphError("the output has other spatial axes than the input", node=node, got=list(node.shape.tags))
    halos, notes = _halos(node)
    tags = [node.shape.tags[k] for k in node.shape.spatial_axes]
    closed = _closed(source, node)
    if "b" in closed and source.shape["b"] != 1:
        raise GraphError("only batches of one or any size can be described", node=source, got=source.shape["b"])
    sizes = {tag: _size(source, node, k, halos.get(tag, 0), tag in closed) for k, tag in enumerate(tags)}
    if "b" in closed:
        sizes["b"] = Size(1, 0, Fraction(1), 0, 0)
    uneven = [tag for k, tag in enumerate(tags) if tag not in closed and _one_of_many(node, k, sizes[tag])]
    if uneven:
        notes.append(f"the network takes other sizes along {', '.join(uneven)}, too, which the format cannot describe")
    return source, node, sizes, notes


def _halos(node: Node) -> tuple[dict[str, int], list[str]]:
    try:
        return {tag: halo_of(axis) for tag, axis in plain_axes(node).items()}, []
    except GraphError as error:
        return {}, [f"no halo is enough for tiles: {error.problem}"]


def _closed(source: Node, node: Node) -> set[str]:
    """Return the tags of the axes along which the network takes the declared size only, though its geometry is open.

    That is so for nodes such as :class:`Reshape`.
    """
    declared = {tag for tag, n in zip(source.shape.tags, source.shape.shape, strict=True) if n is not None} - {"f"}
    if not declared or all(n.equivariant for n in node.sub_graph()):
        return set()
    return declared - set(Probe([node], node.name).open_tags)


def _size(source: Node, node: Node, k: int, halo: int, closed: bool) -> Size:
    """Sizes along an axis, the least of which leaves something when the halo is cut off."""
    step, stride = int(period([node], k)), exact(node.shape.strides[k])
    declared = source.shape.spatial_shape[k]
    if declared is not None and (closed or sizes_through(node, k, declared + step) is None):
        # The network takes this size only.
        out = sizes_through(node, k, declared)
        if out is None:
            raise GraphError("the network cannot take the size of its input", node=node, got=declared)
        return Size(int(declared), 0, stride, out - int(declared / stride), 0 if 2 * halo >= out else halo)
    uneven: Size | None = None
    for size in range(1, MOST_STEPS * step):
        out = sizes_through(node, k, size)
        more = None if out is None else sizes_through(node, k, size + step)
        if out is None or out <= 2 * halo or more is None or more - out != step / stride:
            continue
        offset = out - int(size / stride)
        if more != int((size + step) / stride) + offset:
            continue
        found = Size(size, step, stride, offset, halo)
        if found.even:
            return found
        uneven = uneven or found
        if size >= uneven.least + step:
            break
    if uneven is not None:
        # A description has whole offsets only, so none holds for all of these sizes.
        axes = len(node.shape.spatial_axes)
        return Size(uneven.nearest(_typical(axes)), 0, stride, uneven.offset, 0)
    raise GraphError("no valid size of the input is found", node=node, got=f"sizes below {MOST_STEPS * step}")


def _one_of_many(node: Node, k: int, size: Size) -> bool:
    return not size.even and sizes_through(node, k, size.least + int(period([node], k))) is not None


def evaluated(node: Node, image: np.ndarray) -> np.ndarray:
    """Return the result of a network for an image in the order of its input, of any size that it takes."""
    copies = rebuild([node], BuildMode(inference=True), free_sizes=True)
    function = LazyFunction([copies[node.input_nodes[0]].output], copies[node].output, name=f"{node.name} whole")
    return np.asarray(function(image))


def axes_of(node: Node, sizes: dict[str, Size], is_input: bool) -> list[dict[str, Any]]:
    """Return the axes of a tensor as a description has them."""
    axes: list[dict[str, Any]] = []
    for tag in node.shape.tags:
        if tag == "b":
            axes.append({"type": "batch"} | ({"size": 1} if "b" in sizes else {}))
        elif tag == "f":
            names = node.feature_names or [f"channel{i}" for i in range(int(node.shape["f"]))]
            axes.append({"type": "channel", "id": "channel", "channel_names": [str(name) for name in names]})
        elif is_input:
            own = sizes[tag]
            size = {"min": own.least, "step": own.step} if own.step else own.least
            axes.append({"type": "space", "id": tag, "size": size})
        else:
            own = sizes[tag]
            reference = {"tensor_id": INPUT, "axis_id": tag, "offset": own.offset}
            result = reference if own.even else own.output(own.least)
            axis = {"type": "space", "id": tag, "size": result, "scale": float(own.stride)}
            axes.append(axis | ({"halo": own.halo} if own.halo and own.even else {}))
    return axes


def example_sizes(sizes: dict[str, Size]) -> dict[str, int]:
    """Return the sizes of a test image: about 64 voxels, 32 in volumes, or more if the halo needs them."""
    target = _typical(len(sizes.keys() - {"b"}))
    return {tag: size.nearest(target) for tag, size in sizes.items()}


def _typical(axes: int) -> int:
    """Return the size of a test image with so many spatial axes."""
    return 64 if axes < 3 else 32
