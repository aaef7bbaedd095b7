"""Where images come from and results go: arrays as they are, everything else through ``neuromancer.volumes``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import InputTypeError, ShapeError


class ArraySource:
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
        """Digest of shape, dtype and some of the values."""
        step = max(1, self.array.size // 65536)
        digest = hashlib.sha256(repr((self.shape, self.dtype.str)).encode())
        digest.update(np.ascontiguousarray(self.array.reshape(-1)[::step]).tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Nothing is open."""


class DescribedSource(ArraySource):
    """An image of which only shape and dtype are known, for plans.

    Parameters
    ----------
    shape : tuple of int, (f, [z,] *spatial)
    dtype : numpy dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__(np.broadcast_to(np.zeros((), dtype), shape))


class ArraySink:
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
        """Values in memory are as durable as they can be; of a memory map they are written to its file."""
        if isinstance(self.array, np.memmap):
            self.array.flush()

    def close(self) -> None:
        """Nothing is open."""


def as_source(raw: Any, axes: str | None, spatial: str) -> Any:
    """The source that a user means.

    Parameters
    ----------
    raw : array, Source, path, locator, or anything that ``neuromancer.volumes.open_source`` takes
    axes : str or None
        Order of its axes.
    spatial : str
        Names of the spatial axes as the network has them.
    """
    if isinstance(raw, np.ndarray) and not isinstance(raw, np.memmap) and axes is None:
        return ArraySource(raw)
    if is_source(raw):
        return raw
    if not isinstance(raw, (str, os.PathLike)) and not hasattr(raw, "shape"):
        raw = np.asarray(raw)
        if axes is None:
            return ArraySource(raw)
    return _volumes().open_source(raw, axes=axes, spatial=spatial)


def is_source(raw: Any) -> bool:
    """Whether an object has what dense prediction asks of a source."""
    return all(hasattr(raw, name) for name in ("shape", "dtype", "__getitem__", "locator", "fingerprint", "close"))


def is_sink(out: Any) -> bool:
    """Whether an object has what dense prediction asks of a sink."""
    return all(hasattr(out, name) for name in ("shape", "dtype", "__setitem__", "unit_of_write", "exclusive", "flush"))


def make_sink(out: Any, shape: Sequence[int], dtype: Any, existing: str, meta: Mapping[str, Any]) -> Any:
    """The sink for a result.

    Parameters
    ----------
    out : array, Sink, or anything that ``neuromancer.volumes.create_sink`` takes
    shape : sequence of int
    dtype : numpy dtype
    existing : {'error', 'open'}
        What to do with a store that is there already.
    meta : mapping
        Further arguments for creating one.

    Raises
    ------
    ShapeError, InputTypeError
        If the store that was given does not fit the result.
    """
    if isinstance(out, np.ndarray) and not isinstance(out, np.memmap):
        sink: Any = ArraySink(out)
    elif is_sink(out):
        sink = out
    else:
        sink = _volumes().create_sink(out, tuple(shape), np.dtype(dtype), existing=existing, **meta)
    if tuple(sink.shape) != tuple(shape):
        raise ShapeError("the result does not fit its store", node="out", got=tuple(sink.shape), expected=tuple(shape))
    if np.dtype(sink.dtype) != np.dtype(dtype):
        raise InputTypeError(
            "the store has another dtype than the result",
            node="out",
            got=str(np.dtype(sink.dtype)),
            expected=str(np.dtype(dtype)),
        )
    return sink


def reopen_source(locator: Any) -> Any:
    """The source that a locator stands for, in this process."""
    return locator.open() if hasattr(locator, "open") else _volumes().open_source(locator)


def reopen_sink(locator: Any) -> Any:
    """The sink that a locator stands for, in this process."""
    return locator.open() if hasattr(locator, "open") else _volumes().open_sink(locator)


def place_of(out: Any, sink: Any) -> Path | None:
    """Path in the file system to which a result goes; None for memory and remote stores."""
    if isinstance(out, (str, os.PathLike)):
        text = os.fspath(out)
        if "://" in text:
            return None
        file, _, dataset = text.rpartition(":/")
        return Path(f"{file}.{dataset.strip('/').replace('/', '.')}" if file else text)
    path = getattr(getattr(sink, "locator", None), "path", None)
    return None if path is None or "://" in str(path) else Path(path)


def _volumes() -> Any:
    return import_module("neuromancer.volumes")
