"""One backend for all processes that predict parts of a result, and for those that continue it after a restart."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from neuromancer.config import BACKENDS
from neuromancer.files import publish, read_small, temporary_of

NAME = "backend"
"""Name of the file, next to the journal."""
LONGEST = 64
"""Maximum size of the file in bytes."""


def agreed(folder: Path, choice: str | None) -> str | None:
    """Return the backend that the first process recorded, or record `choice`, if that is not None.

    Backends differ by rounding. Where the record cannot be written or read, every process goes by its own choice.

    Parameters
    ----------
    folder : Path
        Folder of the journal.
    choice : str, optional
        The backend that this process would choose.
    """
    path = folder / NAME
    if choice is not None:
        new = temporary_of(path)
        with suppress(OSError):  # FileExistsError: another process was first
            try:
                with new.open("x") as file:
                    file.write(choice)
                publish(new, path)
            finally:
                new.unlink(missing_ok=True)
    with suppress(OSError, ValueError):
        found = read_small(path, LONGEST).decode()
        return found if found in BACKENDS else choice
    return choice
