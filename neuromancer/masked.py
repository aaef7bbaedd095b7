"""NumPy's masked arrays: their mask is never dropped in silence."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from neuromancer.errors import InputTypeError, reason

NUMBERS = (int, float, complex, str, bytes, np.number, np.bool_)
MASKLESS = ("builtins", "numpy", "torch", "jax", "jaxlib", "cupy", "pandas", "h5py", "zarr", "tensorstore", "tifffile")
"""Libraries whose arrays have no mask; those of others may give a masked array when they are asked for their values."""


def hides(value: Any) -> bool:
    """Whether something says of itself that it is a masked array of numbers, with or without masked voxels.

    Of NumPy, dask, or xarray around dask; nothing is computed.
    """
    kind = _library(value)
    if kind == "dask":
        return isinstance(getattr(value, "_meta", None), np.ma.MaskedArray)
    if kind == "xarray":
        return _is_chunked(value) and hides(value.data)
    return isinstance(value, np.ma.MaskedArray) and value.dtype.names is None


def split(value: Any) -> tuple[Any, Any]:
    """The data of an array, and where it is masked; None where no voxel is.

    Lists that hold masked arrays, however deep, are one masked array. Anything else comes back as it is.

    Raises
    ------
    InputTypeError
        For such lists of different lengths.

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
    if kind == "xarray":  # dimensions and coordinates belong to both
        data, hidden = split(value.data)
        return value.copy(data=data), value.copy(data=hidden)
    return value.data, np.ma.getmaskarray(value) if np.ma.is_masked(value) else None


def computed(value: Any) -> Any:
    """What a library computes when asked, in memory and masked where it is masked; anything else as it is.

    Only the values tell whether a lazy array is masked: dask forgets that where blocks of both kinds come together.

    Raises
    ------
    InputTypeError
        For lists of different lengths that hold masked arrays.

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
        with suppress(Exception):  # whoever needs the values says why there are none
            found = np.asanyarray(value)
            return found if hides(found) else value
    return value


def unmasked(value: Any, node: Any, lazy: bool = False) -> Any:
    """`value` as it is; of a masked array that masks nothing, its data.

    Parameters
    ----------
    value : object
    node : Node or str
        What errors name.
    lazy : bool
        Whether values that are computed when asked for stay so; then only what is known without them is refused.

    Raises
    ------
    InputTypeError
        If something is masked.
    """
    data, hidden = split(value if lazy else computed(value))
    if hidden is None:
        return data
    number = f"{int(hidden.sum())} of {hidden.size}" if isinstance(hidden, np.ndarray) else "some"
    raise InputTypeError(
        "masked values have no meaning here", node=node, got=f"{number} values masked", expected="array.filled(value)"
    )


def chosen(value: Any) -> Any:
    """A mask, with 0 where it is masked itself."""
    if _library(value) == "xarray" and hides(value):
        return value.copy(data=chosen(value.data))
    data, hidden = split(value)
    return data if hidden is None else np.where(hidden, np.zeros((), data.dtype), data)


def _stacked(values: Any) -> Any:
    """A list, or the masked array that it is if masked arrays are in it."""
    if all(issubclass(kind, NUMBERS) for kind in set(map(type, values))):
        return values
    items = [computed(v) for v in values]
    if not any(isinstance(v, np.ma.MaskedArray) for v in items):
        return items
    try:
        return np.ma.stack(items)
    except ValueError as error:
        raise InputTypeError("is no array", got=reason(error), expected="lists of equal lengths") from None


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _is_chunked(value: Any) -> bool:
    """Whether an object of xarray holds a dask array; others may have to be read for their data."""
    return getattr(value, "chunks", None) is not None and hasattr(value, "data")
