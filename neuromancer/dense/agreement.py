"""One backend for all processes that predict parts of a result, and for those that continue it after a restart."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from neuromancer.config import BACKENDS

NAME = "backend"
"""Name of the file, next to the journal."""


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
    path, partial = folder / NAME, folder / f".{NAME}.{os.getpid()}.tmp"
    if choice is not None:
        with suppress(OSError):
            partial.write_text(choice)
            with suppress(FileExistsError):
                os.link(partial, path)
        with suppress(OSError):
            partial.unlink()
    with suppress(OSError, ValueError):
        found = path.read_text()
        return found if found in BACKENDS else choice
    return choice
