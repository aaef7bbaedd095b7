"""Sources of images and sinks of results: plain arrays directly, everything else through ``neuromancer.volumes``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer import volumes
from neuromancer.arrays import offers
from neuromancer.dense.mask import Visible
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.masked import split
from neuromancer.places import is_address
from neuromancer.volumes import held
from neuromancer.volumes.flat import file_of, mapping_of
from neuromancer.volumes.held import overlap
from neuromancer.volumes.missing import Part
from neuromancer.volumes.paths import plain_name, split_path

MOST_VOXELS = 1 << 62
"""Maximum number of voxels: more than any store can hold, and sizes and tile counts still fit into 64 bits."""


class MemorySource:
    """Source over an array in memory, or any object with ``shape``, ``dtype`` and slicing.

    Parameters
    ----------
    array : array-like, (f, [z,] *spatial)
    """

    chunks = None
    voxel_size = None
    unit = None
    locator = None

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape, self.dtype = tuple(int(n) for n in array.shape), np.dtype(array.dtype)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self.array[where])

    def fingerprint(self) -> str:
        """Return a digest of shape, dtype and values."""
        digest = hashlib.blake2b(repr((self.shape, self.dtype.str)).encode())
        for index in np.ndindex(self.shape[:2]):
            digest.update(np.ascontiguousarray(self.array[index]).data)
        return digest.hexdigest()

    def close(self) -> None:
        """Nothing is open."""


class DescribedSource(MemorySource):
    """Placeholder for an image of which only shape and dtype are known, for plans.

    Parameters
    ----------
    shape : tuple of int, (f, [z,] *spatial)
    dtype : numpy dtype

    Raises
    ------
    ShapeError
        If the shape is not that of an image.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        if any(n < 1 for n in shape) or prod(shape) > MOST_VOXELS:
            raise ShapeError(
                "not the shape of an image", where="image", got=shape, expected=f"1 to {MOST_VOXELS} voxels"
            )
        self.array, self.shape, self.dtype = None, shape, np.dtype(dtype)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        raise ShapeError("an image given only by its shape has no voxels", where="image", got=where)


class MemorySink:
    """Sink over an array in memory.

    Parameters
    ----------
    array : numpy.ndarray, (f, [z,] *spatial)
    """

    unit_of_write = None
    exclusive = True
    locator = None

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        self.array[where] = values

    def flush(self) -> None:
        """Do nothing: an array in memory has no buffers to flush."""

    def fingerprint(self) -> str:
        """Return shape and dtype as text."""
        return f"{self.shape} {self.dtype}"

    def close(self) -> None:
        """Nothing is open."""


def as_source(raw: Any, axes: str | None, spatial: str, on_missing: str = "error", label: str = "raw") -> Any:
    """Open the image or mask that a user passed.

    Parameters
    ----------
    raw : array, Source, path, Locator, or nested lists
        NumPy arrays without `axes`, and user-defined sources, are used directly; everything else is opened by
        :func:`neuromancer.volumes.open_source`.
    axes : str or None
        Axis order of the array.
    spatial : str
        Names of the network's spatial axes.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts.
    label : str
        Name to use in errors.

    Raises
    ------
    ArgumentError
        For ``on_missing="fill"`` with a user-defined source.
    """
    if type(raw) is np.ndarray and axes is None and mapping_of(raw) is None:
        return MemorySource(raw)
    if is_source(raw) and not isinstance(raw, volumes.ArraySource):
        if on_missing == "fill":
            raise ArgumentError(
                "has no effect on a user-defined source", where="on_missing", got=on_missing, nearest="error"
            )
        return raw
    if isinstance(raw, (list, tuple)) or (np.isscalar(raw) and not isinstance(raw, str)):
        return as_source(volumes.open_array(raw, label), axes, spatial, on_missing, label)
    if isinstance(raw, volumes.ArraySource) and "fill" in (raw.on_missing, on_missing):
        raw = raw.with_choice("fill")  # each prediction records its own filled parts
    source = volumes.open_source(raw, axes=axes, spatial=spatial, on_missing=on_missing, label=label)
    source.filled.quiet |= source.on_missing == "fill"
    return source


def image_sources(raw: Any, axes: str | None, spatial: str, on_missing: str = "error") -> tuple[Any, Visible | None]:
    """Return the source of an image and, for a masked array, the source of its mask."""
    image, hidden = split(raw)
    if image is raw:
        return as_source(raw, axes, spatial, on_missing), None
    if axes is None and image.ndim == len(spatial) and not volumes.is_dataarray(image):
        image, hidden = image[None], None if hidden is None else hidden[None]
    visible = None if hidden is None else Visible(as_source(hidden, axes, spatial, on_missing))
    return as_source(image, axes, spatial, on_missing), visible


def is_source(raw: Any) -> bool:
    """Return whether an object implements the interface of a source."""
    complete = offers(raw, "shape", "dtype", "__getitem__", "locator", "fingerprint", "close")
    return complete and isinstance(raw.shape, tuple)  # some objects have an attribute of any name


def is_sink(out: Any) -> bool:
    """Return whether an object implements the interface of a sink."""
    return offers(out, "shape", "dtype", "__setitem__", "unit_of_write", "exclusive", "flush")


def given_sink(out: Any, shape: Sequence[int], dtype: Any, meta: Mapping[str, Any]) -> Any:
    """Return the sink for an output that is already open.

    Parameters
    ----------
    out : array or Sink
    shape : sequence of int
    dtype : numpy dtype
    meta : mapping
        Further arguments of ``neuromancer.volumes.create_sink``.

    Raises
    ------
    ShapeError, InputTypeError
        If shape or dtype do not fit the result.
    """
    if type(out) is np.ndarray and file_of(out) is None:
        sink: Any = MemorySink(out)
    elif is_sink(out):
        sink = out
    else:
        sink = volumes.create_sink(out, tuple(shape), np.dtype(dtype), **meta)
    _require_same(sink, shape, dtype)
    return sink


def _require_same(sink: Any, shape: Sequence[int], dtype: Any) -> None:
    if tuple(sink.shape) != tuple(shape):
        raise ShapeError("the result does not fit its store", where="out", got=tuple(sink.shape), expected=tuple(shape))
    if np.dtype(sink.dtype) != np.dtype(dtype):
        raise InputTypeError(
            "the store has another dtype than the result",
            where="out",
            got=str(np.dtype(sink.dtype)),
            expected=str(np.dtype(dtype)),
        )


def check_sink(out: Any, shape: Sequence[int], dtype: Any, meta: Mapping[str, Any]) -> None:
    """Raise the errors of `given_sink` that can be detected without creating anything.

    Parameters
    ----------
    out, shape, dtype, meta
        See `given_sink`.
    """
    if type(out) is np.ndarray or is_sink(out):
        _require_same(out, shape, dtype)
        if type(out) is np.ndarray and not out.flags.writeable:
            raise InputTypeError("the output cannot be written to", where="out", got="a read-only array")
    else:
        volumes.check_sink(out, tuple(shape), np.dtype(dtype), **meta)


def require_apart(sources: Mapping[str, Any], outs: Sequence[Any]) -> None:
    """Raise ArgumentError if a result would overwrite the image or the mask, under any name.

    Raises
    ------
    ArgumentError
    """
    for out in outs:
        if isinstance(out, (str, os.PathLike)):
            continue  # an existing path is never overwritten
        for name, source in sources.items():
            if overlap(source, out):
                raise ArgumentError(
                    f"the result would be written over the {name}",
                    where="out",
                    got=f"the {name}",
                    expected="another array",
                )


def fingerprint_of(source: Any) -> str:
    """Return a text that changes when a source does; for arrays in memory, a digest of all values."""
    return held.fingerprint(source) if isinstance(source, volumes.ArraySource) else source.fingerprint()


def blocks_to_be(
    out: Any, shape: Sequence[int], dtype: Any, store: Mapping[str, Any], nbytes: int
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return the chunks to request for a new store, and the block of it that only one tile may write.

    Parameters
    ----------
    out : array, Sink or path
    shape : sequence of int
    dtype : numpy dtype
    store : mapping
        Options given by the user; chunks and shards among them are kept.
    nbytes : int
        Chunk size in bytes if the user gives no chunks.

    Returns
    -------
    tuple of (tuple of int or None)
        Chunks: None if there is nothing to request. Block: None if there is no such restriction, or it is unknown.

    Examples
    --------
    >>> blocks_to_be("a.zarr", (2, 500, 500), "uint8", {}, 1 << 16)
    ((1, 256, 256), (1, 256, 256))
    >>> blocks_to_be("a.npy", (2, 500, 500), "uint8", {}, 1 << 16)
    (None, None)
    """
    if not isinstance(out, (str, os.PathLike)):
        return None, getattr(out, "unit_of_write", None)
    kind = split_path(out, "out")[0]
    if kind not in ("hdf5", "zarr", "precomputed"):
        return None, None
    chunks, shards = store.get("chunks"), store.get("shards")
    asked = None if chunks is not None else volumes.chunks_for(shape, dtype, nbytes)
    unit = asked or tuple(int(n) for n in store["chunks"])
    if shards is not None and shards is not False:
        unit = volumes.shards_for(shape, unit) if shards is True else tuple(shards)
    if kind == "precomputed":  # whose chunks hold all channels
        unit = (shape[0], *unit[1:])
    return asked, tuple(min(u, n) for u, n in zip(unit, shape, strict=False))


def reopen_source(locator: Any) -> Any:
    """Open the source of a locator in this process."""
    if hasattr(locator, "open"):
        return locator.open()
    source = volumes.open_source(locator)
    source.filled.quiet = True  # filled parts are returned to the main process, which warns
    return source


def filled_parts(*sources: Any) -> dict[str, Part]:
    """Return the parts of sources that were read as fill value, by name."""
    found: dict[str, Part] = {}
    for source in sources:
        found |= getattr(getattr(source, "filled", None), "parts", {})
    return found


def reopen_sink(locator: Any) -> Any:
    """Open the sink of a locator in this process."""
    return locator.open() if hasattr(locator, "open") else volumes.open_sink(locator)


def place_of(out: Any, sink: Any, earlier: bool = False) -> Path | None:
    """Return the path of a result with the name of its data set appended; None for memory and remote stores.

    Dots in that name are escaped as ``%2E`` to tell ``c/d`` from ``c.d``; `earlier` versions did not do so.

    Examples
    --------
    >>> str(place_of("run1/result.h5:/values/a", None)), place_of("s3://bucket/a.zarr", None)
    ('run1/result.h5.values.a', None)
    """
    path: str | None = None
    dataset = ""
    if isinstance(out, (str, os.PathLike)):
        _, path, dataset = split_path(out, "out")
    elif sink is not None and getattr(sink.locator, "kind", "") != "tensorstore":
        path, dataset = getattr(sink.locator, "path", None), getattr(sink.locator, "dataset", "")
    if path is None or is_address(str(path)):
        return None
    place = Path(path)
    dataset = plain_name(dataset)
    if not earlier:
        dataset = dataset.replace("%", "%25").replace(".", "%2E")
    return place.with_name(f"{place.name}.{dataset.replace('/', '.')}") if dataset else place
