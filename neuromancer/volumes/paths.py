"""Paths of volumes: which file, which array of it, and which kind."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neuromancer.errors import FileError
from neuromancer.places import absolute, content_at, is_address, kind_at, path_text, status

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
        If the ending says no kind, or the kind cannot be read from an address.
    InputTypeError
        If it is no path.

    Examples
    --------
    >>> split_path("a.h5:/raw/em", "raw"), split_path("s3://b/a.zarr/0", "raw")
    (('hdf5', 'a.h5', 'raw/em'), ('zarr', 's3://b/a.zarr', '0'))
    """
    text = path_text(path, label)
    remote = is_address(text)
    if remote and re.search(r"[?#]", text):
        raise FileError(
            "a query belongs to one file, and a volume is many",
            where=label,
            got=text,
            expected="an address without it; credentials come from the environment or fsspec's configuration",
        )
    # The shortest beginning that ends in a known way, up to a separator; a drive's colon is none.
    for match in re.finditer(r"(\.[A-Za-z0-9]+)(?=[:/\\]|$)", text):
        kind, rest = KINDS.get(match[1].lower()), text[match.end() :]
        if kind is None or (rest and rest[0] != ":" and kind not in FOLDERS):
            continue
        if remote and kind != "zarr":
            raise FileError("only zarr is read from and written to addresses", where=label, got=text)
        return kind, text[: match.end()], rest[1:].strip("/\\").replace("\\", "/")
    if not remote and any(status(Path(text) / name) for name in ("zarr.json", ".zarray", ".zgroup")):
        return "zarr", text, ""
    raise FileError("cannot tell the kind of file", where=label, got=text, expected=f"a name ending in {tuple(KINDS)}")


def plain_name(dataset: str) -> str:
    """Name of an array in a file, as it is written without what means nothing.

    Examples
    --------
    >>> plain_name("/a//./b/")
    'a/b'
    """
    return "/".join(part for part in dataset.split("/") if part not in ("", "."))


def local_path(path: str | os.PathLike[str], label: str) -> str:
    """A path from the root of the file system, or an address as it is."""
    text = path_text(path, label)
    return text if is_address(text) else absolute(text, label)


def exists(path: str) -> bool:
    """Whether something lies at a local path.

    Raises
    ------
    FileError
        If that cannot be told.
    """
    return status(path) is not None


def require_kind(path: str, kind: str, label: str) -> None:
    """Raise FileError unless a local path leads to what a kind is stored in; pipes and devices are not opened.

    Parameters
    ----------
    path : str
    kind : str
        'hdf5', 'zarr', 'npy', 'tif' or 'n5'.
    label : str
    """
    found, wanted = kind_at(path), "a folder" if kind in FOLDERS else "a file"
    if found is None:
        raise FileError("no such file", where=label, got=path, expected=EXPECTED)
    if found != wanted:
        got = content_at(path) or found
        raise FileError(f"is not {wanted}, as its name says", where=label, got=got)


def require_content(path: str, kind: str, label: str) -> None:
    """Raise FileError if a file that could not be read holds, as its first bytes say, something of another kind."""
    content = content_at(path)
    own = {"hdf5": "HDF5", "npy": ".npy)", "tif": "TIFF"}.get(kind)
    if content is not None and own is not None and own not in content:
        raise FileError("does not hold what its name says", where=label, got=content, expected=f"{own.strip(')')} data")
