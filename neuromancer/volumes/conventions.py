"""Voxel size, position and unit as attributes of arrays: the names that different programs have for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer.volumes.axes import letters
from neuromancer.volumes.placement import Stated
from neuromancer.volumes.units import long_unit, short_unit

SIZES = ("voxel_size", "resolution", "element_size_um")
DIMENSION_UNITS = "dimension_units"
"""Of tensorstore and Neuroglancer: size and unit of every stored axis, such as "40 nm"."""


def axes_stated(attributes: Mapping[str, Any], ndim: int) -> str | None:
    """Letters of the axes that attributes name, if they are as many as there are."""
    for given in _axes_in(attributes).values():
        names = names_in(given)
        if names and len(names) == ndim:
            return letters(names) if all(names) else None
    return None


def odd_axes(attributes: Mapping[str, Any], ndim: int) -> tuple[str, ...]:
    """What attributes have in the place of names of axes, and is none, or names another number of them."""
    odd = []
    for key, given in _axes_in(attributes).items():
        names = names_in(given)
        if given is not None and (names is None or (letters(names) is not None and len(names) != ndim)):
            odd.append(f"{key} {given!r}"[:80])
    return tuple(odd)


def names_in(given: Any) -> list[str] | None:
    """Names of axes, one after the other; None if there are none in what was given.

    Examples
    --------
    >>> names_in("zyx"), names_in(["z", None]), names_in([["z"], "y"]), names_in(3.5)
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
    """Where programs leave the names of axes."""
    transform = attributes.get("transform")
    found = {name: attributes.get(name) for name in ("_ARRAY_DIMENSIONS", "axes", "axis_names")}
    return found | {"transform.axes": transform.get("axes") if isinstance(transform, Mapping) else None}


def stated_by(attributes: Mapping[str, Any]) -> Stated:
    """What attributes say of an array's place, per stored axis or per stored spatial axis.

    Understood are ``voxel_size`` or ``resolution`` with ``offset`` and ``unit`` or ``units``, HDF5's
    ``element_size_um``, ``pixelResolution`` of N5 viewers, ``transform`` of COSEM, ``dimension_units`` of tensorstore,
    and ``voxel_offset`` of Neuroglancer.

    Examples
    --------
    >>> found = stated_by({"pixelResolution": {"dimensions": [4, 4, 40], "unit": "nm"}})
    >>> found.voxel_size, found.unit
    ([4, 4, 40], 'nm')
    """
    unit, units = attributes.get("unit"), attributes.get("units")
    if unit is None and units is not None and not isinstance(units, (str, bytes)):
        unit = units  # a text is the unit of the values, as in netCDF
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
    return Stated(size, place, unit, direction, attributes.get("voxel_offset"))


def _split(texts: Any) -> tuple[Any, Any]:
    """Sizes and units of texts such as "4.5 nm"."""
    if not isinstance(texts, (list, tuple)):
        return texts, None
    parts = [("", "", "") if t is None else str(t).strip().partition(" ") for t in texts]
    return [size or None for size, _, _ in parts], [unit or None for _, _, unit in parts]


def dimension_units(names: Sequence[str], sizes: Mapping[str, float | None], unit: str | None) -> list[str | None]:
    """Sizes and units of axes as tensorstore and Neuroglancer read them.

    Examples
    --------
    >>> dimension_units("cyx", {"y": 4.0, "x": None}, "nanometer")
    [None, '4.0 nm', None]
    """
    symbol = (short_unit(long_unit(unit)) or "").replace("µ", "u")
    return [None if sizes.get(n) is None else f"{sizes[n]!r} {symbol}".strip() for n in names]
