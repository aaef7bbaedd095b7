"""Compilation of Python functions to machine code by numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a function of a module to machine code that runs without the GIL; cached on disk where numba can write.

    numba recompiles when the file of the function itself has changed, not when an intrinsic or a constant that it takes
    from another file has. It names cache files by the qualified name, so a digest of all sources becomes part of that.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    function.__qualname__ = f"{function.__name__}_{sources_digest(Path(__file__).parent)}"
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)


@cache
def sources_digest(folder: Path) -> str:
    """Return a digest of the Python files in a folder."""
    digest = sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
