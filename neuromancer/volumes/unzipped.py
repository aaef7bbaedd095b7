"""Compressed files, decompressed once into a temporary file that has no name and ends with its last reader."""

from __future__ import annotations

import bz2
import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import IO, Any

from neuromancer.errors import FileError, reason
from neuromancer.volumes.missing import Part

METHODS = {".gz": "gzip", ".bz2": "bzip2"}
"""Compression by the last suffix of a file name."""
BLOCK = 1 << 20
HEAD, LONGEST = 1 << 12, 1 << 26
"""Number of bytes that hold most headers, and the longest ones."""


def method_of(path: str) -> str | None:
    """Return how a file is compressed as a whole, by its name; None if it is not.

    Examples
    --------
    >>> method_of("brain.nii.gz"), method_of("brain.nii")
    ('gzip', None)
    """
    return METHODS.get(Path(path).suffix.lower())


def unzip(
    file: IO[bytes], method: str, label: str, size_of: Callable[[IO[bytes]], int]
) -> tuple[IO[bytes], list[Part]]:
    """Decompress the rest of an open file into a temporary file.

    What follows the end of the volume is left out, so that a small file cannot fill the disk.

    Parameters
    ----------
    file : open file
    method : {'gzip', 'bzip2'}
    label : str
        Name of the volume in errors.
    size_of : callable
        Returns the size of the decompressed volume in bytes, from a file with its first bytes.

    Returns
    -------
    file, list of Part
        Open temporary file, without a name; and what is damaged, if the data could be decompressed only in part.

    Raises
    ------
    FileError
        If nothing can be decompressed, or the temporary folder is full.
    """
    stream: Any = gzip.GzipFile(fileobj=file) if method == "gzip" else bz2.BZ2File(file)
    found, damage, size = tempfile.TemporaryFile(prefix="neuromancer-"), "", 0
    head, most = HEAD, inf
    try:
        while not damage and size <= most:
            try:
                block = stream.read1(BLOCK)  # all that can be had before an error
            except (EOFError, OSError, ValueError, zlib.error) as error:
                block, damage = b"", reason(error)
            if not block:
                break
            _write(found, block, label)
            size += len(block)
            if most == inf and size >= head:
                head, most = 4 * head, _measured(found, size_of, head)
        found.flush()
        if damage and not size:
            raise FileError("the file cannot be read", where=label, got=damage, expected=f"{method}-compressed data")
    except BaseException:
        found.close()
        raise
    return found, [Part("compressed data", damage)] if damage else []


def _measured(file: IO[bytes], size_of: Callable[[IO[bytes]], int], head: int) -> float:
    """Return the size of a volume; infinite as long as its header may not be complete."""
    file.seek(0)
    try:
        return size_of(file)
    except Exception:
        if head >= LONGEST:
            raise
        return inf
    finally:
        file.seek(0, os.SEEK_END)


def _write(file: IO[bytes], block: bytes, label: str) -> None:
    try:
        file.write(block)
    except OSError as error:
        raise FileError(
            "the decompressed volume does not fit into the temporary folder",
            where=label,
            got=reason(error),
            expected=f"more space in {tempfile.gettempdir()}, another folder in TMPDIR, or a decompressed file",
        ) from error


@contextmanager
def plain(path: str, label: str, size_of: Callable[[IO[bytes]], int]) -> Iterator[tuple[IO[bytes], list[Part]]]:
    """Open a file for reading, decompressed if its name says that it is compressed; with what is damaged.

    See :func:`unzip`.
    """
    method = method_of(path)
    with Path(path).open("rb") as file:
        if method is None:
            yield file, []
        else:
            found, damaged = unzip(file, method, label, size_of)
            found.seek(0)
            with found:
                yield found, damaged


def zip_into(file: IO[bytes], target: Path, method: str, head: int = 0) -> None:
    """Write a file compressed, except for its first `head` bytes, into a new file."""
    file.seek(0)
    with target.open("xb") as new:
        new.write(file.read(head))
        # Level 1, as nibabel does: higher levels take several times as long for a few per cent.
        stream: Any = (
            gzip.GzipFile(filename="", fileobj=new, mode="wb", compresslevel=1, mtime=0)
            if method == "gzip"
            else bz2.BZ2File(new, "wb")
        )
        with stream:
            shutil.copyfileobj(file, stream, BLOCK)
