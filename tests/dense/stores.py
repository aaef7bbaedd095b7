"""Small stores for tests, with locators that open them in this and in other processes."""

from __future__ import annotations

import errno
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np


class NpySource:
    """Image in a .npy file with nominal chunks; counts the voxels read."""

    def __init__(self, path, chunks=None):
        self.array = np.load(path, mmap_mode="r")
        self.path, self.chunks = str(path), chunks
        self.shape, self.dtype = self.array.shape, self.array.dtype
        self.voxel_size, self.unit, self.offset = None, None, None
        self.locator = NpyImage(self.path, chunks)
        self.voxels = 0

    def __getitem__(self, where):
        block = np.array(self.array[where])
        self.voxels += block.size
        return block

    def fingerprint(self):
        stat = Path(self.path).stat()
        return f"{self.shape} {self.dtype} {stat.st_size} {stat.st_mtime_ns}"

    def close(self):
        self.closed = True


@dataclass(frozen=True)
class NpyImage:
    path: str
    chunks: Any = None

    def open(self):
        return NpySource(self.path, self.chunks)


class NpySink:
    """Result in a .npy file, created atomically; optionally with blocks that only one tile may write."""

    exclusive = False

    def __init__(self, path, shape=None, dtype=None, unit=None):
        path = Path(path)
        if not path.exists():
            partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            np.lib.format.open_memmap(partial, "w+", dtype, shape).flush()
            partial.replace(path)
        self.array = np.load(path, mmap_mode="r+")
        self.path, self.unit_of_write = str(path), unit
        self.shape, self.dtype = self.array.shape, self.array.dtype
        self.locator = NpyResult(self.path, unit)

    def __setitem__(self, where, values):
        self.array[where] = values

    def __getitem__(self, where):
        return np.array(self.array[where])

    def flush(self):
        self.array.flush()

    def fingerprint(self):
        return f"{self.path} {self.shape} {self.dtype}"

    def close(self):
        self.flush()


@dataclass(frozen=True)
class NpyResult:
    path: str
    unit: Any = None

    def open(self):
        return NpySink(self.path, unit=self.unit)


class H5Sink:
    """Result in an HDF5 file with preallocated chunks, for a single process."""

    exclusive = True

    def __init__(self, path, shape=None, dtype=None, unit=None):
        path = Path(path)
        if not path.exists():
            partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            with h5py.File(partial, "w") as file:
                plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                plist.set_chunk(unit)
                plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                space = h5py.h5s.create_simple(shape)
                h5py.h5d.create(file.id, b"data", h5py.h5t.py_create(np.dtype(dtype)), space, plist)
            partial.replace(path)
        self.file = h5py.File(path, "r+", rdcc_nbytes=0)
        self.array = self.file["data"]
        self.path, self.unit_of_write = str(path), self.array.chunks
        self.shape, self.dtype = self.array.shape, self.array.dtype
        self.locator = H5Result(self.path)

    def __setitem__(self, where, values):
        self.array[where] = values

    def __getitem__(self, where):
        return self.array[where]

    def flush(self):
        self.file.flush()
        handle = os.open(self.path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    def fingerprint(self):
        return f"{self.path} {self.shape} {self.dtype}"

    def close(self):
        self.file.close()


@dataclass(frozen=True)
class H5Result:
    path: str

    def open(self):
        return H5Sink(self.path)


class Recording:
    """Result in memory that counts writes per voxel, and detects two tiles that write to the same block."""

    exclusive, locator = True, None

    def __init__(self, shape, dtype="float32", unit=None, wait=0.0):
        self.array = np.zeros(shape, dtype)
        self.count = np.zeros(shape, np.uint8)
        self.shape, self.dtype, self.unit_of_write, self.wait = tuple(shape), np.dtype(dtype), unit, wait
        self.flushes, self.writers = 0, {}

    def __setitem__(self, where, values):
        time.sleep(self.wait)
        self.array[where] = values
        self.count[where] += 1

    def flush(self):
        self.flushes += 1

    def fingerprint(self):
        return f"{self.shape} {self.dtype}"

    def close(self):
        pass


class Full(Recording):
    """Simulated disk that is full after some writes."""

    def __init__(self, shape, room, **kwargs):
        super().__init__(shape, **kwargs)
        self.room = room

    def __setitem__(self, where, values):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= 1
        super().__setitem__(where, values)
