"""Files that are there whole or not at all, with the mode, owner and place of what they replace."""

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

NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
"""What file systems without hard links say; EACCES and EPERM too, where it is the policy of the system."""


def followed(path: str | os.PathLike[str]) -> Path:
    """Where a path leads: the end of its links, whether or not anything is there yet.

    Raises
    ------
    FileError
        If its links go round in a circle, or the name cannot be one.

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
    raise FileError("a link that leads round in a circle", where=str(path), expected="a file, or a link to one")


def fsync(path: Path) -> None:
    """Have a file, or the names in a folder, put on disk; a file that is no longer there needs none."""
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
    """Give a finished file its name, durably, unless that name is taken.

    Raises
    ------
    FileExistsError
        If something has this name; it stays as it is.
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
    """A name that no file has yet, beside a file that is to be written."""
    start = target.name.encode(errors="replace")[:180].decode(errors="ignore")  # names of 255 bytes are the limit
    return target.with_name(f".{start}.{uuid.uuid4().hex}.tmp")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new file beside another one, whose place, mode and owner it takes when the block ends well.

    A link is followed and stays; a file that is new gets the mode that the umask gives. If the block fails, the old
    file is as it was.

    Yields
    ------
    Path
        Does not exist yet.

    Raises
    ------
    FileError
        If the system refuses.

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
        with suppress(OSError):  # only root may give files away, and to a group only who is in it
            os.chown(new, *owner)
    new.chmod(stat.S_IMODE(found.st_mode))


def write_whole(path: str | os.PathLike[str], content: bytes | bytearray | memoryview) -> None:
    """Write a file whole or not at all; see :func:`replacing`.

    Raises
    ------
    FileError
        If it cannot be written; an old file is then left as it was.
    """
    with replacing(path) as new, new.open("xb") as file:
        file.write(content)


def read_small(path: Path, limit: int) -> bytes:
    """Content of a regular file, without waiting for anything else that has its name.

    Raises
    ------
    OSError
        If it is not there, no regular file, larger than `limit` bytes, or may not be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return content
