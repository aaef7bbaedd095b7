"""Atomic creation of files and folders that can be recognised after a kill.

Before anything exists, the creator records traces: a token that names the temporary file, then inode and modification
time of that file, which do not change when it is renamed to its target. A target with the recorded inode and time has
not been written to since. As records can be forged, the target is removed only if it also equals what would be
recreated and holds no data yet.
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
"""Records a trace of an output, durably."""
TOKEN = re.compile(r"[0-9a-f]{32}")
BLOCK = 1 << 20


def new_token(note: Note) -> str:
    """Return a unique name, after recording it."""
    token = uuid.uuid4().hex
    note(token)
    return token


def tokens(traces: Collection[str]) -> list[str]:
    """Return the traces that are tokens."""
    return [trace for trace in traces if TOKEN.fullmatch(trace)]


def trace_of(path: Path) -> str:
    """Return inode and modification time: a rename keeps them, a write changes them."""
    found = path.lstat()
    return f"{found.st_ino}:{found.st_mtime_ns}"


def was_fresh(path: Path, traces: Collection[str]) -> bool:
    """Return whether a file is a recorded one, even if it has been written to."""
    number = f"{path.lstat().st_ino}:"
    return any(trace.startswith(number) for trace in traces)


@contextmanager
def fresh(target: Path, note: Note, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path for a new file or folder; on success it is renamed to the target, unless that exists.

    Parameters
    ----------
    target : Path
    note : callable
    folder : Path, optional
        Where it is created, on the same file system; default: beside the target.
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
    """Remove the remains of an interrupted creation; return whether the target itself was removed.

    Parameters
    ----------
    target : Path
    traces : collection of str
        Recorded traces.
    is_new : callable
        Returns whether the target is what would be created, with nothing written into it.
    folder : Path, optional
        As for :func:`fresh`.
    """
    left = [_half_made(folder or target.parent, token) for token in tokens(traces)]
    named = bool(left) and os.path.lexists(target) and trace_of(target) in traces and is_new()
    for place in left:
        _remove(place)
    if named:
        # Removing a folder takes several steps: a kill in between must not leave a part of it at the target.
        target.rename(left[0])
        _remove(left[0])
        fsync(target.parent)
    return named


def _half_made(folder: Path, token: str) -> Path:
    return folder / f".{token}.tmp"


def is_blank(path: Path, start: int, stop: int) -> bool:
    """Return whether a range of a file is all zeros; holes are not read."""
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
