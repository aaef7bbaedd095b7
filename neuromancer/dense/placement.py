"""Physical position and voxel size of a result, derived from those of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from neuromancer.volumes.axes import Layout
from neuromancer.volumes.calibration import calibrated, warn_of
from neuromancer.volumes.dataarray import is_dataarray
from neuromancer.volumes.placement import Placement, StatedPlacement, checked_placement, directed, known_or_none
from neuromancer.volumes.units import ratio


def image_placement(source: Any, spatial: str, to_file: bool) -> Placement:
    """Return the placement of an image per spatial axis; warn if metadata of a foreign source are invalid.

    Parameters
    ----------
    source : Source
    spatial : str
        Names of the spatial axes.
    to_file : bool
        Whether the result goes to a file, which loses unevenly spaced coordinates of a DataArray.
    """
    names = ("voxel_size", "offset", "unit", "direction", "orientation")
    stated = StatedPlacement(**{name: getattr(source, name, None) for name in names})
    placement, doubts = calibrated(stated, Layout(spatial, spatial))
    lost = getattr(source, "doubts", ()) if to_file and is_dataarray(getattr(source, "array", None)) else ()
    warn_of((*doubts, *lost), getattr(source, "label", "raw"))
    return placement


def placed(
    image: Placement, store: Mapping[str, Any], shift: Sequence[int], steps: Sequence[int | Fraction]
) -> dict[str, Any]:
    """Return voxel size, unit, offset, direction and orientation of a result, as arguments of ``create_sink``.

    Parameters
    ----------
    image : Placement
    store : mapping
        Options given by the user, which take precedence over the metadata of the image.
    shift : sequence of int
        Voxel of the image where the result starts, per spatial axis.
    steps : sequence of int or Fraction
        Voxel spacing of the result in voxels of the image.

    Returns
    -------
    dict
        Only arguments that are not in `store`.

    Raises
    ------
    ArgumentError
        If `store` contains invalid values.

    Examples
    --------
    >>> placed(Placement((None, 4.0), unit="nanometer"), {"voxel_size": (40, 4)}, (1, 2), (1, 1))["offset"]
    (40.0, 8.0)
    """
    n = len(shift)
    size, own_unit, place, turned = (store.get(name) for name in ("voxel_size", "unit", "offset", "direction"))
    given = checked_placement(size, own_unit, place, "zyx"[-n:], turned)
    unit = given.unit or image.unit
    # A unit given with voxel sizes applies to them; a unit alone replaces that of the image.
    factor = ratio(image.unit, unit) if given.voxel_size is not None and image.unit and unit else 1.0
    sizes = [None if s is None else s * factor for s in image.voxel_size or [None] * n]
    if given.voxel_size is not None:
        sizes = [s if g is None else g / step for g, s, step in zip(given.voxel_size, sizes, steps, strict=True)]
    direction = given.direction or image.direction or (1,) * n
    begin = [None if o is None else o * factor for o in image.offset or [0.0] * n]
    offset = [
        b if b is None or k == 0 else None if s is None else b + d * float(k) * float(s)
        for b, k, s, d in zip(begin, shift, sizes, direction, strict=True)
    ]
    found: dict[str, Any] = {"direction": directed(direction)}
    if not {"offset", "direction"} & set(store):  # which are measured along other axes
        found["orientation"] = image.orientation
    if any(s is not None for s in sizes):
        result_sizes = [None if s is None else float(s * step) for s, step in zip(sizes, steps, strict=True)]
        found |= {"voxel_size": known_or_none(result_sizes), "unit": unit, "offset": known_or_none(offset)}
    return {key: value for key, value in found.items() if key not in store and value is not None}
