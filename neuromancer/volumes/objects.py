"""Open arrays of NumPy, h5py, zarr, dask, tensorstore, xarray, or anything that can be sliced."""

from __future__ import annotations

import mmap
import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.arrays import library, offers
from neuromancer.masked import unmasked
from neuromancer.volumes import hdf5, tensorstores, zarrs
from neuromancer.volumes.accept import accepted, checked_block
from neuromancer.volumes.axes import letters
from neuromancer.volumes.behind import stated_behind
from neuromancer.volumes.blocks import read_block, whole_index
from neuromancer.volumes.cf import Unpacked
from neuromancer.volumes.coordinates import Coordinate, stated_in_coordinates
from neuromancer.volumes.flat import mapping_of, read_mapped, require_mapped
from neuromancer.volumes.missing import Filled, require_whole
from neuromancer.volumes.opened import Opened, read
from neuromancer.volumes.paths import split_path
from neuromancer.volumes.stored import StoredArray


def in_file(array: Any, on_missing: str = "error") -> StoredArray | None:
    """Return an open array as one that other processes can open; None if it is in memory or open for writing.

    Supported are HDF5 datasets that are open for reading, arrays in zarr folders, memory maps of .npy files, TIFF
    files and their series, and tensorstores.
    """
    kind = library(array)
    if isinstance(array, StoredArray):
        return array
    if type(array) is np.memmap:
        whole = isinstance(array.base, mmap.mmap) and str(array.filename).endswith(".npy") and array.mode == "r"
        stored = StoredArray(str(array.filename), kind="npy", on_missing=on_missing) if whole else None
        return stored if stored is not None and _maps_all(array, stored) else None
    if kind == "h5py":
        file = array.file
        if file.mode != "r" or file.driver not in ("sec2", "stdio"):
            return None
        return StoredArray(file.filename, array.name, "hdf5", on_missing)
    if kind == "zarr":
        folder = zarrs.local_folder(array)
        return None if folder is None else StoredArray(folder, "", "zarr", on_missing)
    if kind == "tifffile":
        return _tiff_in_file(array, on_missing)
    if kind == "tensorstore":
        spec = tensorstores.spec_of(array)
        return None if spec is None else StoredArray(spec, "", "tensorstore", on_missing)
    return None


def _maps_all(array: np.memmap, stored: StoredArray) -> bool:
    """Return whether a memory map is that of a .npy file as its header describes it, and not of other bytes in it."""
    found = stored.opened().array
    same = array.shape == stored.shape and array.dtype == stored.dtype
    return same and (not isinstance(found, np.memmap) or (array.strides, array.offset) == (found.strides, found.offset))


def _tiff_in_file(given: Any, on_missing: str) -> StoredArray | None:
    """Return the series of an open TIFF file; None for other objects of tifffile, and for a closed file."""
    file = getattr(given, "parent", given)
    if not offers(file, "series") or getattr(getattr(file, "filehandle", None), "closed", False):
        return None
    series = [k for k, s in enumerate(getattr(file, "series", ())) if s is given]
    path = getattr(getattr(file, "filehandle", None), "path", "")
    if not (series or given is file) or not Path(path).is_file():
        return None
    return StoredArray(path, str(series[0]) if series else "", "tif", on_missing)


def inspect_array(array: Any, label: str) -> Opened:
    """Inspect an open array: how to read it, and its metadata."""
    kind = library(array)
    if isinstance(array, StoredArray):
        return array.opened()
    if isinstance(array, Unpacked):
        return inspect_array(array.array, label)
    if kind == "h5py":
        return hdf5.inspect_dataset(array)
    if kind == "zarr":
        return zarrs.inspect_zarr(array, label)
    if kind == "tensorstore":
        return tensorstores.inspect_tensorstore(array)
    if kind == "xarray":
        return _inspect_xarray(array, label)
    if kind == "dask":
        missing, blank = stated_behind(array, label)
        return Opened(array, chunks=tuple(int(c[0]) for c in array.chunks), missing=missing, blank=blank)
    if mapping_of(array) is not None:
        return Opened(array, read=read_mapped)
    return Opened(array, lock=not isinstance(array, np.ndarray))


class OpenArray:
    """An array that the user has open, read like a :class:`StoredArray`, with the errors of this package.

    Parameters
    ----------
    array : array
    label : str
        Its name in errors.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts.

    Raises
    ------
    FileError
        If parts are known to be missing, unless they are to be filled.
    """

    def __init__(self, array: Any, label: str, on_missing: str = "error") -> None:
        self.array, self.label, self.on_missing, self.filled = array, label, on_missing, Filled(label)
        self._opened = inspect_array(array, label)
        require_whole(self._opened.missing, label, on_missing)
        found = self._opened.array
        self.shape = tuple(int(n) for n in found.shape)
        self.dtype = np.dtype(getattr(found.dtype, "numpy_dtype", found.dtype))
        self._lock = threading.Lock() if self._opened.lock else nullcontext()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def opened(self) -> Opened:
        """Return the array, how to read it, and its metadata."""
        return self._opened

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a block, by slices; thread-safe."""
        with self._lock:
            block = read_block(self._opened, key, self.label, self.on_missing, self.filled)
        where = whole_index(key, self.shape)
        return block if where is None else checked_block(block, self.dtype, where, self.label)

    def __reduce__(self) -> Any:
        return OpenArray, (self.array, self.label, self.on_missing)


def guarded(array: Any, label: str, on_missing: str = "error") -> Any:
    """Wrap an array so that damage is reported as an error of this package; arrays in memory are not wrapped."""
    plain = isinstance(array, StoredArray) or (type(array) is np.ndarray and mapping_of(array) is None)
    return array if plain else OpenArray(array, label, on_missing)


def _inspect_xarray(array: Any, label: str) -> Opened:
    """Inspect an xarray: axes from dimensions; voxel size and offset from coordinates, which a Variable lacks."""
    variable, coords = getattr(array, "variable", array), getattr(array, "coords", {})

    def coordinate(name: Any) -> Coordinate | None:
        if name not in coords:  # xarray would make up a range
            return None
        found = coords[name]
        return found.values, found.attrs.get("units", found.attrs.get("unit"))

    # Only this attribute gives access to the lazy array: `data` would read it.
    missing, blank = stated_behind(getattr(variable, "_data", None), label)
    return Opened(
        variable,
        letters(array.dims),
        stated_in_coordinates(array.dims, coordinate),
        None if variable.chunks is None else tuple(int(c[0]) for c in variable.chunks),
        read=_read_variable,
        missing=missing,
        blank=blank,
    )


def _read_variable(variable: Any, key: Any) -> np.ndarray:
    """Read a block of an xarray; a copy if it lies in a mapped file, which may become shorter."""
    mapped = require_mapped(variable)
    block = read(variable, key)
    return np.array(block) if mapped else block


def open_array(value: Any, what: str, on_missing: str = "error") -> Any:
    """Open an array or a path as an object with `shape`, `dtype` and slicing, in the stored order; nothing is read.

    Parameters
    ----------
    value : array or str or path
        A path is ``file.h5:dataset``, ``folder.zarr[/array]``, ``folder.n5/array``, ``file.npy`` or ``file.tif``.
    what : str
        Its name in errors.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts of an array in files.

    Returns
    -------
    array-like
        Arrays in files are replaced by a :class:`StoredArray` of the same data, which other processes can open.

    Raises
    ------
    FileError, UnknownNameError, MissingDependencyError
        If a file cannot be opened.
    InputTypeError, ShapeError
        If it is not an array of numbers of known shape, or is a masked array.

    Examples
    --------
    >>> open_array([[1, 2]], "labels").shape
    (1, 2)
    """
    if isinstance(value, (str, os.PathLike)):
        return stored_at(value, what, on_missing)
    value = unmasked(value, what, lazy=True)
    found = in_file(value, on_missing) if library(value) == "tifffile" else None
    if found is not None:
        return found
    array = accepted(value, what)
    found = in_file(array, on_missing)
    return _as_meant(array, what) if found is None else found


def _as_meant(array: Any, what: str) -> Any:
    """Return an array that is open in this process only, unpacked if it is packed."""
    meant = inspect_array(array, what).array if library(array) in ("h5py", "zarr") else array
    return meant if isinstance(meant, Unpacked) else array


def stored_at(path: str | os.PathLike[str], what: str, on_missing: str = "error") -> StoredArray:
    """Open the array at a path."""
    kind, file, dataset = split_path(path, what)
    return StoredArray(file, dataset, kind, on_missing)
