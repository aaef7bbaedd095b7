"""Volumes whose voxels lie in a file one after the other: .npy, and TIFF without compression."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, naming
from neuromancer.files import followed
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.fresh import Note, discard_fresh, fresh
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.request import Request
from neuromancer.volumes.sink import FileSink
from neuromancer.volumes.stored import Opened, file_identity


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a .npy file for reading."""
    if dataset:
        raise ArgumentError("a .npy file holds one array, without a name", node=label, got=dataset)
    return Opened(np.load(path, mmap_mode="r"), identity=file_identity(path))


class FlatSink(FileSink):
    """Output into a file, at places that never change.

    Written by system calls and not through a memory map: a full disk is then an error and not a signal that ends the
    process.

    Parameters
    ----------
    array : numpy.memmap
        Of the file, C order; for reading back.
    **kwargs
        As for :class:`ArraySink`.
    """

    def __init__(self, array: np.memmap, *args: Any, **kwargs: Any) -> None:
        super().__init__(array, *args, **kwargs)
        self.start = int(array.offset)
        self._handle: int | None = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        if not self.identity:
            self.identity = str(os.fstat(self._handle).st_ino)

    def _write(self, where: Where, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, self.array.dtype)
        # Axes at the end that are taken whole make one run together with the last axis that is not.
        last = values.ndim
        while last > 0 and values.shape[last - 1] == self.array.shape[last - 1]:
            last -= 1
        lead = values.shape[: max(last - 1, 0)]
        begin = self.start + sum(s.start * step for s, step in zip(where, self.array.strides, strict=True))
        runs = values.reshape(*lead, -1)
        for index in np.ndindex(*lead):
            self._put(runs[index].data.cast("B"), begin + sum(map(int.__mul__, index, self.array.strides)))

    def _put(self, data: memoryview, at: int) -> None:
        while data:
            if hasattr(os, "pwrite"):
                n = os.pwrite(self._open(), data, at)
            else:
                with self._lock:
                    os.lseek(self._open(), at, os.SEEK_SET)
                    n = os.write(self._open(), data)
            data, at = data[n:], at + n

    def _open(self) -> int:
        if self._handle is None:
            raise OSError("closed")
        return self._handle

    def flush(self) -> None:
        """Return when all that was written would survive a power cut."""
        with naming(self.label):
            os.fsync(self._open())

    def close(self) -> None:
        """Flush and close the file."""
        if self._handle is not None:
            self.flush()
            os.close(self._handle)
            self._handle = None


def check_options(request: Request, label: str) -> None:
    """Refuse what a flat file cannot do."""
    if request.compression not in ("default", None):
        raise ArgumentError("is written without compression", node=label, got=request.compression, expected=None)
    if request.shards is not None or request.multiscale:
        raise ArgumentError("shards and multiscale images are for zarr", node=label, nearest="a path ending in .zarr")


def open_for_writing(locator: Locator) -> np.memmap:
    """The array of an existing .npy file."""
    return np.load(locator.path, mmap_mode="r")


def create(locator: Locator, request: Request, note: Note) -> None:
    """Create a .npy file of zeros that takes no room yet; it is there whole or not at all."""
    label = str(locator)
    check_options(request, label)
    if locator.dataset:
        raise ArgumentError("a .npy file holds one array, without a name", node=label, got=locator.dataset)
    with naming(label), fresh(followed(locator.path), note) as new, new.open("xb") as file:
        header = np.lib.format.header_data_from_array_1_0(np.empty((0,), request.dtype))
        np.lib.format.write_array_header_1_0(file, header | {"shape": request.stored_shape})
        size = int(np.prod(request.stored_shape, dtype=object)) * np.dtype(request.dtype).itemsize
        file.truncate(file.tell() + size)


def discard(locator: Locator, traces: Collection[str]) -> None:
    """Remove the file if it was left half made, as far as the notes about it prove that."""
    discard_fresh(followed(locator.path), traces)


def make_sink(array: np.memmap, layout: Layout, label: str, locator: Locator) -> FlatSink:
    """Sink of an existing .npy file."""
    return FlatSink(array, layout, label, locator=locator)
