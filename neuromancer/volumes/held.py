"""What lies behind an array, source or sink: which memory, and which places in files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromancer.arrays import in_memory, library, offers
from neuromancer.volumes import tensorstores, zarrs
from neuromancer.volumes.flat import file_of, mapping_of
from neuromancer.volumes.stored import StoredArray

ARRAYS = ("h5py", "zarr", "tensorstore")
INNER = ("array", "hidden", "_array", "there")
"""Attributes under which wrappers of this package and of xarray keep what they wrap."""
MOST_WORK = 10**6
"""Of NumPy, to tell whether two strided views share an element."""


@dataclass(frozen=True)
class Place:
    """A part of a file, or of a store.

    Parameters
    ----------
    key : tuple
        The same by whatever name or link it is reached.
    start, stop : float
        Bytes, or addresses of objects in HDF5.
    """

    key: tuple[Any, ...]
    start: float = 0
    stop: float = inf

    def meets(self, other: Place) -> bool:
        """Whether something belongs to both."""
        return self.key == other.key and self.start < other.stop and other.start < self.stop


def overlap(one: Any, other: Any) -> bool:
    """Whether what is written into one array, or sink, would be seen in another, or in a source.

    Examples
    --------
    >>> array = np.zeros((4, 4))
    >>> overlap(array[:2], array[1:].T), overlap(array[:2], array[2:])
    (True, False)
    """
    mine, others = list(held(one)), list(held(other))
    return one is other or any(_overlap(a, b) for a in mine for b in others)


def held(value: Any) -> Iterator[Any]:
    """Arrays of NumPy, h5py, zarr and tensorstore, and paths of files, from which something reads."""
    kind = library(value)
    if isinstance(value, (np.ndarray, Path)) or kind in ARRAYS:
        yield value
    elif isinstance(value, StoredArray):
        found = value.opened().array
        yield from held(found) if value.kind != "tif" or isinstance(found, np.ndarray) else (Path(value.path),)
    elif isinstance(value, (list, tuple, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from held(item)
    elif kind == "dask":
        yield from _held_by_dask(value)
    elif kind == "xarray":
        yield from _held_by_xarray(value)
    elif kind in ("torch", "pandas", "cupy"):
        yield from held(np.asarray(in_memory(value)))
    else:
        for name in INNER:
            if offers(value, name) and not isinstance(getattr(value, name), type(value)):
                yield from held(getattr(value, name))


def _held_by_dask(value: Any) -> Iterator[Any]:
    """What the graph of an array, or one of its tasks, holds."""
    if not hasattr(value, "dask"):
        for name in ("args", "kwargs", "value"):
            yield from held(getattr(value, name, ()))
        return
    for layer in value.dask.layers.values():
        # The tasks of a layer that is a rule hold the same arrays, those of any other one of their own.
        few = 1 if hasattr(layer, "indices") else None
        for item in islice(layer.values(), few):
            yield from held(item)


def _held_by_xarray(value: Any) -> Iterator[Any]:
    if offers(value, "variable", "encoding"):
        source = value.encoding.get("source")
        if isinstance(source, str) and Path(source).is_dir():
            yield Path(source) / str(value.name)
        elif isinstance(source, str):
            yield Path(source)
        value = value.variable
    for name in ("_data", *INNER):
        yield from held(getattr(value, name, ()))


def _overlap(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.may_share_memory(one, other):
        with suppress(RuntimeError):  # too much work: it counts as shared
            return np.shares_memory(one, other, MOST_WORK)  # type: ignore[arg-type]  # its stub knows two numbers
        return True
    return one is other or any(a.meets(b) for a in places(one) for b in places(other))


def places(array: Any) -> list[Place]:
    """Where in files or stores an array lies; nothing for arrays in memory."""
    with suppress(OSError):  # such as of a file that has been removed
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
    """By the address of the object, which all its names share; what it reads of others, by name or bytes."""
    if not isinstance(array, h5py.Dataset) or not array:
        return []
    file = array.file.filename
    if not Path(file).exists():  # of a file in memory
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
    files = getattr(files, "sync_fs", files)  # of fsspec, which wraps those that know no asynchronous calls
    if folder is None and type(files).__name__ == "LocalFileSystem":
        folder = Path(store.path) / array.path
    if folder is not None:
        return Place(_number(folder))
    return Place((str(store) if files is None else f"{type(files).__name__} {store.path}", array.path))


def _kvstores(spec: Any) -> Iterator[Place]:
    """Places of all stores in a description of tensorstore, which may lie in one another."""
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
    """That of a source, and a digest of all that it reads from memory, whose place says nothing.

    Parameters
    ----------
    source : ArraySource
    """
    parts = [] if source.locator is not None else [part for part in held(source.array) if _is_in_memory(part)]
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
