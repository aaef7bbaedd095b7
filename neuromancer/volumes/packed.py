"""Outputs that are compressed as a whole: collected uncompressed, compressed when they are closed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

from neuromancer.errors import naming, translating
from neuromancer.files import followed
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.flat import FlatSink
from neuromancer.volumes.fresh import Note, fresh, new_token
from neuromancer.volumes.headed import HeadedFormat, Header
from neuromancer.volumes.output import Output, exists, forget, module_of
from neuromancer.volumes.paths import split_path
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.unzipped import method_of, zip_into


def packing_of(kind: str, path: str, compression: str | None) -> tuple[str, bool] | None:
    """Return how an output is compressed as a whole, and whether its header is, too; None if it is not compressed.

    Examples
    --------
    >>> packing_of("mrc", "a.mrc.bz2", None), packing_of("nrrd", "a.nrrd", "gzip"), packing_of("zarr", "a.zarr", "gzip")
    (('bzip2', True), ('gzip', False), None)
    """
    if kind == "nrrd":
        return ("gzip", False) if compression == "gzip" else None
    method = method_of(path) if kind in ("nifti", "mrc") else None
    return None if method is None else (method, True)


def is_packed(path: str | os.PathLike[str], compression: str | None = None) -> bool:
    """Return whether an output at a path is compressed as a whole, and so written at once by a single process."""
    kind, file, _ = split_path(path, "out")
    return packing_of(kind, file, compression) is not None


class PackedOutput(Output):
    """An output that is compressed as a whole; it appears at its path when its sink is closed."""

    def find(self) -> PackedSink:
        """Return a new sink.

        Raises
        ------
        FileError
            If the output exists already.
        """
        self.require_free()
        packing = packing_of(self.locator.kind, self.locator.path, self.spec.compression)
        assert packing is not None
        form: HeadedFormat = module_of(self.locator).FORMAT
        label, target = str(self.locator), followed(self.locator.path)
        with (
            naming(label),
            translating(label, "cannot be written"),
            tempfile.TemporaryDirectory(dir=target.parent, prefix=".neuromancer-") as folder,
        ):
            place = Path(folder) / "new"
            form.build(place, self.spec, new_token(forget), label)
            # The file goes on without a name until its last handle is closed, however this process ends.
            handle = os.open(place, os.O_RDWR | getattr(os, "O_BINARY", 0))
            with place.open("rb") as file:
                header = form.read(file, str(place), label) if packing[1] else _read_raw(self.spec, place)
            array, _ = header.mapped(str(place))
        return PackedSink(array, self.spec.layout, label, handle, target, packing[0], 0 if packing[1] else header.start)

    def require_free(self) -> None:
        """Raise FileError if the path exists: what is compressed cannot be written to again."""
        if self._is_there():
            raise exists(self.locator, "another name")

    def create(self, note: Note = forget) -> None:
        """Check that the path is free; nothing is created before the sink is closed."""
        self.require_free()

    def discard(self, traces: Collection[str]) -> None:
        """Do nothing: a sink that is not closed leaves nothing."""


def _read_raw(spec: StoreSpec, place: Path) -> Header:
    """Return the header of a file that is still uncompressed, although its own header says otherwise."""
    start = place.stat().st_size - prod(spec.stored_shape) * spec.dtype.itemsize
    return Header(spec.dtype, start, spec.stored_shape, fortran=True)


class PackedSink(FlatSink):
    """Sink whose file is compressed and given its name by :meth:`close`; within one process.

    Parameters
    ----------
    array : numpy.memmap
        Of the uncompressed file.
    layout, label
        As for :class:`ArraySink`.
    handle : int
        Descriptor of the uncompressed file, which has no name.
    target : Path
    method : {'gzip', 'bzip2'}
    head : int
        Number of bytes at the start that are not compressed.
    """

    exclusive = True

    def __init__(
        self, array: Any, layout: Layout, label: str, handle: int, target: Path, method: str, head: int
    ) -> None:
        super().__init__(array, layout, label, handle=handle, identity=str(target))
        self.target, self.method, self.head = target, method, head

    def close(self) -> None:
        """Compress the file, and give it its name.

        Raises
        ------
        FileError
            If it cannot be written, or another file has got its name; nothing is left then.
        """
        if self._handle is None:
            return
        try:
            with naming(self.label), fresh(self.target, forget) as new, os.fdopen(os.dup(self._handle), "rb") as file:
                zip_into(file, new, self.method, self.head)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the sink without a result."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.abandon()
