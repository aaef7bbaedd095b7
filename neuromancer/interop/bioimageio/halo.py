"""Whether the halo that a package declares suffices: the true one from the graph, and the error of tiles cut by it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, floor

import numpy as np

from neuromancer.dense.axes import PeriodicAxis
from neuromancer.dense.geometry import plain_geometry
from neuromancer.dense.network import dense_network
from neuromancer.errors import GraphError, MetadataWarning, NeuromancerError
from neuromancer.interop.bioimageio.comparison import postprocessed
from neuromancer.interop.bioimageio.description import Description
from neuromancer.interop.report import geometry_of
from neuromancer.models.model import Model
from neuromancer.nodes.node import Node

FAR = 64
"""Number of periods away from the start at which halos are determined, where no padding counts."""


def plain_axes(node: Node) -> dict[str, PeriodicAxis]:
    """Return the geometry of a network as it is, without dense prediction, per tag of its spatial axes.

    Raises
    ------
    GraphError
        If every voxel depends on the whole image, or other things prevent a prediction in tiles.
    """
    network = dense_network(node)
    return dict(zip(network.spatial, plain_geometry([node])[0], strict=True))


def halo_of(axis: PeriodicAxis) -> int:
    """Return how many voxels of a result have to be cut off at either end of a tile that ends within the image.

    Tiles start at multiples of the period of the network, so the halo is one, too; it is in voxels of the result.

    Examples
    --------
    >>> halo_of(PeriodicAxis(-2, 2, 0, 0, lows=(-2,), highs=(2,)))
    2
    """
    count, step = axis.tile_alignment, axis.step
    start = FAR * max(count, axis.input_size(1))
    voxels = range(start - start % count, start - start % count + count)
    first, last = axis.reach(np.asarray(voxels))
    # A tile of raw voxels a to b has outputs a / step to the last one whose place is before its end.
    spacing = min(step, Fraction(1))
    ends = [floor((int(high) + 1 - axis.context - spacing) / step) for high in last]
    before = max(ceil(v - int(low) / step) for v, low in zip(voxels, first, strict=True))
    after = max(end - v for v, end in zip(voxels, ends, strict=True))
    halo = max(before, after, 0)
    return -(-halo // count) * count


@dataclass(frozen=True)
class TileError:
    """Largest difference between tiles cut by a halo and the whole image.

    Attributes
    ----------
    network, result : float
        In the output of the network, and after postprocessing.
    """

    network: float
    result: float


def halo_notes(model: Model, description: Description, raw: np.ndarray | None, images: np.ndarray | None) -> list[str]:
    """Compare the halo that a package declares with that of the graph; warn if it is too small.

    Parameters
    ----------
    model : Model
    description : Description
    raw, images : numpy.ndarray or None, (b, f, *space)
        The test input, and as the network takes it.

    Returns
    -------
    list of str
        Notes for the report.
    """
    output = description.outputs[0]
    declared = {axis.tag: axis.halo for axis in output.axes if axis.tag not in "bf"}
    node = model.prediction_node
    if node is None or not declared or not node.shape.ndim:
        return []
    said = ", ".join(f"{tag} {n}" for tag, n in declared.items())
    try:
        axes = plain_axes(node)
    except GraphError as error:
        whole = not all(n.equivariant for n in node.sub_graph())
        problem = geometry_of([node]) if whole else error.problem
        found = f"no halo is enough: {problem}" if whole else f"the network cannot be predicted in tiles: {problem}"
        if any(declared.values()):
            _warn(description, f"the package declares a halo ({said}), but {found}")
            return [f"declared halo {said}, but {found}"]
        return [found]
    true = {tag: halo_of(axis) for tag, axis in axes.items()}
    needed = ", ".join(f"{tag} {n}" for tag, n in true.items())
    if any(axis.tile_alignment > 1 for axis in axes.values()):
        needed += f" (multiples of {', '.join(str(axis.tile_alignment) for axis in axes.values())})"
    if all(declared.get(tag, 0) >= n for tag, n in true.items()):
        return [f"declared halo {said}; the network needs {needed}"]
    some = any(declared.values())
    note = f"the declared halo ({said}) is too small: the network needs {needed}" if some else ""
    note = note or f"no halo is declared; tiles need {needed}"
    measured = None if raw is None or images is None else tile_error(model, description, raw, images, declared)
    if measured is not None:
        after = f", {measured.result:.2g} after postprocessing" if output.steps else ""
        cut = "cut by it" if some else "without one"
        note += f"; tiles {cut} differ from the whole image by up to {measured.network:.2g}{after}"
    elif some:
        note += "; the error of tiles cut by it could not be measured on the test tensor"
    if some:
        _warn(description, note)
    return [note]


def _warn(description: Description, text: str) -> None:
    warnings.warn(f"{description.name}: {text}; predict_dense uses what is needed", MetadataWarning, stacklevel=6)


# ---- the error of tiles
def tile_error(
    model: Model, description: Description, raw: np.ndarray, images: np.ndarray, halo: dict[str, int]
) -> TileError | None:
    """Measure the error of tiles that are cut by a halo, on the test image; None if it is too small to be cut.

    Tiles of about half the image overlap by twice the halo, as the runtime of bioimage.io cuts them.
    """
    node = model.prediction_node
    assert node is not None
    axes = plain_axes(node)
    tensor, steps = description.inputs[0], description.outputs[0].steps
    cuts = [
        _cuts(axis, size, halo.get(tag, 0)) for (tag, axis), size in zip(axes.items(), images.shape[2:], strict=True)
    ]
    if all(len(own) == 1 for own in cuts):
        return None
    try:
        whole = np.asarray(node.infer(images))
        tiled = whole.copy()
        for tile in product(*cuts):
            _paste(node, images, tile, tiled)
    except NeuromancerError:
        return None  # a size that the network does not take
    results = [postprocessed(values, node, steps, raw, tensor).astype("float64") for values in (whole, tiled)]
    return TileError(float(np.abs(whole - tiled).max()), float(np.abs(results[0] - results[1]).max()))


@dataclass(frozen=True)
class Cut:
    """A tile along an axis: raw voxels, the part of its result that is kept, and where that belongs."""

    raw: slice
    inner: slice
    outer: slice


def _cuts(axis: PeriodicAxis, size: int, halo: int) -> list[Cut]:
    """Return overlapping tiles along an axis, of about half its size; one if it is too short."""
    total = axis.outputs(size)
    tile = axis.one_pass_size(max(ceil(2 * halo * axis.step) + axis.largest_context + 1, size // 2))
    count = axis.outputs(tile) if tile < size else 0
    stride = (count - 2 * halo) * axis.step
    if stride <= 0 or stride.denominator != 1:
        return [Cut(slice(0, size), slice(0, total), slice(0, total))]
    found = []
    for start in range(0, size - tile + 1, int(stride)):
        first = axis.first_output(start)
        low = 0 if start == 0 else halo
        high = count if first + count >= total else count - halo
        found.append(Cut(slice(start, start + tile), slice(low, high), slice(first + low, first + high)))
    return found


def _paste(node: Node, images: np.ndarray, tile: Sequence[Cut], into: np.ndarray) -> None:
    """Evaluate a tile and store what its halo leaves; at the borders of the image nothing is cut off."""
    lead = (slice(None), slice(None))
    values = np.asarray(node.infer(np.ascontiguousarray(images[(*lead, *(cut.raw for cut in tile))])))
    into[(*lead, *(cut.outer for cut in tile))] = values[(*lead, *(cut.inner for cut in tile))]
