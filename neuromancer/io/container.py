"""Container of a model file: a header with a digest, followed by an HDF5 file of plain arrays.

Layout: 512 bytes of text (an HDF5 user block: ``neuromancer model``, format version, length and SHA-256 of the rest),
then an HDF5 file whose datasets ``document`` and ``summary`` hold JSON and whose other datasets hold arrays. The
document lists dtype, shape and SHA-256 of every array. The summary is only displayed; it may be missing. All datasets
are contiguous and unfiltered, so none can be larger than the file, and nothing is passed to the HDF5 library before the
digest has been verified.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np

from neuromancer.errors import FileError, reason
from neuromancer.files import replacing

MAGIC = b"neuromancer model\n"
VERSION = 1
BLOCK = 512
"""Size of the header: the smallest HDF5 user block (a power of two)."""
CHUNK = 1 << 20
MAX_FILE = 1 << 36
MAX_DOCUMENT, MAX_VALUES = 1 << 22, 200_000
"""Maximum bytes and values of the JSON; in memory, a value takes up to a hundred bytes."""
HEAD = 96
"""Lower bound of the bytes that HDF5 needs to describe an array."""
MAX_LEVELS = 8
"""Maximum number of groups above an array; a group may contain itself."""
DOCUMENT, SUMMARY = "document", "summary"
DTYPES = ("bool", *(f"{kind}int{n}" for kind in ("", "u") for n in (8, 16, 32, 64)), "float16", "float32", "float64")
HEADER = re.compile(rb"neuromancer model\nversion (\d{1,6})\nlength (\d{1,15})\nsha256 ([0-9a-f]{64})\n\0*")


def array_path(*names: str) -> str:
    """Return the path of a dataset for names with any characters."""
    return "/".join("%2E" if name == "." else quote(name, safe=" .,:;()[]#+=@'!") for name in names)


# ---- writing
def write_file(
    path: str | os.PathLike[str],
    document: dict[str, Any],
    arrays: Mapping[str, np.ndarray],
    summary: dict[str, Any] | None = None,
) -> None:
    """Write a file atomically: to a temporary file, which is synced to disk and then renamed.

    Parameters
    ----------
    path : path
        An existing file is replaced and its mode is kept; of a link, the target is replaced.
    document : dict
        Any JSON values.
    arrays : mapping of str to numpy.ndarray
        Numeric arrays by their paths.
    summary : dict, optional
        Any JSON values; left out if it is larger than a document may be.

    Raises
    ------
    FileError
        If the file cannot be written; an existing one is left unchanged.
    """
    try:
        index = {key: _description(array) for key, array in arrays.items()}
        text = _json({**document, "arrays": index})
        _require_moderate(text)
        short = None if summary is None else _json(summary)
        # In memory first: on a full disk the HDF5 library fails in ways that cannot be caught.
        image = io.BytesIO()
        with h5py.File(image, "w", userblock_size=BLOCK) as file:
            file.create_dataset(DOCUMENT, data=np.frombuffer(text, dtype="uint8"))
            if short is not None and len(short) <= MAX_DOCUMENT:
                file.create_dataset(SUMMARY, data=np.frombuffer(short, dtype="uint8"))
            for key, array in arrays.items():
                file.create_dataset(key, data=_stored(array))
        with replacing(path) as new:
            write_sealed(new, image)
    except FileError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError("the file cannot be written", where=str(path), got=str(error)[:300]) from error


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode()


def _require_moderate(text: bytes) -> None:
    values = sum(text.count(sign) for sign in (b",", b"[", b"{"))
    if len(text) > MAX_DOCUMENT or values > MAX_VALUES:
        raise FileError(
            "the description of the model is too large",
            node=DOCUMENT,
            got=f"{len(text)} bytes, {values} values",
            expected=f"at most {MAX_DOCUMENT} bytes, {MAX_VALUES} values; pass long lists as arrays",
        )


def _stored(array: np.ndarray) -> np.ndarray:
    return array.view("uint8") if array.dtype == bool else array.astype(array.dtype.newbyteorder("<"), copy=False)


def _description(array: np.ndarray) -> dict[str, Any]:
    data = _stored(np.ascontiguousarray(array)).tobytes()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "sha256": sha256(data).hexdigest()}


def write_sealed(path: Path, image: io.BytesIO) -> None:
    """Write an HDF5 image with an empty user block to a new file, with the header in that block."""
    length, digest = body_digest(image)
    header = MAGIC + f"version {VERSION}\nlength {length}\nsha256 {digest}\n".encode()
    with path.open("xb") as file, image.getbuffer() as view, view[BLOCK:] as rest:
        file.write(header.ljust(BLOCK, b"\0"))
        file.write(rest)


def body_digest(file: Any) -> tuple[int, str]:
    """Return length and SHA-256 of everything after the header."""
    file.seek(BLOCK)
    length, digest = 0, sha256()
    while chunk := file.read(CHUNK):
        length += len(chunk)
        digest.update(chunk)
    return length, digest.hexdigest()


# ---- reading
def read_head(path: str | os.PathLike[str], n: int = BLOCK) -> bytes:
    """Return the first bytes of a regular file; raise FileError if it is not one or cannot be read."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileError("not a regular file", where=str(path))
        with Path(path).open("rb") as file:
            return file.read(n)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise FileError("the file cannot be read", where=str(path), got=reason(error)) from error


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read and check a file.

    Parameters
    ----------
    path : path

    Returns
    -------
    document : dict
    arrays : dict of str to numpy.ndarray

    Raises
    ------
    FileError
        If the file is not a model file, has another version, is truncated or modified, or holds anything but plain
        arrays. Memory use is bounded by a small multiple of the file's size.
    """
    with _verified(path) as (file, size):
        text = _read(file, DOCUMENT, "uint8", None, min(size, MAX_DOCUMENT)).tobytes()
        _require_moderate(text)
        document = json.loads(text.decode())
        arrays: dict[str, np.ndarray] = {}
        left = size
        for key, entry in document.pop("arrays").items():
            dtype = entry["dtype"]
            if dtype not in DTYPES:
                raise FileError("an array of this type is not allowed", node=key[:200], got=str(dtype)[:100])
            array = _read(file, key, "uint8" if dtype == "bool" else dtype, tuple(entry["shape"]), left)
            # An array with many links would be read many times.
            left -= array.nbytes + HEAD
            if sha256(array.tobytes()).hexdigest() != entry["sha256"]:
                raise FileError("an array is damaged: its checksum is wrong", node=key[:200])
            arrays[key] = array.view("bool") if dtype == "bool" else array.astype(dtype, copy=False)
        return document, arrays


def read_summary(path: str | os.PathLike[str]) -> Any:
    """Read the summary of a file, checked as a whole like in :func:`read_file`; None if it has none."""
    with _verified(path) as (file, size):
        if SUMMARY not in file:
            return None
        text = _read(file, SUMMARY, "uint8", None, min(size, MAX_DOCUMENT)).tobytes()
        return json.loads(text.decode())


@contextmanager
def _verified(path: str | os.PathLike[str]) -> Iterator[tuple[h5py.File, int]]:
    """Check header, length and digest of a file, and yield it open, with its size in bytes."""
    match = _check_header(path, read_head(path))
    with _reading(path):
        with Path(path).open("rb") as whole:
            length, digest = body_digest(whole)
        if digest != match[3].decode():
            raise FileError("the file is damaged: its checksum is wrong", where=str(path), got=f"{length} bytes")
        with h5py.File(path, "r") as file:
            yield file, length + BLOCK


def _check_header(path: Any, head: bytes) -> re.Match[bytes]:
    match = HEADER.fullmatch(head)
    if not head.startswith(MAGIC):
        raise FileError("not a model file", where=str(path), got=repr(head[:24]), expected=repr(MAGIC))
    if match is None or len(head) != BLOCK:
        raise FileError("the file is damaged: its header cannot be read", where=str(path))
    if int(match[1]) != VERSION:
        raise FileError(
            "the file has another version of the format",
            where=str(path),
            got=f"version {int(match[1])}",
            expected=f"version {VERSION}" + ("; a newer neuromancer can read it" if int(match[1]) > VERSION else ""),
        )
    size, declared = Path(path).stat().st_size, int(match[2]) + BLOCK
    if size != declared or size > MAX_FILE:
        problem = "the file is truncated" if size < declared else "the file is larger than it should be"
        raise FileError(problem, where=str(path), got=f"{size} bytes", expected=f"{declared}, at most {MAX_FILE}")
    return match


def _read(file: h5py.File, key: str, dtype: str, shape: tuple[int, ...] | None, limit: int) -> np.ndarray:
    """Read a plain dataset: reached by hard links, contiguous, unfiltered, stored inside the file."""
    if key.count("/") > MAX_LEVELS:
        raise FileError("an array is nested too deeply", node=key[:200], expected=f"at most {MAX_LEVELS} groups")
    place: Any = file
    for name in key.split("/"):
        if not isinstance(place, h5py.Group) or not isinstance(place.get(name, getlink=True), h5py.HardLink):
            raise FileError("an array is missing or is a link to elsewhere", node=key[:200])
        place = place[name]
    if not isinstance(place, h5py.Dataset):
        raise FileError("not an array", node=key[:200])
    declared, found = np.dtype(dtype).newbyteorder("<"), place.shape
    creation = place.id.get_create_plist()
    plain = (
        place.dtype.newbyteorder("<") == declared
        and place.dtype.metadata is None
        and found is not None
        and (shape is None or found == shape)
        and creation.get_layout() == h5py.h5d.CONTIGUOUS
        and creation.get_nfilters() == 0
        and creation.get_external_count() == 0
    )
    n_bytes = prod(found or ()) * declared.itemsize
    if not plain or n_bytes > limit or place.id.get_storage_size() != n_bytes:
        raise FileError(
            "an array is not stored plainly or is not what it is declared to be",
            node=key[:200],
            got=f"{place.dtype} {found}",
            expected=f"{declared.name} {shape}, contiguous, inside the file",
        )
    return np.asarray(place[()])


@contextmanager
def _reading(path: Any) -> Iterator[None]:
    """Turn any error from reading an untrusted file into a FileError."""
    try:
        yield
    except FileError as error:
        error.node = error.node or str(path)
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        raise FileError("the file is damaged", where=str(path), got=f"{type(error).__name__}: {error}"[:300]) from error
