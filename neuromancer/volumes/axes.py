"""Order of axes: the stored one of a file, and the one of dense prediction, (f, *spatial)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, nearest_name

T = TypeVar("T")
PASSED = "."
LETTERS = {"c": "f", "channel": "f", "channels": "f", "feature": "f", "features": "f", "s": "f", "time": "t"}


@dataclass(frozen=True)
class Layout:
    """How the axes of a stored array become (f, *spatial).

    Parameters
    ----------
    stored : str
        One letter per stored axis: 'f' for channels, the spatial ones, '.' for an axis of size 1 that is passed over.
    spatial : str
        The spatial axes in the order of the view.

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
        """Letters of the view: f, then the spatial axes."""
        return "f" + self.spatial

    @property
    def _order(self) -> list[int]:
        """Stored axis, of those that are not passed over, for each axis of the view that is stored."""
        kept = self.stored.replace(PASSED, "")
        return [kept.index(a) for a in self.names if a in kept]

    def per_axis(self, values: Sequence[T], missing: T) -> tuple[T, ...]:
        """Values per stored axis as values per axis of the view."""
        known = dict(zip(self.stored, values, strict=True))
        return tuple(known.get(a, missing) for a in self.names)

    def per_stored(self, values: Sequence[T], passed: T) -> tuple[T, ...]:
        """Values per axis of the view as values per stored axis."""
        known = dict(zip(self.names, values, strict=True))
        return tuple(known.get(a, passed) for a in self.stored)

    def shape(self, stored: Sequence[int]) -> tuple[int, ...]:
        """Shape of the view of an array of shape `stored`."""
        return self.per_axis([int(n) for n in stored], 1)

    def where(self, index: Sequence[slice]) -> tuple[slice, ...]:
        """Slices into the stored array for slices into the view."""
        return self.per_stored(index, slice(0, 1))

    def view(self, block: np.ndarray) -> np.ndarray:
        """A stored block, in the order of the view; no copy."""
        passed = tuple(i for i, a in enumerate(self.stored) if a == PASSED)
        block = np.squeeze(block, passed).transpose(self._order)
        return block if "f" in self.stored else block[None]

    def unview(self, block: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`view`."""
        block = block if "f" in self.stored else block[0]
        passed = [i for i, a in enumerate(self.stored) if a == PASSED]
        return np.expand_dims(block.transpose(np.argsort(self._order)), passed)


def letters(names: Sequence[Hashable] | None) -> str | None:
    """Letters for the names of axes as files and xarray have them; None if they say nothing.

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
    """The layout of an array.

    Parameters
    ----------
    shape : sequence of int
        Of the stored array.
    named : str, optional
        Its axes; without them it is taken for (*spatial) or (f, *spatial), for 2-D `spatial` also (f, z, *spatial).
    spatial : str
        Axes of the network.
    label : str
        Name of the array in errors.
    given : bool
        Whether the user named the axes. Then none may be left over; of those that a file names, others of size 1 are.
    stack : bool
        Whether the view may get one spatial axis more in front: that of a stack under a 2-D network.

    Raises
    ------
    InputTypeError
        If the names are no text.
    ArgumentError
        If the names are not those of the axes.
    ShapeError
        If an axis is missing or has no place.
    """
    if named is not None and not isinstance(named, str):
        raise InputTypeError("not names of axes", where="axes", got=named, expected="text, e.g. 'zyxc'")
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
                expected=f"{' or '.join(forms)}, or axes= with the name of each",
            )
        named = fitting
    elif given:
        named = "".join(LETTERS.get(a, a) for a in named.lower())
    known = set("f" + spatial + "zyx")
    wanted = f"an order of {spatial!r}, with or without 'c'"
    if len(named) != ndim or len(set(named)) != ndim or (given and set(named) - known):
        odd = sorted(set(named) - known)
        raise ArgumentError(
            "time and other axes are not predicted: choose one point of it" if odd else "axes does not name the axes",
            where=label,
            got=f"axes {named!r} for shape {tuple(int(n) for n in shape)}",
            expected=wanted if not odd else f"{wanted}, without {', '.join(map(repr, odd))}",
            nearest=nearest_name(named, _orders(spatial, ndim)),
        )
    missing = [a for a in spatial if a not in named]
    if missing:
        raise ShapeError(f"no axis {', '.join(missing)}", where=label, got=f"axes {named!r}", expected=wanted)
    extra = [a for a in named if a in "zyx" and a not in spatial] if stack and len(spatial) == 2 else []
    view = "".join(extra) + spatial
    passed = [a for a in named if a != "f" and a not in view]
    for a in passed:
        size = shape[named.index(a)]
        if size != 1:
            raise ShapeError(
                "time and other axes are not predicted: choose one point of it",
                where=label,
                got=f"axis {a!r} of size {size}",
                expected=wanted,
            )
    return Layout("".join(PASSED if a in passed else a for a in named), view)


def _orders(spatial: str, ndim: int) -> list[str]:
    return [form for form in (spatial, "c" + spatial, spatial + "c") if len(form) == ndim]


def checked_index(where: Any, shape: Sequence[int], label: str, steps: bool = False) -> tuple[slice, ...]:
    """Slices with start, stop and step for an index within an array of shape `shape`.

    Parameters
    ----------
    where : tuple of slice
        Trailing axes may be left out.
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
            raise ShapeError("is read and written by slices", where=label, got=repr(item), expected="slices")
        start = 0 if item.start is None else int(item.start)
        stop, step = n if item.stop is None else int(item.stop), 1 if item.step is None else int(item.step)
        if not 0 <= start <= stop <= n or step < 1 or (step > 1 and not steps):
            raise ShapeError(
                "a slice outside of the volume" if step == 1 else "a slice with steps",
                where=label,
                got=f"{start}:{stop}:{step}",
                expected=f"within 0:{n}, step 1",
            )
        checked.append(slice(start, stop, step))
    return tuple(checked)
