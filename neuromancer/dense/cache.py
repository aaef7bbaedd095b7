"""Block cache, so that voxels in the overlap of neighbouring tiles are read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import product
from math import prod
from threading import Lock
from typing import Any

import numpy as np

from neuromancer.masked import unmasked

BLOCK = 64
"""Edge length in voxels of cached blocks if the store has no chunks."""
LEAST = 1 << 18
"""Minimum size of a cached block in bytes: smaller chunks are read several at a time."""


class CachedSource:
    """A source with an LRU cache of blocks.

    Parameters
    ----------
    source : Source
    nbytes : int
        Maximum size of the cache.

    Attributes
    ----------
    reads : int
        Number of blocks read from the source so far.
    used : int
        Bytes in the cache.
    """

    def __init__(self, source: Any, nbytes: int) -> None:
        self.source, self.nbytes = source, nbytes
        self.shape, self.dtype = tuple(source.shape), np.dtype(source.dtype)
        self.block = _block(self.shape, self.dtype.itemsize, getattr(source, "chunks", None))
        self.reads = 0
        self._blocks: OrderedDict[tuple[int, ...], Future[np.ndarray]] = OrderedDict()
        self._lock = Lock()
        self.used = 0

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        ranges = [s.indices(n)[:2] for s, n in zip(where, self.shape, strict=True)]
        numbers = [range(a // c, -(-b // c)) for (a, b), c in zip(ranges, self.block, strict=True)]
        if prod(len(n) for n in numbers) * prod(self.block) * self.dtype.itemsize > self.nbytes:
            return np.asarray(unmasked(self.source[where], "image"))  # larger than the cache
        result = np.empty([b - a for a, b in ranges], self.dtype)
        for number in product(*numbers):
            block = self._get(number)
            starts = [k * c for k, c in zip(number, self.block, strict=True)]
            to, here = [], []
            for (a, b), s, n in zip(ranges, starts, block.shape, strict=True):
                low, high = max(a, s), min(b, s + n)
                to.append(slice(low - a, high - a))
                here.append(slice(low - s, high - s))
            result[tuple(to)] = block[tuple(here)]
        return result

    def _get(self, number: tuple[int, ...]) -> np.ndarray:
        with self._lock:
            known = self._blocks.get(number)
            if known is not None:
                self._blocks.move_to_end(number)
            else:
                mine: Future[np.ndarray] = Future()
                self._blocks[number] = mine
                self.reads += 1
        if known is not None:
            return known.result()
        try:
            place = tuple(
                slice(k * c, min((k + 1) * c, n)) for k, c, n in zip(number, self.block, self.shape, strict=True)
            )
            block = np.asarray(unmasked(self.source[place], "image"))
        except BaseException as error:
            with self._lock:
                del self._blocks[number]
            mine.set_exception(error)
            raise
        mine.set_result(block)
        with self._lock:
            self.used += block.nbytes
            while self.used > self.nbytes:
                oldest = next(n for n, f in self._blocks.items() if f.done())
                self.used -= self._blocks.pop(oldest).result().nbytes
        return block


def _block(shape: Sequence[int], itemsize: int, chunks: Sequence[int] | None) -> tuple[int, ...]:
    """Shape of cached blocks: whole chunks, several if chunks are small."""
    block = [min(n, c) for n, c in zip(shape, chunks or (shape[0], *(BLOCK,) * (len(shape) - 1)), strict=True)]
    while prod(block) * itemsize < LEAST:
        k = min((k for k in range(len(block)) if block[k] < shape[k]), key=lambda k: block[k], default=None)
        if k is None:
            break
        block[k] = min(shape[k], 2 * block[k])
    return tuple(block)
