"""What each kind of file can do, checked before one is made."""

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
"""Largest chunks: HDF5 counts their bytes in 32 bits, Blosc in 31."""
NAMES = {"hdf5": "HDF5", "npy": ".npy", "tif": "TIFF"}
COMPRESSIONS = {"hdf5": tuple(hdf5.FILTERS), "zarr": zarrs.COMPRESSIONS}


def check_kinds(axes: Any, compression: Any, multiscale: Any) -> None:
    """Raise InputTypeError for options of the wrong type."""
    for name, value in (("axes", axes), ("compression", compression)):
        if value is not None and not isinstance(value, str):
            raise InputTypeError("not a name", where=name, got=value, expected="text")
    if not isinstance(multiscale, (bool, np.bool_)):
        raise InputTypeError("neither True nor False", where="multiscale", got=multiscale, expected="True or False")


def checked_block(given: Any, size: tuple[int, ...], what: str) -> tuple[int, ...]:
    """Sizes of a block, one per axis (f, *spatial), or ArgumentError."""
    several = isinstance(given, Sequence) or (isinstance(given, np.ndarray) and given.ndim == 1)
    if not several or len(given) != len(size) or not all(is_whole(n) and n >= 1 for n in given):
        raise ArgumentError("not a block", where=what, got=given, expected=f"{len(size)} whole numbers, (f, spatial)")
    return tuple(int(n) for n in given)


def check_spec(locator: Locator, spec: StoreSpec) -> None:
    """Raise unless a kind of file can be made as it is wanted.

    Raises
    ------
    ArgumentError
        For an option that it does not have.
    InputTypeError
        For a dtype that it does not know.
    MissingDependencyError
        If its library is not installed.
    """
    kind, label = locator.kind, str(locator)
    known = COMPRESSIONS.get(kind)
    if known is None and spec.compression not in ("default", None):
        raise ArgumentError("is written without compression", where=label, got=spec.compression, nearest="None")
    if known is not None and spec.compression not in known:
        name = NAMES.get(kind, kind)
        raise ArgumentError(f"no such compression for {name}", where=label, got=spec.compression, expected=known)
    if kind != "zarr" and (spec.shards is not None or spec.multiscale):
        raise ArgumentError("shards and multiscale images are for zarr", where=label, nearest="a path ending in .zarr")
    if kind in ("npy", "tif") and locator.dataset:
        raise ArgumentError(f"{NAMES[kind]} holds one array, without a name", where=label, got=locator.dataset)
    if kind == "tif" and np.dtype(spec.dtype).name not in tiff.DTYPES:
        raise InputTypeError(
            "OME-TIFF does not know this dtype", where=label, got=str(np.dtype(spec.dtype)), expected=tiff.DTYPES
        )
    chunk = spec.chunks if spec.shards is not None else spec.stored_chunks
    nbytes, most = prod(chunk) * np.dtype(spec.dtype).itemsize, MOST_BYTES.get(kind)
    if most is not None and nbytes > most:
        raise ArgumentError("chunks are too large", where=label, got=f"{nbytes} bytes", expected=f"at most {most}")
    if kind == "tif":
        require("tifffile", "tifffile", label)
    if kind == "zarr":
        zarrs.zarr_of(locator.path)
