"""Files of a training run, written atomically."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from neuromancer.errors import ArgumentError, FileError
from neuromancer.files import locked, write_whole

LONGEST_PART = 255
"""Maximum length of a file or folder name, in bytes."""


def require_writable(folder: Path) -> None:
    """Raise FileError if a folder is not writable or cannot be created; creates nothing."""
    if any("\0" in part or len(os.fsencode(part)) > LONGEST_PART for part in folder.parts):
        raise FileError("not a valid folder name", node=ascii(str(folder)[:300]))
    present = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
    if not present.is_dir():
        raise FileError("not a folder", where=str(folder), got=f"a file {present}", expected="a folder")
    if not os.access(present, os.W_OK | os.X_OK):
        raise FileError(
            "files cannot be written there",
            where=str(folder),
            got=f"no permission for {present}",
            expected="a writable folder",
        )


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within the block, refuse other trainings in a folder, also those of other processes.

    See :func:`neuromancer.files.locked`.

    Raises
    ------
    ArgumentError
        If another training claims the folder.
    FileError
        If the folder cannot be opened.
    """
    with locked(folder) as free:
        if not free:
            raise ArgumentError(
                "another training is running in the folder", where=str(folder), expected="its end, or another folder"
            )
        yield


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compression: str | None = None) -> None:
    """Write arrays as the datasets of an HDF5 file.

    Parameters
    ----------
    path : Path
    arrays : mapping of str to numpy.ndarray
    compression : str, optional
        As h5py names it, e.g. ``'lzf'``.

    Raises
    ------
    FileError
        If the file cannot be written; an existing one is left unchanged.
    """
    # In memory first: on a full disk the HDF5 library fails in ways that cannot be caught.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression=compression if np.size(values) else None)
    with image.getbuffer() as content:
        write_whole(path, content)


def remove_remains(folder: Path, name: str) -> None:
    """Remove partial files that an interrupted training run has left."""
    for pattern in (f".{literal(name)}-*.tmp", ".history.*.tmp"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def literal(name: str) -> str:
    """Return a glob pattern that matches only this name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
