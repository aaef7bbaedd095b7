"""Volumes whose voxels lie in a file one after the other: .npy, and TIFF without compression."""

from __future__ import annotations

import io
import mmap
import os
import struct
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from neuromancer.arrays import library
from neuromancer.errors import ArgumentError, naming
from neuromancer.files import followed
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.blocks import whole_index
from neuromancer.volumes.fresh import Note, discard_fresh, fresh, is_blank, new_token, tokens
from neuromancer.volumes.missing import Part, shown
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.sink import ArraySink, FileSink
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import file_identity

HEAD, BITS, FEWEST_BITS = 10, 128, 12
"""Bytes before the text of a .npy header; bits of a token, and as few as tell one file from another."""


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a .npy file for reading."""
    if dataset:
        raise ArgumentError("a .npy file holds one array, without a name", where=label, got=dataset)
    with Path(path).open("rb") as file:
        shape, fortran, dtype = _header(file)
        start = file.tell()
    array, missing = mapped(path, dtype, start, shape[::-1] if fortran else shape)
    if fortran:
        array, missing = array.transpose(), [replace(p, where=p.where and p.where[::-1]) for p in missing]
    extra = Path(path).stat().st_size - start - prod(shape) * dtype.itemsize
    if extra > 0:
        missing = [Part("its header", f"describes {extra} bytes less than there are")]
    return Opened(array, read=read_part, identity=file_identity(path), missing=missing)


def read_part(array: Any, key: Any) -> np.ndarray:
    return array[key] if isinstance(array, CutOff) else read_mapped(array, key)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype that a .npy file states."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        found = np.lib.format.read_array_header_1_0(file)
    else:
        found = np.lib.format.read_array_header_2_0(file)
    if found[2].hasobject:
        raise ValueError("holds Python objects")
    return found


def mapped(path: str, dtype: np.dtype, start: int, shape: Sequence[int]) -> tuple[Any, list[Part]]:
    """An array of C order in a file, mapped; of one that is cut off what is there, zeros behind, and what is missing.

    Parameters
    ----------
    path : str
    dtype : numpy dtype
    start : int
        Byte at which it begins.
    shape : sequence of int
    """
    shape = tuple(int(n) for n in shape)
    room = (Path(path).stat().st_size - start) // max(1, dtype.itemsize)
    if room >= prod(shape):
        return np.memmap(path, dtype, "r", start, shape) if prod(shape) else np.empty(shape, dtype), []
    whole = max(0, room) // max(1, prod(shape[1:]))
    there = np.memmap(path, dtype, "r", start, (whole, *shape[1:])) if whole else np.empty((0, *shape[1:]), dtype)
    where = (slice(whole, shape[0]), *(slice(0, n) for n in shape[1:]))
    reason = f"the file ends after {whole} of {shape[0]} planes"
    return CutOff(there, shape), [Part(f"voxels {shown(where)}", reason, where)]


class CutOff:
    """The beginning of an array, with zeros behind it.

    Parameters
    ----------
    there : numpy.ndarray
        What is there along the first axis.
    shape : tuple of int
        Of the whole.
    turned : bool
        Whether its axes are seen in reverse order.
    """

    def __init__(self, there: np.ndarray, shape: tuple[int, ...], turned: bool = False) -> None:
        self.there, self.whole, self.turned, self.dtype = there, shape, turned, there.dtype
        self.shape, self.ndim = shape[::-1] if turned else shape, len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        where = whole_index(key, self.shape)
        if where is None:
            raise TypeError("only slices can be read")
        where = where[::-1] if self.turned else where
        block = np.zeros([s.stop - s.start for s in where], self.dtype)
        found = read_mapped(self.there, where)
        block[: len(found)] = found
        return block.transpose() if self.turned else block

    def transpose(self) -> CutOff:
        """The same with its axes in reverse order."""
        return CutOff(self.there, self.whole, not self.turned)


class _FileBelow:
    """A file that another library has mapped, as far as the system tells.

    Parameters
    ----------
    path : str
    inode : int
        Number of the file; another one at its place is not mapped.
    """

    def __init__(self, path: str, inode: int) -> None:
        self.path, self.inode = path, inode

    def size(self) -> float:
        """Bytes of the file now; no limit if its name has gone, as it stays whole for those who have it mapped."""
        try:
            found = Path(self.path).stat()
        except OSError:
            return inf
        return found.st_size if found.st_ino == self.inode else inf


def mapping_of(array: Any) -> tuple[Any, int] | None:
    """What an array is mapped from, which tells its size, and the size that it must have; None for other arrays."""
    if library(array) == "xarray":
        array = getattr(array, "_data", None)  # its values would be read
    first = array
    while isinstance(array, (np.ndarray, memoryview)):
        base = array.obj if isinstance(array, memoryview) else array.base
        if isinstance(base, mmap.mmap):
            begin = int(getattr(array, "offset", 0))
            return base, begin - begin % mmap.ALLOCATIONGRANULARITY + len(base)
        array = base
    # Torch keeps to itself what its tensors are views of.
    return _mapped_below(first) if library(array) == "torch" and isinstance(first, np.ndarray) else None


def _mapped_below(array: np.ndarray) -> tuple[_FileBelow, int] | None:
    """The file in which the system says that an array lies; None for memory, and for systems that do not say."""
    begin = int(array.__array_interface__["data"][0])
    end = begin + sum((n - 1) * abs(step) for n, step in zip(array.shape, array.strides, strict=True)) + array.itemsize
    try:
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:
        return None
    for place, _, offset, _, inode, *path in (line.split(None, 5) for line in lines):
        first, last = (int(n, 16) for n in place.split("-"))
        if first <= begin < last and int(inode):
            return _FileBelow(path[0], int(inode)), int(offset, 16) + end - first
    return None


def file_of(array: Any) -> Path | None:
    """The file to which an array is mapped, as far as it says so."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            return Path(array.filename)
        array = array.base
    return None


def require_mapped(array: Any) -> bool:
    """Whether an array lies in a mapped file.

    Raises
    ------
    OSError
        If the file has become shorter: the system would end the process that reads beyond its end.
    """
    found = mapping_of(array)
    if found is not None and found[0].size() < found[1]:
        raise OSError(f"the file has become shorter: {found[0].size()} bytes instead of {found[1]}")
    return found is not None


def read_mapped(array: Any, key: Any) -> np.ndarray:
    """Copy of a block of a mapped file; OSError if it has become shorter."""
    require_mapped(array)
    return np.array(array[key])


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
            self.identity = token_of(self.path) or str(os.fstat(self._handle).st_ino)

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


class MappedSink(ArraySink):
    """Output into a memory map that the user has open.

    Parameters
    ----------
    array : numpy.ndarray
    file : Path
        To which it is mapped.
    layout, label
        As for :class:`ArraySink`.
    """

    def __init__(self, array: np.ndarray, file: Path, layout: Layout, label: str) -> None:
        super().__init__(array, layout, label, identity=_identity(file))
        self.file = file

    def flush(self) -> None:
        """Return when all that was written would survive a power cut."""
        found = mapping_of(self.array)
        with naming(self.label):
            if found is not None and hasattr(found[0], "flush"):
                found[0].flush()

    def claim(self) -> None:
        """Make the file known from all others, as far as it can be, before something is noted about it."""
        with naming(self.file):
            if not token_of(self.file):
                stamp(self.file)
            self.identity = _identity(self.file)


def _identity(file: Path) -> str:
    try:
        return f"{file.stat().st_ino} {token_of(file)}"
    except FileNotFoundError:
        return ""


def open_for_writing(locator: Locator) -> np.memmap:
    """The array of an existing .npy file."""
    return open_memmap(locator.path, mode="r")


def create(locator: Locator, spec: StoreSpec, note: Note) -> None:
    """Create a .npy file of zeros that takes no room yet; it is there whole or not at all."""
    label = str(locator)
    token = new_token(note)
    with naming(label), fresh(followed(locator.path), note) as new, new.open("xb") as file:
        file.write(_new_header(spec, token))
        size = int(np.prod(spec.stored_shape, dtype=object)) * np.dtype(spec.dtype).itemsize
        file.truncate(file.tell() + size)


def discard(locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
    """Remove the file if it was left half made, as far as the notes about it prove that."""

    def opened() -> np.memmap | None:
        return open_for_writing(locator) if token_of(followed(locator.path)) in tokens(traces) else None

    discard_flat(locator, spec, traces, opened)


def discard_flat(
    locator: Locator, spec: StoreSpec, traces: Collection[str], opened: Callable[[], np.memmap | None]
) -> None:
    """See :func:`discard`; `opened` gives the voxels of a file that may be the one that was noted."""
    target = followed(locator.path)

    def is_new() -> bool:
        with suppress(Exception):  # whatever a library says of a file that is not ours
            array = opened()
            if array is not None and spec.describes(array):
                return is_blank(target, int(array.offset), int(array.offset) + array.nbytes)
        return False

    discard_fresh(target, traces, is_new)


def _new_header(spec: StoreSpec, token: str) -> bytes:
    """Beginning of a .npy file that tells it from all others.

    A header may have any length, blanks at its end mean nothing, and whoever writes a file anew begins with a header of
    its own: a token stands there as spaces and tabs.
    """
    plain = io.BytesIO()
    stated = np.lib.format.header_data_from_array_1_0(np.empty((0,), spec.dtype))
    np.lib.format.write_array_header_1_0(plain, stated | {"shape": spec.stored_shape})
    text = plain.getvalue()[HEAD:].rstrip() + _blanks(token)
    text += b" " * (-(HEAD + len(text) + 1) % 64) + b"\n"
    return plain.getvalue()[: HEAD - 2] + struct.pack("<H", len(text)) + text


def _blanks(token: str) -> bytes:
    return format(int(token, 16), f"0{BITS}b").replace("0", " ").replace("1", "\t").encode()


def token_of(path: Path) -> str:
    """The token in a .npy file, as 32 digits; empty if there is none."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head[:7] != b"\x93NUMPY\x01" or len(head) < HEAD:
            return ""
        text = file.read(struct.unpack("<H", head[-2:])[0])
    blanks = text[len(text.rstrip()) :].rstrip(b"\n")[:BITS].ljust(BITS)
    bits = blanks.replace(b" ", b"0").replace(b"\t", b"1")
    return f"{int(bits, 2):032x}" if b"1" in bits and not bits.strip(b"01") else ""


def stamp(path: Path) -> None:
    """Put a token into a .npy file of another make, as many bits of one as there are blanks."""
    with path.open("r+b") as file:
        head = file.read(HEAD)
        if head[:7] != b"\x93NUMPY\x01" or len(head) < HEAD:
            return
        text = file.read(struct.unpack("<H", head[-2:])[0])
        plain = len(text.rstrip())
        room = min(BITS, len(text) - plain - 1)
        if room >= FEWEST_BITS:
            file.seek(HEAD + plain)
            file.write(b"\t" + _blanks(uuid.uuid4().hex)[1:room])
            file.flush()
            os.fsync(file.fileno())


def make_sink(array: np.memmap, layout: Layout, label: str, locator: Locator) -> FlatSink:
    """Sink of an existing .npy file."""
    return FlatSink(array, layout, label, locator=locator)
