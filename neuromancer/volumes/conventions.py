"""Attribute conventions of different programs for voxel size, position and unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer.volumes.axes import letters
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.units import long_unit, short_unit

SIZES = ("voxel_size", "resolution", "element_size_um")
DIMENSION_UNITS = "dimension_units"
"""Attribute of tensorstore and Neuroglancer: size and unit of every stored axis, such as "40 nm"."""


def axes_stated(attributes: Mapping[str, Any], ndim: int) -> str | None:
    """Return the axis letters that attributes name, if they name all `ndim` axes."""
    for given in _axes_in(attributes).values():
        names = axis_names_in(given)
        if names and len(names) == ndim:
            return letters(names) if all(names) else None
    return None


def odd_axes(attributes: Mapping[str, Any], ndim: int) -> tuple[str, ...]:
    """Return attributes that should name the axes but do not, or name another number of axes."""
    odd = []
    for key, given in _axes_in(attributes).items():
        names = axis_names_in(given)
        if given is not None and (names is None or (letters(names) is not None and len(names) != ndim)):
            odd.append(f"{key} {given!r}"[:80])
    return tuple(odd)


def axis_names_in(given: Any) -> list[str] | None:
    """Return the axis names in the value of an attribute; None if it holds none.

    Examples
    --------
    >>> axis_names_in("zyx"), axis_names_in(["z", None]), axis_names_in([["z"], "y"]), axis_names_in(3.5)
    (['z', 'y', 'x'], ['z', ''], None, None)
    """
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, bytes):
        given = given.decode(errors="replace")
    if not isinstance(given, (str, list, tuple)) or any(not isinstance(n, (str, bytes, type(None))) for n in given):
        return None
    return [n.decode(errors="replace") if isinstance(n, bytes) else n or "" for n in given]


def _axes_in(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes in which programs store axis names."""
    transform = attributes.get("transform")
    found = {name: attributes.get(name) for name in ("_ARRAY_DIMENSIONS", "axes", "axis_names")}
    return found | {"transform.axes": transform.get("axes") if isinstance(transform, Mapping) else None}


def stated_in_attributes(attributes: Mapping[str, Any]) -> StatedPlacement:
    """Return the placement that attributes state, per stored axis or per stored spatial axis.

    Supported are ``voxel_size`` or ``resolution`` with ``offset`` and ``unit`` or ``units``, ``element_size_um``
    (HDF5), ``pixelResolution`` (N5 viewers), ``transform`` (COSEM), ``dimension_units`` (tensorstore), and
    ``voxel_offset`` (Neuroglancer).

    Examples
    --------
    >>> found = stated_in_attributes({"pixelResolution": {"dimensions": [4, 4, 40], "unit": "nm"}})
    >>> found.voxel_size, found.unit
    ([4, 4, 40], 'nm')
    """
    unit, units = attributes.get("unit"), attributes.get("units")
    if unit is None and units is not None and not isinstance(units, (str, bytes)):
        unit = units  # a string is the unit of the values, as in netCDF
    size = next((attributes[name] for name in SIZES if attributes.get(name) is not None), None)
    place, direction = attributes.get("offset"), attributes.get("direction")
    transform, pixels = attributes.get("transform"), attributes.get("pixelResolution")
    if size is not None:
        if unit is None and not any(name in attributes for name in SIZES[:2]):
            unit = "micrometer"
    elif isinstance(transform, Mapping):
        size, place, unit = transform.get("scale"), transform.get("translate"), transform.get("units")
    elif pixels is not None:
        size = pixels.get("dimensions") if isinstance(pixels, Mapping) else pixels
        unit = pixels.get("unit") if isinstance(pixels, Mapping) else unit
    elif attributes.get(DIMENSION_UNITS) is not None:
        size, unit = _split(attributes[DIMENSION_UNITS])
    return StatedPlacement(size, place, unit, direction, attributes.get("voxel_offset"))


def _split(texts: Any) -> tuple[Any, Any]:
    """Split strings such as "4.5 nm" into sizes and units."""
    if not isinstance(texts, (list, tuple)):
        return texts, None
    parts = [("", "", "") if t is None else str(t).strip().partition(" ") for t in texts]
    return [size or None for size, _, _ in parts], [unit or None for _, _, unit in parts]


def dimension_units(names: Sequence[str], sizes: Mapping[str, float | None], unit: str | None) -> list[str | None]:
    """Format sizes and units of axes as tensorstore and Neuroglancer read them.

    Examples
    --------
    >>> dimension_units("cyx", {"y": 4.0, "x": None}, "nanometer")
    [None, '4.0 nm', None]
    """
    symbol = (short_unit(long_unit(unit)) or "").replace("µ", "u")
    return [None if sizes.get(n) is None else f"{sizes[n]!r} {symbol}".strip() for n in names]
