"""Users without a home: containers run programs under numbers that no list of users has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOWHERE = "/nonexistent"


@contextmanager
def some_home() -> Iterator[None]:
    """Give a user without a home folder the name of one that does not exist, for as long as libraries are imported.

    PyTensor cannot be imported without a name. What would be kept there is not kept.

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
