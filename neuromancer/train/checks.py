"""Checks of single values: whole numbers, finite numbers, switches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, UnknownNameError, nearest_name


def whole(value: Any, name: str, node: str, least: int = 0) -> int:
    """Return a whole number of at least `least`; raise ArgumentError otherwise.

    Examples
    --------
    >>> whole(np.int16(3), "n_steps", "Trainer", least=1)
    3
    """
    if is_switch(value) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(
            f"unusable {name}",
            node=node,
            got=value,
            expected=f"a whole number of at least {least}",
            nearest=_nearest_whole(value, least),
        )
    return int(value)


def amount(value: Any, name: str, node: str, least: float = 0.0, infinite: bool = False) -> float:
    """Return a number of at least `least`; raise ArgumentError otherwise, also for NaN.

    Infinity is accepted only where it means "no limit".

    Examples
    --------
    >>> amount(2, "sigma", "Noise")
    2.0
    """
    real = not is_switch(value) and isinstance(value, (int, float, np.integer, np.floating))
    if not real or not value >= least or (math.isinf(value) and not infinite):
        raise ArgumentError(
            f"unusable {name}",
            node=node,
            got=value,
            expected=f"a {'' if infinite else 'finite '}number, at least {least:g}",
        )
    return float(value)


def switch(value: Any, name: str, node: str) -> bool:
    """Return True or False, also for 1 or 0; raise ArgumentError otherwise, as any string would count as true.

    Examples
    --------
    >>> switch(0, "plots", "Trainer")
    False
    """
    if not is_switch(value) and not (isinstance(value, (int, np.integer)) and value in (0, 1)):
        raise ArgumentError(f"unusable {name}", node=node, got=value, expected="True or False")
    return bool(value)


def is_switch(value: Any) -> bool:
    """Whether a value is a bool, which is an int to Python."""
    return isinstance(value, (bool, np.bool_))


def mapping(value: Any, name: str, node: str, of: str) -> dict[str, Any]:
    """Return a copy of a dict with string keys; raise InputTypeError otherwise.

    Examples
    --------
    >>> mapping({"lr": 0.1}, "optimiser_params", "Trainer", "numbers by name")
    {'lr': 0.1}
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputTypeError(f"unusable {name}", node=node, got=repr(value)[:200], expected=f"a dict of {of}")
    return dict(value)


def known(names: Iterable[Any], allowed: Iterable[str], problem: str, node: str) -> None:
    """Raise UnknownNameError, which suggests the nearest name, unless all names are allowed."""
    allowed = list(allowed)
    for name in names:
        if name not in allowed:
            raise UnknownNameError(
                problem, node=node, got=name, expected=f"one of {allowed}", nearest=nearest_name(name, allowed)
            )


def _nearest_whole(value: Any, least: int) -> int | None:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not is_switch(value) and np.isfinite(value)
    return max(least, round(float(value))) if real else None
