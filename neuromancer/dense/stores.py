"""Where images come from and results go: arrays as they are, everything else through ``neuromancer.volumes``."""

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
"""More than any store can hold, and few enough for sizes and numbers of tiles to be whole numbers of 64 bits."""


class MemorySource:
    """An array in memory, or anything with ``shape``, ``dtype`` and slicing, as a source.

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
        """Digest of shape, dtype and values."""
        digest = hashlib.blake2b(repr((self.shape, self.dtype.str)).encode())
        for index in np.ndindex(self.shape[:2]):
            digest.update(np.ascontiguousarray(self.array[index]).data)
        return digest.hexdigest()

    def close(self) -> None:
        """Nothing is open."""


class DescribedSource(MemorySource):
    """An image of which only shape and dtype are known, for plans.

    Parameters
    ----------
    shape : tuple of int, (f, [z,] *spatial)
    dtype : numpy dtype

    Raises
    ------
    ShapeError
        For sizes that no image has.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        if any(n < 1 for n in shape) or prod(shape) > MOST_VOXELS:
            raise ShapeError("not a shape of an image", where="image", got=shape, expected=f"1 to {MOST_VOXELS} voxels")
        self.array, self.shape, self.dtype = None, shape, np.dtype(dtype)

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        raise ShapeError("an image that is only described has no voxels", where="image", got=where)


class MemorySink:
    """An array in memory into which a result is written.

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
        """Values in memory are as durable as they can be."""

    def fingerprint(self) -> str:
        """What can be known of it."""
        return f"{self.shape} {self.dtype}"

    def close(self) -> None:
        """Nothing is open."""


def as_source(raw: Any, axes: str | None, spatial: str, on_missing: str = "error", label: str = "raw") -> Any:
    """The source that a user means.

    Parameters
    ----------
    raw : array, Source, path, Locator, or nested lists
        NumPy arrays without `axes`, and sources of another make, are taken as they are; everything else goes through
        :func:`neuromancer.volumes.open_source`.
    axes : str or None
        Order of its axes.
    spatial : str
        Names of the spatial axes as the network has them.
    on_missing : {'error', 'fill'}
        What becomes of parts that are missing or damaged.
    label : str
        Name of it in errors.

    Raises
    ------
    ArgumentError
        For a source of another make that is to be filled.
    """
    if type(raw) is np.ndarray and axes is None and mapping_of(raw) is None:
        return MemorySource(raw)
    if is_source(raw) and not isinstance(raw, volumes.ArraySource):
        if on_missing == "fill":
            raise ArgumentError(
                "has no effect on a source of your own", where="on_missing", got=on_missing, nearest="error"
            )
        return raw
    if isinstance(raw, (list, tuple)) or (np.isscalar(raw) and not isinstance(raw, str)):
        return as_source(volumes.open_array(raw, label), axes, spatial, on_missing, label)
    if isinstance(raw, volumes.ArraySource) and "fill" in (raw.on_missing, on_missing):
        raw = raw.with_choice("fill")  # for a record of its own
    source = volumes.open_source(raw, axes=axes, spatial=spatial, on_missing=on_missing, label=label)
    source.filled.quiet |= source.on_missing == "fill"
    return source


def image_sources(raw: Any, axes: str | None, spatial: str, on_missing: str = "error") -> tuple[Any, Visible | None]:
    """The source of an image and, for a masked array, that of the mask which it brings along."""
    image, hidden = split(raw)
    if image is raw:
        return as_source(raw, axes, spatial, on_missing), None
    if axes is None and image.ndim == len(spatial) and not volumes.is_dataarray(image):
        image, hidden = image[None], None if hidden is None else hidden[None]
    visible = None if hidden is None else Visible(as_source(hidden, axes, spatial, on_missing))
    return as_source(image, axes, spatial, on_missing), visible


def is_source(raw: Any) -> bool:
    """Whether an object has what dense prediction asks of a source."""
    named = offers(raw, "shape", "dtype", "__getitem__", "locator", "fingerprint", "close")
    return named and isinstance(raw.shape, tuple)  # some objects have an attribute of any name


def is_sink(out: Any) -> bool:
    """Whether an object has what dense prediction asks of a sink."""
    return offers(out, "shape", "dtype", "__setitem__", "unit_of_write", "exclusive", "flush")


def given_sink(out: Any, shape: Sequence[int], dtype: Any, meta: Mapping[str, Any]) -> Any:
    """The sink for a result that goes into something that is open already.

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
        If it does not fit the result.
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
    """Raise what `given_sink` would for a result, as far as it can be known; nothing is made.

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
    """Refuse a result that would be written over the image or the mask, by whatever name.

    Raises
    ------
    ArgumentError
    """
    for out in outs:
        if isinstance(out, (str, os.PathLike)):
            continue  # a path that exists is never written over
        for name, source in sources.items():
            if overlap(source, out):
                raise ArgumentError(
                    f"the result would be written over the {name}",
                    where="out",
                    got=f"the {name}",
                    expected="another array",
                )


def fingerprint_of(source: Any) -> str:
    """What changes with a source: of what lies in memory all values."""
    return held.fingerprint(source) if isinstance(source, volumes.ArraySource) else source.fingerprint()


def blocks_to_be(
    out: Any, shape: Sequence[int], dtype: Any, store: Mapping[str, Any], nbytes: int
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Chunks to ask for when the store of a result is made, and the block of it that no two tiles may share.

    Parameters
    ----------
    out : array, Sink or path
    shape : sequence of int
    dtype : numpy dtype
    store : mapping
        What the user says of it; chunks and shards given there stay.
    nbytes : int
        Of a chunk, where the user gives none.

    Returns
    -------
    tuple of (tuple of int or None)
        None for chunks where there is nothing to ask for; None for the block where there is none, or none is known.

    Examples
    --------
    >>> blocks_to_be("a.zarr", (2, 500, 500), "uint8", {}, 1 << 16)
    ((1, 256, 256), (1, 256, 256))
    >>> blocks_to_be("a.npy", (2, 500, 500), "uint8", {}, 1 << 16)
    (None, None)
    """
    if not isinstance(out, (str, os.PathLike)):
        return None, getattr(out, "unit_of_write", None)
    if split_path(out, "out")[0] not in ("hdf5", "zarr"):
        return None, None
    chunks, shards = store.get("chunks"), store.get("shards")
    asked = None if chunks is not None else volumes.chunks_for(shape, dtype, nbytes)
    unit = asked or tuple(int(n) for n in store["chunks"])
    if shards is not None and shards is not False:
        unit = volumes.shards_for(shape, unit) if shards is True else tuple(shards)
    return asked, tuple(min(u, n) for u, n in zip(unit, shape, strict=False))


def reopen_source(locator: Any) -> Any:
    """The source that a locator stands for, in this process."""
    if hasattr(locator, "open"):
        return locator.open()
    source = volumes.open_source(locator)
    source.filled.quiet = True  # what is filled goes back to whoever gives the warning
    return source


def filled_parts(*sources: Any) -> dict[str, Part]:
    """Parts of sources that were read as fill value, by name."""
    found: dict[str, Part] = {}
    for source in sources:
        found |= getattr(getattr(source, "filled", None), "parts", {})
    return found


def reopen_sink(locator: Any) -> Any:
    """The sink that a locator stands for, in this process."""
    return locator.open() if hasattr(locator, "open") else volumes.open_sink(locator)


def place_of(out: Any, sink: Any, earlier: bool = False) -> Path | None:
    """Where in the file system a result goes, with the name of its data set; None for memory and remote stores.

    Points in that name are written as ``%2E``, so that ``c/d`` and ``c.d`` are two; `earlier` versions did not do so.

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
