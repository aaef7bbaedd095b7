"""Voxel size, position and direction from coordinates along every dimension, as in xarray and netCDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neuromancer.errors import reason
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.units import long_unit

Coordinate = tuple[Any, Any]
"""Positions along a dimension, and their unit."""


def stated_in_coordinates(names: Sequence[Any], coordinate: Callable[[Any], Coordinate | None]) -> StatedPlacement:
    """Return the placement that coordinates state.

    Parameters
    ----------
    names : sequence
        Dimension names in the stored order.
    coordinate : callable
        Returns the positions along a dimension and their unit; None where there are none. If it raises, they are
        unknown.

    Returns
    -------
    StatedPlacement
        Per stored axis. Axes without a unit get the one that other coordinates name.
    """
    found = [_found(coordinate, name) for name in names]
    values = [None if c is None else c[0] for c in found]
    steps = [v if v is None or isinstance(v, str) else step_of(v) for v in values]
    units = [None if c is None else c[1] for c in found]
    spoken = next((u for u in units if long_unit(u) is not None), None)
    return StatedPlacement(
        [abs(s) if isinstance(s, float) else s for s in steps],
        [None if v is None or isinstance(v, str) else _first(v) for v in values],
        [spoken if u is None else u for u in units],
        [-1 if isinstance(s, float) and s < 0 else 1 for s in steps],
    )


def _found(coordinate: Callable[[Any], Coordinate | None], name: Any) -> Coordinate | None:
    """Return a coordinate; if it cannot be read, the reason in its place, to be shown to the user."""
    try:
        return coordinate(name)
    except MemoryError:
        raise
    except Exception as error:  # from any storage library
        return f"positions that cannot be read: {reason(error)}", None


def step_of(values: np.ndarray) -> float | str | None:
    """Return the spacing of positions; None for a single one, a string that describes those without a spacing.

    Examples
    --------
    >>> step_of(np.array([3.0, 2.5, 2.0])), step_of(np.array([7])), step_of(np.array([0, 1, 3]))
    (-0.5, None, 'uneven')
    """
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        return str(values.dtype)
    if len(values) < 2:
        return None
    return spacing(values) or "uneven"


def spacing(values: Any) -> float | None:
    """Return the spacing of evenly spaced numbers, negative if they decrease; None for others.

    Examples
    --------
    >>> spacing(np.array([1.0, 1.5, 2.0])), spacing(np.array(["a", "b"])), spacing(np.array([0, 1, 3]))
    (0.5, None, None)
    >>> spacing(np.array([8, 4, 0], "uint8"))
    -4.0
    """
    values = np.asarray(values) if values is not None else np.empty(0)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or len(values) < 2:
        return None
    step = (float(values[-1]) - float(values[0])) / (len(values) - 1)
    even = np.isfinite(step) and step != 0 and np.allclose(np.diff(values.astype(float)), step, rtol=1e-3, atol=0)
    return float(f"{step:.12g}") if even else None


def _first(values: np.ndarray) -> float | None:
    """Return the position of the first voxel; None if it is unknown."""
    known = values.ndim == 1 and values.dtype.kind in "iuf" and len(values) and np.isfinite(values[0])
    return float(values[0]) if known else None
