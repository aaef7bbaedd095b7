"""Options of each file format, validated before a file is created."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer.casts import is_whole
from neuromancer.errors import ArgumentError, InputTypeError
from neuromancer.volumes import hdf5, tiff, zarrs
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import require

MOST_BYTES = {"hdf5": (1 << 32) - 1, "zarr": (1 << 31) - 17}
"""Maximum chunk size in bytes: HDF5 counts in 32 bits, Blosc in 31."""
NAMES = {"hdf5": "HDF5", "npy": ".npy", "tif": "TIFF"}
COMPRESSIONS = {"hdf5": tuple(hdf5.FILTERS), "zarr": zarrs.COMPRESSIONS}


def check_kinds(axes: Any, compression: Any, multiscale: Any) -> None:
    """Raise InputTypeError for options of the wrong type."""
    for name, value in (("axes", axes), ("compression", compression)):
        if value is not None and not isinstance(value, str):
            raise InputTypeError("not a string", where=name, got=value, expected="text")
    if not isinstance(multiscale, (bool, np.bool_)):
        raise InputTypeError("neither True nor False", where="multiscale", got=multiscale, expected="True or False")


def checked_block_shape(given: Any, size: tuple[int, ...], what: str) -> tuple[int, ...]:
    """Return the sizes of a block per axis (f, *spatial), or raise ArgumentError."""
    is_sequence = isinstance(given, Sequence) or (isinstance(given, np.ndarray) and given.ndim == 1)
    if not is_sequence or len(given) != len(size) or not all(is_whole(n) and n >= 1 for n in given):
        raise ArgumentError(
            "not a block shape", where=what, got=given, expected=f"{len(size)} positive integers, (f, spatial)"
        )
    return tuple(int(n) for n in given)


def check_spec(locator: Locator, spec: StoreSpec) -> None:
    """Raise unless the file format supports the specification.

    Raises
    ------
    ArgumentError
        For an option that it does not support.
    InputTypeError
        For a dtype that it does not support.
    MissingDependencyError
        If its library is not installed.
    """
    kind, label = locator.kind, str(locator)
    known = COMPRESSIONS.get(kind)
    if known is None and spec.compression not in ("default", None):
        raise ArgumentError("does not support compression", where=label, got=spec.compression, nearest="None")
    if known is not None and spec.compression not in known:
        name = NAMES.get(kind, kind)
        raise ArgumentError(f"unknown compression for {name}", where=label, got=spec.compression, expected=known)
    if kind != "zarr" and (spec.shards is not None or spec.multiscale):
        raise ArgumentError("shards and multiscale images require zarr", where=label, nearest="a path ending in .zarr")
    if kind in ("npy", "tif") and locator.dataset:
        raise ArgumentError(f"{NAMES[kind]} holds a single, unnamed array", where=label, got=locator.dataset)
    if kind == "tif" and np.dtype(spec.dtype).name not in tiff.DTYPES:
        raise InputTypeError(
            "OME-TIFF does not support this dtype", where=label, got=str(np.dtype(spec.dtype)), expected=tiff.DTYPES
        )
    chunk = spec.chunks if spec.shards is not None else spec.stored_chunks
    nbytes, most = prod(chunk) * np.dtype(spec.dtype).itemsize, MOST_BYTES.get(kind)
    if most is not None and nbytes > most:
        raise ArgumentError("chunks are too large", where=label, got=f"{nbytes} bytes", expected=f"at most {most}")
    if kind == "tif":
        require("tifffile", "tifffile", label)
    if kind == "zarr":
        zarrs.zarr_of(locator.path)
