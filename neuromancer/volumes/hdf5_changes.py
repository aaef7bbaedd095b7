"""Atomic changes of existing HDF5 files, with an undo log.

The library modifies the index of a file in a dozen places, one after the other. Here it modifies a copy of those pages
in memory. Their old content goes into an undo file ``.TOKEN.undo`` beside the file before they are overwritten: after
a kill in between, the next call restores it.
"""

from __future__ import annotations

import base64
import errno
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from neuromancer.errors import FileError
from neuromancer.files import fsync, replacing

try:
    import fcntl
except ImportError:  # Windows, where HDF5 takes no locks that other processes see either
    fcntl = None  # type: ignore[assignment]

PAGE = 4096


def change(path: Path, token: str, edit: Callable[[Any], None]) -> None:
    """Change a file atomically: complete on return; undone after an error, or after a kill and :func:`roll_back`.

    Parameters
    ----------
    path : Path
    token : str
        Names the undo file.
    edit : callable
        Called with the open file; may add and remove objects, but not write values of existing arrays.

    Raises
    ------
    OSError
        If another process has the file open, or on a system error.
    """
    if _is_open_here(path) or not hasattr(os, "pwrite"):  # the library's cache of the open file would be stale
        with h5py.File(path, "r+") as file:
            edit(file)
        return
    with path.open("r+b", buffering=0) as raw:
        _lock(raw)
        overlay = _Overlay(raw)
        # An exception inside a callback of the library crashes the process, and interrupts go to the main thread.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_edit, overlay, edit).result()
        if overlay.failure is not None:
            raise overlay.failure
        try:
            _write_undo(_undo(path, token), overlay)
            os.ftruncate(raw.fileno(), overlay.end)
            for k, page in sorted(overlay.pages.items(), reverse=True):
                _put(raw, page, k * PAGE)
            os.fsync(raw.fileno())
        except BaseException:
            raw.close()
            roll_back(path, token)
            raise
    _undo(path, token).unlink()
    fsync(path.parent)


def _edit(overlay: _Overlay, edit: Callable[[Any], None]) -> None:
    with h5py.File(overlay, "r+") as file:
        overlay.superblock = file.userblock_size // PAGE
        edit(file)


def roll_back(path: Path, token: str) -> None:
    """Restore a file after an interrupted change; do nothing if there was none.

    Raises
    ------
    FileError
        If it has been changed by others since.
    """
    undo = _undo(path, token)
    for left in path.parent.glob(f"..{token}.undo.*.tmp"):
        left.unlink(missing_ok=True)
    if not undo.exists():
        return
    try:
        record = json.loads(undo.read_bytes())
        pages = [(int(k), base64.b64decode(old), base64.b64decode(new)) for k, old, new in record["pages"]]
        size = int(record["size"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileError("is not a valid undo file", where=str(undo), expected="no such file") from error
    with path.open("r+b", buffering=0) as raw:
        _lock(raw)
        if any(_get(raw, k * PAGE, len(old)) not in (old, new) for k, old, new in pages):
            raise FileError(
                "has been changed since adding an array to it was interrupted",
                where=str(path),
                expected=f"the file as it was then; or remove {undo}",
            )
        for k, old, _ in pages:
            _put(raw, old, k * PAGE)
        os.ftruncate(raw.fileno(), size)
        os.fsync(raw.fileno())
    undo.unlink()
    fsync(path.parent)


class _Overlay(io.RawIOBase):
    """A file that is not modified: writes go to copies of its pages in memory.

    Attributes
    ----------
    superblock : int
        Page of the superblock, which changes with every change of the file.
    failure : OSError or None
        Raised by reading the file; the library gets zeros then.
    """

    superblock = 0

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self.raw, self.at = raw, 0
        self.size = self.end = os.fstat(raw.fileno()).st_size
        self.pages: dict[int, bytearray] = {}
        self.failure: OSError | None = None

    def old(self, k: int) -> bytes:
        """Return the old content of a page; shorter at the end of the file."""
        return _get(self.raw, k * PAGE, min(PAGE, max(0, self.size - k * PAGE)))

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.end)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        for begin, stop, k, offset in self._parts(len(view)):
            page = self.pages.get(k)
            view[begin:stop] = (self._old_page(k) if page is None else page)[offset : offset + stop - begin]
        self.at += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for begin, stop, k, offset in self._parts(len(view)):
            if k not in self.pages:
                self.pages[k] = bytearray(self._old_page(k))
            self.pages[k][offset : offset + stop - begin] = view[begin:stop]
        self.at += len(view)
        self.end = max(self.end, self.at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self.end = max(self.end, self.at if size is None else size)  # what is cut off could not be restored
        return self.end

    def _parts(self, n: int) -> list[tuple[int, int, int, int]]:
        """Divide the next bytes into (begin, stop, page, offset in the page)."""
        pages = range(self.at // PAGE, (self.at + n - 1) // PAGE + 1) if n else ()
        bounds = [(max(self.at, k * PAGE), min(self.at + n, (k + 1) * PAGE), k) for k in pages]
        return [(a - self.at, b - self.at, k, a - k * PAGE) for a, b, k in bounds]

    def _old_page(self, k: int) -> bytes:
        try:
            return self.old(k).ljust(PAGE, b"\0")
        except OSError as error:
            self.failure = error
            return bytes(PAGE)


def _undo(path: Path, token: str) -> Path:
    return path.with_name(f".{token}.undo")


def _write_undo(undo: Path, overlay: _Overlay) -> None:
    """Write old and new content of all existing pages; that of the superblock reveals changes by others."""
    numbers = {overlay.superblock, *overlay.pages}
    pages = []
    for k in sorted(k for k in numbers if k * PAGE < overlay.size):
        old = overlay.old(k)
        new = bytes(overlay.pages.get(k, old))[: len(old)]
        pages.append([k, base64.b64encode(old).decode(), base64.b64encode(new).decode()])
    with replacing(undo) as new_file:
        new_file.write_text(json.dumps({"size": overlay.size, "pages": pages}))


def _get(raw: Any, at: int, n: int) -> bytes:
    parts = []
    while n > 0 and (part := os.pread(raw.fileno(), n, at)):
        parts.append(part)
        at, n = at + len(part), n - len(part)
    return b"".join(parts)


def _put(raw: Any, data: Any, at: int) -> None:
    view = memoryview(data)
    while view:
        n = os.pwrite(raw.fileno(), view, at)
        view, at = view[n:], at + n


def _lock(raw: Any) -> None:
    """Take the same lock as the library, where the file system supports locks."""
    try:
        if fcntl is not None:
            fcntl.flock(raw.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise OSError(error.errno, "open in another process") from error


def _is_open_here(path: Path) -> bool:
    """Return whether this process has the file open under any name."""
    with suppress(OSError, RuntimeError, ValueError):
        for number in h5py.h5f.get_obj_ids():
            opened = Path(os.fsdecode(h5py.h5f.get_name(number)))
            if opened.exists() and opened.samefile(path):
                return True
    return False
