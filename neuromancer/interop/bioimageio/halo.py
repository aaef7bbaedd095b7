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
        found = f"no halo is enough for tiles ({error.problem}): {geometry_of([node])}"
        if any(declared.values()):
            _warn(description, f"the package declares a halo ({said}), but {found}")
            return [f"declared halo {said}, but {found}"]
        return [found]
    true = {tag: halo_of(axis) for tag, axis in axes.items()}
    needed = ", ".join(f"{tag} {n}" for tag, n in true.items())
    short = [tag for tag, n in true.items() if declared.get(tag, 0) < n]
    if not short:
        return [f"declared halo {said}; the network needs {needed}"]
    if not any(declared.values()):
        return [f"no halo is declared; tiles need {needed}"]
    note = f"the declared halo ({said}) is too small: the network needs {needed}"
    measured = None if raw is None or images is None else tile_error(model, description, raw, images, declared)
    if measured is None:
        note += "; the test tensor is too small to measure the error of tiles cut by it"
    else:
        after = f", {measured.result:.2g} after postprocessing" if output.steps else ""
        note += f"; tiles cut by it differ from the whole image by up to {measured.network:.2g}{after}"
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
    cuts: list[list[tuple[int, int]]] = []
    for (tag, axis), size in zip(axes.items(), images.shape[2:], strict=True):
        if axis.step != 1 or axis.outputs(size) != size:
            return None
        cuts.append(_cuts(axis, size, halo.get(tag, 0)))
    if all(len(own) == 1 for own in cuts):
        return None
    try:
        whole = np.asarray(node.infer(images))
        tiled = whole.copy()
        for tile in product(*cuts):
            _paste(node, images, tile, [halo.get(tag, 0) for tag in axes], tiled)
    except NeuromancerError:
        return None  # a size that the network does not take
    results = [postprocessed(values, node, steps, raw, tensor).astype("float64") for values in (whole, tiled)]
    return TileError(float(np.abs(whole - tiled).max()), float(np.abs(results[0] - results[1]).max()))


def _cuts(axis: PeriodicAxis, size: int, halo: int) -> list[tuple[int, int]]:
    """Ranges of overlapping tiles along an axis; one if it is too short."""
    least = max(2 * halo + 1, size // 2)
    tile = axis.one_pass_size(least)
    if tile >= size:
        return [(0, size)]
    starts = list(range(0, size - tile, max(1, tile - 2 * halo)))
    period = max(1, int(axis.tile_alignment * axis.step))
    last = size - tile
    return [(a, a + tile) for a in starts] + ([(last, size)] if last % period == 0 or starts[-1] + tile < size else [])


def _paste(
    node: Node, images: np.ndarray, tile: Sequence[tuple[int, int]], halo: Sequence[int], into: np.ndarray
) -> None:
    """Evaluate a tile and store what its halo leaves; at the borders of the image nothing is cut off."""
    where = tuple(slice(a, b) for a, b in tile)
    values = np.asarray(node.infer(np.ascontiguousarray(images[(slice(None), slice(None), *where)])))
    inner, outer = [], []
    for (a, b), h, n in zip(tile, halo, images.shape[2:], strict=True):
        low, high = (0 if a == 0 else h), (b - a if b == n else b - a - h)
        inner.append(slice(low, high))
        outer.append(slice(a + low, a + high))
    into[(slice(None), slice(None), *outer)] = values[(slice(None), slice(None), *inner)]
