"""Arrays that are open already: of NumPy, h5py, zarr, dask, tensorstore, xarray, or anything that can be sliced."""

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
from neuromancer.volumes.coordinates import Coordinate, stated_by
from neuromancer.volumes.flat import mapping_of, read_mapped, require_mapped
from neuromancer.volumes.missing import Filled, require_whole
from neuromancer.volumes.opened import Opened, read
from neuromancer.volumes.paths import split_path
from neuromancer.volumes.stored import StoredArray


def in_file(array: Any, on_missing: str = "error") -> StoredArray | None:
    """The same array as one that other processes can open; None if it lies in memory or is open for writing.

    HDF5 data sets that are open for reading, arrays in zarr folders, memory maps of .npy files, TIFF files and their
    series, and tensorstores.
    """
    kind = library(array)
    if isinstance(array, StoredArray):
        return array
    if type(array) is np.memmap:
        whole = isinstance(array.base, mmap.mmap) and str(array.filename).endswith(".npy") and array.mode == "r"
        return StoredArray(str(array.filename), kind="npy", on_missing=on_missing) if whole else None
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


def _tiff_in_file(given: Any, on_missing: str) -> StoredArray | None:
    """The series of an open TIFF file; None for other objects of tifffile, and for a file that is closed."""
    file = getattr(given, "parent", given)
    if not offers(file, "series"):
        return None
    series = [k for k, s in enumerate(getattr(file, "series", ())) if s is given]
    path = getattr(getattr(file, "filehandle", None), "path", "")
    if not (series or given is file) or not Path(path).is_file():
        return None
    return StoredArray(path, str(series[0]) if series else "", "tif", on_missing)


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
        return _describe_xarray(array, label)
    if kind == "dask":
        missing, blank = stated_behind(array, label)
        return Opened(array, chunks=tuple(int(c[0]) for c in array.chunks), missing=missing, blank=blank)
    if mapping_of(array) is not None:
        return Opened(array, read=read_mapped)
    return Opened(array, lock=not isinstance(array, np.ndarray))


class OpenArray:
    """An array that the user has open, read as a :class:`StoredArray` is: errors are the package's.

    Parameters
    ----------
    array : array
    label : str
        Its name in errors.
    on_missing : {'error', 'fill'}
        What becomes of parts that are missing or damaged.

    Raises
    ------
    FileError
        If parts are known to be missing and are not to be filled.
    """

    def __init__(self, array: Any, label: str, on_missing: str = "error") -> None:
        self.array, self.label, self.on_missing, self.filled = array, label, on_missing, Filled(label)
        self._opened = describe(array, label)
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
        """The array, how it is read, and what it says about itself."""
        return self._opened

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part, by slices; from any number of threads."""
        with self._lock:
            block = read_block(self._opened, key, self.label, self.on_missing, self.filled)
        where = whole_index(key, self.shape)
        return block if where is None else checked_block(block, self.dtype, where, self.label)

    def __reduce__(self) -> Any:
        return OpenArray, (self.array, self.label, self.on_missing)


def guarded(array: Any, label: str, on_missing: str = "error") -> Any:
    """The array, read such that damage is an error of the package; arrays in memory as they are."""
    plain = isinstance(array, StoredArray) or (type(array) is np.ndarray and mapping_of(array) is None)
    return array if plain else OpenArray(array, label, on_missing)


def _describe_xarray(array: Any, label: str) -> Opened:
    """Dimensions name the axes, their coordinates, which a Variable has not, give voxel size and offset."""
    variable, coords = getattr(array, "variable", array), getattr(array, "coords", {})

    def coordinate(name: Any) -> Coordinate | None:
        if name not in coords:  # xarray would count
            return None
        found = coords[name]
        return found.values, found.attrs.get("units", found.attrs.get("unit"))

    # What it holds is asked for in this way alone: `data` would read it.
    missing, blank = stated_behind(getattr(variable, "_data", None), label)
    return Opened(
        variable,
        letters(array.dims),
        stated_by(array.dims, coordinate),
        None if variable.chunks is None else tuple(int(c[0]) for c in variable.chunks),
        read=_read_variable,
        missing=missing,
        blank=blank,
    )


def _read_variable(variable: Any, key: Any) -> np.ndarray:
    """A block of an xarray; a copy if it lies in a mapped file, which may become shorter."""
    mapped = require_mapped(variable)
    block = read(variable, key)
    return np.array(block) if mapped else block


def open_array(value: Any, what: str, on_missing: str = "error") -> Any:
    """Something with `shape`, `dtype` and slicing for an array or a path, in the stored order; nothing is read.

    Parameters
    ----------
    value : array or str or path
        A path is ``file.h5:dataset``, ``folder.zarr[/array]``, ``folder.n5/array``, ``file.npy`` or ``file.tif``.
    what : str
        Name of it in errors.
    on_missing : {'error', 'fill'}
        What becomes of parts that are missing or damaged, of an array in files.

    Returns
    -------
    array-like
        Arrays in files are replaced by a :class:`StoredArray` of the same data, which other processes can open.

    Raises
    ------
    FileError, UnknownNameError, MissingDependencyError
        If a file cannot be opened.
    InputTypeError, ShapeError
        If it is no array of numbers of known size, or is masked somewhere.

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
    """An array that is open in this process only; with its values unpacked, if they are packed."""
    meant = describe(array, what).array if library(array) in ("h5py", "zarr") else array
    return meant if isinstance(meant, Unpacked) else array


def stored_at(path: str | os.PathLike[str], what: str, on_missing: str = "error") -> StoredArray:
    """The array at a path."""
    kind, file, dataset = split_path(path, what)
    return StoredArray(file, dataset, kind, on_missing)
