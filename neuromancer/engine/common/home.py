"""Users without a home directory: containers run programs under user ids that are not in the user database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOWHERE = "/nonexistent"


@contextmanager
def some_home() -> Iterator[None]:
    """Set HOME to a directory that does not exist while libraries are imported, if the user has no home directory.

    PyTensor cannot be imported without one. Nothing is stored there.

    Examples
    --------
    >>> with some_home():
    ...     _ = Path.home()
    """
    try:
        Path.home()
        known = True
    except RuntimeError:
        known = False
        os.environ["HOME"] = NOWHERE
    try:
        yield
    finally:
        if not known:
            del os.environ["HOME"]
