"""NumPy masked arrays: a mask is never dropped silently."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from neuromancer.errors import InputTypeError, reason

NUMBERS = (int, float, complex, str, bytes, np.number, np.bool_)
MASKLESS = ("builtins", "numpy", "torch", "jax", "jaxlib", "cupy", "pandas", "h5py", "zarr", "tensorstore", "tifffile")
"""Libraries whose arrays have no mask; arrays of others may convert to a masked array."""


def hides(value: Any) -> bool:
    """Return whether a value is declared as a masked array of numbers, whether or not any voxel is masked.

    Recognises NumPy, dask and dask-backed xarray arrays; nothing is computed.
    """
    kind = _library(value)
    if kind == "dask":
        return isinstance(getattr(value, "_meta", None), np.ma.MaskedArray)
    if kind == "xarray":
        return _is_chunked(value) and hides(value.data)
    return isinstance(value, np.ma.MaskedArray) and value.dtype.names is None


def split(value: Any) -> tuple[Any, Any]:
    """Split an array into its data and its mask, which is None if no voxel is masked.

    A list that contains masked arrays at any depth is treated as one masked array. Anything else is returned unchanged.

    Raises
    ------
    InputTypeError
        For a ragged list that contains masked arrays.

    Examples
    --------
    >>> data, hidden = split(np.ma.masked_equal([1, 2, 3], 2))
    >>> data.tolist(), hidden.tolist()
    ([1, 2, 3], [False, True, False])
    >>> split([1, 2])
    ([1, 2], None)
    """
    value = computed(value) if isinstance(value, (list, tuple)) else value
    if not hides(value):
        return value, None
    kind = _library(value)
    if kind == "dask":
        from dask.array import ma

        return ma.getdata(value), ma.getmaskarray(value)
    if kind == "xarray":  # keep dimensions and coordinates in both
        data, hidden = split(value.data)
        return value.copy(data=data), value.copy(data=hidden)
    return value.data, np.ma.getmaskarray(value) if np.ma.is_masked(value) else None


def computed(value: Any) -> Any:
    """Compute a lazy array, keeping its mask; return anything else unchanged.

    Only the values show whether a lazy array is masked: dask loses this information when masked and plain blocks are
    combined.

    Raises
    ------
    InputTypeError
        For a ragged list that contains masked arrays.

    Examples
    --------
    >>> computed([[1, 2], np.ma.masked_equal([1, 2], 2)]).tolist()
    [[1, 2], [1, None]]
    """
    if isinstance(value, (list, tuple)):
        return _stacked(value)
    kind = _library(value)
    if kind == "dask" and hasattr(value, "compute"):
        return computed(value.compute())
    if kind == "xarray" and hasattr(value, "data"):
        return computed(value.data)
    if kind not in MASKLESS and hasattr(type(value), "__array__"):
        with suppress(Exception):  # the error is reported where the values are needed
            array = np.asanyarray(value)
            return array if hides(array) else value
    return value


def unmasked(value: Any, node: Any, lazy: bool = False) -> Any:
    """Return `value` unchanged, or the data of a masked array in which nothing is masked.

    Parameters
    ----------
    value : object
    node : Node or str
        The node or argument named in errors.
    lazy : bool
        Do not compute lazy arrays; then only those declared as masked are refused.

    Raises
    ------
    InputTypeError
        If a value is masked.
    """
    data, hidden = split(value if lazy else computed(value))
    if hidden is None:
        return data
    number = f"{int(hidden.sum())} of {hidden.size}" if isinstance(hidden, np.ndarray) else "some"
    raise InputTypeError(
        "masked values are not supported here", node=node, got=f"{number} values masked", expected="array.filled(value)"
    )


def chosen(value: Any) -> Any:
    """Return a selection mask, with 0 where the mask itself is masked."""
    if _library(value) == "xarray" and hides(value):
        return value.copy(data=chosen(value.data))
    data, hidden = split(value)
    return data if hidden is None else np.where(hidden, np.zeros((), data.dtype), data)


def _stacked(values: Any) -> Any:
    """Return a list, stacked to a masked array if it contains masked arrays."""
    if all(issubclass(kind, NUMBERS) for kind in set(map(type, values))):
        return values
    items = [computed(v) for v in values]
    if not any(isinstance(v, np.ma.MaskedArray) for v in items):
        return items
    try:
        return np.ma.stack(items)
    except ValueError as error:
        raise InputTypeError("is not an array", got=reason(error), expected="lists of equal lengths") from None


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _is_chunked(value: Any) -> bool:
    """Return whether an xarray object is backed by dask; accessing the data of others may read a file."""
    return getattr(value, "chunks", None) is not None and hasattr(value, "data")
