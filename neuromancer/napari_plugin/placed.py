"""Layers as images for ``predict_dense``, and its results as layers in the same place."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.utils.transforms import Affine

from neuromancer.dense import DensePlan
from neuromancer.dense.placement import image_placement, placed
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.node import GraphNode
from neuromancer.napari_plugin.reader import LayerData, layers_of
from neuromancer.volumes import ArraySource, open_source
from neuromancer.volumes.units import UNITS


def image_of(layer: Any, node: GraphNode) -> ArraySource:
    """Return the image of a layer as a node takes it: (f, (z,) y, x), with voxel size and position of the layer.

    A layer of a stored volume is read from its file. If the network takes all its channels, they are those of the file,
    of which each is a layer.

    Parameters
    ----------
    layer : napari.layers.Image or Labels
    node : Node
        Node with one source.

    Raises
    ------
    ShapeError
        If the layer has too few or too many axes for the network.
    FileError
        If its file can no longer be opened.
    """
    shape = node.input_nodes[0].shape
    spatial = "".join(tag for tag in shape.tags if tag in "zyx")
    stored, taken = layer.metadata.get("neuromancer"), int(shape["f"])
    if stored is not None and stored["channels"] == taken:
        source = open_source(stored["path"], spatial=spatial)
    else:
        source = open_source(_array(layer, taken, spatial), spatial=spatial, label=layer.name)
    axes = len(source.spatial)
    scale, units = np.asarray(layer.scale)[-axes:], [str(unit) for unit in layer.units][-axes:]
    lengths = [unit if unit in UNITS else None for unit in units]  # not those of images of a stack, nor pixels
    if len(set(lengths) - {None}) > 1:
        raise ArgumentError("has several units of length", where=layer.name, got=units, expected="one unit")
    source.unit = next(filter(None, lengths), None)
    known = [source.unit is None or unit is not None for unit in lengths]
    source.voxel_size = tuple(float(abs(s)) if k else None for s, k in zip(scale, known, strict=True))
    source.direction = tuple(-1 if s < 0 else 1 for s in scale)
    moved = layer.affine.translate if np.allclose(layer.affine.linear_matrix, np.eye(layer.ndim)) else 0
    source.offset = tuple(float(t) for t in (layer.translate + moved)[-axes:])
    return source


def _array(layer: Any, taken: int, spatial: str) -> Any:
    """Return the voxels of a layer with axes (f, (z,) y, x), or (y, x) and (z, y, x)."""
    array = layer.data[0] if layer.multiscale else layer.data
    more, flat = array.ndim - len(spatial), len(spatial) == 2
    if getattr(layer, "rgb", False):
        array, fits = np.moveaxis(np.asarray(array), -1, 0), more == 1 or (more == 2 and flat)
        array = array[:taken] if taken == 3 else array
    elif more == 1 and flat and taken == 1:
        array, fits = array[None], True  # a stack
    else:
        fits = more == 0 or (more == 1 and taken > 1) or (more == 2 and flat)
    if fits:
        return array
    raise ShapeError(
        "has the wrong number of axes for the network",
        where=layer.name,
        got=f"shape {tuple(array.shape)}",
        expected=f"{', '.join(spatial)}, with {taken} channels before them" if taken > 1 else ", ".join(spatial),
    )


def result_layers(
    result: np.ndarray | str, image: ArraySource, plan: DensePlan, name: str, labels: bool = False
) -> list[LayerData]:
    """Return a result as layers in the place of its voxels, also if its file cannot tell that.

    Parameters
    ----------
    result : numpy.ndarray, (f, (z,) y, x), or str
        The values, or the path where they are stored.
    image : ArraySource
        What was predicted.
    plan : DensePlan
        Its plan, which says where the result begins.
    name : str
    labels : bool
        Whether the values are classes.
    """
    source = open_source(result, spatial=image.spatial, label=name)
    lead = len(image.spatial) - len(plan.offsets[0])
    shift = (0,) * lead + plan.offsets[0]
    steps = [1] * lead + [axis.output_spacing for axis in plan.axes[0]]
    place = placed(image_placement(image, image.spatial, False), {}, shift, steps)
    source.voxel_size, source.unit = place.get("voxel_size"), place.get("unit")
    source.offset, source.direction = place.get("offset", image.offset), place.get("direction")
    return layers_of([source], name, result if isinstance(result, str) else None, labels)


def like(layer: Any, image: ArraySource, found: list[LayerData]) -> list[LayerData]:
    """Return layers turned and sheared as another one; their position is moved along with its axes.

    Parameters
    ----------
    layer : napari.layers.Layer
    image : ArraySource
        Its image, which lies at the same place but is neither turned nor sheared.
    found : list of LayerData
        Layers placed relative to `image`.
    """
    turned = {name: getattr(layer, name) for name in ("rotate", "shear", "affine")}
    turn = Affine(rotate=layer.rotate, shear=layer.shear)
    for _, arguments, _ in found:
        if len(arguments["translate"]) == len(layer.translate) == len(image.offset):
            moved = np.subtract(arguments["translate"], image.offset)
            arguments |= {**turned, "translate": layer.translate + turn(moved)}
    return found
