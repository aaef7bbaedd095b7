"""Results as xarray.DataArray with the coordinates of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.errors import InputTypeError, ShapeError
from neuromancer.volumes.axes import letters
from neuromancer.volumes.cf import KEYS
from neuromancer.volumes.coordinates import spacing
from neuromancer.volumes.source import open_source
from neuromancer.volumes.stored import require


def is_dataarray(value: Any) -> bool:
    """Return whether a value is an xarray.DataArray, without importing xarray."""
    return type(value).__module__.startswith("xarray.") and type(value).__name__ == "DataArray"


def result_array(raw: Any, values: Any, offset: Sequence[int], spatial: str = "zyx", name: str | None = None) -> Any:
    """Return a result as a DataArray with the coordinates of the input.

    Parameters
    ----------
    raw : xarray.DataArray
        Input of the prediction.
    values : array or sink, (f, *spatial)
        In memory or a dask array. A sink is read lazily, through dask, and should be closed or flushed.
    offset : sequence of int
        Voxel of `raw` at which the result starts, per spatial axis.
    spatial : str
        Names of the spatial axes of `values`.
    name : str, optional
        Name of the result.

    Returns
    -------
    xarray.DataArray
        Dimensions are named as in `raw`; the channel axis ``c`` if `raw` has none. Spatial coordinates are those of
        the voxels, extrapolated evenly beyond the ends. Scalar coordinates and attributes are kept, except for
        attributes that describe how the values of `raw` are packed.

    Raises
    ------
    ShapeError
        If `values` or `offset` do not have those axes.

    Examples
    --------
    >>> import pytest; xarray = pytest.importorskip("xarray")
    >>> raw = xarray.DataArray(np.zeros((5, 6)), dims=("y", "x"), coords={"x": np.arange(6) * 0.5})
    >>> result = result_array(raw, np.ones((2, 3, 4)), (1, 1), "yx")
    >>> result.dims, result.x.values.tolist()
    (('c', 'y', 'x'), [0.5, 1.0, 1.5, 2.0])
    """
    xarray = require("xarray", "xarray", "result")
    if not is_dataarray(raw):
        raise InputTypeError("is not an xarray.DataArray", where="raw", got=type(raw).__name__)
    if len(values.shape) != len(spatial) + 1 or len(offset) != len(spatial):
        raise ShapeError(
            "does not fit", where="result", got=f"shape {tuple(values.shape)}, offset {tuple(offset)}", expected=spatial
        )
    found = letters(raw.dims)
    own = dict(zip(found, raw.dims, strict=True)) if found is not None else _by_place(raw, spatial)
    dims = [own.get("f", "c"), *(own.get(a, a) for a in spatial)]
    coords: dict[Any, Any] = {key: c for key, c in raw.coords.items() if c.ndim == 0}
    for dim, begin, n in zip(dims[1:], offset, values.shape[1:], strict=True):
        if dim in raw.coords:
            part = shifted(raw.coords[dim].values, int(begin), int(n))
            if part is not None:
                coords[dim] = xarray.Variable((dim,), part, raw.coords[dim].attrs)
    data = values if isinstance(values, np.ndarray) or hasattr(values, "__dask_graph__") else lazy(values)
    attrs = {key: value for key, value in raw.attrs.items() if key not in KEYS}
    return xarray.DataArray(data, dims=dims, coords=coords, name=raw.name if name is None else name, attrs=attrs)


def _by_place(raw: Any, spatial: str) -> dict[str, Any]:
    """Return dimensions by position where their names have no meaning: (*spatial) or (f, *spatial)."""
    names = ("f" + spatial)[-len(raw.dims) :]
    return dict(zip(names, raw.dims, strict=True)) if len(names) == len(raw.dims) else {}


def shifted(values: np.ndarray, begin: int, n: int) -> np.ndarray | None:
    """Return `n` coordinates starting at voxel `begin`; None if some lie outside and cannot be extrapolated.

    Examples
    --------
    >>> shifted(np.array([0.0, 2.0, 4.0]), -1, 3).tolist()
    [-2.0, 0.0, 2.0]
    """
    if 0 <= begin and begin + n <= len(values):
        return values[begin : begin + n]
    step = spacing(values)
    return None if step is None else float(values[0]) + step * np.arange(begin, begin + n)


def lazy(volume: Any) -> Any:
    """Return a source or sink as a dask array whose blocks are read lazily.

    Parameters
    ----------
    volume : Source or Sink
    """
    array = require("dask.array", "dask", "result")
    if volume.locator is not None:
        # Other processes can read it too, and it outlives the sink.
        volume = open_source(volume.locator)
    unit = getattr(volume, "chunks", None) or getattr(volume, "unit_of_write", None)
    empty = np.empty((0,) * len(volume.shape), volume.dtype)
    return array.from_array(volume, chunks=unit or "auto", name=False, fancy=False, meta=empty)
