"""Paths of volumes: which file, which array of it, and which kind."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neuromancer.errors import FileError

KINDS = {
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
    ".zarr": "zarr",
    ".n5": "n5",
    ".npy": "npy",
    ".tif": "tif",
    ".tiff": "tif",
}
EXPECTED = "an array, or a path: file.h5:dataset, folder.zarr[/array], folder.n5/array, file.npy, file.tif"
FOLDERS = ("zarr", "n5")


def is_address(path: str) -> bool:
    """Whether a path is that of a remote store, such as s3://bucket/name.zarr."""
    return re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]+://", path) is not None


def split_path(path: str | os.PathLike[str], label: str) -> tuple[str, str, str]:
    """Kind, file and dataset of a path.

    Parameters
    ----------
    path : str or path
        ``file.h5:dataset``, ``folder.zarr``, ``folder.zarr/array``, ``folder.zarr:array``, ``file.npy``, ``file.tif``,
        or an address such as ``s3://bucket/folder.zarr/array``.
    label : str
        What the path is of, for errors.

    Raises
    ------
    FileError
        If the ending says no kind.

    Examples
    --------
    >>> split_path("a.h5:/raw/em", "raw"), split_path("s3://b/a.zarr/0", "raw")
    (('hdf5', 'a.h5', 'raw/em'), ('zarr', 's3://b/a.zarr', '0'))
    """
    text = os.fspath(path)
    # The shortest beginning that ends in a known way, up to a separator; a drive's colon is none.
    for match in re.finditer(r"(\.[A-Za-z0-9]+)(?=[:/\\]|$)", text):
        kind, rest = KINDS.get(match[1].lower()), text[match.end() :]
        if kind is None or (rest and rest[0] != ":" and kind not in FOLDERS):
            continue
        return kind, text[: match.end()], rest[1:].strip("/\\").replace("\\", "/")
    if not is_address(text) and any((Path(text) / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
        return "zarr", text, ""
    raise FileError("cannot tell the kind of file", node=label, got=text, expected=f"a name ending in {tuple(KINDS)}")
