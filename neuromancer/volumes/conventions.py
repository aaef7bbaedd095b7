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


def axes_stated(attributes: Mapping[str, Any]) -> str | None:
    """Letters of the axes that attributes name."""
    transform = attributes.get("transform")
    for names in (
        attributes.get("_ARRAY_DIMENSIONS"),
        attributes.get("axes"),
        attributes.get("axis_names"),
        transform.get("axes") if isinstance(transform, Mapping) else None,
    ):
        if isinstance(names, (str, list, tuple, np.ndarray)) and np.ndim(names) < 2 and len(names):
            return letters(list(names)) if all(names) else None
    return None


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
