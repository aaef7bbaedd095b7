"""Volumes stored contiguously in a file: .npy, and TIFF without compression."""

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
from typing import IO, Any

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
"""Bytes before the text of a .npy header; bits of a token, and the minimum number that identifies a file."""


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a .npy file for reading."""
    if dataset:
        raise ArgumentError("a .npy file holds a single, unnamed array", where=label, got=dataset)
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
    """Read shape, order and dtype from a .npy header."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        found = np.lib.format.read_array_header_1_0(file)
    else:
        found = np.lib.format.read_array_header_2_0(file)
    if found[2].hasobject:
        raise ValueError("holds Python objects")
    return found


def mapped(path: str | IO[bytes], dtype: np.dtype, start: int, shape: Sequence[int]) -> tuple[Any, list[Part]]:
    """Map a C-contiguous array in a file; a truncated one is padded with zeros, and its missing part is returned.

    Parameters
    ----------
    path : str or open file
    dtype : numpy dtype
    start : int
        Offset of the array, in bytes.
    shape : sequence of int
    """
    shape = tuple(int(n) for n in shape)
    size = Path(path).stat().st_size if isinstance(path, str) else os.fstat(path.fileno()).st_size
    room = (size - start) // max(1, dtype.itemsize)
    if room >= prod(shape):
        return np.memmap(path, dtype, "r", start, shape) if prod(shape) else np.empty(shape, dtype), []
    whole = max(0, room) // max(1, prod(shape[1:]))
    planes = np.memmap(path, dtype, "r", start, (whole, *shape[1:])) if whole else np.empty((0, *shape[1:]), dtype)
    where = (slice(whole, shape[0]), *(slice(0, n) for n in shape[1:]))
    reason = f"the file ends after {whole} of {shape[0]} planes"
    return CutOff(planes, shape), [Part(f"voxels {shown(where)}", reason, where)]


class CutOff:
    """Truncated array, padded with zeros.

    Parameters
    ----------
    there : numpy.ndarray
        Existing planes along the first axis.
    shape : tuple of int
        Shape of the complete array.
    turned : bool
        Whether its axes are reversed.
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
        """Return the array with its axes reversed."""
        return CutOff(self.there, self.whole, not self.turned)


class _FileBelow:
    """A file that another library has memory-mapped, as far as the system tells.

    Parameters
    ----------
    path : str
    inode : int
        Inode of the mapped file; a file that has replaced it is not mapped.
    """

    def __init__(self, path: str, inode: int) -> None:
        self.path, self.inode = path, inode

    def size(self) -> float:
        """Current size in bytes; infinite if the name was removed, as the mapping then keeps the file whole."""
        try:
            found = Path(self.path).stat()
        except OSError:
            return inf
        return found.st_size if found.st_ino == self.inode else inf


def mapping_of(array: Any) -> tuple[Any, int] | None:
    """Return what an array is mapped from (has ``size()``) and its required size in bytes; None if not mapped."""
    if library(array) == "xarray":
        array = getattr(array, "_data", None)  # `data` would read the values
    first = array
    while isinstance(array, (np.ndarray, memoryview)):
        base = array.obj if isinstance(array, memoryview) else array.base
        if isinstance(base, mmap.mmap):
            begin = int(getattr(array, "offset", 0))
            return base, begin - begin % mmap.ALLOCATIONGRANULARITY + len(base)
        array = base
    # Torch does not expose what its tensors are views of.
    return _mapped_below(first) if library(array) == "torch" and isinstance(first, np.ndarray) else None


def _mapped_below(array: np.ndarray) -> tuple[_FileBelow, int] | None:
    """Return the file to which the system has mapped an array; None for memory, and where the system does not tell."""
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
    """Return the file to which an array is mapped; None if it does not name one."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            return Path(array.filename)
        array = array.base
    return None


def require_mapped(array: Any) -> bool:
    """Return whether an array lies in a mapped file, after checking the size of the file.

    Raises
    ------
    OSError
        If the file was truncated: the system would kill a process that reads beyond its end.
    """
    found = mapping_of(array)
    if found is not None and found[0].size() < found[1]:
        raise OSError(f"the file has become shorter: {found[0].size()} bytes instead of {found[1]}")
    return found is not None


def read_mapped(array: Any, key: Any) -> np.ndarray:
    """Return a copy of a block of a mapped file; raise OSError if the file has become shorter."""
    require_mapped(array)
    return np.array(array[key])


class FlatSink(FileSink):
    """Sink that writes into a file at fixed offsets.

    It writes by system calls, not through a memory map, so that a full disk is an error and not a signal that kills the
    process.

    Parameters
    ----------
    array : numpy.memmap
        The file in C order, for reading back; or its transpose.
    handle : int, optional
        File descriptor to write to, which is closed with the sink; default: that of the locator's path.
    **kwargs
        As for :class:`ArraySink`.
    """

    def __init__(self, array: np.memmap, *args: Any, handle: int | None = None, **kwargs: Any) -> None:
        super().__init__(array, *args, **kwargs)
        self.start, self.turned = int(array.offset), not array.flags.c_contiguous
        path = getattr(self.locator, "path", self.label)
        opened = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0)) if handle is None else handle
        self._handle: int | None = opened
        if not self.identity:
            self.identity = token_of(self.path) or str(os.fstat(self._handle).st_ino)

    def _write(self, where: Where, values: np.ndarray) -> None:
        array, where, values = (self.array.T, where[::-1], values.T) if self.turned else (self.array, where, values)
        values = np.ascontiguousarray(values, array.dtype)
        # Trailing axes that are written whole form contiguous runs with the last axis that is not.
        last = values.ndim
        while last > 0 and values.shape[last - 1] == array.shape[last - 1]:
            last -= 1
        lead = values.shape[: max(last - 1, 0)]
        begin = self.start + sum(s.start * step for s, step in zip(where, array.strides, strict=True))
        runs = values.reshape(*lead, -1)
        for index in np.ndindex(*lead):
            self._put(runs[index].data.cast("B"), begin + sum(map(int.__mul__, index, array.strides)))

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
    """Sink that writes into a memory map that the user has open.

    Parameters
    ----------
    array : numpy.ndarray
    file : Path
        The mapped file.
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
        """Give the file an identity, as far as possible, before it is recorded."""
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
    """Open the array of an existing .npy file."""
    return open_memmap(locator.path, mode="r")


def create(locator: Locator, spec: StoreSpec, note: Note) -> None:
    """Create a sparse .npy file of zeros, atomically."""
    label = str(locator)
    token = new_token(note)
    with naming(label), fresh(followed(locator.path), note) as new, new.open("xb") as file:
        file.write(_new_header(spec, token))
        size = int(np.prod(spec.stored_shape, dtype=object)) * np.dtype(spec.dtype).itemsize
        file.truncate(file.tell() + size)


def discard(locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
    """Remove the file if its creation was interrupted, as far as the recorded traces prove that."""

    def opened() -> np.memmap | None:
        return open_for_writing(locator) if token_of(followed(locator.path)) in tokens(traces) else None

    discard_flat(locator, spec, traces, opened)


def discard_flat(
    locator: Locator, spec: StoreSpec, traces: Collection[str], opened: Callable[[], np.memmap | None]
) -> None:
    """See :func:`discard`; `opened` returns the voxels of a file that may be the recorded one."""
    target = followed(locator.path)

    def is_new() -> bool:
        with suppress(Exception):  # a library may raise anything for a foreign file
            array = opened()
            if array is not None and spec.describes(array):
                return is_blank(target, int(array.offset), int(array.offset) + array.nbytes)
        return False

    discard_fresh(target, traces, is_new)


def _new_header(spec: StoreSpec, token: str) -> bytes:
    """Return a .npy header that identifies the file.

    A header may have any length, trailing blanks have no meaning, and rewriting a file replaces its header: the token
    is encoded in the trailing blanks, as spaces and tabs.
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
    """Return the token in a .npy file, as 32 hexadecimal digits; empty if there is none."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head[:7] != b"\x93NUMPY\x01" or len(head) < HEAD:
            return ""
        text = file.read(struct.unpack("<H", head[-2:])[0])
    blanks = text[len(text.rstrip()) :].rstrip(b"\n")[:BITS].ljust(BITS)
    bits = blanks.replace(b" ", b"0").replace(b"\t", b"1")
    return f"{int(bits, 2):032x}" if b"1" in bits and not bits.strip(b"01") else ""


def stamp(path: Path) -> None:
    """Write a token into a .npy file of another program, with as many bits as there are blanks."""
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
    """Return a sink for an existing .npy file."""
    return FlatSink(array, layout, label, locator=locator)
