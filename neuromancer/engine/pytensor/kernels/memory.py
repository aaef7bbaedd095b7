"""Reusable host memory for large intermediate results.

The operating system clears every page before it hands it out, and takes it back as soon as an array is freed: a sixth
of the time of a network with fast layers. So large results are allocated from address ranges of our own. Freed memory
stays with the process and is reused first. Ten seconds after the last call, or after a longer call began, all of it but
the beginning of a range is returned to the system; at once if memory is scarce.
Where free memory lies in pieces that are too small, as much of it is returned as is taken anew, so that the ranges
never have more memory than was needed at once. There are two of them, because a result is computed from another one: in
a range of its own, it can grow.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from threading import Lock, Timer

import numpy as np
import psutil
import torch

from neuromancer.engine.interface import Engine, implements
from neuromancer.host_memory import available

LARGE = 1 << 22
"""Minimum size in bytes of a result that is allocated here."""
KEPT = 1 << 28
"""Bytes at the beginning of a range that the process keeps between calls."""
IDLE = 10.0
"""Seconds after a call for which the process keeps all of them."""
SCARCE = 4
"""Least factor by which more memory must be available than is kept so."""
LINUX_NORESERVE = 0x4000
"""The flag MAP_NORESERVE (addresses without memory), which Python does not define."""


class Range:
    """Range of addresses that get memory when first written to.

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
        self._clean = [(0, nbytes)]
        """Addresses without memory."""
        self._returned: deque[tuple[int, int]] = deque()

    @property
    def resident(self) -> int:
        """Number of bytes that may have memory."""
        return len(self._map) - sum(room for _, room in self._clean)

    def kept(self, first: int = 0) -> int:
        """Return the number of these bytes that are free, behind the first bytes of the range."""
        self._merge()
        free = [(max(start, first), start + room) for start, room in self._free]
        return sum(end - low - _overlap(self._clean, low, end - low) for low, end in free if low < end)

    def best(self, nbytes: int) -> tuple[int, int, int] | None:
        """Return where to allocate an array: (bytes of new memory that it takes, size of the free block, its address).

        That is where it takes the least memory, and of such blocks the smallest; None if it fits nowhere.
        """
        self._merge()
        length = _pages(nbytes)
        fitting = [(start, room) for start, room in self._free if room >= length]
        return min(((_overlap(self._clean, start, length), room, start) for start, room in fitting), default=None)

    def take(self, shape: tuple[int, ...], start: int | None = None) -> np.ndarray | None:
        """Allocate a float32 array with undefined values, where `best` says by default; None if it does not fit."""
        nbytes = 4 * prod(shape)
        if start is None:
            place = self.best(nbytes)
            if place is None:
                return None
            start = place[2]
        length = _pages(nbytes)
        self._free = _without(self._free, start, length)
        self._clean = _without(self._clean, start, length)
        array = self._bytes[start : start + nbytes].view(np.float32).reshape(shape)
        # Arrays are freed in any thread, even during this method: the finalizer only appends, see `_merge`.
        weakref.finalize(array, self._returned.append, (start, length)).atexit = False
        return array

    def _merge(self) -> None:
        """Merge returned blocks with adjacent free ones."""
        if self._returned:
            while self._returned:
                self._free.append(self._returned.popleft())
            self._free = _merged(self._free)

    @property
    def is_empty(self) -> bool:
        """Whether no array is in use."""
        self._merge()
        return self._free == [(0, len(self._map))]

    def trim(self, nbytes: int, first: int = 0) -> int:
        """Return up to `nbytes` of free memory behind the first bytes to the system, the last addresses first.

        Returns
        -------
        int
            The number of bytes that were returned.
        """
        self._merge()
        done = 0
        for start, room in reversed(self._free):
            for low, length in reversed(_without_all((start, room), self._clean)):
                begin = max(low, first, low + length - _pages(nbytes - done))
                if begin < low + length and done < nbytes:
                    self._map.madvise(mmap.MADV_DONTNEED, begin, low + length - begin)
                    self._clean = _merged([*self._clean, (begin, low + length - begin)])
                    done += low + length - begin
        return done


def _pages(nbytes: int) -> int:
    """Round a number of bytes up to whole pages."""
    return -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _merged(blocks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return blocks (start, length) in order, adjacent ones joined."""
    merged: list[tuple[int, int]] = []
    for start, room in sorted(blocks):
        if merged and sum(merged[-1]) == start:
            merged[-1] = (merged[-1][0], merged[-1][1] + room)
        else:
            merged.append((start, room))
    return merged


def _overlap(blocks: list[tuple[int, int]], start: int, length: int) -> int:
    """Return how many bytes of a block others cover."""
    return sum(max(0, min(a + n, start + length) - max(a, start)) for a, n in blocks)


def _without(blocks: list[tuple[int, int]], start: int, length: int) -> list[tuple[int, int]]:
    """Return what of blocks lies outside of one."""
    end = start + length
    parts = [part for a, n in blocks for part in ((a, min(a + n, start) - a), (max(a, end), a + n - max(a, end)))]
    return [(a, n) for a, n in parts if n > 0]


def _without_all(block: tuple[int, int], others: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what of a block lies outside of others."""
    parts = [block]
    for start, length in others:
        parts = _without(parts, start, length)
    return sorted(parts)


class Reserve:
    """Allocator with the ranges of this process.

    Memory is freed together with the array that `take` returned; views keep that array alive.
    """

    def __init__(self) -> None:
        self.ranges: list[Range] = []
        self._last = 1
        self._holders = 0
        self._ended, self._waiting = 0.0, False
        self._lock = Lock()

    @property
    def kept(self) -> int:
        """Number of bytes that are free, but not returned to the system."""
        with self._lock:
            return sum(addresses.kept() for addresses in self.ranges)

    @contextmanager
    def hold(self, and_after: bool = True) -> Iterator[None]:
        """Keep all freed memory for further results inside the block.

        Parameters
        ----------
        and_after : bool
            Also for a while after it, for blocks that follow.
        """
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders and and_after:
                    self._rest()
                elif not self._holders:
                    self._trim(KEPT)

    def _rest(self) -> None:
        """Return memory after a while: for blocks that begin until then it is kept."""
        self._ended = time.monotonic()
        kept = sum(addresses.kept(KEPT) for addresses in self.ranges)
        if kept and available() < SCARCE * kept:
            self._trim(KEPT)
        elif kept and not self._waiting:
            self._wait(IDLE)

    def _wait(self, seconds: float) -> None:
        timer = Timer(seconds, self._end_of_rest)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._trim(KEPT)
        else:
            self._waiting = True

    def _end_of_rest(self) -> None:
        with self._lock:
            self._waiting = False
            left = self._ended + IDLE - time.monotonic()
            if left > 0:
                self._wait(left)
            else:
                self._trim(KEPT)

    def release(self) -> None:
        """Return all free memory to the system."""
        with self._lock:
            self._trim(0)

    def _trim(self, first: int) -> None:
        for addresses in self.ranges:
            addresses.trim(sys.maxsize, first)

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
        nbytes = 4 * prod(shape)
        order = (1 - self._last, self._last)
        places = {k: place for k in order if (place := self.ranges[k].best(nbytes)) is not None}
        if not places:
            return None
        # the other range where both take as much, so that a result that is computed from this one can grow
        self._last = min(places, key=lambda k: places[k][0])
        growth, _, start = places[self._last]
        array = self.ranges[self._last].take(shape, start)
        for addresses in self.ranges:
            growth -= addresses.trim(growth) if growth > 0 else 0
        return array

    def make_room(self, nbytes: int) -> None:
        """Return free memory to the system before torch allocates `nbytes`."""
        if nbytes >= LARGE:
            with self._lock:
                for addresses in self.ranges:
                    nbytes -= addresses.trim(nbytes)


reserve = Reserve()
if hasattr(os, "register_at_fork"):  # another thread, which the child does not have, may hold the lock
    os.register_at_fork(after_in_child=reserve.__init__)  # type: ignore[misc]


@implements(Engine.kept_memory)
def kept_memory() -> int:
    return reserve.kept


@implements(Engine.return_memory)
def return_memory() -> None:
    reserve.release()


def empty(*shape: int) -> torch.Tensor:
    """Allocate a float32 tensor on the host with undefined values."""
    return torch.from_numpy(reserve.take(shape))
