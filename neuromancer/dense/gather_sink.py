"""Sink of a gathering pass: statistics of every tile, and its values where later passes need them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuromancer.dense.gathered import Activations
from neuromancer.dense.plan import DensePlan
from neuromancer.errors import naming
from neuromancer.files import fsync
from neuromancer.graph.statistics import FeatureStatistics

ROWS = 3
"""Values per feature and image of a tile: sum, sum of squares, maximum."""


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
        self.layout = Activations(path, (), (), dtype)
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
        path = self.path.with_suffix(".values")
        self.layout, self.stack = Activations(path, shape, plan.tile_shape, self.dtype.name), plan.stack

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        values = values if self.stack else values[:, None]
        starts = [s.start for s in (where[1:] if self.stack else (slice(0, 1), *where[1:]))]
        number = [a // t for a, t in zip(starts, self.layout.tile, strict=True)]
        found = [FeatureStatistics.of(values[:, i]) for i in range(values.shape[1])]
        record = np.zeros((self.layout.tile[0], ROWS, len(values)))
        record[: len(found)] = [[s.sums, s.squares, s.maxima] for s in found]
        index = int(np.ravel_multi_index(number, self.layout.grid))
        _write(self.path, index * record.nbytes, record)
        if self.keep:
            _write(self.layout.path, self.layout.place(number)[0], np.ascontiguousarray(values))

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
        with naming(self.path):
            records = np.fromfile(self.path).reshape(-1, layout.tile[0], ROWS, self.shape[0])
        found: list[FeatureStatistics | None] = [None] * layout.shape[1]
        for record, number in zip(records, np.ndindex(*layout.grid), strict=True):
            _, (_, images, *spatial) = layout.place(number)
            for i in range(images):
                part = FeatureStatistics(int(np.prod(spatial)), *record[i])
                k = number[0] * layout.tile[0] + i
                before = found[k]
                found[k] = part if before is None else before + part
        return [s for s in found if s is not None]


def _write(path: Path, at: int, values: np.ndarray) -> None:
    """Write values at an offset of a file, which is created or becomes longer if need be."""
    data = values.data.cast("B")
    with naming(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            file.seek(at)
            while data:
                data = data[file.write(data) :]
