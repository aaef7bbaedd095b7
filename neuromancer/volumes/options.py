"""Options of each file format, validated before a file is created."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer.casts import is_whole
from neuromancer.errors import ArgumentError, InputTypeError, nearest_name
from neuromancer.volumes import hdf5, mrc, nifti, nrrd, precomputed, tiff, zarrs
from neuromancer.volumes.axes import PASSED, Layout
from neuromancer.volumes.ome import VERSIONS
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import require

MOST_BYTES = {"hdf5": (1 << 32) - 1, "zarr": (1 << 31) - 17}
"""Maximum chunk size in bytes: HDF5 counts in 32 bits, Blosc in 31."""
NAMES = {"hdf5": "HDF5", "npy": ".npy", "tif": "TIFF", "nifti": "NIfTI", "mrc": "MRC", "nrrd": "NRRD"}
COMPRESSIONS = {"hdf5": tuple(hdf5.FILTERS), "zarr": zarrs.COMPRESSIONS, "nrrd": nrrd.COMPRESSIONS}
DTYPES = {
    "tif": tiff.DTYPES,
    "nifti": nifti.DTYPES,
    "mrc": mrc.DTYPES,
    "nrrd": nrrd.DTYPES,
    "precomputed": precomputed.DTYPES,
}
LIBRARIES = {
    "tif": ("tifffile", "tifffile"),
    "nifti": ("nibabel", "nifti"),
    "mrc": ("mrcfile", "mrc"),
    "nrrd": ("nrrd", "nrrd"),
    "precomputed": ("tensorstore", "tensorstore"),
}
"""Module and extra."""
ORDERS = {"tif": "fzyx", "nifti": "xyzf", "mrc": "fzyx", "nrrd": "xyzf", "precomputed": "xyzf"}
"""Order of the axes in formats that have one."""
FIXED = ("nifti", "mrc", "precomputed")
"""Formats without names of axes, which therefore have no other order."""
SINGLE = ("npy", "tif", "nifti", "mrc", "nrrd", "precomputed")
WRITABLE = ("hdf5", "zarr", "npy", "tif", "nifti", "mrc", "nrrd", "precomputed")


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
    name, known = NAMES.get(kind, kind), COMPRESSIONS.get(kind)
    if known is None and spec.compression not in ("default", None):
        raise ArgumentError("does not support compression", where=label, got=spec.compression, nearest="None")
    if known is not None and spec.compression not in known:
        raise ArgumentError(f"unknown compression for {name}", where=label, got=spec.compression, expected=known)
    if kind != "zarr" and (spec.shards is not None or spec.multiscale):
        raise ArgumentError("shards and multiscale images require zarr", where=label, nearest="a path ending in .zarr")
    if kind in SINGLE and locator.dataset:
        raise ArgumentError(f"{name} holds a single, unnamed array", where=label, got=locator.dataset)
    dtypes = DTYPES.get(kind)
    if dtypes is not None and np.dtype(spec.dtype).name not in dtypes:
        name = "OME-TIFF" if kind == "tif" else name
        got = str(np.dtype(spec.dtype))
        nearest = _nearest_dtype(np.dtype(spec.dtype), dtypes)
        raise InputTypeError(
            f"{name} does not support this dtype", where=label, got=got, expected=dtypes, nearest=nearest
        )
    _check_version(spec, label)
    if kind == "tif" and not spec.layout.stored.endswith("yx"):
        nearest = "".join(a for a in ORDERS[kind] if a in spec.layout.stored).replace("f", "c")
        raise ArgumentError(
            "OME-TIFF ends with the axes y and x",
            where=label,
            got=spec.layout.stored.replace("f", "c"),
            nearest=nearest if nearest.endswith("yx") else None,
        )
    chunk = spec.chunks if spec.shards is not None else spec.stored_chunks
    nbytes, most = prod(chunk) * np.dtype(spec.dtype).itemsize, MOST_BYTES.get(kind)
    if most is not None and nbytes > most:
        raise ArgumentError("chunks are too large", where=label, got=f"{nbytes} bytes", expected=f"at most {most}")
    if kind in LIBRARIES:
        require(*LIBRARIES[kind], label)
    if kind == "zarr":
        zarrs.zarr_of(locator.path)


def _nearest_dtype(dtype: np.dtype, known: Sequence[str]) -> str | None:
    """Return the first dtype that holds all values, of the same kind if there is one; an integer for integers."""
    wide = [d for d in known if np.can_cast(dtype, d) and not (dtype.kind in "iu" and np.dtype(d).kind == "f")]
    return min(wide, key=lambda d: np.dtype(d).kind != dtype.kind, default=None)


def _check_version(spec: StoreSpec, label: str) -> None:
    """Raise ArgumentError for a version of OME-Zarr that is not written, or does not apply."""
    version = spec.ome_version
    if not isinstance(version, str) or version not in VERSIONS:
        nearest = nearest_name(str(version), VERSIONS)
        raise ArgumentError("unknown version", where="ome_version", got=version, expected=VERSIONS, nearest=nearest)
    if version != VERSIONS[0] and not spec.multiscale:
        raise ArgumentError(
            "is not an OME-Zarr image", where=label, got=f"ome_version {version}", nearest="multiscale=True"
        )
    if version != VERSIONS[0] and spec.shards is not None:
        raise ArgumentError("OME-Zarr 0.4 has no shards", where=label, got=spec.shards, nearest="ome_version='0.5'")


def stored_layout(size: tuple[int, ...], axes: str | None, spatial: str, kind: str, label: str) -> Layout:
    """Return the stored order of the axes of an output.

    Parameters
    ----------
    size : tuple of int
        (f, *spatial).
    axes : str, optional
        As given by the user.
    spatial, kind, label : str

    Raises
    ------
    ArgumentError
        If `axes` is not an order of these axes, or not that of the format.

    Examples
    --------
    >>> stored_layout((1, 5, 6), None, "yx", "nifti", "a.nii").stored
    'xy'
    """
    order = ORDERS.get(kind)
    if axes is None and order is None:
        return Layout("f" + spatial, spatial)
    if axes is None:
        return Layout(_ordered(str(order), size, spatial, kind), spatial)
    named = axes.lower().replace("c", "f")
    if sorted(named) not in (sorted("f" + spatial), sorted(spatial)):
        raise ArgumentError(
            "not the axes of the output", where=label, got=axes, expected=f"a permutation of 'c{spatial}'"
        )
    if "f" not in named and size[0] != 1:
        raise ArgumentError("no channel axis", where=label, got=axes, expected=f"axes with 'c', for {size[0]} channels")
    if kind in FIXED:
        found = _ordered(str(order), size, spatial, kind)
        if named not in (found.replace(PASSED, ""), str(order)):
            nearest = found.replace(PASSED, "").replace("f", "c")
            raise ArgumentError(f"{NAMES.get(kind, kind)} has an order of axes", where=label, got=axes, nearest=nearest)
        return Layout(found, spatial)
    return Layout(named, spatial)


def _ordered(order: str, size: tuple[int, ...], spatial: str, kind: str) -> str:
    """Return the axes in the order of a format."""
    keep_f = size[0] > 1 or kind in ("tif", "precomputed")
    found = [a for a in order if a in spatial or (a == "f" and keep_f)]
    if kind in FIXED and "".join(found) not in ("xy", "xyz", "yx", "zyx"):
        # Where axes are told by their number, a missing one has to be there.
        found = [a if a in found else PASSED for a in order if a != "f" or a in found]
    return "".join(found)
