"""NumPy's masked arrays: their mask is never dropped in silence."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.errors import InputTypeError


def hides(value: Any) -> bool:
    """Whether something is a masked array of numbers, of NumPy or dask, with or without masked voxels."""
    if type(value).__module__.startswith("dask."):
        return isinstance(getattr(value, "_meta", None), np.ma.MaskedArray)
    return isinstance(value, np.ma.MaskedArray) and value.dtype.names is None


def split(value: Any) -> tuple[Any, Any]:
    """The data of an array, and where it is masked; None where no voxel is.

    Lists of masked arrays are one masked array. Anything else comes back as it is.

    Examples
    --------
    >>> data, hidden = split(np.ma.masked_equal([1, 2, 3], 2))
    >>> data.tolist(), hidden.tolist()
    ([1, 2, 3], [False, True, False])
    >>> split([1, 2])
    ([1, 2], None)
    """
    if isinstance(value, (list, tuple)) and any(isinstance(v, np.ma.MaskedArray) for v in value):
        value = np.ma.stack(value)
    if not hides(value):
        return value, None
    if type(value).__module__.startswith("dask."):
        from dask.array import ma

        return ma.getdata(value), ma.getmaskarray(value)
    return value.data, np.ma.getmaskarray(value) if np.ma.is_masked(value) else None


def unmasked(value: Any, node: Any) -> Any:
    """`value` as it is; of a masked array that masks nothing, its data.

    Parameters
    ----------
    value : object
    node : Node or str
        What errors name.

    Raises
    ------
    InputTypeError
        If something is masked.
    """
    if isinstance(value, (list, tuple)) and any(isinstance(v, np.ma.MaskedArray) for v in value):
        return [unmasked(v, node) for v in value]
    data, hidden = split(value)
    if hidden is None:
        return data
    number = f"{int(hidden.sum())} of {hidden.size}" if isinstance(hidden, np.ndarray) else "some"
    raise InputTypeError(
        "masked values have no meaning here", node=node, got=f"{number} values masked", expected="array.filled(value)"
    )


def chosen(value: Any) -> Any:
    """A mask, with 0 where it is masked itself."""
    data, hidden = split(value)
    return data if hidden is None else np.where(hidden, np.zeros((), data.dtype), data)
