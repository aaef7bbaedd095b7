"""Axis order: from the stored order of a file to (f, *spatial), the order of dense prediction."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from neuromancer.casts import is_whole
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, nearest_name

T = TypeVar("T")
PASSED = "."
LETTERS = {"c": "f", "channel": "f", "channels": "f", "feature": "f", "features": "f", "s": "f", "time": "t"}


@dataclass(frozen=True)
class Layout:
    """Mapping of the axes of a stored array to (f, *spatial).

    Parameters
    ----------
    stored : str
        One letter per stored axis: 'f' for channels, the spatial axes, '.' for a squeezed axis of size 1.
    spatial : str
        Spatial axes in the order of the view.

    Examples
    --------
    >>> layout = Layout("xyf", "yx")
    >>> layout.shape((5, 4, 2)), layout.where((slice(0, 1), slice(0, 3), slice(2, 5)))
    ((2, 4, 5), (slice(2, 5, None), slice(0, 3, None), slice(0, 1, None)))
    """

    stored: str
    spatial: str

    @property
    def names(self) -> str:
        """Axis letters of the view: f, then the spatial axes."""
        return "f" + self.spatial

    @property
    def _order(self) -> list[int]:
        """Index of each axis of the view among the stored axes that are not squeezed."""
        unsqueezed = self.stored.replace(PASSED, "")
        return [unsqueezed.index(a) for a in self.names if a in unsqueezed]

    def per_axis(self, values: Sequence[T], missing: T) -> tuple[T, ...]:
        """Reorder values per stored axis to values per axis of the view."""
        known = dict(zip(self.stored, values, strict=True))
        return tuple(known.get(a, missing) for a in self.names)

    def per_stored(self, values: Sequence[T], passed: T) -> tuple[T, ...]:
        """Reorder values per axis of the view to values per stored axis."""
        known = dict(zip(self.names, values, strict=True))
        return tuple(known.get(a, passed) for a in self.stored)

    def shape(self, stored: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the view of an array of shape `stored`."""
        return self.per_axis([int(n) for n in stored], 1)

    def where(self, index: Sequence[slice]) -> tuple[slice, ...]:
        """Convert slices into the view to slices into the stored array."""
        return self.per_stored(index, slice(0, 1))

    def view(self, block: np.ndarray) -> np.ndarray:
        """Return a stored block in the order of the view, without a copy."""
        passed = tuple(i for i, a in enumerate(self.stored) if a == PASSED)
        block = np.squeeze(block, passed).transpose(self._order)
        return block if "f" in self.stored else block[None]

    def unview(self, block: np.ndarray) -> np.ndarray:
        """Return a block of the view in the stored order; the inverse of :meth:`view`."""
        block = block if "f" in self.stored else block[0]
        passed = tuple(i for i, a in enumerate(self.stored) if a == PASSED)
        return np.expand_dims(block.transpose(np.argsort(self._order)), passed)


def letters(names: Sequence[Hashable] | None) -> str | None:
    """Return letters for axis names as files and xarray have them; None if they cannot be interpreted.

    Examples
    --------
    >>> letters(["T", "channel", "z", "Y", "X"]), letters(["dim_0", "dim_1"])
    ('tfzyx', None)
    """
    if names is None:
        return None
    lower = [str(n).lower() for n in names]
    found = [LETTERS.get(n, n) for n in lower]
    if not set(found) & set("zyx") or any(len(a) != 1 for a in found) or len(set(found)) < len(found):
        return None
    return "".join(found)


def layout_of(
    shape: Sequence[int], named: str | None, spatial: str, label: str, given: bool = False, stack: bool = True
) -> Layout:
    """Return the layout of an array.

    Parameters
    ----------
    shape : sequence of int
        Of the stored array.
    named : str, optional
        Its axes; default: (*spatial) or (f, *spatial), for 2-D `spatial` also (f, z, *spatial).
    spatial : str
        Spatial axes of the network.
    label : str
        Name of the array in errors.
    given : bool
        Whether the user named the axes. Then every axis has to be used; extra axes of size 1 are allowed only if
        the file names them.
    stack : bool
        Whether the view may get one more leading spatial axis: that of a stack of images for a 2-D network.

    Raises
    ------
    InputTypeError
        If `named` is not a string.
    ArgumentError
        If the names do not match the axes.
    ShapeError
        If an axis is missing, or an extra one has a size other than 1.
    """
    if named is not None and not isinstance(named, str):
        raise InputTypeError("not axis names", where="axes", got=named, expected="text, e.g. 'zyxc'")
    ndim = len(shape)
    spare = next((a for a in "zyx" if a not in spatial), "z")
    if named is None:
        forms = [spatial, "f" + spatial, *(["f" + spare + spatial] if stack and len(spatial) == 2 else [])]
        fitting = next((form for form in forms if len(form) == ndim), None)
        if fitting is None:
            raise ShapeError(
                "the wrong number of axes",
                where=label,
                got=f"shape {tuple(shape)}",
                expected=f"{' or '.join(forms)}, or axes= with a letter for each axis",
            )
        named = fitting
    said = named
    if given:
        named = "".join(LETTERS.get(a, a) for a in named.lower())
    known = set("f" + spatial + "zyx")
    wanted = f"an order of {spatial!r}, with or without 'c'"
    if len(named) != ndim or len(set(named)) != ndim or (given and set(named) - known):
        odd = sorted(set(named) - known)
        raise ArgumentError(
            "time and other axes are not predicted: choose one index along it"
            if odd
            else "axes does not name each axis once",
            where=label,
            got=f"axes {said!r} for shape {tuple(int(n) for n in shape)}",
            expected=wanted if not odd else f"{wanted}, without {', '.join(map(repr, odd))}",
            nearest=nearest_name(said.lower(), _orders(spatial, ndim)),
        )
    missing = [a for a in spatial if a not in named]
    if missing:
        raise ShapeError(f"no axis {', '.join(missing)}", where=label, got=f"axes {said!r}", expected=wanted)
    extra = [a for a in named if a in "zyx" and a not in spatial] if stack and len(spatial) == 2 else []
    view = "".join(extra) + spatial
    passed = [a for a in named if a != "f" and a not in view]
    for a in passed:
        size = shape[named.index(a)]
        if size != 1:
            raise ShapeError(
                "time and other axes are not predicted: choose one index along it",
                where=label,
                got=f"axis {a!r} of size {size}",
                expected=wanted,
            )
    return Layout("".join(PASSED if a in passed else a for a in named), view)


def check_spatial(spatial: Any, label: str) -> None:
    """Raise InputTypeError or ArgumentError unless `spatial` names every spatial axis once, by a letter."""
    if not isinstance(spatial, str):
        raise InputTypeError("not axis names", where="spatial", got=spatial, expected="text, e.g. 'zyx'")
    if not spatial or len(set(spatial)) != len(spatial) or set(spatial) & set(f"fc{PASSED}"):
        raise ArgumentError("not a valid axis order", where=label, got=spatial, expected="e.g. 'zyx'")


def _orders(spatial: str, ndim: int) -> list[str]:
    return [form for form in (spatial, "c" + spatial, spatial + "c") if len(form) == ndim]


def checked_index(where: Any, shape: Sequence[int], label: str, steps: bool = False) -> tuple[slice, ...]:
    """Normalise an index into an array of shape `shape` to slices with start, stop and step.

    Parameters
    ----------
    where : tuple of slice
        Trailing axes may be omitted.
    shape : sequence of int
    label : str
        Name of the array in errors.
    steps : bool
        Whether steps other than 1 are allowed.

    Raises
    ------
    ShapeError
        For anything but slices within the shape.

    Examples
    --------
    >>> checked_index((slice(1, 3),), (4, 5), "raw")
    (slice(1, 3, 1), slice(0, 5, 1))
    """
    items = where if isinstance(where, tuple) else (where,)
    if len(items) > len(shape):
        raise ShapeError("too many slices", where=label, got=len(items), expected=f"at most {len(shape)}")
    checked = []
    for item, n in zip([*items, *[slice(None)] * (len(shape) - len(items))], shape, strict=True):
        if not isinstance(item, slice):
            raise ShapeError("is indexed by slices only", where=label, got=repr(item), expected="slices")
        if not all(end is None or is_whole(end) for end in (item.start, item.stop, item.step)):
            raise ShapeError("a slice without whole numbers", where=label, got=repr(item), expected="integers")
        start = 0 if item.start is None else int(item.start)
        stop, step = n if item.stop is None else int(item.stop), 1 if item.step is None else int(item.step)
        if not 0 <= start <= stop <= n or step < 1 or (step > 1 and not steps):
            raise ShapeError(
                "a slice outside the volume" if step == 1 else "a slice with steps",
                where=label,
                got=f"{start}:{stop}:{step}",
                expected=f"within 0:{n}, step 1",
            )
        checked.append(slice(start, stop, step))
    return tuple(checked)
