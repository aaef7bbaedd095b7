"""Weighted sums of the predictions of patches, for unfinished rows of the result; in memory or in a file."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from neuromancer.errors import FileError

RESIDENT = 1 << 26
"""Bytes of a scratch file that may be touched before its pages are handed back to the system."""
ZEROS = 1 << 24


class Scratch:
    """Memory in a file that disappears with the process, however that ends.

    Parameters
    ----------
    nbytes : int
    folder : Path or None
        Where to create it; None for the system's folder of temporary files.

    Raises
    ------
    FileError
        If there is no room for it.
    """

    def __init__(self, nbytes: int, folder: Path | None) -> None:
        self.nbytes, self._touched = nbytes, 0
        try:
            # Next to the result if it may be written there: temporary folders are often memory themselves.
            folder = folder if folder is not None and os.access(folder, os.W_OK) else None
            with tempfile.TemporaryFile(dir=folder) as file:
                self._reserve(file)
                self._map = mmap.mmap(file.fileno(), nbytes)  # keeps the file open
        except OSError as error:
            raise FileError(
                "no room for the sums of patches that overlap",
                where=str(folder or tempfile.gettempdir()),
                got=error.strerror or str(error),
                expected=f"{nbytes / 1e9:.3g} GB of free space, or as much more memory",
            ) from error

    def _reserve(self, file: IO[bytes]) -> None:
        """Take up all of the space: writing to a mapped file without room would kill the process."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, self.nbytes)
            return
        for first in range(0, self.nbytes, ZEROS):
            file.write(bytes(min(ZEROS, self.nbytes - first)))
        file.flush()

    def array(self, shape: Sequence[int], dtype: Any, offset: int) -> np.ndarray:
        """Return an array in the file."""
        return np.ndarray(tuple(shape), dtype, self._map, offset)

    def touched(self, nbytes: int) -> None:
        """Note that some bytes were used; pages are handed back to the system now and then, and keep their values."""
        self._touched += nbytes
        if self._touched > RESIDENT and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


class RollingSums:
    """Sums and weights of the rows from `first` on, along the axis along which patches roll.

    A voxel sums its patches in the order in which they are added.

    Parameters
    ----------
    shape : sequence of int, (f, images, *spatial)
        The result of a node.
    axis : int
        The rolling axis among the spatial ones.
    rows : int
        Number of rows to hold at once.
    dtype : numpy dtype
    buffer : (Scratch, int), optional
        File to hold them, and where in it; default: memory.
    """

    def __init__(
        self, shape: Sequence[int], axis: int, rows: int, dtype: Any, buffer: tuple[Scratch, int] | None = None
    ) -> None:
        spatial = shape[2:]
        self.spatial, self.axis, self.first = tuple(spatial), axis, 0
        self.rows = min(rows, spatial[axis])
        held = sums_shape(shape, axis, rows)
        self._scratch = buffer[0] if buffer else None
        self._sums: Any = buffer[0].array(held, dtype, buffer[1]) if buffer else np.zeros(held, dtype)

    def add(self, image: int, starts: Sequence[int], values: np.ndarray, weights: np.ndarray) -> None:
        """Add a patch; what lies before the held rows or beyond the result is left out.

        Parameters
        ----------
        image : int
        starts : sequence of int
            Place of its first voxel in the result.
        values : numpy.ndarray, (f, *spatial)
        weights : numpy.ndarray, (*spatial)
        """
        first = [0] * len(starts)
        first[self.axis] = self.first
        low = [max(a, b) for a, b in zip(starts, first, strict=True)]
        high = [min(a + n, size) for a, n, size in zip(starts, weights.shape, self.spatial, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return
        cut = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, starts, strict=True))
        weight = np.moveaxis(weights[cut], self.axis, 0)
        weighted = np.moveaxis(values[(slice(None), *cut)] * weights[cut], self.axis + 1, 0)
        across = tuple(slice(a, b) for k, (a, b) in enumerate(zip(low, high, strict=True)) if k != self.axis)
        for rows, held in self._pieces(low[self.axis], high[self.axis]):
            part = self._sums[(held, image, slice(None), *across)]
            part[:, :-1] += weighted[rows]
            part[:, -1] += weight[rows]
            self._note(part)

    def take(self, start: Sequence[int], stop: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the averages of a finished range, and where patches contributed to them.

        Parameters
        ----------
        start, stop : sequence of int
            Range per spatial axis, among the held rows.

        Returns
        -------
        averages : numpy.ndarray, (f, images, *spatial)
            0 where nothing contributed.
        covered : numpy.ndarray, bool, (images, *spatial)
        """
        across = tuple(slice(a, b) for k, (a, b) in enumerate(zip(start, stop, strict=True)) if k != self.axis)
        parts = []
        for _, held in self._pieces(start[self.axis], stop[self.axis]):
            part = self._sums[(held, slice(None), slice(None), *across)]
            parts.append(np.array(part))
            self._note(part)
        found = np.moveaxis(np.concatenate(parts), 2, 0)  # (f + 1, rows, images, *across)
        found = np.moveaxis(found, 1, self.axis + 2)
        weights, covered = found[-1], found[-1] > 0
        averages = np.zeros(found[:-1].shape, found.dtype)
        np.divide(found[:-1], weights, out=averages, where=covered)
        return averages, covered

    def advance(self, first: int) -> None:
        """Let go of the rows before `first`."""
        for _, held in self._pieces(self.first, min(first, self.first + self.rows, self.spatial[self.axis])):
            self._sums[held] = 0
            self._note(self._sums[held])
        self.first = max(self.first, first)

    def _pieces(self, low: int, high: int) -> Iterator[tuple[slice, slice]]:
        """Rows of a range, counted from its first, with where they are held: in one piece or two."""
        at = low
        while at < high:
            place = at % self.rows
            n = min(high - at, self.rows - place)
            yield slice(at - low, at - low + n), slice(place, place + n)
            at += n

    def _note(self, part: np.ndarray) -> None:
        if self._scratch is not None:
            self._scratch.touched(part.nbytes)


def sums_shape(shape: Sequence[int], axis: int, rows: int) -> tuple[int, ...]:
    """Return the shape of the sums: (rows, images, f and weight, *other axes), so that rows are in one piece."""
    features, images, *spatial = shape
    return (min(rows, spatial[axis]), images, features + 1, *(n for k, n in enumerate(spatial) if k != axis))


def sums_bytes(shapes: Sequence[Sequence[int]], axis: int, rows: int, itemsize: int) -> int:
    """Return the bytes that the sums of several nodes take."""
    return sum(prod(sums_shape(shape, axis, rows)) for shape in shapes) * itemsize
