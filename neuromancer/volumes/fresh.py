"""New files and folders: there whole or not at all, and known again if whoever made them was killed.

Whoever makes a result writes down, before anything exists, what will be noted here: a token, after which the place of
the half-made file is named, and then the number and time of the file, which it keeps when it gets its name. What is
found later under that name and with that number and time has not been written to since. Notes can be forged, so that it
is removed only if it is also what would be made anew, and holds nothing yet.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from neuromancer.files import fsync, publish

Note = Callable[[str], None]
"""Keeps what is said of an output, durably."""
TOKEN = re.compile(r"[0-9a-f]{32}")
BLOCK = 1 << 20


def new_token(note: Note) -> str:
    """A name that nothing has yet, noted."""
    token = uuid.uuid4().hex
    note(token)
    return token


def tokens(traces: Collection[str]) -> list[str]:
    """Those of the notes that are tokens."""
    return [trace for trace in traces if TOKEN.fullmatch(trace)]


def trace_of(path: Path) -> str:
    """What a new file keeps when it gets its name, and loses when something is written into it."""
    found = path.lstat()
    return f"{found.st_ino}:{found.st_mtime_ns}"


def was_fresh(path: Path, traces: Collection[str]) -> bool:
    """Whether a file is one that was noted, also if something has been written into it."""
    number = f"{path.lstat().st_ino}:"
    return any(trace.startswith(number) for trace in traces)


@contextmanager
def fresh(target: Path, note: Note, folder: Path | None = None) -> Iterator[Path]:
    """A place for a new file or folder, which gets its name when the block ends well, unless that is taken.

    Parameters
    ----------
    target : Path
    note : callable
    folder : Path, optional
        Where it is made, on the same file system; by default beside the target.
    """
    new = _half_made(folder or target.parent, new_token(note))
    try:
        yield new
        fsync(new)
        note(trace_of(new))
        publish(new, target)
    finally:
        _remove(new)


def discard_fresh(
    target: Path, traces: Collection[str], is_new: Callable[[], bool], folder: Path | None = None
) -> bool:
    """Remove what is left of a file or folder that was being made; whether it had its name already.

    Parameters
    ----------
    target : Path
    traces : collection of str
        What was noted.
    is_new : callable
        Whether the target is what would be made, and nothing has been written into it.
    folder : Path, optional
        As for :func:`fresh`.
    """
    left = [_half_made(folder or target.parent, token) for token in tokens(traces)]
    named = bool(left) and os.path.lexists(target) and trace_of(target) in traces and is_new()
    for place in left:
        _remove(place)
    if named:
        # Removing a folder takes several steps: a kill between them must not leave a part of it under its name.
        target.rename(left[0])
        _remove(left[0])
        fsync(target.parent)
    return named


def _half_made(folder: Path, token: str) -> Path:
    return folder / f".{token}.tmp"


def is_blank(path: Path, start: int, stop: int) -> bool:
    """Whether a part of a file is 0 everywhere; of what was never written nothing is read."""
    with path.open("rb", buffering=0) as file:
        while start < stop:
            try:
                start = file.seek(start, os.SEEK_DATA) if hasattr(os, "SEEK_DATA") else file.seek(start)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing was written from there on
                    return True
                raise
            block = file.read(max(0, min(BLOCK, stop - start)))
            if not block or block.strip(b"\0"):
                return not block
            start += len(block)
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
