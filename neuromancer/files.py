"""Atomic file replacement that preserves the mode, owner and location of the file replaced."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neuromancer.errors import FileError, naming
from neuromancer.places import require_replaceable

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
"""Errors of file systems without hard links; EACCES and EPERM also where a system policy forbids them."""


def followed(path: str | os.PathLike[str]) -> Path:
    """Resolve the symbolic links of a path; the target need not exist.

    Raises
    ------
    FileError
        For circular links or an invalid name.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "link").symlink_to("elsewhere.npy")
    >>> followed(folder / "link") == folder / "elsewhere.npy"
    True
    """
    place = Path(path)
    try:
        for _ in range(40):
            if not stat.S_ISLNK(place.lstat().st_mode):
                return place
            place = place.parent / place.readlink()
    except FileNotFoundError:
        return place
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError("not a usable path", where=str(path), got=reason) from error
    raise FileError("a circular symbolic link", where=str(path), expected="a file, or a link to one")


@contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[bool]:
    """Lock a folder within the block; yield whether it is free: False if another process, or another block, has it.

    A process that is killed leaves nothing behind. Always free where there are no such locks: on Windows, and on some
    network file systems.

    Raises
    ------
    FileError
        If the folder cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with locked(tempfile.mkdtemp()) as free:
    ...     free
    True
    """
    if fcntl is None:
        yield True
        return
    with naming(folder, "the folder cannot be opened"):
        handle = os.open(folder, os.O_RDONLY)
    try:
        free = True
        with suppress(OSError):  # no locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free = False
        yield free
    finally:
        os.close(handle)


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk; ignore one that no longer exists."""
    if os.name != "posix" and path.is_dir():
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(new: Path, target: Path) -> None:
    """Give a finished file its final name durably, without overwriting anything.

    Raises
    ------
    FileExistsError
        If the name is taken; what has it is not changed.
    """
    try:
        os.link(new, target)
        new.unlink()
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        new.rename(target)
    fsync(target.parent)


def temporary_of(target: Path) -> Path:
    """Return an unused temporary name next to the file to be written."""
    start = target.name.encode(errors="replace")[:180].decode(errors="ignore")  # file names are limited to 255 bytes
    return target.with_name(f".{start}.{uuid.uuid4().hex}.tmp")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new file that replaces another one, with its mode and owner, if the block succeeds.

    Symbolic links are followed and kept. If there is no file to replace, the umask determines the mode. If the block
    fails, the old file is unchanged.

    Yields
    ------
    Path
        Next to the file to replace; does not exist yet.

    Raises
    ------
    FileError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(path) as new:
    ...     _ = new.write_text("whole")
    >>> path.read_text()
    'whole'
    """
    target = followed(path)
    require_replaceable(target)
    new = temporary_of(target)
    with naming(path):
        try:
            yield new
            fsync(new)
            _take_mode(new, target)
            new.replace(target)
            fsync(target.parent)
        finally:
            new.unlink(missing_ok=True)


def _take_mode(new: Path, old: Path) -> None:
    try:
        found = old.stat()
    except FileNotFoundError:
        return
    for owner in ((found.st_uid, -1), (-1, found.st_gid)) if hasattr(os, "chown") else ():
        with suppress(OSError):  # only root may change the owner, and only members of a group may assign it
            os.chown(new, *owner)
    new.chmod(stat.S_IMODE(found.st_mode))


def write_whole(path: str | os.PathLike[str], content: bytes | bytearray | memoryview) -> None:
    """Write a file atomically; see :func:`replacing`.

    Raises
    ------
    FileError
        If it cannot be written; an existing file is then unchanged.
    """
    with replacing(path) as new, new.open("xb") as file:
        file.write(content)


def read_small(path: Path, limit: int) -> bytes:
    """Return the content of a small regular file, without blocking on a pipe or device.

    Raises
    ------
    OSError
        If it does not exist, is not a regular file, is larger than `limit` bytes, or is not readable.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return content
