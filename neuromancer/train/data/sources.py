"""Arrays that stay where they are: datasets in HDF5, zarr and npy files, opened when first read."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError, InputTypeError, MissingDependencyError, UnknownNameError, nearest_name

KINDS = {".h5": "hdf5", ".hdf5": "hdf5", ".hdf": "hdf5", ".zarr": "zarr", ".npy": "npy"}
EXPECTED = "an array, or a path: file.h5:dataset, folder.zarr[:array], file.npy"


class StoredArray:
    """An array in a file: shape and dtype are known at once, slices are read when asked for.

    It can be pickled, and is opened anew in every process.

    Parameters
    ----------
    path : str or path
        HDF5 or npy file, or zarr folder.
    dataset : str
        Which array of the file; may be left out where there is only one.
    kind : str, optional
        'hdf5', 'zarr' or 'npy'; by default the ending of the name says it.

    Raises
    ------
    FileError
        If there is no such file or it cannot be read.
    UnknownNameError
        If there is no such array in it; the nearest name is given.
    MissingDependencyError
        For zarr, if it is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], dataset: str = "", kind: str | None = None) -> None:
        self.path, self.dataset = Path(path), dataset
        self.kind = KINDS.get(self.path.suffix, "hdf5") if kind is None else kind
        self._opened: tuple[int, Any] | None = None
        self._lock = threading.Lock()
        array = self._array()
        self.shape = tuple(int(n) for n in array.shape)
        self.dtype = np.dtype(array.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a part, by slices."""
        return np.asarray(self._array()[key])

    def __repr__(self) -> str:
        return f"{self.path}:{self.dataset}" if self.dataset else str(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_opened", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _opened=None, _lock=threading.Lock())

    def _array(self) -> Any:
        """The open array; a handle that came through a fork is not used."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), self._open()
            return self._opened[1]

    def _open(self) -> Any:
        if not self.path.exists():
            raise FileError("no such file", node=repr(self), got=str(self.path), expected=EXPECTED)
        try:
            if self.kind == "npy":
                return np.load(self.path, mmap_mode="r")
            if self.kind == "zarr":
                return self._member(*_zarr_arrays(self.path))
            return self._member(*_hdf5_arrays(self.path))
        except (OSError, ValueError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError("the file cannot be read", node=repr(self), got=str(error), expected=EXPECTED) from error

    def _member(self, root: Any, names: list[str] | None) -> Any:
        """One array of an open file; without names the file is itself the array."""
        if names is None:
            return root
        wanted = self.dataset.strip("/")
        if not wanted and len(names) == 1:
            return root[names[0]]
        if wanted not in names:
            raise UnknownNameError(
                "no such array in the file" if wanted else "the file holds several arrays, say which",
                node=repr(self),
                got=wanted or None,
                expected=f"one of {names}",
                nearest=nearest_name(wanted, names),
            )
        return root[wanted]


def _hdf5_arrays(path: Path) -> tuple[Any, list[str]]:
    import h5py

    names: list[str] = []
    file = h5py.File(path, "r")
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return file, sorted(names)


def _zarr_arrays(path: Path) -> tuple[Any, list[str] | None]:
    """The opened store and the names of its arrays; None where the store is itself one array."""
    try:
        import zarr
    except ImportError:
        raise MissingDependencyError(
            "reading zarr needs the package zarr", node=str(path), nearest="pip install zarr"
        ) from None
    root = zarr.open(str(path), mode="r")
    if isinstance(root, zarr.Array):
        return root, None
    return root, sorted(name for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array))


def open_array(value: Any, what: str) -> Any:
    """Something with `shape`, `dtype` and slicing for an array or a path; nothing is read.

    Parameters
    ----------
    value : array or str or path
        A path is ``file.h5:dataset``, ``folder.zarr:array`` or ``file.npy``.
    what : str
        Name of it in errors.

    Returns
    -------
    array-like
        Datasets and memory maps of files that are open for reading are replaced by a :class:`StoredArray` of the same
        data, which other processes can open.

    Examples
    --------
    >>> open_array([[1, 2]], "labels").shape
    (1, 2)
    """
    if isinstance(value, (str, os.PathLike)):
        return StoredArray(*_split(os.fspath(value), what))
    if all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__")):
        return _reopened(value)
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf":
        raise InputTypeError("is no array", node=what, got=repr(value)[:100], expected=EXPECTED)
    return array


def _split(path: str, what: str) -> tuple[str, str]:
    """File and dataset; the colon after a drive letter does not count."""
    file, colon, dataset = path.rpartition(":")
    if not colon or len(file) == 1:
        file, dataset = path, ""
    if Path(file).suffix not in KINDS:
        raise FileError(
            "cannot tell the kind of file", node=what, got=path, expected=f"a name ending in {tuple(KINDS)}"
        )
    return file, dataset


def _reopened(array: Any) -> Any:
    if type(array) is np.memmap and isinstance(array.base, mmap.mmap) and str(array.filename).endswith(".npy"):
        return StoredArray(str(array.filename))
    file = getattr(array, "file", None)
    name = getattr(file, "filename", None)
    readable = getattr(file, "mode", None) == "r" and getattr(file, "driver", None) in ("sec2", "stdio")
    return StoredArray(name, array.name, "hdf5") if readable and isinstance(name, str) else array
