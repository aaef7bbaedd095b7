"""OME-Zarr metadata (versions 0.4 and 0.5): axes, voxel size and position of the levels of a multiscale image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuromancer.errors import FileError
from neuromancer.volumes.axes import letters
from neuromancer.volumes.placement import Placement, StatedPlacement

VERSIONS = ("0.5", "0.4")
"""Versions that are written: in zarr 3, and in zarr 2."""
TYPES = {"f": "channel", "t": "time"}
NOTE, UNKNOWN, DECREASING = "neuromancer", "unknown", "decreasing"


def image_of(attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the metadata of the first multiscale image of a group; None if there is none."""
    images = _images_in(attributes)
    image = images[0] if isinstance(images, list) and images else None
    levels = image.get("datasets") if isinstance(image, Mapping) else None
    named = isinstance(levels, list) and levels and all(isinstance(d, Mapping) and "path" in d for d in levels)
    return image if named else None


def image_with(attributes: Mapping[str, Any], level: str) -> Mapping[str, Any] | None:
    """Return the first multiscale image of a group if it has a level of this name, else None."""
    image = image_of(attributes)
    return image if image is not None and level in levels_of(image) else None


def odd_image(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return malformed multiscale metadata of a group, as a message."""
    images = _images_in(attributes)
    return (f"multiscales {images!r}"[:80],) if images and image_of(attributes) is None else ()


def _images_in(attributes: Mapping[str, Any]) -> Any:
    ome = attributes.get("ome", attributes)
    return ome.get("multiscales") if isinstance(ome, Mapping) else ome


def levels_of(image: Mapping[str, Any]) -> list[str]:
    """Return the paths of the levels of an image, finest first."""
    return [str(level["path"]) for level in image["datasets"]]


def read_level(image: Mapping[str, Any], path: str, label: str) -> tuple[str | None, StatedPlacement]:
    """Read axes and placement of one level.

    Parameters
    ----------
    image : mapping
        From :func:`image_of`.
    path : str
        Of the level's array in the group.
    label : str
        Name of the file in errors.

    Returns
    -------
    str or None, StatedPlacement
        Axis letters; placement per stored axis.

    Raises
    ------
    FileError
        If the metadata does not name the axes.
    """
    try:
        axes = image["axes"]
        names = [str(a if isinstance(a, str) else a["name"]) for a in axes]
        level = next(d for d in image["datasets"] if str(d["path"]) == path)
    except (KeyError, TypeError, StopIteration) as error:
        raise FileError(
            "OME-Zarr metadata cannot be understood", where=label, got=repr(error), expected="version 0.4 or 0.5"
        ) from error
    # Transformations of the level come first, then those of the whole image.
    scale, offset = _transformed([*_steps(level), *_steps(image)], len(names))
    units = [a.get("unit") if isinstance(a, Mapping) else None for a in axes]
    note, direction = _own_note(image), [1] * len(names)
    if isinstance(scale, list):
        for k, name in enumerate(names):
            if name in note.get(UNKNOWN, ()):
                scale[k], units[k] = None, next((u for u in units if u), None)
                if isinstance(offset, list) and path != levels_of(image)[0]:
                    offset[k] = None  # in voxels of the finest level
            if name in note.get(DECREASING, ()) and isinstance(scale[k], float):
                scale[k], direction[k] = -scale[k], -1
    return letters(names), StatedPlacement(scale, offset, units, direction)


def _steps(described: Mapping[str, Any]) -> list[Any]:
    steps = described.get("coordinateTransformations")
    return steps if isinstance(steps, list) else []


def _transformed(steps: Sequence[Any], n: int) -> tuple[Any, Any]:
    """Return scale and offset per axis after all transformations; invalid values are kept, to be shown to the user."""
    scale: list[Any] = [1.0] * n
    offset: list[Any] = [0.0] * n
    kinds = [step.get("type") if isinstance(step, Mapping) else None for step in steps]
    odd = next((kind for kind in kinds if kind not in ("scale", "translation", "identity")), scale)
    if odd is not scale:
        return f"a transformation of type {odd}", None
    for step, kind in zip(steps, kinds, strict=True):
        if kind == "identity":
            continue
        values = step.get(kind)
        if not isinstance(values, list) or len(values) != n:
            shown = f"{kind} {values}"
            return (shown if kind == "scale" else scale), (None if kind == "scale" else shown)
        for k, value in enumerate(values):
            number = _number(value)
            if number is None and kind == "scale":
                scale[k] = value
            elif number is None:
                offset[k] = value
            elif kind == "scale":
                scale[k] = scale[k] * number if isinstance(scale[k], float) else scale[k]
                offset[k] = offset[k] * number + 0.0 if isinstance(offset[k], float) else offset[k]
            elif isinstance(offset[k], float):
                offset[k] += number
    # Without a scale, the voxel size is unknown.
    return (scale if "scale" in kinds else None), (offset if kinds else None)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _own_note(image: Mapping[str, Any]) -> Mapping[str, list[Any]]:
    """Return the metadata that this package adds: axes of unknown voxel size, and of decreasing positions."""
    more = image.get("metadata")
    note = more.get(NOTE) if isinstance(more, Mapping) else None
    return {k: v for k, v in note.items() if isinstance(v, list)} if isinstance(note, Mapping) else {}


def image_metadata(
    name: str,
    axes: str,
    levels: Sequence[tuple[str, Placement]],
    method: str | None = None,
    version: str = VERSIONS[0],
) -> dict[str, Any]:
    """Return the attributes of a group for a multiscale image.

    Parameters
    ----------
    name : str
    axes : str
        Letters of the stored axes.
    levels : sequence of (str, Placement)
        Path of each level's array, and its placement per stored spatial axis; finest first.
    method : str, optional
        Downsampling method.
    version : {'0.5', '0.4'}

    Returns
    -------
    dict
    """
    finest = levels[0][1]
    spatial = [a for a in axes if a not in TYPES]
    known = dict(zip(spatial, finest.voxel_size or [None] * len(spatial), strict=True))
    described = []
    for a in axes:
        axis = {"name": "c" if a == "f" else a, "type": TYPES.get(a, "space")}
        described.append(axis | ({"unit": finest.unit} if finest.unit and known.get(a) is not None else {}))
    datasets = []
    for path, placement in levels:
        sizes = _per_axis(placement.voxel_size, axes, 1.0)
        directions, shift = _per_axis(placement.direction, axes, 1), _per_axis(placement.offset, axes, 0.0)
        scale = [size * direction for size, direction in zip(sizes, directions, strict=True)]
        steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": path, "coordinateTransformations": steps})
    image: dict[str, Any] = {"name": name, "axes": described, "datasets": datasets}
    # A scale is required, and most readers do not expect a negative one.
    note = {
        UNKNOWN: [a for a in spatial if known[a] is None],
        DECREASING: [a for a, d in zip(spatial, finest.direction or (), strict=False) if d < 0],
    }
    if any(note.values()):
        image["metadata"] = {NOTE: {key: value for key, value in note.items() if value}}
    if method is not None:
        image["type"] = method
    if version == "0.4":
        return {"multiscales": [{"version": version, **image}]}
    return {"ome": {"version": version, "multiscales": [image]}}


def _per_axis(values: Sequence[float | None] | None, axes: str, default: float) -> list[float]:
    """Expand values of the spatial axes to all axes; the default for other axes and unknown values."""
    given = iter(values or [None] * len(axes))
    found = [None if a in TYPES else next(given) for a in axes]
    return [default if v is None else v for v in found]
