"""Other libraries for which models leave: a slot for the modules that know them, which are built on models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuromancer.errors import MissingDependencyError

EXPORTERS: dict[str, Callable[..., Any]] = {}
"""Functions of :mod:`neuromancer.interop.export`, which it enters here when it is imported."""


def exporter(name: str) -> Callable[..., Any]:
    """Return a function by its name.

    Raises
    ------
    MissingDependencyError
        If :mod:`neuromancer.interop.export` has not been imported, as ``import neuromancer`` does.
    """
    try:
        return EXPORTERS[name]
    except KeyError:
        raise MissingDependencyError(
            "the modules that know other libraries are not imported", where=name, expected="import neuromancer"
        ) from None
