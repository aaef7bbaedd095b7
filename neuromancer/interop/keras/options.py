"""Options of Keras layers, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuromancer.errors import TranslationError, short

LARGEST = 1 << 31
MOST = 1e38
"""Largest number, which float32 can hold."""
Ends = tuple[tuple[int, int], ...]


def is_number(value: Any) -> bool:
    """Return whether a value is a number that float32 can hold."""
    return type(value) in (int, float) and abs(value) <= MOST


@dataclass(frozen=True)
class Options:
    """Options of a layer by name, of which none is believed without a check.

    Attributes
    ----------
    layer, kind : str
        Name and class of the layer, for errors.
    values : mapping of str to object
    """

    layer: str
    kind: str
    values: Mapping[str, Any]

    @property
    def where(self) -> str:
        """Name and class."""
        return f"{self.layer} ({self.kind})"

    @property
    def ndim(self) -> int:
        """Number of spatial axes, which the class says."""
        return next((n for n in (1, 2, 3) if f"{n}D" in self.kind), 0)

    def refuse(self, problem: str, got: Any = None, expected: Any = None, nearest: Any = None) -> TranslationError:
        """Return an error that names the layer."""
        shown = None if got is None else short(got if isinstance(got, str) else repr(got))
        return TranslationError(problem, where=self.where, got=shown, expected=expected, nearest=nearest)

    def integer(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Return an integer."""
        value = self.values.get(key, default)
        if type(value) is not int or not least <= value < LARGEST:
            raise self.refuse(f"{key} must be an integer", value, f"at least {least}")
        return value

    def ints(self, key: str, default: int | None = None, least: int = 1, ndim: int | None = None) -> tuple[int, ...]:
        """Return one integer per spatial axis; a single one stands for all."""
        ndim = self.ndim if ndim is None else ndim
        value = self.values.get(key)
        value = default if value is None else value
        several = value if isinstance(value, list) else [value] * ndim
        if len(several) == 1:
            several = several * ndim
        if len(several) != ndim or not all(type(n) is int and least <= n < LARGEST for n in several):
            raise self.refuse(f"{key} must hold an integer for every axis", value, f"{ndim} of at least {least}")
        return tuple(several)

    def ends(self, key: str) -> Ends:
        """Return numbers of voxels at both ends of every spatial axis."""
        value = self.values.get(key)
        if isinstance(value, int):
            value = [value] * self.ndim
        if self.ndim == 1 and isinstance(value, list) and len(value) == 2:
            value = [value]
        pairs = [[n, n] if isinstance(n, int) else n for n in value] if isinstance(value, list) else []
        right = [p for p in pairs if isinstance(p, list) and len(p) == 2]
        if len(right) != self.ndim or not all(type(n) is int and 0 <= n < LARGEST for p in right for n in p):
            raise self.refuse(f"{key} must hold two integers for every axis", value, "e.g. [[1, 1], [1, 1]]")
        return tuple((a, b) for a, b in right)

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number."""
        value = self.values.get(key, default)
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            value = value["config"].get("value")  # an array of NumPy without axes
        if not is_number(value):
            raise self.refuse(f"{key} must be a number", value)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return a bool."""
        value = self.values.get(key, default)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self.refuse(f"{key} must be true or false", value)
        return value

    def word(self, key: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return one of some words."""
        value = self.values.get(key, default)
        value = default if value is None else value
        if value not in allowed:
            raise self.refuse(f"{key} has no counterpart", value, f"one of {allowed}")
        return str(value)

    def axes(self, default: int = -1) -> list[int]:
        """Return the option `axis` as a list."""
        value = self.values.get("axis", default)
        several = value if isinstance(value, list) else [value]
        if not several or not all(type(n) is int and abs(n) < 16 for n in several):
            raise self.refuse("axis must be an integer, or several", value)
        return several
