"""Small helpers: conversion to floatX, seeded randomness, readable numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.arrays import as_array as as_array
from neuromancer.casts import exact_cast
from neuromancer.config import config


def as_floatX(x: Any) -> np.ndarray:
    """Convert to an array of the configured precision.

    Parameters
    ----------
    x : scalar or array-like
        Values to convert.

    Returns
    -------
    numpy.ndarray
        0-d for a scalar, else C-contiguous with x's shape; dtype ``config.floatX``.

    Raises
    ------
    ArgumentError, InputTypeError
        For a number that floatX cannot hold, and for what is no number.

    Examples
    --------
    >>> as_floatX([1, 2]).dtype.name
    'float32'
    """
    array = exact_cast(as_array(x), config.floatX, "as_floatX", "the value")
    return np.array(array) if array.ndim == 0 else np.ascontiguousarray(array)


class _Randomness:
    """The package's own generator, restarted whenever ``config.seed`` is set; NumPy's global state is never touched."""

    def __init__(self) -> None:
        self.generation = -1
        self.generator = np.random.default_rng()

    def current(self) -> np.random.Generator:
        if self.generation != config.seed_generation:
            self.generation = config.seed_generation
            self.generator = np.random.default_rng(config.seed)
        return self.generator


_randomness = _Randomness()


def rng() -> np.random.Generator:
    """Generator from which initial weights are drawn; reproducible when ``config.seed`` is set.

    Examples
    --------
    >>> from neuromancer.config import config
    >>> config.seed = 3; first = rng().random()
    >>> config.seed = 3; bool(first == rng().random())
    True
    >>> config.seed = None
    """
    return _randomness.current()


def new_seed() -> int:
    """Seed for a new random stream, drawn from :func:`rng`."""
    return int(rng().integers(2**31))


def seed(value: int | None) -> None:
    """Restart weight initialisation and the streams of nodes created from now on (same as ``config.seed = value``)."""
    config.seed = value


def as_list(value: Any) -> list | None:
    """List of `value`: lists and tuples are copied, None stays None, anything else becomes a list of one.

    Examples
    --------
    >>> as_list(3), as_list((1, 2)), as_list(None)
    ([3], [1, 2], None)
    """
    if value is None:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def pretty_string_ops(n: float) -> str:
    """Number of operations with a prefix, ``'25.2 Giga Ops'``; below a thousand still in kilo.

    Examples
    --------
    >>> pretty_string_ops(25.2e9), pretty_string_ops(300)
    ('25.2 Giga Ops', '0.3 kilo Ops')
    """
    for factor, prefix in ((1e12, "Tera"), (1e9, "Giga"), (1e6, "Mega")):
        if n >= factor:
            return f"{n / factor:.1f} {prefix} Ops"
    return f"{n / 1e3:.1f} kilo Ops"


def pretty_string_time(seconds: float) -> str:
    """Duration in hours above 4000 s, in minutes above 300 s, else in seconds.

    Examples
    --------
    >>> pretty_string_time(12), pretty_string_time(600), pretty_string_time(7200)
    ('12.0 s', '10.0 m', '2.0 h')
    """
    if seconds > 4000:
        return f"{seconds / 3600:.1f} h"
    if seconds > 300:
        return f"{seconds / 60:.1f} m"
    return f"{seconds:.1f} s"
