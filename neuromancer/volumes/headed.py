"""Files of a header and contiguous voxels (NIfTI, MRC, NRRD): mapped, and written at fixed offsets.

A format is described by two functions: one reads headers, one builds a new file of zeros.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, naming, translating
from neuromancer.files import followed
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.cf import unpacked
from neuromancer.volumes.flat import FlatSink, discard_flat, mapped, read_part
from neuromancer.volumes.fresh import Note, fresh, new_token, tokens
from neuromancer.volumes.missing import Part, require_whole
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import file_identity
from neuromancer.volumes.unzipped import method_of, plain


@dataclass(frozen=True)
class Header:
    """What the header of a file says about its voxels.

    Parameters
    ----------
    dtype : numpy.dtype
    start : int
        Offset of the voxels, in bytes.
    shape : tuple of int
        In the order in which the format's library indexes.
    fortran : bool
        Whether the first axis varies fastest.
    axes : str or None
    placement : StatedPlacement
    packing : mapping
        CF attributes that describe scaled values.
    doubts : tuple of str
        Metadata that makes no sense.
    token : str
        Identifies files of this package.
    voxels : str or open file, optional
        Where the voxels are, if not in the file itself.
    identity : str
        Changes with a file of voxels of its own.
    missing : list of Part
    """

    dtype: np.dtype
    start: int
    shape: tuple[int, ...]
    fortran: bool
    axes: str | None = None
    placement: StatedPlacement = field(default_factory=StatedPlacement)
    packing: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    token: str = ""
    voxels: str | IO[bytes] | None = None
    identity: str = ""
    missing: list[Part] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Where the voxels end, in bytes."""
        return self.start + prod(self.shape) * self.dtype.itemsize

    def mapped(self, file: str | IO[bytes]) -> tuple[Any, list[Part]]:
        """Map the voxels of a file; see :func:`neuromancer.volumes.flat.mapped`."""
        array, missing = mapped(file, self.dtype, self.start, self.shape[::-1] if self.fortran else self.shape)
        if self.fortran:
            array, missing = array.transpose(), [replace(p, where=p.where and p.where[::-1]) for p in missing]
        return array, missing


class HeadedSink(FlatSink):
    """Sink that writes behind a header."""


@dataclass(frozen=True)
class HeadedFormat:
    """A file format of a header and contiguous voxels.

    Parameters
    ----------
    name : str
        In errors.
    read : callable
        (open file, path, label) -> Header.
    build : callable
        (path, StoreSpec, token, label): makes a sparse file of zeros.
    """

    name: str
    read: Callable[[IO[bytes], str, str], Header]
    build: Callable[[Path, StoreSpec, str, str], None]

    def header(self, path: str, label: str) -> Header:
        """Read the header of a file; `voxels` is a temporary file if it is compressed."""
        with plain(path, label, lambda head: self.read(head, path, label).end) as (file, damaged):
            found = self.read(file, path, label)
            if 0 in found.shape or min(found.shape, default=0) < 0:
                raise FileError("has an impossible header", where=label, got=f"shape {found.shape}")
            if method_of(path) is not None:
                found = replace(found, voxels=_again(file), missing=damaged)
            return found

    def open_stored(self, path: str, dataset: str, label: str) -> Opened:
        """Open a file for reading; a compressed one is decompressed into a temporary file."""
        self._require_unnamed(dataset, label)
        header = self.header(path, label)
        place = header.voxels or path
        with nullcontext() if isinstance(place, str) else place:  # the map keeps the file
            array, missing = header.mapped(place)
        opened = Opened(
            array,
            header.axes,
            header.placement,
            read=_native,
            identity=f"{file_identity(path)}{header.identity}",
            missing=[*header.missing, *missing],
            doubts=header.doubts,
        )
        return unpacked(opened, header.packing)

    def open_for_writing(self, locator: Locator) -> Any:
        """Map the voxels of an existing file, which must be neither compressed nor scaled."""
        opened, label = self.open_stored(locator.path, locator.dataset, str(locator)), str(locator)
        require_whole(opened.missing, label)
        file = getattr(opened.array, "filename", None)
        if file is None or not Path(file).samefile(locator.path) or not opened.array.dtype.isnative:
            expected = "an uncompressed file with voxels of its own, unscaled and in native byte order"
            raise FileError("is not writable", where=label, expected=expected)
        return opened.array

    def make_sink(self, array: np.memmap, layout: Layout, label: str, locator: Locator) -> HeadedSink:
        """Return a sink for an existing file."""
        return HeadedSink(array, layout, label, locator=locator, identity=self._token(locator.path, label))

    def create(self, locator: Locator, spec: StoreSpec, note: Note) -> None:
        """Create a sparse file of zeros, atomically."""
        label, token = str(locator), new_token(note)
        with naming(label), fresh(followed(locator.path), note) as new, translating(label, "cannot be written"):
            self.build(new, spec, token, label)

    def discard(self, locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
        """Remove the file if its creation was interrupted, as far as the recorded traces prove that."""

        def opened() -> Any:
            known = self._token(str(followed(locator.path)), str(locator)) in tokens(traces)
            return self.open_for_writing(locator) if known else None

        discard_flat(locator, spec, traces, opened)

    def _token(self, path: str, label: str) -> str:
        header = self.header(path, label)
        if header.voxels is not None and not isinstance(header.voxels, str):
            header.voxels.close()
        return header.token

    def _require_unnamed(self, dataset: str, label: str) -> None:
        if dataset:
            raise ArgumentError(f"{self.name} holds a single, unnamed array", where=label, got=dataset)


def _again(file: IO[bytes]) -> IO[bytes]:
    """Return a second handle of an open file, which stays open when the first is closed."""
    return os.fdopen(os.dup(file.fileno()), "rb")


def _native(array: Any, key: Any) -> np.ndarray:
    block = read_part(array, key)
    return block.astype(block.dtype.newbyteorder("="), copy=False)
