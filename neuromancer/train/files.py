"""Files of a training: written whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from neuromancer.errors import naming
from neuromancer.places import require_replaceable


def temporary_of(path: Path) -> Path:
    """The name under which a file is written before it is renamed."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file under another name, then rename it, so that an old one stays whole if anything fails.

    Parameters
    ----------
    path : Path
    content : bytes

    Raises
    ------
    FileError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> write_whole(path, b"whole")
    >>> path.read_bytes()
    b'whole'
    """
    require_replaceable(path, str(path))
    new = temporary_of(path)
    with naming(path):
        try:
            new.write_bytes(content)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compression: str | None = None) -> None:
    """Write arrays as the data sets of an HDF5 file.

    Parameters
    ----------
    path : Path
    arrays : mapping of str to numpy.ndarray
    compression : str, optional
        As h5py names it, e.g. ``'lzf'``.

    Raises
    ------
    FileError
        If it cannot be written; an old file is then left as it was.
    """
    # In memory first: on a full disk the HDF5 library fails in ways that cannot be caught.
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression=compression if np.size(values) else None)
    write_whole(path, image.getbuffer())


def remove_remains(folder: Path, name: str) -> None:
    """Remove what an interrupted process left half-written of a training's files."""
    for pattern in (f".{_literal(name)}-*.tmp", ".history.*.tmp"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _literal(name: str) -> str:
    """A name as a pattern that matches only itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
