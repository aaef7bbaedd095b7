"""Placement of a volume in physical space: voxel size, unit, offset and direction of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.casts import is_number
from neuromancer.errors import ArgumentError, nearest_name
from neuromancer.volumes.units import UNITS, long_unit, says_no_unit

Values = tuple[float | None, ...]
Vectors = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Placement:
    """Voxel size and position of an array, per spatial axis; None for unknown values.

    Parameters
    ----------
    voxel_size : tuple of float or None, optional
        In `unit`, positive; None if unknown for all axes.
    offset : tuple of float or None, optional
        Position of the centre of voxel 0, in `unit`.
    unit : str, optional
        A name in :data:`neuromancer.volumes.units.UNITS`.
    direction : tuple of int, optional
        1 where positions increase with the voxel index, -1 where they decrease; None if all increase.
    orientation : tuple of (float, float, float), optional
        For axes that are not parallel to those of the world: unit vector of each axis, as (right, anterior, superior).
        The offset is then measured along these vectors.
    """

    voxel_size: Values | None = None
    offset: Values | None = None
    unit: str | None = None
    direction: tuple[int, ...] | None = None
    orientation: Vectors | None = None

    def reordered(self, order: Sequence[int]) -> Placement:
        """Return the placement with its axes in another order."""
        size, offset, direction, orientation = (
            None if values is None else tuple(values[k] for k in order)
            for values in (self.voxel_size, self.offset, self.direction, self.orientation)
        )
        return Placement(size, offset, self.unit, direction, orientation)  # type: ignore[arg-type]


@dataclass(frozen=True)
class StatedPlacement:
    """Placement as stated in a file; :func:`neuromancer.volumes.calibration.calibrated` checks it.

    Parameters
    ----------
    voxel_size, offset, first_voxel, direction, orientation : sequence, optional
        Per stored axis, or per stored spatial axis. `first_voxel` is an offset in voxels, used without `offset`.
    unit : str or sequence of str, optional
        One for all axes, or one per axis.
    """

    voxel_size: Any = None
    offset: Any = None
    unit: Any = None
    direction: Any = None
    first_voxel: Any = None
    orientation: Any = None


def known_or_none(values: Sequence[float | None]) -> Values | None:
    """Return the values as a tuple; None if all are unknown."""
    return tuple(values) if any(v is not None for v in values) else None


def directed(direction: Sequence[int]) -> tuple[int, ...] | None:
    """Return the directions as a tuple; None if all are positive."""
    return tuple(direction) if any(d < 0 for d in direction) else None


def checked_placement(
    voxel_size: Sequence[float | None] | None,
    unit: str | None,
    offset: Sequence[float | None] | None,
    spatial: str,
    direction: Sequence[int] | None = None,
    orientation: Sequence[Sequence[float]] | None = None,
) -> Placement:
    """Return the placement from user arguments, per spatial axis.

    Raises
    ------
    ArgumentError
        For a wrong number of values, voxel sizes that are not positive, or an unknown unit of length.
    """
    size, place = _numbers("voxel_size", voxel_size, spatial), _numbers("offset", offset, spatial)
    if size is not None and min((v for v in size if v is not None), default=1.0) <= 0:
        raise ArgumentError("voxel sizes must be positive", where="voxel_size", got=size)
    name = long_unit(unit)
    if name is None and not says_no_unit(unit):
        raise ArgumentError(
            "not a unit of length",
            where="unit",
            got=repr(unit),
            expected="such as 'nm', 'um' or 'micrometer'",
            nearest=nearest_name(unit, UNITS),
        )
    turns = list(direction) if isinstance(direction, (list, tuple, np.ndarray)) else []
    if direction is not None and (len(turns) != len(spatial) or not all(is_number(d) and d in (1, -1) for d in turns)):
        raise ArgumentError(
            "not valid directions", where="direction", got=repr(direction), expected=f"1 or -1 for each of {spatial!r}"
        )
    vectors = None if orientation is None else _vectors(orientation, spatial)
    return Placement(size, place, name, None if direction is None else directed(direction), vectors)


def _vectors(given: Any, spatial: str) -> Vectors:
    """Return a unit vector for each axis."""
    try:
        found = np.asarray(given, float)
        independent = found.shape == (len(spatial), 3) and np.linalg.matrix_rank(found) == len(spatial)
    except (TypeError, ValueError, np.linalg.LinAlgError):
        independent = False
    if not independent:
        expected = f"independent vectors (right, anterior, superior) for each of {spatial!r}"
        raise ArgumentError("not an orientation", where="orientation", got=repr(given), expected=expected)
    return tuple((x, y, z) for x, y, z in (found / np.linalg.norm(found, axis=1, keepdims=True)).tolist())


def _numbers(what: str, values: Sequence[float | None] | None, spatial: str) -> Values | None:
    """Return finite numbers, one per axis; None for unknown values."""
    if values is None:
        return None
    try:
        found = [None if v is None else float(v) for v in values]
    except (TypeError, ValueError, OverflowError):
        found = []
    if isinstance(values, str) or len(found) != len(spatial) or not all(v is None or np.isfinite(v) for v in found):
        raise ArgumentError("not lengths", where=what, got=repr(values), expected=f"a number for each of {spatial!r}")
    return known_or_none(found)
