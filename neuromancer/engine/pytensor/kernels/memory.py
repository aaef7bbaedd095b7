"""Reusable host memory for large intermediate results.

The operating system clears every page before it hands it out, and takes it back as soon as an array is freed: a sixth
of the time of a network with fast layers. So large results are allocated from address ranges of our own. Freed memory
stays with the process and is reused first; after a call, all but the beginning of a range is returned to the system.
There are two ranges, because a result is computed from another one: in a range of its own, it can grow.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from threading import Lock

import numpy as np
import psutil
import torch

LARGE = 1 << 22
"""Minimum size in bytes of a result that is allocated here."""
KEPT = 1 << 28
"""Bytes at the beginning of a range that the process keeps between calls."""
LINUX_NORESERVE = 0x4000
"""The flag MAP_NORESERVE (addresses without memory), which Python does not define."""


class Range:
    """Range of addresses that get memory when first written to; allocation is first fit.

    Parameters
    ----------
    nbytes : int
        Size of the range.

    Raises
    ------
    OSError
        If the system refuses a range of this size.
    """

    def __init__(self, nbytes: int) -> None:
        self._map = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | LINUX_NORESERVE)
        self._map.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._free = [(0, nbytes)]
        self._returned: deque[tuple[int, int]] = deque()
        self.reached = 0
        """Bytes from the beginning that have been used so far."""

    def growth(self, nbytes: int) -> int:
        """Return by how many bytes `reached` would grow for an array; the size of the range if it does not fit."""
        self._merge()
        start = next((start for start, room in self._free if room >= nbytes), None)
        return len(self._map) if start is None else max(0, start + nbytes - self.reached)

    def take(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Allocate a float32 array with undefined values; None if it does not fit."""
        nbytes = 4 * prod(shape)
        length = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._merge()
        for k, (start, room) in enumerate(self._free):
            if room >= length:
                self._free[k : k + 1] = [(start + length, room - length)] if room > length else []
                self.reached = max(self.reached, start + length)
                array = self._bytes[start : start + nbytes].view(np.float32).reshape(shape)
                # Arrays are freed in any thread, even during this method: the finalizer only appends, see `_merge`.
                weakref.finalize(array, self._returned.append, (start, length)).atexit = False
                return array
        return None

    def _merge(self) -> None:
        """Merge returned blocks with adjacent free ones."""
        while self._returned:
            self._free.append(self._returned.popleft())
        merged: list[tuple[int, int]] = []
        for start, room in sorted(self._free):
            if merged and sum(merged[-1]) == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + room)
            else:
                merged.append((start, room))
        self._free = merged

    @property
    def is_empty(self) -> bool:
        """Whether no array is in use."""
        self._merge()
        return self._free == [(0, len(self._map))]

    def give_back(self) -> None:
        """Return free memory to the system, except for the first `KEPT` bytes."""
        if self.reached <= KEPT:
            return
        self._merge()
        for start, room in self._free:
            first, end = max(start, KEPT), min(start + room, self.reached)
            if first < end:
                self._map.madvise(mmap.MADV_DONTNEED, first, end - first)
        self.reached = min(self.reached, max(KEPT, self._free[-1][0])) if self._free else self.reached

    def trim(self, nbytes: int) -> int:
        """Return up to `nbytes` of free memory at the end of the used part to the system; return the actual number."""
        self._merge()
        end = self.reached
        if self._free and nbytes > 0:
            self.reached = min(end, max(self._free[-1][0], (end - nbytes) // mmap.PAGESIZE * mmap.PAGESIZE))
        if self.reached < end:
            self._map.madvise(mmap.MADV_DONTNEED, self.reached, end - self.reached)
        return end - self.reached


class Reserve:
    """Allocator with the ranges of this process.

    Memory is freed together with the array that `take` returned; views keep that array alive.
    """

    def __init__(self) -> None:
        self.ranges: list[Range] = []
        self._last = 1
        self._holders = 0
        self._lock = Lock()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep all freed memory for further results inside the block."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    for addresses in self.ranges:
                        addresses.give_back()

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """Allocate a float32 array with undefined values."""
        array = None
        if 4 * prod(shape) >= LARGE and sys.platform == "linux":
            with self._lock:
                array = self._from_ranges(shape)
        return np.empty(shape, np.float32) if array is None else array

    def _from_ranges(self, shape: tuple[int, ...]) -> np.ndarray | None:
        if not self.ranges:
            nbytes = psutil.virtual_memory().total // mmap.PAGESIZE * mmap.PAGESIZE
            try:
                self.ranges = [Range(nbytes), Range(nbytes)]
            except OSError:  # the address space is limited
                return None
        if all(addresses.is_empty for addresses in self.ranges):
            self._last = 1  # so that every call uses the same addresses
        other = 1 - self._last
        growth = [addresses.growth(4 * prod(shape)) for addresses in self.ranges]
        self._last = other if growth[other] <= growth[self._last] else self._last
        return self.ranges[self._last].take(shape)

    def make_room(self, nbytes: int) -> None:
        """Return free memory to the system before torch allocates `nbytes`."""
        if nbytes >= LARGE:
            with self._lock:
                for addresses in self.ranges:
                    nbytes -= addresses.trim(nbytes)


reserve = Reserve()
if hasattr(os, "register_at_fork"):  # another thread, which the child does not have, may hold the lock
    os.register_at_fork(after_in_child=reserve.__init__)  # type: ignore[misc]


def empty(*shape: int) -> torch.Tensor:
    """Allocate a float32 tensor on the host with undefined values."""
    return torch.from_numpy(reserve.take(shape))
