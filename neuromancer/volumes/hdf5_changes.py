"""Changes of an HDF5 file that holds something already: made as a whole, or undone.

The library changes the index of a file in a dozen places, one after the other. Here it changes a copy of these places
in memory, and appends to the file what is new. What stands in these places is then put into a file ``.TOKEN.undo``
beside it before they are overwritten: a kill in between costs nothing, as the next call puts it back.
"""

from __future__ import annotations

import base64
import errno
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py

from neuromancer.errors import FileError
from neuromancer.files import fsync, replacing

try:
    import fcntl
except ImportError:  # not on Windows, where HDF5 has no locks that others see either
    fcntl = None  # type: ignore[assignment]

PAGE = 4096


@contextmanager
def changing(path: Path, token: str) -> Iterator[Any]:
    """The open file, for changes that are in it when the block ends well, and not at all if it does not.

    Parameters
    ----------
    path : Path
    token : str
        Names the file with what was there before.

    Raises
    ------
    OSError
        If another process has the file open.
    """
    if _is_open_here(path) or not hasattr(os, "pwrite"):  # what the library knows of the file would not be true
        with h5py.File(path, "r+") as file:
            yield file
        return
    with path.open("r+b", buffering=0) as raw:
        _lock(raw)
        overlay = _Overlay(raw)
        try:
            with h5py.File(overlay, "r+") as file:
                # the superblock changes with whatever is put into the file: what it says tells whether others did
                superblock = file.userblock_size // PAGE
                _write_undo(_undo(path, token), overlay, {superblock})
                yield file
            changed = [k for k, page in overlay.pages.items() if page != overlay.old(k)]
            _write_undo(_undo(path, token), overlay, {superblock, *changed})
            for k in changed:
                _put(raw, overlay.pages[k], k * PAGE)
            os.fsync(raw.fileno())
        except BaseException as error:
            raw.close()
            roll_back(path, token)
            raise overlay.failure or error from error  # the library makes an error of its own of an interrupt
    _undo(path, token).unlink()
    fsync(path.parent)


def roll_back(path: Path, token: str) -> None:
    """Put a file back to what it was before a change that did not come to its end; nothing to do for others.

    Raises
    ------
    FileError
        If somebody else has changed it since.
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
        raise FileError("is not what was left of a change", node=str(undo), expected="no such file") from error
    with path.open("r+b", buffering=0) as raw:
        _lock(raw)
        if any(_get(raw, k * PAGE, len(old)) not in (old, new) for k, old, new in pages):
            raise FileError(
                "has been changed since an array that was being added was left half made",
                node=str(path),
                expected=f"the file as it was; or remove {undo}",
            )
        for k, old, _ in pages:
            _put(raw, old, k * PAGE)
        os.ftruncate(raw.fileno(), size)
        os.fsync(raw.fileno())
    undo.unlink()
    fsync(path.parent)


class _Overlay(io.RawIOBase):
    """A file whose pages stay as they are: new ones are kept here, what lies behind the old end is written."""

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self.raw, self.at = raw, 0
        self.size = self.end = os.fstat(raw.fileno()).st_size
        self.pages: dict[int, bytearray] = {}
        self.failure: BaseException | None = None

    def old(self, k: int) -> bytes:
        """What the file holds in a page."""
        return _get(self.raw, k * PAGE, min(PAGE, self.size - k * PAGE))

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.end)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        with self._noting():
            return self._readinto(buffer)

    def write(self, data: Any) -> int:
        with self._noting():
            return self._write(data)

    def truncate(self, size: int | None = None) -> int:
        wanted = self.at if size is None else size
        with self._noting():
            if wanted > self.end:  # never shorter: what is cut off could not be put back
                os.ftruncate(self.raw.fileno(), wanted)
                self.end = wanted
        return wanted

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.failure = self.failure or error
            raise

    def _readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = bytearray(_get(self.raw, self.at, len(view)))
        for k, page in self.pages.items():
            first, stop = max(self.at, k * PAGE), min(self.at + len(data), k * PAGE + len(page))
            if first < stop:
                data[first - self.at : stop - self.at] = page[first - k * PAGE : stop - k * PAGE]
        view[: len(data)] = data
        self.at += len(data)
        return len(data)

    def _write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        begin = self.at
        while self.at < min(begin + len(view), self.size):
            k = self.at // PAGE
            page = self.pages.setdefault(k, bytearray(self.old(k)))
            n = min(k * PAGE + len(page), begin + len(view)) - self.at
            page[self.at - k * PAGE : self.at - k * PAGE + n] = view[self.at - begin : self.at - begin + n]
            self.at += n
        if self.at < begin + len(view):
            _put(self.raw, view[self.at - begin :], self.at)
            self.at = begin + len(view)
        self.end = max(self.end, self.at)
        return len(view)


def _undo(path: Path, token: str) -> Path:
    return path.with_name(f".{token}.undo")


def _write_undo(undo: Path, overlay: _Overlay, numbers: set[int]) -> None:
    pages = [
        [k, base64.b64encode(overlay.old(k)).decode(), base64.b64encode(overlay.pages.get(k, overlay.old(k))).decode()]
        for k in sorted(numbers)
    ]
    with replacing(undo) as new:
        new.write_text(json.dumps({"size": overlay.size, "pages": pages}))


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
    """Take the lock that the library takes, where the file system has locks."""
    try:
        if fcntl is not None:
            fcntl.flock(raw.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise OSError(error.errno, "open in another process") from error


def _is_open_here(path: Path) -> bool:
    """Whether this process has the file open, by whatever name."""
    with suppress(OSError, RuntimeError, ValueError):
        for number in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
            opened = Path(os.fsdecode(h5py.h5f.get_name(number)))
            if opened.exists() and opened.samefile(path):
                return True
    return False
