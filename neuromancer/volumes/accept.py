"""Validation of input arrays before anything is read: closed files, groups and text are refused."""

from __future__ import annotations

from contextlib import suppress
from math import prod
from typing import Any

import numpy as np

from neuromancer.arrays import SMALL_FLOATS, as_array, library, offers
from neuromancer.errors import FileError, InputTypeError, OutOfMemoryError, ShapeError
from neuromancer.printable import described
from neuromancer.volumes.paths import EXPECTED

NUMBERS = "bool, integer or float"
MOST_VOXELS = 2**63


def is_array(value: Any) -> bool:
    """Return whether a value has shape, dtype and slicing."""
    return offers(value, "shape", "dtype", "__getitem__")


def is_closed(value: Any) -> bool:
    """Return whether an h5py object or a tifffile file has been closed."""
    if library(value) == "tifffile":
        return bool(getattr(getattr(value, "filehandle", None), "closed", False))
    return library(value) == "h5py" and offers(value, "id") and not value


def accepted(value: Any, what: str) -> Any:
    """Return an array from which blocks can be read; no data is read from arrays in files.

    Parameters
    ----------
    value : array
        A NumPy, h5py, zarr, dask, tensorstore or xarray array, or anything with ``shape``, ``dtype`` and slicing.
        In-memory data of torch, pandas, JAX, CuPy, lists, or anything that exports an array (``__array__``,
        ``__array_interface__``, ``__dlpack__``), is converted to NumPy.
    what : str
        Its name in errors.

    Raises
    ------
    FileError
        If its file is closed.
    InputTypeError
        If it is not an array of numbers.
    ShapeError
        If its shape is unknown, or it is a null dataset.
    OutOfMemoryError
        If it has to be loaded as a whole and does not fit into memory.

    Examples
    --------
    >>> accepted([[1, 2]], "labels").shape
    (1, 2)
    """
    if is_closed(value):
        raise FileError("is closed", where=what, got=described(value), expected="an open file, or its path")
    _refuse_groups(value, what)
    if not is_array(value) or _in_memory(value):
        try:
            value = as_array(value)
        except ValueError as error:
            raise InputTypeError(
                "is not an array", where=what, got=f"{described(value)}: {error}", expected=EXPECTED
            ) from None
        except MemoryError:
            raise OutOfMemoryError("does not fit into memory", where=what, got=described(value)) from None
        if value.ndim == 0 and value.dtype.kind not in "biuf":
            raise InputTypeError("is not an array", where=what, got=described(value.item()), expected=EXPECTED)
    checked_shape(value, what)
    checked_dtype(value, what)
    return value


def _in_memory(value: Any) -> bool:
    """Return whether to load an array as a whole: its dtype is not NumPy's, or it is not indexed by position."""
    whole = isinstance(value, np.generic) or library(value) in ("torch", "pandas")
    if whole or offers(value, "__cuda_array_interface__"):
        return True
    try:
        dtype = np.dtype(numpy_dtype(value))
    except Exception:
        return not hasattr(value, "chunks")
    return dtype.name.startswith(SMALL_FLOATS) and isinstance(value, np.ndarray)


def _refuse_groups(value: Any, what: str) -> None:
    """Raise for a file, group, xarray.Dataset or dict: one of its arrays has to be chosen."""
    names: list[str] = []
    if not is_array(value) and library(value) != "pandas":
        with suppress(Exception):  # a foreign object may raise anything
            names = [str(name) for name in value.keys()][:20]
    if names:
        raise InputTypeError(
            "is not an array but a container of arrays: say which",
            where=what,
            got=type(value).__name__,
            expected=f"one of {names}",
            nearest=f"its item [{names[0]!r}]",
        )


def numpy_dtype(array: Any) -> Any:
    """Return the NumPy dtype of an array; tensorstore has dtypes of its own."""
    return getattr(array.dtype, "numpy_dtype", array.dtype)


def checked_dtype(array: Any, what: str) -> np.dtype:
    """Return the dtype of an array of numbers; raise InputTypeError for any other."""
    try:
        dtype = np.dtype(numpy_dtype(array))
    except Exception:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise InputTypeError("has no numeric dtype", where=what, got=str(array.dtype), expected=NUMBERS)
    return dtype


def checked_shape(array: Any, what: str) -> tuple[int, ...]:
    """Return the shape of an array.

    Raises
    ------
    ShapeError
        If it is unknown, as after boolean indexing in dask, or there is none (an HDF5 null dataset), or the array
        has more voxels than a 64-bit index can count.
    """
    shape = array.shape
    if shape is None:
        raise ShapeError("holds nothing", where=what, got="a null dataset", expected="an array")
    try:
        sizes = tuple(int(n) for n in shape)
        known = all(size == n and size >= 0 for size, n in zip(sizes, shape, strict=True))
    except Exception:  # NaN, symbols, delayed values
        known, sizes = False, ()
    if not known:
        hint = "array.compute_chunk_sizes()" if hasattr(type(array), "compute_chunk_sizes") else None
        raise ShapeError("its shape is unknown", where=what, got=f"shape {shape}", expected="sizes", nearest=hint)
    if prod(sizes) >= MOST_VOXELS:
        raise ShapeError("has too many voxels", where=what, got=f"shape {shape}", expected=f"< {MOST_VOXELS}")
    return sizes


def checked_block(block: np.ndarray, dtype: np.dtype, index: tuple[slice, ...], what: str) -> np.ndarray:
    """Return a block that was read from a foreign array, checked against the shape and dtype that the array declares.

    Raises
    ------
    ShapeError, InputTypeError
        If shape or kind differ: those of a dask array are only declared by whoever made it.
    """
    expected = tuple(len(range(s.start, s.stop, s.step or 1)) for s in index)
    if block.shape != expected:
        raise ShapeError("a block has another shape than requested", where=what, got=block.shape, expected=expected)
    if block.dtype.kind == dtype.kind == "f":
        return block.astype(dtype, copy=False)
    if block.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise InputTypeError(
            "a block has another dtype than the array", where=what, got=str(block.dtype), expected=str(dtype)
        )
    return block
