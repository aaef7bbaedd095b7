"""Packed data: scale, offset and fill values as attributes by the CF conventions, decoded as xarray does."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuromancer.volumes.opened import Opened

FILLS = ("_FillValue", "missing_value")
KEYS = ("scale_factor", "add_offset", "_Unsigned", *FILLS)
"""Attributes that describe the packing; results are not packed and do not inherit them."""


@dataclass(frozen=True)
class Packing:
    """Conversion of stored (packed) values to unpacked values.

    Parameters
    ----------
    stored : numpy.dtype
        Interpretation of the stored values.
    dtype : numpy.dtype
        Of the unpacked values.
    fills : tuple of float
        Stored values that mark missing data; they become NaN.
    scale, offset : number, optional
        The unpacked value is ``stored * scale + offset``.
    """

    stored: np.dtype
    dtype: np.dtype
    fills: tuple[Any, ...] = ()
    scale: Any = None
    offset: Any = None

    def unpacked(self, block: np.ndarray) -> np.ndarray:
        """Return a stored block with its values unpacked.

        Examples
        --------
        >>> packing = packing_of({"scale_factor": 0.5, "_FillValue": -1}, np.dtype("int16"))[0]
        >>> packing.unpacked(np.array([4, -1], "int16")).tolist()
        [2.0, nan]
        """
        block = block.view(self.stored) if block.dtype.itemsize == self.stored.itemsize else block
        values = block.astype(self.dtype)
        for fill in self.fills:
            values[block == fill] = np.nan
        if self.scale is not None:
            values *= self.scale
        if self.offset is not None:
            values += self.offset
        return values


class Unpacked:
    """View of a packed array that unpacks block by block.

    Parameters
    ----------
    opened : Opened
        Of the packed array.
    packing : Packing
    """

    def __init__(self, opened: Opened, packing: Packing) -> None:
        self.array, self.packing, self._read = opened.array, packing, opened.read
        self.shape, self.ndim, self.dtype = tuple(self.array.shape), len(self.array.shape), packing.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.packing.unpacked(np.asarray(self._read(self.array, key)))


def unpacked(opened: Opened, attributes: Mapping[str, Any]) -> Opened:
    """Return an array that is unpacked as its attributes say; unchanged without such attributes."""
    packing, doubts = packing_of(attributes, np.dtype(opened.array.dtype))
    opened = replace(opened, doubts=(*opened.doubts, *doubts))
    if packing is None:
        return opened
    fill = packing.unpacked(np.full(1, opened.fill, np.dtype(opened.array.dtype)))[0]
    return replace(opened, array=Unpacked(opened, packing), read=lambda array, key: array[key], fill=fill)


def packing_of(attributes: Mapping[str, Any], dtype: np.dtype) -> tuple[Packing | None, tuple[str, ...]]:
    """Return how values are packed (None if they are not), and the attributes that make no sense."""
    if dtype.kind not in "biuf" or not (set(KEYS) | {"dtype"}) & set(attributes):
        return None, ()
    if _text(attributes.get("dtype")) == "bool" and dtype.kind in "iu":
        return Packing(dtype, np.dtype(bool)), ()
    numbers = {key: _numbers(attributes[key]) for key in KEYS if key in attributes and key != "_Unsigned"}
    for key in ("scale_factor", "add_offset"):
        if len(numbers.get(key) or ()) > 1:
            numbers[key] = None
    doubts = tuple(f"{key} {attributes[key]!r}"[:80] for key, found in numbers.items() if found is None)
    stored = _signed(dtype, _text(attributes.get("_Unsigned")))
    fills = tuple(_stored_fill(v, stored, dtype) for key in FILLS for v in numbers.get(key) or () if not np.isnan(v))
    scale, offset = ((numbers.get(key) or (None,))[0] for key in ("scale_factor", "add_offset"))
    if scale is None and offset is None:
        wanted = stored
        if fills and stored.kind != "f":
            wanted = np.dtype("float32" if stored.itemsize <= 2 else "float64")
    else:
        wanted = _wide_enough(stored, scale, offset, bool(fills))
    packing = Packing(stored, wanted, fills, scale, offset)
    return (packing if packing != Packing(dtype, dtype) else None), doubts


def _wide_enough(stored: np.dtype, scale: Any, offset: Any, gaps: bool) -> np.dtype:
    """Return the dtype that xarray gives to scaled values."""
    kinds = [np.asarray(v).dtype for v in (scale, offset) if v is not None]
    if len(kinds) == 2 and (kinds[0] != kinds[1] or kinds[0] not in (np.float32, np.float64)):
        return np.dtype("float64")
    if scale is None or (kinds[0].kind != "f" and (gaps or stored.kind == "f")):
        return np.dtype("float64")
    four_bytes = len(kinds) == 2 and stored.kind in "iu" and stored.itemsize == 4
    return np.dtype("float64") if four_bytes else kinds[0]


def _signed(dtype: np.dtype, unsigned: str | None) -> np.dtype:
    """Return the integer dtype with the signedness that `_Unsigned` states."""
    wanted = {("i", "true"): "u", ("u", "false"): "i"}.get((dtype.kind, (unsigned or "").lower()))
    return dtype if wanted is None else np.dtype(f"{dtype.byteorder}{wanted}{dtype.itemsize}")


def _stored_fill(value: Any, stored: np.dtype, dtype: np.dtype) -> Any:
    """Convert a fill value from the dtype of the file to that as which values are read."""
    limits = np.iinfo(dtype) if stored != dtype else None
    if limits is None or not limits.min <= value <= limits.max:
        return value
    return np.array(value).astype(dtype).view(stored)[()]


def _numbers(value: Any) -> tuple[Any, ...] | None:
    """Return the numbers in an attribute; None if it holds something else.

    Into zarr 3, xarray writes floating-point fill values as base64.
    """
    if isinstance(value, (str, bytes)):
        try:
            return (float(value),)
        except ValueError:
            pass
        try:
            return struct.unpack("<d", base64.standard_b64decode(value))
        except (ValueError, struct.error):
            return None
    try:
        array = np.ravel(np.asarray(value))
    except ValueError:  # lists of different lengths
        return None
    return tuple(array) if array.dtype.kind in "biuf" and array.size else None


def _text(value: Any) -> str | None:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else None
