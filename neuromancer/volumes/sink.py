"""Volumes that are written in blocks: base classes of all sinks, and sinks for open arrays."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast, fits_kind
from neuromancer.errors import InputTypeError, ShapeError, naming, translating
from neuromancer.files import fsync
from neuromancer.printable import printable
from neuromancer.volumes.axes import Layout, checked_index
from neuromancer.volumes.protocol import Locator, Where

FSYNC_THREADS = 8


class ArraySink:
    """Sink that writes into anything with ``shape``, ``dtype`` and ``__setitem__``; base of all sinks.

    See :class:`neuromancer.volumes.Sink` for the attributes.

    Parameters
    ----------
    array : object
        Has shape and dtype, and is written by slices, in the stored order.
    layout : Layout
    label : str
        Its name in errors.
    chunks : tuple of int, optional
        Blocks of the stored array that must not be written by two writers at once.
    locator : Locator, optional
    identity : str
        Distinguishes this output from others at the same path.

    Examples
    --------
    >>> array = np.zeros((4, 3, 2))
    >>> sink = ArraySink(array, Layout("yxf", "yx"), "out")
    >>> sink[:, 1:3, 0:1] = np.ones((2, 2, 1))
    >>> sink.shape, int(array.sum())
    ((2, 4, 3), 4)
    """

    exclusive = False
    steps = True
    safe = True

    def __init__(
        self,
        array: Any,
        layout: Layout,
        label: str,
        chunks: tuple[int, ...] | None = None,
        locator: Locator | None = None,
        identity: str = "",
    ) -> None:
        self.array, self.layout, self.locator, self.identity = array, layout, locator, identity
        self.label = printable(label)
        self.shape, self.dtype, self.spatial = layout.shape(array.shape), np.dtype(array.dtype), layout.spatial
        self.unit_of_write = None if chunks is None else layout.per_axis([int(c) for c in chunks], 1)
        self._lock = threading.Lock()

    def __setitem__(self, where: Where, values: np.ndarray) -> None:
        """Write a block.

        Parameters
        ----------
        where : tuple of slice
            Per axis (f, *spatial); steps are allowed for arrays in memory only.
        values : numpy.ndarray, (f, *spatial)

        Raises
        ------
        ShapeError
            If the slices exceed the volume, or the block has another shape.
        InputTypeError, ArgumentError
            If its kind of dtype differs, or a value cannot be represented; floating-point values may be rounded.
        FileError
            On a system error, e.g. a full disk.
        """
        index = checked_index(where, self.shape, self.label, steps=self.steps)
        values = np.asarray(values)
        expected = tuple(len(range(s.start, s.stop, s.step)) for s in index)
        if values.shape != expected:
            raise ShapeError("a block of the wrong shape", where=self.label, got=values.shape, expected=expected)
        if not fits_kind(values.dtype, self.dtype):
            raise InputTypeError("values of the wrong kind", where=self.label, got=values.dtype, expected=self.dtype)
        values = exact_cast(values, self.dtype, self.label, "the block")
        if not values.size:
            return
        with translating(self.label, "cannot be written"):
            stored = self.layout.where(index), self.layout.unview(values)
            if self.safe:
                self._write(*stored)
            else:
                with self._lock:
                    self._write(*stored)

    def __getitem__(self, where: Where) -> np.ndarray:
        """Read a block back, (f, *spatial)."""
        index = self.layout.where(checked_index(where, self.shape, self.label, steps=self.steps))
        with translating(self.label, "cannot be read"):
            return self.layout.view(np.asarray(self._read(index)))

    def __repr__(self) -> str:
        return printable(f"<{type(self).__name__} {self.label} {self.shape} {self.dtype}>")

    def _write(self, where: Where, values: np.ndarray) -> None:
        self.array[where] = values

    def _read(self, where: Where) -> Any:
        return self.array[where]

    def flush(self) -> None:
        """Write everything durably to disk; does nothing for arrays in memory."""
        if isinstance(self.array, np.memmap):
            with naming(self.label):
                self.array.flush()

    def fingerprint(self) -> str:
        """Return a short string that identifies the output, whatever has been written to it."""
        place = self.locator and self.locator.resolved()
        parts = (type(self).__name__, place, self.shape, self.dtype.str, self.layout, self.identity)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def close(self) -> None:
        """Flush; the array stays open."""
        self.flush()


class ForeignSink(ArraySink):
    """Sink that writes into an arbitrary object with ``__setitem__``, one thread at a time."""

    safe, steps = False, False


class FileSink(ArraySink):
    """Base of sinks that write into files."""

    steps = False

    @property
    def path(self) -> Path:
        """Path of the file or folder."""
        return Path(self.locator.path if self.locator is not None else self.label)


def fsync_all(paths: Iterable[Path]) -> None:
    """Flush many files to disk, several at once: most of the time is spent waiting."""
    paths = list(paths)
    if len(paths) < FSYNC_THREADS:
        for path in paths:
            fsync(path)
        return
    with ThreadPoolExecutor(FSYNC_THREADS) as pool:
        list(pool.map(fsync, paths))


def require_same(shape: tuple[int, ...], dtype: np.dtype, wanted: tuple[int, ...], kind: np.dtype, label: str) -> None:
    """Raise unless an existing output has the required shape and dtype.

    Raises
    ------
    ShapeError, InputTypeError
    """
    if tuple(shape) != tuple(wanted):
        raise ShapeError("the output has another shape", where=label, got=tuple(shape), expected=tuple(wanted))
    if dtype != kind:
        raise InputTypeError("the output has another dtype", where=label, got=str(dtype), expected=str(kind))
