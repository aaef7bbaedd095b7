"""What is taken as a volume, and what is refused before anything is read: closed files, groups, text."""

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
    """Whether something has shape, dtype and slicing."""
    return offers(value, "shape", "dtype", "__getitem__")


def is_closed(value: Any) -> bool:
    """Whether something of h5py, or a file of tifffile, has been closed."""
    if library(value) == "tifffile":
        return bool(getattr(getattr(value, "filehandle", None), "closed", False))
    return library(value) == "h5py" and offers(value, "id") and not value


def accepted(value: Any, what: str) -> Any:
    """An array as blocks can be read from it; nothing is read of one that lies in a file.

    Parameters
    ----------
    value : array
        Of NumPy, h5py, zarr, dask, tensorstore or xarray, or anything with ``shape``, ``dtype`` and slicing. What
        lies in memory as an array of torch, pandas, JAX, CuPy or a list, or exports one (``__array__``,
        ``__array_interface__``, ``__dlpack__``), becomes NumPy's.
    what : str
        Name of it in errors.

    Raises
    ------
    FileError
        If its file is closed.
    InputTypeError
        If it is no array, or one of something else than numbers.
    ShapeError
        If its sizes are not known, or it holds nothing.
    OutOfMemoryError
        If it has to be taken as a whole, and does not fit.

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
                "is no array", where=what, got=f"{described(value)}: {error}", expected=EXPECTED
            ) from None
        except MemoryError:
            raise OutOfMemoryError("does not fit into the memory", where=what, got=described(value)) from None
        if value.ndim == 0 and value.dtype.kind not in "biuf":
            raise InputTypeError("is no array", where=what, got=described(value.item()), expected=EXPECTED)
    checked_shape(value, what)
    checked_dtype(value, what)
    return value


def _in_memory(value: Any) -> bool:
    """Whether an array with slicing is better taken as a whole: its dtype is not NumPy's, or its index no place."""
    whole = isinstance(value, np.generic) or library(value) in ("torch", "pandas")
    if whole or offers(value, "__cuda_array_interface__"):
        return True
    try:
        dtype = np.dtype(numpy_dtype(value))
    except Exception:
        return not hasattr(value, "chunks")
    return dtype.name.startswith(SMALL_FLOATS) and isinstance(value, np.ndarray)


def _refuse_groups(value: Any, what: str) -> None:
    """Raise for a file, group, xarray.Dataset or dict where one of its arrays is meant."""
    names: list[str] = []
    if not is_array(value) and library(value) != "pandas":
        with suppress(Exception):  # whatever an object that is not ours says
            names = [str(name) for name in value.keys()][:20]
    if names:
        raise InputTypeError(
            "is no array but holds some, say which",
            where=what,
            got=type(value).__name__,
            expected=f"one of {names}",
            nearest=f"[{names[0]!r}] of it",
        )


def numpy_dtype(array: Any) -> Any:
    """dtype of an array as NumPy takes it; tensorstore has its own."""
    return getattr(array.dtype, "numpy_dtype", array.dtype)


def checked_dtype(array: Any, what: str) -> np.dtype:
    """dtype of an array of numbers; InputTypeError for any other."""
    try:
        dtype = np.dtype(numpy_dtype(array))
    except Exception:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise InputTypeError("has no numeric dtype", where=what, got=str(array.dtype), expected=NUMBERS)
    return dtype


def checked_shape(array: Any, what: str) -> tuple[int, ...]:
    """Shape of an array.

    Raises
    ------
    ShapeError
        If it is not known, as after boolean indexing with dask, or there is none: a null data set of HDF5. If it
        has more voxels than an index can count.
    """
    shape = array.shape
    if shape is None:
        raise ShapeError("holds nothing", where=what, got="a null data set", expected="an array")
    try:
        sizes = tuple(int(n) for n in shape)
        known = all(size == n and size >= 0 for size, n in zip(sizes, shape, strict=True))
    except Exception:  # NaN, symbols, delayed values
        known, sizes = False, ()
    if not known:
        hint = "array.compute_chunk_sizes()" if hasattr(type(array), "compute_chunk_sizes") else None
        raise ShapeError("its sizes are not known", where=what, got=f"shape {shape}", expected="sizes", nearest=hint)
    if prod(sizes) >= MOST_VOXELS:
        raise ShapeError("has more voxels than any file", where=what, got=f"shape {shape}", expected=f"< {MOST_VOXELS}")
    return sizes


def checked_block(block: np.ndarray, dtype: np.dtype, index: tuple[slice, ...], what: str) -> np.ndarray:
    """A block of an array that is not ours, as the array says that its blocks are.

    Raises
    ------
    ShapeError, InputTypeError
        If shape or kind are others: those of a dask array are only promised by who made it.
    """
    wanted = tuple(len(range(s.start, s.stop, s.step or 1)) for s in index)
    if block.shape != wanted:
        raise ShapeError("a block has another shape than asked for", where=what, got=block.shape, expected=wanted)
    if block.dtype.kind == dtype.kind == "f":
        return block.astype(dtype, copy=False)
    if block.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise InputTypeError(
            "a block has another dtype than the array says", where=what, got=str(block.dtype), expected=str(dtype)
        )
    return block
