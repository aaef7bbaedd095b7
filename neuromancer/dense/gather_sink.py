"""Sink of a gathering pass: statistics of every tile, and its values where later passes need them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from neuromancer.dense.gathered import Activations, damaged, require_file
from neuromancer.dense.plan import DensePlan
from neuromancer.errors import naming
from neuromancer.files import fsync
from neuromancer.graph.statistics import FeatureStatistics

ROWS = 3
"""Values per feature and image of a tile: sum, sum of squared deviations from the mean, maximum."""


class GatherSink:
    """Sink that keeps the statistics of every tile in a file; safe for any number of processes.

    Parameters
    ----------
    path : Path
        The file, without an ending.
    shape : tuple of int, (f, [images,] *spatial)
    dtype : str
    keep : bool
        Whether to keep the values as well.
    """

    unit_of_write = None
    exclusive = False

    def __init__(self, path: Path, shape: Sequence[int], dtype: str, keep: bool) -> None:
        self.path, self.shape, self.dtype, self.keep = path, tuple(shape), np.dtype(dtype), keep
        self.layout = Activations(path.with_suffix(".values"), (), (), dtype)
        self.stack = False

    @property
    def locator(self) -> GatherSink:
        """The sink itself, which holds no open files; other processes get a copy."""
        return self

    def open(self) -> GatherSink:
        """Return the sink, in another process."""
        return self

    def arrange(self, plan: DensePlan) -> None:
        """Take over the tiles of a plan, before anything is written."""
        shape = self.shape if plan.stack else (self.shape[0], 1, *self.shape[1:])
        self.layout = replace(self.layout, shape=shape, tile=plan.tile_shape)
        self.stack = plan.stack

    def claim(self) -> None:
        """Remove what an earlier pass, whose journal is gone, left behind."""
        for path in (self.path, self.layout.path):
            with naming(path, "cannot be removed"):
                path.unlink(missing_ok=True)

    @property
    def _record(self) -> np.dtype:
        """What is stored of a tile: its statistics, (images, rows, f), and their checksum."""
        return np.dtype([("rows", np.float64, (self.layout.tile[0], ROWS, self.shape[0])), ("check", np.uint32)])

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        values = values if self.stack else values[:, None]
        starts = [s.start for s in (where[1:] if self.stack else (slice(0, 1), *where[1:]))]
        number = [a // t for a, t in zip(starts, self.layout.tile, strict=True)]
        found = [FeatureStatistics.of(values[:, i]) for i in range(values.shape[1])]
        record = np.zeros((), self._record)
        record["rows"][: len(found)] = [[s.sums, s.deviations, s.maxima] for s in found]
        record["check"] = zlib.crc32(record["rows"].tobytes())
        index = int(np.ravel_multi_index(number, self.layout.grid))
        if self.keep:
            _write(self.layout.path, self.layout.place(number)[0], np.ascontiguousarray(values))
        _write(self.path, index * record.nbytes, record.reshape(1).view(np.uint8))

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        spatial = zip(where[1:], self.shape[1:], strict=True)
        ranges = [s.indices(n)[:2] for s, n in spatial]
        values = self.layout.read(ranges if self.stack else [(0, 1), *ranges])
        return values if self.stack else values[:, 0]

    def flush(self) -> None:
        """Write everything durably to disk."""
        for path in (self.path, self.layout.path):
            if path.exists():
                fsync(path)

    def fingerprint(self) -> str:
        """Return shape and dtype as text."""
        return f"{self.shape} {self.dtype} {self.keep}"

    def close(self) -> None:
        """Nothing is open."""

    def statistics(self) -> list[FeatureStatistics]:
        """Return the statistics of every image, added up in the order of the tiles, whichever wrote them.

        Raises
        ------
        FileError
        """
        layout = self.layout
        records, intact = self._stored()
        if not intact.all():
            raise damaged(self.path, f"{int(intact.sum())} of {intact.size} tiles intact")
        found: list[FeatureStatistics | None] = [None] * layout.shape[1]
        for record, number in zip(records["rows"], np.ndindex(*layout.grid), strict=True):
            _, (_, images, *spatial) = layout.place(number)
            for i in range(images):
                part = FeatureStatistics(prod(spatial), *record[i])
                k = number[0] * layout.tile[0] + i
                before = found[k]
                found[k] = part if before is None else before + part
        return [s for s in found if s is not None]

    def require_values(self) -> None:
        """Raise FileError if values are missing of tiles whose statistics are there."""
        written = self._stored()[1].reshape(self.layout.grid) if self.keep else np.zeros(0)
        if written.any():
            start, shape = self.layout.place(np.argwhere(written)[-1].tolist())
            needed, path = start + prod(shape) * self.dtype.itemsize, self.layout.path
            size = path.stat().st_size if path.is_file() and not path.is_symlink() else 0
            if size < needed:
                raise damaged(path, f"{size} of {needed} bytes")

    def _stored(self) -> tuple[np.ndarray, np.ndarray]:
        """The records of all tiles, and which of them are intact."""
        count, found = prod(self.layout.grid), np.zeros(0, self._record)
        with naming(self.path, "cannot be read"):
            if os.path.lexists(self.path):
                require_file(self.path)
                found = np.fromfile(self.path, self._record, count)
        records = np.zeros(count, self._record)
        records[: len(found)] = found
        return records, np.array([zlib.crc32(r["rows"].tobytes()) == r["check"] for r in records])


def _write(path: Path, at: int, values: np.ndarray) -> None:
    """Write values at an offset of a file, which is created or becomes longer if need be."""
    data = values.data.cast("B")
    with naming(path):
        # A link in the folder of a journal may lead anywhere.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(path, flags, 0o666)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            file.seek(at)
            while data:
                data = data[file.write(data) :]
