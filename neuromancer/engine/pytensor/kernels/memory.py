"""Memory of large intermediate results on the host, used again.

The system clears every page of memory before it hands it out, and takes it back as soon as an array is freed: a sixth
of the time of a network whose layers are fast. So large results lie in ranges of addresses of their own. What becomes
free there stays with the process and is the first to be taken; after a call, the system gets back all but the
beginning. There are two ranges, because one result is made out of another, and what lies alone can grow.
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
"""Bytes from which on a result lies there."""
KEPT = 1 << 28
"""Bytes at the beginning of a range that stay with the process from call to call."""
LINUX_NORESERVE = 0x4000
"""Addresses without memory; Python does not name the flag."""


class Range:
    """Addresses that get memory when they are first written to; parts are taken first fit.

    Parameters
    ----------
    nbytes : int

    Raises
    ------
    OSError
        If the system does not give so many addresses.
    """

    def __init__(self, nbytes: int) -> None:
        self._map = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | LINUX_NORESERVE)
        self._map.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._free = [(0, nbytes)]
        self._returned: deque[tuple[int, int]] = deque()
        self.reached = 0
        """Bytes from the beginning that have been in use."""

    def growth(self, nbytes: int) -> int:
        """Bytes of memory that it takes in addition to hold so many more."""
        self._merge()
        start = next((start for start, room in self._free if room >= nbytes), None)
        return len(self._map) if start is None else max(0, start + nbytes - self.reached)

    def take(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """A float32 array with undefined values; None if there is no room."""
        nbytes = 4 * prod(shape)
        length = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._merge()
        for k, (start, room) in enumerate(self._free):
            if room >= length:
                self._free[k : k + 1] = [(start + length, room - length)] if room > length else []
                self.reached = max(self.reached, start + length)
                array = self._bytes[start : start + nbytes].view(np.float32).reshape(shape)
                # Arrays are freed in any thread, even within this method: noted there, put in order here.
                weakref.finalize(array, self._returned.append, (start, length)).atexit = False
                return array
        return None

    def _merge(self) -> None:
        """Join what was returned with what is free beside it."""
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
        """Whether nothing is in use."""
        self._merge()
        return self._free == [(0, len(self._map))]

    def give_back(self) -> None:
        """Return the memory of what is free to the system, but for the first `KEPT` bytes."""
        if self.reached <= KEPT:
            return
        self._merge()
        for start, room in self._free:
            first, end = max(start, KEPT), min(start + room, self.reached)
            if first < end:
                self._map.madvise(mmap.MADV_DONTNEED, first, end - first)
        self.reached = min(self.reached, max(KEPT, self._free[-1][0])) if self._free else self.reached

    def trim(self, nbytes: int) -> int:
        """Return up to so much memory from the end of what has been in use, as far as it is free; says how much."""
        self._merge()
        end = self.reached
        if self._free and nbytes > 0:
            self.reached = min(end, max(self._free[-1][0], (end - nbytes) // mmap.PAGESIZE * mmap.PAGESIZE))
        if self.reached < end:
            self._map.madvise(mmap.MADV_DONTNEED, self.reached, end - self.reached)
        return end - self.reached


class Reserve:
    """The ranges of this process.

    What is taken from it has to be kept as the very array that was taken: that one's end returns the memory.
    """

    def __init__(self) -> None:
        self._ranges: list[Range] = []
        self._last = 1
        self._holders = 0
        self._lock = Lock()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Meanwhile all memory that becomes free is kept for the next results."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    for some in self._ranges:
                        some.give_back()

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """A float32 array with undefined values."""
        array = None
        if 4 * prod(shape) >= LARGE and sys.platform == "linux":
            with self._lock:
                array = self._from_ranges(shape)
        return np.empty(shape, np.float32) if array is None else array

    def _from_ranges(self, shape: tuple[int, ...]) -> np.ndarray | None:
        if not self._ranges:
            nbytes = psutil.virtual_memory().total // mmap.PAGESIZE * mmap.PAGESIZE
            try:
                self._ranges = [Range(nbytes), Range(nbytes)]
            except OSError:  # a limit of addresses
                return None
        if all(some.is_empty for some in self._ranges):
            self._last = 1  # every call takes its results from the same places
        other = 1 - self._last
        growth = [some.growth(4 * prod(shape)) for some in self._ranges]
        self._last = other if growth[other] <= growth[self._last] else self._last
        return self._ranges[self._last].take(shape)

    def make_room(self, nbytes: int) -> None:
        """Return memory that is free to the system, as somebody else is about to take so much."""
        if nbytes >= LARGE:
            with self._lock:
                for some in self._ranges:
                    nbytes -= some.trim(nbytes)


reserve = Reserve()
if hasattr(os, "register_at_fork"):  # a lock may be held by a thread that the child does not have
    os.register_at_fork(after_in_child=reserve.__init__)  # type: ignore[misc]


def empty(*shape: int) -> torch.Tensor:
    """A float32 tensor on the host with undefined values."""
    return torch.from_numpy(reserve.take(shape))
