"""What lower layers get from higher ones, which they must not import: the package says which modules have it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULES: dict[str, str] = {}
"""Name -> module, entered by the package itself."""


def provided(name: str) -> Any:
    """Return a class or function of a higher layer, and import its module if it has not been needed before."""
    return getattr(import_module(MODULES[name]), name)
