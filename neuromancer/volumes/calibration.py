"""Checked calibration: voxel size, unit and position from file metadata; implausible values count as unknown."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import isfinite
from typing import Any

from neuromancer.errors import MetadataWarning, node_label
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.placement import Placement, StatedPlacement, directed, known_or_none
from neuromancer.volumes.units import long_unit, ratio, says_no_unit

SHOWN = 60
"""Maximum number of characters shown of a rejected value."""


def calibrated(stated: StatedPlacement, layout: Layout, named: str | None = None) -> tuple[Placement, tuple[str, ...]]:
    """Return the placement per spatial axis of a view, and the metadata that was rejected.

    Parameters
    ----------
    stated : StatedPlacement
    layout : Layout
        Of the stored array.
    named : str, optional
        Letters of all stored axes, also of those that the layout leaves out.

    Returns
    -------
    Placement, tuple of str
        The voxel size of an axis is unknown if it is not a positive number or its unit is not a length; other axes
        keep theirs. Lengths are in the unit of the first stored axis that has one.

    Examples
    --------
    >>> calibrated(StatedPlacement((0, 4, 4), unit="nm"), Layout("zyx", "zyx"))
    (Placement(voxel_size=(None, 4.0, 4.0), offset=None, unit='nanometer', direction=None, orientation=None),
     ('voxel size of z: 0',))
    """
    doubts: list[str] = []
    axes, names = layout.spatial, named if named is not None and len(named) == len(layout.stored) else layout.stored
    own = [a for a, name in zip(layout.stored, names, strict=True) if name in "zyx"]
    ways = (list(layout.stored), own, [a for a in layout.stored if a in axes])
    sizes = [
        _number(v, a, "voxel size", doubts, positive=True)
        for a, v in zip(axes, _per_axis(stated.voxel_size, axes, ways, "voxel size", doubts), strict=True)
    ]
    if stated.offset is None and stated.first_voxel is not None:
        firsts = _per_axis(stated.first_voxel, axes, ways, "position", doubts)
        numbers = [_number(v, a, "position", doubts) for a, v in zip(axes, firsts, strict=True)]
        offsets = [None if n is None or s is None else n * s for n, s in zip(numbers, sizes, strict=True)]
    else:
        places = _per_axis(stated.offset, axes, ways, "position", doubts)
        offsets = [_number(v, a, "position", doubts) for a, v in zip(axes, places, strict=True)]
    units = _units(stated.unit, axes, ways, doubts)
    base = next((u for _, u in sorted(zip(map(layout.stored.index, axes), units, strict=True)) if u is not None), None)
    if base is not None:
        for k, unit in enumerate(units):
            if unit is None and sizes[k] is not None and not any(f" of {axes[k]}:" in d for d in doubts):
                doubts.append(f"voxel size of {axes[k]}: {sizes[k]:g}, without a unit")
            sizes[k], offsets[k] = _converted(sizes[k], unit, base), _converted(offsets[k], unit, base)
    directions = zip(axes, _per_axis(stated.direction, axes, ways, "direction", doubts), strict=True)
    direction = [-1 if _number(v, a, "direction", doubts) == -1 else 1 for a, v in directions]
    vectors = _per_axis(stated.orientation, axes, ways, "orientation", doubts)
    orientation = None if None in vectors else tuple(vectors)
    placement = Placement(known_or_none(sizes), known_or_none(offsets), base, directed(direction), orientation)
    return placement, tuple(doubts)


def warn_of(doubts: Sequence[str], label: str) -> None:
    """Warn about metadata of an image that counts as unknown."""
    if doubts:
        found = ", ".join(doubts)
        way_out = 'store={"voxel_size": ..., "unit": ...}, or --voxel-size and --unit, set it for the result'
        text = f"{node_label(label)}: metadata taken as unknown; got {found}; {way_out}"
        warnings.warn(text, MetadataWarning, stacklevel=4)


Ways = Sequence[Sequence[str]]
"""Axes that values may be stated for: all that are stored, those of space, or those of the view."""


def _per_axis(values: Any, axes: str, ways: Ways, what: str, doubts: list[str]) -> list[Any]:
    """Return values per spatial axis of the view from values per stored (spatial) axis; None where unknown."""
    nothing: list[Any] = [None] * len(axes)
    if values is None or (isinstance(values, (str, bytes)) and says_no_unit(values)):
        return nothing
    try:
        found = [] if isinstance(values, (str, bytes, dict)) else list(values)
    except TypeError:
        found = []
    for names in ways:
        if found and len(found) == len(names):
            known = dict(zip(names, found, strict=True))
            # an axis that the user says is one of space may be none in the file
            return [known.get(a) for a in axes]
    doubts.append(f"{what} of {axes}: {_shown(values)}")
    return nothing


def _number(value: Any, axis: str, what: str, doubts: list[str], positive: bool = False) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isfinite(number) and (number > 0 or not positive):
        return number
    doubts.append(f"{what} of {axis}: {_shown(value)}")
    return None


def _units(stated: Any, axes: str, ways: Ways, doubts: list[str]) -> list[str | None]:
    """Return the unit name of every spatial axis; None where there is none."""
    one = isinstance(stated, (str, bytes)) or not hasattr(stated, "__len__") or len(stated) == 1
    given = [stated] * len(axes) if one else _per_axis(stated, axes, ways, "unit", doubts)
    given = [u[0] if isinstance(u, (list, tuple)) and len(u) == 1 else u for u in given]
    odd = [(a, u) for a, u in zip(axes, given, strict=True) if long_unit(u) is None and not says_no_unit(u)]
    if one and odd:
        odd = [(axes, odd[0][1])]
    doubts.extend(f"unit of {a}: {_shown(u)}" for a, u in odd)
    return [long_unit(u) for u in given]


def _converted(value: float | None, unit: str | None, base: str) -> float | None:
    if value is None or unit is None or unit == base:
        return value if unit is not None else None
    return float(f"{value * ratio(unit, base):.15g}")


def _shown(value: Any) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    text = "".join(c if c.isprintable() else "�" for c in text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
