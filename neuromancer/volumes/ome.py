"""OME-Zarr metadata (versions 0.4 and 0.5): axes, voxel size and position of the levels of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuromancer.errors import FileError
from neuromancer.volumes.axes import letters
from neuromancer.volumes.placement import Placement, long_unit, one_unit

VERSION = "0.5"
TYPES = {"f": "channel", "t": "time"}


def image_of(attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Metadata of the (first) multiscale image of a group; None if it is none."""
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") if isinstance(ome, Mapping) else None
    return images[0] if isinstance(images, Sequence) and images else None


def levels_of(image: Mapping[str, Any]) -> list[str]:
    """Paths of the arrays of an image, the finest first."""
    return [str(level["path"]) for level in image["datasets"]]


def read_level(image: Mapping[str, Any], path: str, label: str) -> tuple[str | None, Placement]:
    """Axes and placement of one level.

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
    str or None, Placement
        Letters of the axes; values per stored axis.

    Raises
    ------
    FileError
        If the metadata is not as the specification has it.
    """
    try:
        axes = image["axes"]
        names = [a if isinstance(a, str) else a["name"] for a in axes]
        scale, offset = [1.0] * len(names), [0.0] * len(names)
        level = next(d for d in image["datasets"] if d["path"] == path)
        # Those of the level come first, then those of the whole image.
        for step in [*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]:
            for k in range(len(names)):
                if step["type"] == "scale":
                    scale[k] *= float(step["scale"][k])
                    offset[k] *= float(step["scale"][k])
                elif step["type"] == "translation":
                    offset[k] += float(step["translation"][k])
    except (KeyError, TypeError, IndexError, StopIteration, ValueError) as error:
        raise FileError(
            "OME-Zarr metadata cannot be understood", node=label, got=repr(error), expected="version 0.4 or 0.5"
        ) from error
    found = letters(names)
    spatial = [k for k, a in enumerate(found or "") if a in "zyx"]
    units = [None if isinstance(axes[k], str) else long_unit(axes[k].get("unit")) for k in spatial]
    sizes, unit = one_unit([scale[k] for k in spatial], units)
    return found, Placement(sizes, one_unit([offset[k] for k in spatial], units)[0], unit)


def image_metadata(
    name: str, axes: str, levels: Sequence[tuple[str, Placement]], method: str | None = None
) -> dict[str, Any]:
    """Attributes of a group that holds a multiscale image, version 0.5.

    Parameters
    ----------
    name : str
    axes : str
        Letters of the stored axes.
    levels : sequence of (str, Placement)
        Path of each level's array, and its placement per stored spatial axis; the finest first.
    method : str, optional
        How the levels were made.

    Returns
    -------
    dict
    """
    unit = levels[0][1].unit
    described = []
    for a in axes:
        axis = {"name": "c" if a == "f" else a, "type": TYPES.get(a, "space")}
        described.append(axis | ({"unit": unit} if unit and a not in TYPES else {}))
    datasets = []
    for path, placement in levels:
        sizes, offsets = iter(placement.voxel_size or [1.0] * len(axes)), iter(placement.offset or [0.0] * len(axes))
        scale = [1.0 if a in TYPES else next(sizes) for a in axes]
        shift = [0.0 if a in TYPES else next(offsets) for a in axes]
        steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": path, "coordinateTransformations": steps})
    image: dict[str, Any] = {"name": name, "axes": described, "datasets": datasets}
    if method is not None:
        image["type"] = method
    return {"ome": {"version": VERSION, "multiscales": [image]}}
