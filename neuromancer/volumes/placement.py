"""Where a volume lies in the specimen: voxel size, unit of length and position of voxel 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError
from neuromancer.volumes.axes import Layout

# Long names are those of OME-Zarr, short ones those of OME-TIFF; with the length in metres.
UNITS = {
    "angstrom": ("Å", 1e-10),
    "nanometer": ("nm", 1e-9),
    "micrometer": ("µm", 1e-6),
    "millimeter": ("mm", 1e-3),
    "centimeter": ("cm", 1e-2),
    "meter": ("m", 1.0),
}
SHORT = {short: name for name, (short, _) in UNITS.items()} | {
    "um": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "μm": "micrometer",
    "\\u00B5m": "micrometer",
}


@dataclass(frozen=True)
class Placement:
    """Voxel size and position of an array.

    Parameters
    ----------
    voxel_size : tuple of float, optional
        Per axis; None if unknown.
    offset : tuple of float, optional
        Position of the centre of voxel 0 per axis, in units; None if unknown.
    unit : str, optional
    """

    voxel_size: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    unit: str | None = None

    def of_spatial(self, layout: Layout) -> Placement:
        """The same per spatial axis of a view, from values per stored axis or per stored spatial axis.

        Values that fit neither are those of another convention, and count as unknown.
        """
        stored_spatial = [a for a in layout.stored if a in layout.spatial]

        def pick(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
            if values is None:
                return None
            for names in (list(layout.stored), stored_spatial):
                if len(values) == len(names):
                    known = dict(zip(names, values, strict=True))
                    return tuple(known[a] for a in layout.spatial)
            return None

        return Placement(pick(self.voxel_size), pick(self.offset), self.unit)


def long_unit(unit: Any) -> str | None:
    """Long name of a unit of length; other units as they are.

    Examples
    --------
    >>> long_unit("nm"), long_unit("Micrometer"), long_unit("pixel")
    ('nanometer', 'micrometer', None)
    """
    if isinstance(unit, bytes):
        unit = unit.decode(errors="replace")
    if not isinstance(unit, str) or unit.lower() in ("", "pixel", "pixels", "voxel"):
        return None
    return SHORT.get(unit, unit.lower() if unit.lower() in UNITS else unit)


def short_unit(unit: str | None) -> str | None:
    """Short name of a unit of length, if there is one."""
    return UNITS[unit][0] if unit in UNITS else unit


def one_unit(values: Sequence[float], units: Sequence[str | None]) -> tuple[tuple[float, ...], str | None]:
    """Values of different units in that of the first; no unit if one of them is no known length.

    Examples
    --------
    >>> one_unit([2.0, 500.0], ["micrometer", "nanometer"])
    ((2.0, 0.5), 'micrometer')
    """
    if len(set(units)) <= 1:
        return tuple(float(v) for v in values), units[0] if units else None
    known = [u for u in units if u in UNITS]
    if len(known) < len(units):
        return tuple(float(v) for v in values), None
    base = UNITS[known[0]][1]
    return tuple(float(f"{v * UNITS[u][1] / base:.15g}") for v, u in zip(values, known, strict=True)), known[0]


def numbers(values: Any) -> tuple[float, ...] | None:
    """Finite numbers of an attribute of a file; None if it holds anything else."""
    try:
        array = np.asarray(values, float)
    except (TypeError, ValueError):
        return None
    return tuple(array.tolist()) if array.ndim == 1 and np.isfinite(array).all() else None


def checked_placement(
    voxel_size: Sequence[float] | None, unit: str | None, offset: Sequence[float] | None, spatial: str
) -> Placement:
    """Placement from what a user gives, per spatial axis.

    Raises
    ------
    ArgumentError
        For a wrong number of values, or voxel sizes that are not positive.
    """
    for what, values in (("voxel_size", voxel_size), ("offset", offset)):
        found = None if values is None else numbers(values)
        if values is not None and (found is None or len(found) != len(spatial)):
            raise ArgumentError(
                "wrong lengths", node=what, got=repr(values), expected=f"a number for each of {spatial!r}"
            )
    size = None if voxel_size is None else tuple(float(v) for v in voxel_size)
    if size is not None and min(size) <= 0:
        raise ArgumentError("lengths must be positive", node="voxel_size", got=size)
    return Placement(size, None if offset is None else tuple(float(v) for v in offset), long_unit(unit))
