"""Memory and file regions behind an array, source or sink: overlaps and fingerprints."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromancer.arrays import in_memory, library, offers
from neuromancer.volumes import tensorstores, zarrs
from neuromancer.volumes.flat import file_of, mapping_of
from neuromancer.volumes.graph_walk import IN_MEMORY, sources_behind
from neuromancer.volumes.stored import StoredArray

MOST_WORK: Any = 10**6  # Any: the stubs of NumPy before 2.5 know only two values
"""Maximum effort of NumPy to find whether two strided views share an element."""


@dataclass(frozen=True)
class Place:
    """A region of a file or store.

    Parameters
    ----------
    key : tuple
        The same through any name or link.
    start, stop : float
        Bytes, or addresses of HDF5 objects.
    """

    key: tuple[Any, ...]
    start: float = 0
    stop: float = inf

    def meets(self, other: Place) -> bool:
        """Return whether two regions intersect."""
        return self.key == other.key and self.start < other.stop and other.start < self.stop


def overlap(one: Any, other: Any) -> bool:
    """Return whether data written into one array or sink would show up in another, or in a source.

    Examples
    --------
    >>> array = np.zeros((4, 4))
    >>> overlap(array[:2], array[1:].T), overlap(array[:2], array[2:])
    (True, False)
    """
    mine, others = list(_held(one)), list(_held(other))
    return one is other or any(_overlap(a, b) for a in mine for b in others)


def _held(value: Any) -> Iterator[Any]:
    """Iterate over arrays of NumPy, h5py, zarr and tensorstore, and paths of files, from which something reads."""
    for found in sources_behind(value):
        if isinstance(found, StoredArray):
            array = found.opened().array
            yield from _held(array) if found.kind != "tif" or isinstance(array, np.ndarray) else (Path(found.path),)
        elif library(found) in IN_MEMORY:
            yield np.asarray(in_memory(found))
        else:
            yield found


def _overlap(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.may_share_memory(one, other):
        with suppress(RuntimeError):  # too much work: counts as shared
            return np.shares_memory(one, other, MOST_WORK)
        return True
    return one is other or any(a.meets(b) for a in places(one) for b in places(other))


def places(array: Any) -> list[Place]:
    """Return the regions of files or stores that hold an array; empty for arrays in memory."""
    with suppress(OSError):  # e.g. the file has been removed
        kind = library(array)
        if isinstance(array, np.ndarray):
            return _mapped(array)
        if isinstance(array, Path):
            return [Place(_number(array))]
        if kind == "h5py":
            return _hdf5(array)
        if kind == "zarr" and offers(array, "store", "path", "shape"):
            return [_zarr(array)]
        if kind == "tensorstore" and offers(array, "spec"):
            spec = tensorstores.spec_of(array)
            return [] if spec is None else list(_kvstores(json.loads(spec)))
    return []


def _number(path: str | os.PathLike[str]) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116 (takes any name)
    return found.st_dev, found.st_ino


def _mapped(array: np.ndarray) -> list[Place]:
    file, root = file_of(array), array
    if file is None or mapping_of(array) is None:
        return []
    while isinstance(root.base, np.ndarray):
        root = root.base
    steps = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    begin = array.ctypes.data - root.ctypes.data + int(getattr(root, "offset", 0))
    first, last = begin + sum(s for s in steps if s < 0), begin + sum(s for s in steps if s > 0)
    return [Place(_number(file), first, last + array.itemsize)]


def _hdf5(array: Any) -> list[Place]:
    """Return the address of the dataset, which all its names share, and its external data, by name or bytes."""
    if not isinstance(array, h5py.Dataset) or not array:
        return []
    file = array.file.filename
    if not Path(file).exists():  # a file in memory
        return []
    key, at = _number(file), h5py.h5o.get_info(array.id).addr
    found = [Place((*key, "object"), at, at + 1), Place((*key, array.name))]
    if array.id.get_offset() is not None:
        found.append(Place(key, array.id.get_offset(), array.id.get_offset() + array.nbytes))
    for part in array.virtual_sources() if array.is_virtual else ():
        with suppress(OSError):
            other = file if part.file_name == "." else Path(file).parent / part.file_name
            found.append(Place((*_number(other), f"/{part.dset_name.strip('/')}")))
    for name, begin, size in array.external or ():
        with suppress(OSError):
            found.append(Place(_number(Path(file).parent / os.fsdecode(name)), begin, begin + size))
    return found


def _zarr(array: Any) -> Place:
    folder, store = zarrs.local_folder(array), array.store
    while hasattr(store, "_store"):
        store = store._store
    files = getattr(store, "fs", None)
    files = getattr(files, "sync_fs", files)  # fsspec wraps synchronous file systems
    if folder is None and type(files).__name__ == "LocalFileSystem":
        folder = Path(store.path) / array.path
    if folder is not None:
        return Place(_number(folder))
    return Place((str(store) if files is None else f"{type(files).__name__} {store.path}", array.path))


def _kvstores(spec: Any) -> Iterator[Place]:
    """Iterate over the regions of all stores in a tensorstore spec, which may be nested."""
    if isinstance(spec, list):
        for part in spec:
            yield from _kvstores(part)
    elif isinstance(spec, dict):
        store = spec.get("kvstore")
        text = store if isinstance(store, str) else store.get("path") if isinstance(store, dict) else None
        local = isinstance(store, str) or (isinstance(store, dict) and store.get("driver") == "file")
        if isinstance(text, str) and local:
            within = (spec.get("path", ""), (spec.get("scale_metadata") or {}).get("key", ""))
            yield Place(_number(Path(text.removeprefix("file://")).joinpath(*within)))
        elif store is not None:
            yield Place((json.dumps(store, sort_keys=True),))
        for part in spec.values():
            yield from _kvstores(part)


def fingerprint(source: Any) -> str:
    """Return the fingerprint of a source, with a digest of all arrays in memory from which it reads.

    Parameters
    ----------
    source : ArraySource
    """
    parts = [] if source.locator is not None else [part for part in _held(source.array) if _is_in_memory(part)]
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole = part if isinstance(part, np.ndarray) else np.asarray(part[...])
        digest.update(repr((whole.shape, whole.dtype.str)).encode())
        for plane in np.atleast_1d(whole):
            digest.update(np.ascontiguousarray(plane).data)
    return f"{source.fingerprint()} {digest.hexdigest()}" if parts else source.fingerprint()


def _is_in_memory(array: Any) -> bool:
    if isinstance(array, np.ndarray):
        return file_of(array) is None and mapping_of(array) is None
    if library(array) == "zarr":
        return offers(array, "shape") and str(array.store).startswith("memory:")
    if library(array) == "tensorstore":
        return offers(array, "spec") and tensorstores.spec_of(array) is None
    return library(array) == "h5py" and hasattr(array, "file") and array.file.driver == "core"
