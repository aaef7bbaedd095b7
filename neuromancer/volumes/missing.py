"""Missing or damaged parts of an image: an error, or fill value with a warning, but never silently image data."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neuromancer.errors import (
    ArgumentError,
    FileError,
    IncompleteWarning,
    nearest_name,
)
from neuromancer.printable import printable
from neuromancer.volumes.protocol import Where

CHOICES = ("error", "fill")
SHOWN = 3
"""Maximum number of parts that a message lists; others are counted."""


@dataclass(frozen=True)
class Part:
    """A part of an image that is missing or damaged.

    Parameters
    ----------
    name : str
        E.g. ``"source file s5.h5"`` or ``"page 7"``.
    reason : str
    where : tuple of slice, optional
        Its voxels, in the stored order; None if they are unknown.
    """

    name: str
    reason: str
    where: Where | None = None

    def __str__(self) -> str:
        return printable(f"{self.name}: {self.reason}")


class Filled:
    """Record of the parts that were read as fill value, each listed once.

    Parameters
    ----------
    label : str
        Name of the image in the warning.

    Attributes
    ----------
    parts : dict of str to Part
        By name.
    quiet : bool
        Whether the caller gives a single warning for all parts.
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
    """Return `on_missing` if it is a valid choice, or raise ArgumentError.

    Examples
    --------
    >>> checked_choice("fill")
    'fill'
    """
    if not isinstance(value, str) or value not in CHOICES:
        raise ArgumentError(
            "unknown choice",
            where="on_missing",
            got=value,
            expected=f"one of {CHOICES}",
            nearest=nearest_name(value, CHOICES),
        )
    return value


def listed(parts: Sequence[Part]) -> str:
    """List the first parts, and count the others.

    Examples
    --------
    >>> listed([Part(f"page {k}", "cut off") for k in range(5)])
    'page 0: cut off; page 1: cut off; page 2: cut off; and 2 more'
    """
    more = [f"and {len(parts) - SHOWN} more"] if len(parts) > SHOWN else []
    return "; ".join([*map(str, parts[:SHOWN]), *more])


def require_whole(parts: Sequence[Part], label: str, on_missing: str = "error") -> None:
    """Raise FileError if parts are missing, unless they are to be filled."""
    if parts and on_missing == "error":
        raise FileError(
            "parts of the image are missing or damaged",
            where=label,
            got=listed(parts),
            expected="a complete image, or on_missing='fill' to read them as fill value",
        )


def shown(where: Where) -> str:
    """Format a region as an index.

    Examples
    --------
    >>> shown((slice(0, 2), slice(3, 4)))
    '[0:2, 3:4]'
    """
    return f"[{', '.join(f'{s.start}:{s.stop}' for s in where)}]"
