"""Volumes in files as layers that read their voxels when they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from neuromancer.errors import (
    ArgumentError,
    FileError,
    InputTypeError,
    NeuromancerError,
    ShapeError,
    UnknownNameError,
)
from neuromancer.io.summary import stored_summary
from neuromancer.volumes import ArraySource, lazy, open_source
from neuromancer.volumes.ome import image_of, levels_of
from neuromancer.volumes.paths import split_path

LayerData = tuple[Any, dict[str, Any], str]
"""Voxels, arguments of the layer, and its kind."""
Layers = list[LayerData] | list[tuple[None]]
"""What a reader returns to napari; `[(None,)]` means that there is nothing to open."""
LABELS = re.compile(r"label|seg|mask|object|instance|classes", re.IGNORECASE)
MOST = 16
"""Maximum number of arrays of a file that are opened together."""


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], Layers] | None:
    """Return the function that reads a file or folder; None for a list of files, and for names of no volume."""
    if not isinstance(path, str):
        return None
    try:
        split_path(path, "volume")
    except NeuromancerError:
        return None
    return read


def read(path: str | Sequence[str]) -> Layers:
    """Open a volume, or all volumes of a file; nothing is read yet.

    Parameters
    ----------
    path : str
        As for :func:`neuromancer.volumes.open_source`, e.g. ``file.h5`` or ``file.h5:/dataset``. Of a file with several
        arrays, all that are images or volumes are opened; of one with more than 16, napari asks for one.

    Returns
    -------
    list of (array, dict, str)
        A layer per channel, with scale, unit and position as far as the file states them. Integers whose array or file
        is named like labels (label, seg, mask, object, instance, classes) are Labels.

    Raises
    ------
    FileError, UnknownNameError, MissingDependencyError, ShapeError, InputTypeError
        As for :func:`neuromancer.volumes.open_source`; FileError also for model files.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "mask.npy"
    >>> np.save(path, np.zeros((4, 5, 6), "uint8"))
    >>> [(data, arguments, kind)] = read(str(path))
    >>> data.shape, arguments["name"], arguments["scale"], kind
    ((4, 5, 6), 'mask', [1.0, 1.0, 1.0], 'labels')
    """
    path = str(path)
    kind, file, dataset = split_path(path, "volume")
    stem = Path(file).name.partition(".")[0]
    if kind == "hdf5" and Path(file).is_file() and stored_summary(file) is not None:
        raise FileError(
            "is a model, not a volume", where=path, expected="Plugins > neuromancer > Predict, which loads it"
        )
    try:
        return layers_of(_levels(path, kind), dataset or stem, path, _named_labels(dataset or stem))
    except UnknownNameError:
        names = [] if dataset else list(_arrays(file, kind))
        if len(names) > MOST:
            from napari import current_viewer

            if current_viewer() is None:
                raise
            names = _asked(names, file)
            if not names:
                return [(None,)]  # cancelled
        if not names:
            raise
    found: list[LayerData] = []
    problems: list[NeuromancerError] = []
    for name in names:
        try:
            found += layers_of(_levels(f"{file}:{name}", kind), f"{stem} {name}", f"{file}:{name}", _named_labels(name))
        except (ShapeError, InputTypeError, ArgumentError) as error:  # tables, coordinates and time series
            problems.append(error)
    if not found:
        raise problems[0]
    return sorted(found, key=lambda layer: layer[2] == "labels")  # on top of the images


def layers_of(
    levels: Sequence[ArraySource], name: str, path: str | None = None, labels: bool = False
) -> list[LayerData]:
    """Return a volume as layers, one per channel.

    Parameters
    ----------
    levels : sequence of ArraySource
        Finest first.
    name : str
    path : str, optional
        Where the volume is stored.
    labels : bool
        Show integers of one channel as labels.
    """
    finest = levels[0]
    scale, translate, units = placement(finest)
    integers = finest.dtype.kind in "iu"
    kind = "labels" if labels and integers and finest.shape[0] == 1 else "image"
    channels = finest.shape[0]
    found: list[LayerData] = []
    for c in range(channels):
        # Arrays in memory stay what they are: labels can be painted, and nothing is copied.
        arrays = [
            level[c : c + 1, *map(_whole, level.shape[1:])][0] if path is None else lazy(level)[c] for level in levels
        ]
        metadata = {"neuromancer": {"path": path, "channel": c, "channels": channels}} if path else {}
        arguments = {"scale": scale, "translate": translate, "units": units, "metadata": metadata}
        # napari itself adds [n] to names that exist
        arguments["name"] = name if channels == 1 else f"{name}, channel {c}"
        if kind == "image" and channels > 1:
            arguments["blending"] = "additive"
        many = len(arrays) > 1
        found.append((arrays if many else arrays[0], {**arguments, "multiscale": many}, kind))
    return found


def _named_labels(name: str) -> bool:
    return LABELS.search(name.rpartition("/")[2]) is not None


def placement(source: ArraySource) -> tuple[list[float], list[float], list[str]]:
    """Return scale, translation and units of a layer: 1 pixel where the voxel size is unknown."""
    sizes = source.voxel_size or (None,) * len(source.spatial)
    signs = source.direction or (1,) * len(sizes)
    scale = [d * (1.0 if s is None else s) for s, d in zip(sizes, signs, strict=True)]
    units = ["pixel" if s is None or source.unit is None else source.unit for s in sizes]
    return scale, list(source.offset), units


def _whole(size: int) -> slice:
    return slice(0, size)


def _opened(path: str) -> ArraySource:
    """Open a volume, or an image with two axes."""
    try:
        return open_source(path)
    except ShapeError as error:
        try:
            return open_source(path, spatial="yx")
        except ShapeError:
            raise error from None


def _levels(path: str, kind: str) -> list[ArraySource]:
    """Open a volume with its coarser levels, if it is an OME-Zarr image."""
    finest = _opened(path)
    if kind != "zarr" or finest.locator is None:
        return [finest]
    from neuromancer.volumes.zarrs import join, open_node

    _, folder, dataset = split_path(path, "volume")
    node = open_node(join(folder, dataset))
    image = image_of(dict(node.attrs)) if hasattr(node, "members") else None
    names = [] if image is None else levels_of(image)[1:]
    return [finest, *(_opened(join(folder, dataset, name)) for name in names)]


def _arrays(file: str, kind: str) -> Iterator[str]:
    """Yield the names of the volumes in a file."""
    if kind == "hdf5":
        import h5py

        from neuromancer.volumes.hdf5 import datasets_in

        with h5py.File(file, "r") as opened:
            yield from datasets_in(opened, file)
    elif kind == "zarr":
        from neuromancer.volumes.zarrs import open_node

        yield from _members(open_node(file), "")


def _asked(names: list[str], file: str) -> list[str]:
    """Ask the user of a viewer for one of many arrays."""
    from qtpy.QtWidgets import QInputDialog

    name, chosen = QInputDialog.getItem(None, "Open a volume", f"Array of {file}", names, 0, False)
    return [name] if chosen else []


def _members(node: Any, name: str) -> Iterator[str]:
    """Yield the names of the arrays and multiscale images in a zarr group."""
    if not hasattr(node, "members") or (name and image_of(dict(node.attrs)) is not None):
        yield name
        return
    for key, member in sorted(node.members()):
        yield from _members(member, f"{name}/{key}".strip("/"))
