"""Volumes that are written in blocks: what all kinds of output share, and arrays that are open already."""

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
    """Output into anything with ``shape``, ``dtype`` and ``__setitem__``; the base of all sinks.

    See :class:`neuromancer.volumes.Sink` for the attributes.

    Parameters
    ----------
    array : object
        Has shape, dtype and is written by slices, in the stored order.
    layout : Layout
    label : str
        Its name in errors.
    chunks : tuple of int, optional
        Blocks of the stored array that two writers must not share.
    locator : Locator, optional
    identity : str
        What tells this output from another one at the same place.

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
            Per axis (f, *spatial); steps only into arrays in memory.
        values : numpy.ndarray, (f, *spatial)

        Raises
        ------
        ShapeError
            If the slices do not lie in the volume, or the block has another shape.
        InputTypeError, ArgumentError
            If it is of another kind of numbers, or a value cannot be held; floating point may be rounded.
        FileError
            If the system refuses, e.g. because the disk is full.
        """
        index = checked_index(where, self.shape, self.label, steps=self.steps)
        values = np.asarray(values)
        wanted = tuple(len(range(s.start, s.stop, s.step)) for s in index)
        if values.shape != wanted:
            raise ShapeError("a block of the wrong shape", where=self.label, got=values.shape, expected=wanted)
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
        """Return when all that was written would survive a power cut; nothing to do for arrays in memory."""
        if isinstance(self.array, np.memmap):
            with naming(self.label):
                self.array.flush()

    def fingerprint(self) -> str:
        """Short text that tells this output from another, whatever has been written to it."""
        place = self.locator and self.locator.resolved()
        parts = (type(self).__name__, place, self.shape, self.dtype.str, self.layout, self.identity)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def close(self) -> None:
        """Flush; the array stays open."""
        self.flush()


class ForeignSink(ArraySink):
    """Output into an object of which nothing is known but ``__setitem__``: written by one thread at a time."""

    safe, steps = False, False


class FileSink(ArraySink):
    """Base of outputs in files."""

    steps = False

    @property
    def path(self) -> Path:
        """The file or folder."""
        return Path(self.locator.path if self.locator is not None else self.label)


def fsync_all(paths: Iterable[Path]) -> None:
    """Have many files put on disk, several at once: most of the time is waiting."""
    paths = list(paths)
    if len(paths) < FSYNC_THREADS:
        for path in paths:
            fsync(path)
        return
    with ThreadPoolExecutor(FSYNC_THREADS) as pool:
        list(pool.map(fsync, paths))


def require_same(shape: tuple[int, ...], dtype: np.dtype, wanted: tuple[int, ...], kind: np.dtype, label: str) -> None:
    """Check that an output that exists is the one that is wanted.

    Raises
    ------
    ShapeError, InputTypeError
    """
    if tuple(shape) != tuple(wanted):
        raise ShapeError("the output has another shape", where=label, got=tuple(shape), expected=tuple(wanted))
    if dtype != kind:
        raise InputTypeError("the output has another dtype", where=label, got=str(dtype), expected=str(kind))
