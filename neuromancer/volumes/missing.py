"""Parts of an image that are missing or damaged: an error, or fill value with a warning, never silently image."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import (
    ArgumentError,
    FileError,
    IncompleteWarning,
    MissingDependencyError,
    NeuromancerError,
    nearest_name,
    reason,
    shown_cause,
)

if TYPE_CHECKING:
    from neuromancer.volumes.protocol import Where
    from neuromancer.volumes.stored import Opened

CHOICES = ("error", "fill")
SHOWN = 3
"""Parts that a message lists; the others are counted."""


@dataclass(frozen=True)
class Part:
    """A part of an image that is missing or damaged.

    Parameters
    ----------
    name : str
        Which part, e.g. ``"source file s5.h5"`` or ``"page 7"``.
    reason : str
    where : tuple of slice, optional
        Voxels that it holds, in the stored order; None if they are not known.
    """

    name: str
    reason: str
    where: Where | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Filled:
    """Parts that were read as fill value, each once.

    Parameters
    ----------
    label : str
        Of the image, for the warning.

    Attributes
    ----------
    parts : dict of str to Part
        By name.
    quiet : bool
        Whether whoever reads gives the warning for all parts together.
    """

    def __init__(self, label: str) -> None:
        self.label, self.quiet = label, False
        self.parts: dict[str, Part] = {}
        self._lock = threading.Lock()

    def __call__(self, parts: Iterable[Part]) -> None:
        with self._lock:
            new = [part for part in parts if self.parts.setdefault(part.name, part) is part]
        if new and not self.quiet:
            warnings.warn(f"{self.label}: read as fill value: {listed(new)}", IncompleteWarning, stacklevel=2)

    def __reduce__(self) -> Any:
        return Filled, (self.label,)


def checked_choice(value: Any) -> str:
    """`on_missing`, if it is one of the choices.

    Examples
    --------
    >>> checked_choice("fill")
    'fill'
    """
    if value not in CHOICES:
        raise ArgumentError(
            "unknown choice",
            node="on_missing",
            got=value,
            expected=f"one of {CHOICES}",
            nearest=nearest_name(value, CHOICES),
        )
    return value


def listed(parts: Sequence[Part]) -> str:
    """The first parts, and how many more there are.

    Examples
    --------
    >>> listed([Part(f"page {k}", "cut off") for k in range(5)])
    'page 0: cut off; page 1: cut off; page 2: cut off; and 2 more'
    """
    more = [f"and {len(parts) - SHOWN} more"] if len(parts) > SHOWN else []
    return "; ".join([*map(str, parts[:SHOWN]), *more])


def require_whole(parts: Sequence[Part], label: str, on_missing: str = "error") -> None:
    """Raise FileError if parts are missing and they are not to be filled."""
    if parts and on_missing == "error":
        raise FileError(
            "parts of the image are missing or damaged",
            node=label,
            got=listed(parts),
            expected="a whole image, or on_missing='fill' to read them as fill value",
        )


def read_block(
    opened: Opened,
    key: Any,
    label: str,
    on_missing: str = "error",
    filled: Callable[[Iterable[Part]], None] = lambda parts: None,
) -> np.ndarray:
    """A block of an open array.

    Parameters
    ----------
    opened : Opened
    key : tuple of slice
    label : str
        Of the image, for errors.
    on_missing : {'error', 'fill'}
    filled : callable
        Called with the parts that are read as fill value.

    Raises
    ------
    FileError
        If the block, or with ``"fill"`` anything but a chunk of it, cannot be read; names the first chunk that fails.
    """
    where, found = whole_index(key, opened.array.shape), list[Part]()
    try:
        block = opened.read(opened.array, key)
    except Exception as error:
        _require_damage(error)
        if where is None:
            raise _unreadable(label, error, f"at {key}") from shown_cause(error)
        block = _by_chunks(opened, where, label, error, found if on_missing == "fill" else None)
    if on_missing == "fill":
        known = [p for p in opened.missing if p.where is None or where is None or overlap(p.where, where)]
        filled([*known, *found])
    return block


def _by_chunks(opened: Opened, where: Where, label: str, error: Exception, filled: list[Part] | None) -> np.ndarray:
    """The block chunk by chunk; those that cannot be read are filled and listed or, without `filled`, an error."""
    dtype = np.dtype(getattr(opened.array.dtype, "numpy_dtype", opened.array.dtype))
    block = np.full([s.stop - s.start for s in where], opened.fill, dtype)
    failed = False
    for chunk in chunks_of(where, opened.array.shape, opened.chunks):
        part = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(chunk, where, strict=True))
        inside = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, where, strict=True))
        try:
            block[inside] = opened.read(opened.array, part)
        except Exception as found:
            _require_damage(found)
            if filled is None:
                raise _unreadable(label, found, opened.name_of(chunk)) from shown_cause(found)
            if not any(p.where is not None and overlap(p.where, chunk) for p in opened.missing):
                filled.append(Part(opened.name_of(chunk), reason(found), chunk))
            failed = True
    if not failed and filled is None:
        # Every chunk can be read by itself: what failed is not a part of the image.
        raise _unreadable(label, error, shown(where)) from shown_cause(error)
    return block


def _require_damage(error: Exception) -> None:
    """Raise again what says something else than that the data cannot be read."""
    if isinstance(error, ImportError) and not isinstance(error, NeuromancerError):
        raise MissingDependencyError("needs a package that is not installed", got=str(error)) from error
    if isinstance(error, MemoryError) or (isinstance(error, NeuromancerError) and not isinstance(error, FileError)):
        raise error


def _unreadable(label: str, error: Exception, what: str) -> FileError:
    return FileError("a block cannot be read", node=label, got=f"{what}: {reason(error)}")


def whole_index(key: Any, shape: Sequence[int]) -> Where | None:
    """Slices with both ends for every axis; None for any other index.

    Examples
    --------
    >>> whole_index((slice(1, None),), (4, 5))
    (slice(1, 4, None), slice(0, 5, None))
    """
    key = key if isinstance(key, tuple) else (key,)
    if len(key) > len(shape) or any(not isinstance(s, slice) or s.step not in (None, 1) for s in key):
        return None
    key = (*key, *(slice(None),) * (len(shape) - len(key)))
    ends = [s.indices(int(n))[:2] for s, n in zip(key, shape, strict=True)]
    return tuple(slice(a, max(a, b)) for a, b in ends)


def overlap(a: Where, b: Where) -> bool:
    """Whether two regions share a voxel.

    Examples
    --------
    >>> overlap((slice(0, 2),), (slice(1, 3),)), overlap((slice(0, 2),), (slice(2, 3),))
    (True, False)
    """
    return all(s.start < t.stop and t.start < s.stop for s, t in zip(a, b, strict=True))


def chunks_of(where: Where, shape: Sequence[int], chunks: Sequence[int] | None) -> Iterator[Where]:
    """Chunks that a region touches; where the store has none, planes of the last two axes.

    Examples
    --------
    >>> list(chunks_of((slice(3, 5),), (7,), (4,)))
    [(slice(0, 4, None),), (slice(4, 7, None),)]
    """
    sizes = chunks or [1] * (len(shape) - 2) + [int(n) for n in shape[-2:]]
    axes = [
        [slice(k * c, min((k + 1) * c, int(n))) for k in range(s.start // c, -(-s.stop // c))]
        for s, c, n in zip(where, sizes, shape, strict=True)
    ]
    return product(*axes)


def shown(where: Where) -> str:
    """A region as it would be written in an index.

    Examples
    --------
    >>> shown((slice(0, 2), slice(3, 4)))
    '[0:2, 3:4]'
    """
    return f"[{', '.join(f'{s.start}:{s.stop}' for s in where)}]"
