"""Creation of outputs: files of any kind by path, or arrays that the user has open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer.arrays import library
from neuromancer.casts import KINDS, is_whole
from neuromancer.errors import ArgumentError, FileError, InputTypeError, ShapeError
from neuromancer.files import followed
from neuromancer.places import absolute, is_address, kind_at
from neuromancer.volumes import hdf5, tensorstores, zarrs
from neuromancer.volumes.accept import checked_dtype, is_array, is_closed
from neuromancer.volumes.axes import check_spatial, layout_of, letters
from neuromancer.volumes.chunks import chunks_for, shards_for
from neuromancer.volumes.flat import MappedSink, file_of
from neuromancer.volumes.options import WRITABLE, check_kinds, check_spec, checked_block_shape, stored_layout
from neuromancer.volumes.output import MODULES, Output, open_sink
from neuromancer.volumes.packed import PackedOutput, packing_of
from neuromancer.volumes.paths import plain_name, split_path
from neuromancer.volumes.placement import Placement, checked_placement
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.sink import ArraySink, ForeignSink, require_same
from neuromancer.volumes.store_spec import StoreSpec

__all__ = ["create_sink", "open_sink", "output_at"]

MOST_BYTES = (1 << 63) - 1
"""Maximum size of an output; libraries store sizes as signed 64-bit integers."""


def create_sink(
    out: Any,
    shape: Sequence[int],
    dtype: Any,
    *,
    axes: str | None = None,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | bool | None = None,
    compression: str | None = "default",
    voxel_size: Sequence[float | None] | None = None,
    unit: str | None = None,
    offset: Sequence[float | None] | None = None,
    direction: Sequence[int] | None = None,
    orientation: Sequence[Sequence[float]] | None = None,
    spatial: str = "zyx",
    multiscale: bool = False,
    ome_version: str = "0.5",
    existing: str = "error",
) -> ArraySink:
    """Create an output for a volume (f, *spatial), zero where nothing is written.

    Parameters
    ----------
    out : str, path or array
        ``folder.zarr[/array]``, ``file.h5:dataset``, ``file.tif``, ``file.npy``, ``file.nii``, ``file.nii.gz``,
        ``file.mrc``, ``file.nrrd``, ``folder.precomputed``; or an array of NumPy, h5py, zarr or tensorstore, or
        anything with ``shape``, ``dtype`` and ``__setitem__``. Only values are written into such an array; options for
        files do not apply to it. Files that are compressed as a whole appear when the sink is closed.
    shape : sequence of int
        (f, *spatial).
    dtype : numpy.dtype
    axes : str, optional
        Name of every axis in the stored order, e.g. ``"zyxc"``; default: (f, *spatial), or the order that the format
        prescribes. If f is 1, ``c`` may be omitted to store no channel axis.
    chunks : sequence of int, optional
        (f, *spatial); default: see :func:`chunks_for`.
    shards : sequence of int or True, optional
        For zarr: blocks of chunks that share a file; True for a default, see :func:`shards_for`.
    compression : str or None
        ``"default"`` (blosc with zstd for zarr, none otherwise); zarr: ``"blosc"``, ``"zstd"``, ``"gzip"``; HDF5:
        ``"gzip"``, ``"lzf"``; NRRD: ``"gzip"``; None for none.
    voxel_size, offset : sequence of float, optional
        Per spatial axis, in `unit`; `offset` is the position of the centre of the first voxel. None for an axis
        where it is unknown.
    unit : str, optional
        E.g. ``"nanometer"`` or ``"nm"``.
    direction : sequence of int, optional
        -1 for spatial axes along which positions decrease, else 1; default: they increase along all axes.
    orientation : sequence of (float, float, float), optional
        For NIfTI and NRRD: direction of each spatial axis, as (right, anterior, superior), along which `offset` is
        then measured. Other formats do not store it.
    spatial : str
        Names of the spatial axes in the order of `shape`.
    multiscale : bool
        For zarr: create an OME-Zarr image; :func:`write_pyramid` adds coarser levels once all is written.
    ome_version : {'0.5', '0.4'}
        Version of OME-Zarr: 0.5 is stored as zarr 3, 0.4 as zarr 2.
    existing : {'error', 'open'}
        What to do if the output exists: raise an error, or open it for writing; its shape and dtype must match then.
        Existing data is never cleared or replaced.

    Returns
    -------
    ArraySink

    Raises
    ------
    FileError
        If the output exists, or cannot be created.
    ShapeError, InputTypeError
        If an existing output has another shape or dtype.
    ArgumentError
        For options that the file format does not have.
    MissingDependencyError
        If the library for this file format is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "result.npy"
    >>> sink = create_sink(path, (2, 5, 6), "float32", spatial="yx")
    >>> sink[0:2, 1:3, 0:6] = np.ones((2, 2, 6), "float32")
    >>> sink.close()
    >>> np.load(path).sum(axis=(0, 2)).tolist()
    [0.0, 12.0, 12.0, 0.0, 0.0]
    """
    if not isinstance(existing, str) or existing not in ("error", "open"):
        raise ArgumentError("unknown choice", where="existing", got=existing, expected="'error' or 'open'")
    if not isinstance(out, (str, os.PathLike)):
        size, kind, _ = _checked(out, shape, dtype, voxel_size, unit, offset, spatial, direction, orientation)
        return _into(out, size, kind, axes, spatial)
    options = (axes, chunks, shards, compression, voxel_size, unit, offset, spatial, multiscale, direction)
    output = output_at(out, shape, dtype, *options, orientation, ome_version)
    found = output.find() if existing == "open" else None
    if found is None:
        if existing == "error":
            output.require_free()
        output.create()
        found = output.find()
    if found is None:
        raise FileError("has been removed while it was being created", where=str(output.locator))
    return found


def check_sink(out: Any, shape: Sequence[int], dtype: Any, **options: Any) -> None:
    """Raise what :func:`create_sink` would for these arguments, except for existing outputs; nothing is created."""
    if isinstance(out, (str, os.PathLike)):
        output_at(out, shape, dtype, **options)
    else:
        create_sink(out, shape, dtype, **options)


def output_at(
    out: str | os.PathLike[str],
    shape: Sequence[int],
    dtype: Any,
    axes: str | None = None,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | bool | None = None,
    compression: str | None = "default",
    voxel_size: Sequence[float | None] | None = None,
    unit: str | None = None,
    offset: Sequence[float | None] | None = None,
    spatial: str = "zyx",
    multiscale: bool = False,
    direction: Sequence[int] | None = None,
    orientation: Sequence[Sequence[float]] | None = None,
    ome_version: str = "0.5",
) -> Output:
    """Return the output that :func:`create_sink` would create at a path; nothing is created."""
    check_kinds(axes, compression, multiscale)
    size, kind, placement = _checked(out, shape, dtype, voxel_size, unit, offset, spatial, direction, orientation)
    file_kind, path, dataset = split_path(out, "output")
    if file_kind not in MODULES:
        raise FileError("cannot write this file format", where=str(out), expected=f"one of {WRITABLE}")
    name = plain_name(dataset)
    if ".." in name.split("/") or (dataset and not name):
        raise ArgumentError("not the name of an array", where=str(out), got=dataset, expected="a name within the file")
    if not is_address(path):
        path = absolute(path, "output")
        folder = followed(path).parent
        if kind_at(folder) != "a folder":
            raise FileError("no such folder", where=str(out), got=str(folder))
    layout = stored_layout(size, axes, spatial, file_kind, str(out))
    blocks = chunks_for(size, kind) if chunks is None else checked_block_shape(chunks, size, "chunks")
    groups = _shards(shards, size, blocks)
    locator = Locator(file_kind, path, name, layout.stored, spatial)
    spec = StoreSpec(size, kind, layout, blocks, groups, compression, placement, multiscale, ome_version)
    check_spec(locator, spec)
    return (Output if packing_of(file_kind, path, compression) is None else PackedOutput)(locator, spec)


def _checked(
    out: Any,
    shape: Sequence[int],
    dtype: Any,
    voxel_size: Sequence[float | None] | None,
    unit: str | None,
    offset: Sequence[float | None] | None,
    spatial: str,
    direction: Sequence[int] | None,
    orientation: Sequence[Sequence[float]] | None = None,
) -> tuple[tuple[int, ...], np.dtype, Placement]:
    label = str(out)[:100]
    check_spatial(spatial, label)
    is_sequence = isinstance(shape, (tuple, list)) or (isinstance(shape, np.ndarray) and shape.ndim == 1)
    if not is_sequence or len(shape) != len(spatial) + 1 or not all(is_whole(n) and n >= 1 for n in shape):
        raise ShapeError("not a valid output shape", where=label, got=shape, expected=f"(f, {', '.join(spatial)})")
    size, kind = tuple(int(n) for n in shape), _number_dtype(dtype)
    if prod(size) * kind.itemsize > MOST_BYTES:
        raise ShapeError("too large for any store", where=label, got=size, expected=f"up to {MOST_BYTES} bytes")
    return size, kind, checked_placement(voxel_size, unit, offset, spatial, direction, orientation)


def _number_dtype(dtype: Any) -> np.dtype:
    """Return a numeric dtype that a prediction can have; raise InputTypeError for any other."""
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        kind = np.dtype(object)
    if dtype is None or kind.kind not in KINDS:
        raise InputTypeError("not a dtype for outputs", where="dtype", got=dtype, expected="bool, integer or float")
    return kind


def _shards(
    shards: Sequence[int] | bool | None, size: tuple[int, ...], blocks: tuple[int, ...]
) -> tuple[int, ...] | None:
    if shards is None or shards is False:
        return None
    if shards is True:
        return shards_for(size, blocks)
    groups = checked_block_shape(shards, size, "shards")
    if any(s % c for s, c in zip(groups, blocks, strict=True)):
        nearest = tuple(max(1, round(s / c)) * c for s, c in zip(groups, blocks, strict=True))
        raise ArgumentError(
            "not multiples of the chunks", where="shards", got=groups, expected=f"chunks of {blocks}", nearest=nearest
        )
    return groups


def _into(out: Any, size: tuple[int, ...], kind: np.dtype, axes: str | None, spatial: str) -> ArraySink:
    """Return a sink that writes into an array that the user has open."""
    if is_closed(out):
        raise FileError("is closed", where="out", got=repr(out), expected="an open file, or its path")
    if not is_array(out) or not hasattr(out, "__setitem__"):
        raise InputTypeError(
            "is not an output", where="out", got=type(out).__name__, expected="a path or a writable array"
        )
    checked_dtype(out, "out")
    wrapped = tensorstores.Zeroed(out) if library(out) == "tensorstore" else out
    if isinstance(out, np.ma.MaskedArray) and out.hardmask and np.ma.is_masked(out):
        raise InputTypeError("masked values cannot be written", where="out", got="a hard mask", expected="out.data")
    named = axes or _labels(out) or _fitting(wrapped.shape, size, spatial)
    layout = layout_of(wrapped.shape, named, spatial, "out", True, stack=False)
    require_same(layout.shape(wrapped.shape), np.dtype(wrapped.dtype), size, kind, "out")
    if library(out) == "h5py":
        if out.file.mode == "r":
            raise FileError("the output is open for reading only", where=str(out.file.filename), expected="mode 'r+'")
        return hdf5.OpenHdf5Sink(out, layout, out.file.filename, out.chunks)
    if library(out) == "zarr":
        folder = zarrs.local_folder(out)
        locator = None if folder is None else Locator("zarr", str(folder.absolute()), "", layout.stored, spatial)
        return zarrs.make_sink(out, layout, str(folder or out), locator)
    if library(out) == "tensorstore":
        spec = tensorstores.spec_of(out)
        locator = None if spec is None else Locator("tensorstore", spec, "", layout.stored, spatial)
        return tensorstores.make_sink(wrapped, layout, "out", locator)
    if isinstance(out, np.ndarray):
        if not out.flags.writeable:
            raise InputTypeError("the output cannot be written to", where="out", got="a read-only array")
        file = file_of(out)
        return ArraySink(out, layout, "out") if file is None else MappedSink(out, file, layout, "out")
    return ForeignSink(out, layout, "out")


def _labels(out: Any) -> str | None:
    """Return the axes of an open tensorstore with labelled dimensions, such as Neuroglancer's x, y, z and channel."""
    labels = out.domain.labels if library(out) == "tensorstore" else ()
    return letters(labels) if labels and all(labels) else None


def _fitting(shape: Sequence[int], size: tuple[int, ...], spatial: str) -> str:
    """Return the axes of an output that names none: a channel axis of size 1 may be missing."""
    return spatial if len(shape) == len(spatial) and size[0] == 1 else "f" + spatial
