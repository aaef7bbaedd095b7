"""Paths of volumes: file, array in the file, and file format."""

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
    ".nii": "nifti",
    ".nii.gz": "nifti",
    **{f"{name}{packed}": "mrc" for name in (".mrc", ".map", ".rec") for packed in ("", ".gz", ".bz2")},
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".precomputed": "precomputed",
    ".ims": "imaris",
    ".xml": "bdv",
    ".wkw": "wkw",
}
SUFFIX = re.compile(r"(\.(?:nii|mrc|map|rec)\.(?:gz|bz2)|\.[A-Za-z0-9]+)(?=[:/\\]|$)", re.IGNORECASE)
EXPECTED = (
    "an array, or a path: file.h5:dataset, folder.zarr[/array], folder.n5/array, file.npy, file.tif, "
    "file.nii, file.mrc, file.nrrd or another format"
)
FOLDERS = ("zarr", "n5", "precomputed", "wkw")
METADATA = {"zarr.json": "zarr", ".zarray": "zarr", ".zgroup": "zarr", "info": "precomputed", "header.wkw": "wkw"}
"""Files by which folders without a suffix are recognised."""
SCHEME = "precomputed://"
CONTENTS = {
    "hdf5": "HDF5",
    "imaris": "HDF5",
    "npy": ".npy)",
    "tif": "TIFF",
    "nifti": "NIfTI",
    "mrc": "MRC",
    "nrrd": "NRRD",
    "bdv": "XML",
}
"""What the content of a file is called, in :mod:`neuromancer.places`."""


def split_path(path: str | os.PathLike[str], label: str) -> tuple[str, str, str]:
    """Split a path into format, file and dataset.

    Parameters
    ----------
    path : str or path
        ``file.h5:dataset``, ``folder.zarr``, ``folder.zarr/array``, ``folder.zarr:array``, ``file.npy`` or another
        file, or an address such as ``s3://bucket/folder.zarr/array``.
    label : str
        Name of the volume in errors.

    Raises
    ------
    FileError
        If the suffix is unknown, or the format cannot be read from a remote address.
    InputTypeError
        If it is not a path.

    Examples
    --------
    >>> split_path("a.h5:/raw/em", "raw"), split_path("s3://b/a.zarr/0", "raw")
    (('hdf5', 'a.h5', 'raw/em'), ('zarr', 's3://b/a.zarr', '0'))
    """
    text = path_text(path, label)
    precomputed, text = text.startswith(SCHEME), path_text(text.removeprefix(SCHEME) or text, label)
    remote = is_address(text)
    if precomputed and not remote:
        folder, _, scale = text.partition(":") if os.name == "posix" else (text, "", "")
        return "precomputed", folder.rstrip("/"), scale.strip("/")
    if remote and re.search(r"[?#]", text):
        raise FileError(
            "a query string applies to one file, but a volume has many",
            where=label,
            got=text,
            expected="an address without a query; credentials come from the environment or fsspec's configuration",
        )
    # The shortest prefix with a known suffix, up to a separator; the colon of a drive letter is none.
    for match in SUFFIX.finditer(text):
        kind, rest = KINDS.get(match[1].lower()), text[match.end() :]
        if kind is None or (rest and rest[0] != ":" and kind not in FOLDERS):
            continue
        if remote and kind != "zarr":
            raise FileError("only zarr is supported at remote addresses", where=label, got=text)
        return kind, text[: match.end()], rest[1:].strip("/\\").replace("\\", "/")
    found = None if remote else next((kind for name, kind in METADATA.items() if status(Path(text) / name)), None)
    if found is not None:
        return found, text, ""
    raise FileError("unknown file format", where=label, got=text, expected=f"a name ending in {tuple(KINDS)}")


def plain_name(dataset: str) -> str:
    """Normalise the name of an array in a file.

    Examples
    --------
    >>> plain_name("/a//./b/")
    'a/b'
    """
    return "/".join(part for part in dataset.split("/") if part not in ("", "."))


def local_path(path: str | os.PathLike[str], label: str) -> str:
    """Return an absolute path; addresses are unchanged."""
    text = path_text(path, label)
    return text if is_address(text) else absolute(text, label)


def exists(path: str) -> bool:
    """Return whether a local path exists.

    Raises
    ------
    FileError
        If that cannot be determined.
    """
    return status(path) is not None


def require_kind(path: str, kind: str, label: str) -> None:
    """Raise FileError unless a local path is a file or folder, as its format requires; nothing is opened.

    Parameters
    ----------
    path : str
    kind : str
        File format.
    label : str
    """
    found, wanted = kind_at(path), "a folder" if kind in FOLDERS else "a file"
    if found is None:
        raise FileError("no such file", where=label, got=path, expected=EXPECTED)
    if found != wanted:
        got = content_at(path) or found
        raise FileError(f"is not {wanted}, as its name says", where=label, got=got)


def require_content(path: str, kind: str, label: str) -> None:
    """Raise FileError if the first bytes of an unreadable file show another format."""
    content = content_at(path)
    own, packed = CONTENTS.get(kind), path.lower().endswith((".gz", ".bz2"))
    if packed and content is not None and "compressed file" in content:
        return
    if content is not None and own is not None and (packed or own not in content):
        expected = f"{'compressed ' if packed else ''}{own.strip(')')} data"
        raise FileError("does not hold what its name says", where=label, got=content, expected=expected)
