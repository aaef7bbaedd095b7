"""Paths given by users: validation, the kind of thing at a path, and the content of a file whatever its extension."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Any

from neuromancer.errors import FileError, InputTypeError, reason
from neuromancer.printable import described, printable

ADDRESS = re.compile(r"([a-zA-Z0-9+.-]+::)*[a-zA-Z][a-zA-Z0-9+.-]*://")
HEAD = 64
CONTENTS = (
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (rb"\x93NUMPY", "a NumPy array (.npy)"),
    (rb"PK\x03\x04", "a zip archive, such as .npz or a zipped zarr"),
    (rb"\x1f\x8b", "a gzip-compressed file"),
    (rb"BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "a compressed file"),
    (rb"(II[*+]\x00|MM\x00[*+])", "a TIFF file"),
    (rb"\x5c\x01\x00\x00|\x00\x00\x01\x5c|\x1c\x02\x00\x00|\x00\x00\x02\x1c", "a NIfTI file"),
    (rb"NRRD\d{4}", "a NRRD file"),
    (rb"\x89PNG", "a PNG picture"),
    (rb"\xff\xd8\xff", "a JPEG picture"),
    (rb"%PDF", "a PDF document"),
    (rb"version https://git-lfs", "a git-lfs pointer instead of the file itself"),
    (rb"\s*<(!doctype html|html|\?xml)", "a web page or XML, such as an error page instead of a download"),
    (rb"neuromancer model\n", "a model file"),
)
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISREG, "a file"),
)


def is_address(path: str) -> bool:
    """Return whether a path is the URL of a remote store, such as s3://bucket/name.zarr."""
    return ADDRESS.match(path) is not None


def path_text(path: Any, what: str) -> str:
    """Return a path as a string, expanding a leading ``~``.

    Parameters
    ----------
    path : str or path
    what : str
        Name of the argument, for errors.

    Raises
    ------
    InputTypeError
        If it is not a path.
    FileError
        If it is not a valid file name.

    Examples
    --------
    >>> path_text(Path("data") / "raw.npy", "raw"), path_text("s3://bucket/a.zarr", "raw")
    ('data/raw.npy', 's3://bucket/a.zarr')
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputTypeError("is not a path", where=what, got=described(path), expected="a string or a Path")
    try:
        text = os.fsdecode(path)
    except Exception as error:  # raised by a foreign class
        raise InputTypeError("is not a path", where=what, got=f"{described(path)}: {reason(error)}") from None
    if not text or "\0" in text:
        problem = "an empty path" if not text else "a path cannot contain a null character"
        raise FileError(problem, where=what, got=printable(repr(text))[:100])
    return text if is_address(text) else os.path.expanduser(text)  # noqa: PTH111 (never fails, unlike Path's)


def local_file(path: Any, what: str) -> Path:
    """Return a path in the local file system.

    Raises
    ------
    InputTypeError, FileError
        As for :func:`path_text`; also for a URL.

    Examples
    --------
    >>> local_file("model.h5", "model").name
    'model.h5'
    """
    text = path_text(path, what)
    if is_address(text):
        raise FileError("is not in the local file system", where=what, got=text, expected="a local path")
    return Path(text)


def local_target(path: Any, what: str) -> Path:
    """Return a local path that a file may be written to: it does not exist, or is a regular file.

    Files are written under a temporary name and then renamed, which would replace a device permanently.

    Raises
    ------
    InputTypeError, FileError
        As for :func:`local_file`; also for a folder, a device, a pipe or a socket.
    """
    place = local_file(path, what)
    require_replaceable(place)
    return place


def require_replaceable(path: Path, what: str | None = None) -> None:
    """Raise FileError if a path exists and is not a regular file; errors name `what`, or the path by default."""
    found = kind_at(path)
    if found not in (None, "a file") or not path.name:
        raise FileError("cannot be written", node=what or str(path), got=found, expected="the path of a file")


def absolute(path: str, what: str) -> str:
    """Return an absolute local path; FileError if the current folder no longer exists."""
    try:
        return str(Path(path).absolute())
    except OSError as error:
        raise FileError("the current folder no longer exists", where=what, got=reason(error)) from None


def status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the ``stat`` result of a path; None if it does not exist.

    Raises
    ------
    FileError
        If it cannot be determined: a parent folder is not readable, or the name is too long.
    """
    try:
        return os.stat(path)  # noqa: PTH116 (accepts any name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        named = FileError("cannot be accessed", node=os.fspath(path), got=reason(error))
        named.errno = error.errno
        raise named from None


def kind_at(path: str | os.PathLike[str]) -> str | None:
    """Return the kind of thing at a path, in words, without opening it; None if it does not exist.

    Examples
    --------
    >>> kind_at(os.curdir), kind_at("no such file"), kind_at(os.devnull)
    ('a folder', None, 'a device')
    """
    found = status(path)
    return None if found is None else next((name for test, name in KINDS if test(found.st_mode)), "a special file")


def content_of(head: bytes) -> str | None:
    """Identify the content of a file by its first bytes; None if unknown.

    Examples
    --------
    >>> content_of(b"PK\\x03\\x04..."), content_of(b"")
    ('a zip archive, such as .npz or a zipped zarr', 'nothing: 0 bytes')
    """
    if not head:
        return "nothing: 0 bytes"
    return next((name for start, name in CONTENTS if re.match(start, head, re.IGNORECASE)), None)


def content_at(path: str) -> str | None:
    """Identify the content of a regular file; None if unknown."""
    if kind_at(path) != "a file":
        return None
    try:
        with Path(path).open("rb") as file:
            return content_of(file.read(HEAD))
    except OSError:
        return None
