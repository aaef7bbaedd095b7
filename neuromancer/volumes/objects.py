"""Arrays that are open already: of NumPy, h5py, zarr, dask, tensorstore, xarray, or anything that can be sliced."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import InputTypeError
from neuromancer.masked import unmasked
from neuromancer.volumes import hdf5, tensorstores, zarrs
from neuromancer.volumes.axes import letters
from neuromancer.volumes.cf import Unpacked
from neuromancer.volumes.coordinates import Coordinate, stated_by
from neuromancer.volumes.paths import EXPECTED, split_path
from neuromancer.volumes.stored import Opened, StoredArray


def library(array: Any) -> str:
    """Name of the library whose class an array is of.

    Examples
    --------
    >>> library(np.zeros(3))
    'numpy'
    """
    return type(array).__module__.partition(".")[0]


def is_array(value: Any) -> bool:
    """Whether something has shape, dtype and slicing."""
    return all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__"))


def in_file(array: Any) -> StoredArray | None:
    """The same array as one that other processes can open; None if it lies in memory or is open for writing.

    HDF5 data sets that are open for reading, arrays in zarr folders, memory maps of .npy files, and tensorstores.
    """
    kind = library(array)
    if isinstance(array, StoredArray):
        return array
    if type(array) is np.memmap:
        whole = isinstance(array.base, mmap.mmap) and str(array.filename).endswith(".npy") and array.mode == "r"
        return StoredArray(str(array.filename), kind="npy") if whole else None
    if kind == "h5py":
        file = array.file
        if file.mode != "r" or file.driver not in ("sec2", "stdio"):
            return None
        return StoredArray(file.filename, array.name, "hdf5")
    if kind == "zarr":
        folder = zarrs.local_folder(array)
        return None if folder is None else StoredArray(folder, "", "zarr")
    if kind == "tensorstore":
        spec = tensorstores.spec_of(array)
        return None if spec is None else StoredArray(spec, "", "tensorstore")
    return None


def describe(array: Any, label: str) -> Opened:
    """How an open array is read, and what it says about itself."""
    kind = library(array)
    if isinstance(array, StoredArray):
        return array.opened()
    if isinstance(array, Unpacked):
        return describe(array.array, label)
    if kind == "h5py":
        return hdf5.describe(array)
    if kind == "zarr":
        return zarrs.describe(array, label)
    if kind == "tensorstore":
        return tensorstores.describe(array)
    if kind == "xarray":
        return _describe_xarray(array)
    if kind == "dask":
        chunks = tuple(int(c[0]) for c in array.chunks)
        return Opened(array, chunks=chunks)
    return Opened(array, lock=not isinstance(array, np.ndarray))


def _describe_xarray(array: Any) -> Opened:
    """Dimensions name the axes, their coordinates give voxel size and offset."""

    def coordinate(name: Any) -> Coordinate | None:
        if name not in array.coords:  # xarray would count
            return None
        found = array.coords[name]
        return found.values, found.attrs.get("units", found.attrs.get("unit"))

    chunks = array.variable.chunks
    return Opened(
        array.variable,
        letters(array.dims),
        stated_by(array.dims, coordinate),
        None if chunks is None else tuple(int(c[0]) for c in chunks),
        read=lambda variable, key: np.asarray(variable[key].values),
    )


def open_array(value: Any, what: str) -> Any:
    """Something with `shape`, `dtype` and slicing for an array or a path, in the stored order; nothing is read.

    Parameters
    ----------
    value : array or str or path
        A path is ``file.h5:dataset``, ``folder.zarr[/array]``, ``folder.n5/array``, ``file.npy`` or ``file.tif``.
    what : str
        Name of it in errors.

    Returns
    -------
    array-like
        Arrays in files are replaced by a :class:`StoredArray` of the same data, which other processes can open.

    Raises
    ------
    FileError, UnknownNameError, MissingDependencyError
        If a file cannot be opened.
    InputTypeError
        If it is no array, or is masked somewhere.

    Examples
    --------
    >>> open_array([[1, 2]], "labels").shape
    (1, 2)
    """
    if isinstance(value, (str, Path)):
        return stored_at(value, what)
    value = unmasked(value, what)
    if is_array(value):
        return in_file(value) or _as_meant(value, what)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise InputTypeError("is no array", node=what, got=repr(value)[:100], expected=EXPECTED)
    return array


def _as_meant(array: Any, what: str) -> Any:
    """An array that is open in this process only; with its values unpacked, if they are packed."""
    meant = describe(array, what).array if library(array) in ("h5py", "zarr") else array
    return meant if isinstance(meant, Unpacked) else array


def stored_at(path: str | Path, what: str) -> StoredArray:
    """The array at a path."""
    kind, file, dataset = split_path(path, what)
    return StoredArray(file, dataset, kind)
