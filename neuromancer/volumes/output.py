"""Outputs at a path: found, created, opened, or removed after an interrupted creation."""

from __future__ import annotations

import errno
from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from neuromancer.arrays import library
from neuromancer.errors import FileError, InputTypeError, MissingDependencyError, ShapeError, naming, translating
from neuromancer.files import followed
from neuromancer.places import is_address
from neuromancer.printable import described
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.fresh import Note
from neuromancer.volumes.paths import require_content, require_kind
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.sink import ArraySink, require_same
from neuromancer.volumes.store_spec import StoreSpec

MODULES = {
    "hdf5": "neuromancer.volumes.hdf5",
    "zarr": "neuromancer.volumes.zarrs",
    "npy": "neuromancer.volumes.flat",
    "tif": "neuromancer.volumes.tiff",
    "tensorstore": "neuromancer.volumes.tensorstores",
    "nifti": "neuromancer.volumes.nifti",
    "mrc": "neuromancer.volumes.mrc",
    "nrrd": "neuromancer.volumes.nrrd",
    "precomputed": "neuromancer.volumes.precomputed",
}


def forget(trace: str) -> None:
    """Record nothing: the default for outputs that need no trace."""


@dataclass(frozen=True)
class Output:
    """An output at a path, whether or not it exists.

    Parameters
    ----------
    locator : Locator
    spec : StoreSpec
        Specification of the output.
    """

    locator: Locator
    spec: StoreSpec

    def find(self) -> ArraySink | None:
        """Open the output for writing; None if it does not exist.

        Raises
        ------
        FileError
            If it cannot be written to.
        ShapeError, InputTypeError
            If it has another shape or dtype.
        """
        taken = self._taken()
        if taken is None:
            return None
        try:
            if len(taken.shape) != len(self.locator.axes):
                raise ShapeError(
                    "the output has another shape",
                    where=str(self.locator),
                    got=tuple(taken.shape),
                    expected=f"axes {self.locator.axes}",
                )
            sink = module_of(self.locator).make_sink(taken, self.spec.layout, str(self.locator), self.locator)
        except ShapeError:
            _close(taken)
            raise
        try:
            require_same(sink.shape, sink.dtype, self.spec.shape, self.spec.dtype, str(self.locator))
        except (ShapeError, InputTypeError):
            sink.close()
            raise
        return sink

    def require_free(self) -> None:
        """Raise FileError if the output exists, or the file or folder that it would fill alone."""
        is_taken = getattr(module_of(self.locator), "is_taken", None)
        if is_taken is not None and self._is_there():
            _require_kind(self.locator)
            if is_taken(self.locator):
                raise exists(self.locator)
        taken = self._taken()
        inside = self.locator.kind in ("hdf5", "zarr") and bool(self.locator.dataset)
        if taken is not None or (self._is_there() and not inside and not is_address(self.locator.path)):
            _close(taken)
            raise exists(self.locator)

    def create(self, note: Note = forget) -> None:
        """Create the output, filled with zeros.

        Parameters
        ----------
        note : callable
            Called with traces that will identify the output, before it exists; see :meth:`discard`.

        Raises
        ------
        FileError
            If it exists or cannot be created.
        ArgumentError, InputTypeError
            For options that the file format does not have.
        """
        try:
            module_of(self.locator).create(self.locator, self.spec, note)
        except FileError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise exists(self.locator) from error
            raise

    def discard(self, traces: Collection[str]) -> None:
        """Remove the output if it is the recorded one and holds no data yet, and the remains of its creation.

        Parameters
        ----------
        traces : collection of str
            Traces recorded during creation.
        """
        module_of(self.locator).discard(self.locator, self.spec, traces)

    def _is_there(self) -> bool:
        with naming(self.locator, "cannot be accessed"):
            return is_address(self.locator.path) or followed(self.locator.path).exists()

    def _taken(self) -> Any:
        return _open(self.locator) if self._is_there() else None


def open_sink(locator: Locator) -> ArraySink:
    """Open an existing output for writing.

    Parameters
    ----------
    locator : Locator
        Locator of a sink.

    Raises
    ------
    FileError
        If it does not exist or cannot be written to.
    InputTypeError
        If it is not a locator.
    """
    if not isinstance(locator, Locator):
        raise InputTypeError("is not a locator", where="open_sink", got=described(locator), expected="sink.locator")
    found = None
    if locator.kind == "tensorstore" or is_address(locator.path) or Path(locator.path).exists():
        found = _open(locator)
    if found is None:
        raise FileError("no such output", where=str(locator))
    return module_of(locator).make_sink(found, Layout(locator.axes, locator.spatial), str(locator), locator)


def module_of(locator: Locator) -> Any:
    """Return the module for a file format."""
    return import_module(MODULES[locator.kind])


def exists(
    locator: Locator,
    expected: str = "another name; resume=True goes on only where records of the run are beside the output",
) -> FileError:
    """Return the error for an output that exists."""
    return FileError("the output exists and is not overwritten", where=str(locator), expected=expected)


def _require_kind(locator: Locator) -> None:
    """Raise FileError if the path is not a file or folder, as the format requires, but e.g. a pipe."""
    if not is_address(locator.path) and locator.kind != "tensorstore":
        require_kind(str(followed(locator.path)), locator.kind, str(locator))


def _open(locator: Locator) -> Any:
    """Return the array of an existing output; None if it is not in the file."""
    _require_kind(locator)
    with translating(locator, "cannot be opened for writing"):
        try:
            found = module_of(locator).open_for_writing(locator)
        except MissingDependencyError:
            raise
        except Exception:
            if Path(locator.path).is_file():
                require_content(locator.path, locator.kind, str(locator))
            raise
    if found is None or hasattr(found, "visititems"):
        if found is not None:
            found.close()
        return None
    return found


def _close(array: Any) -> None:
    """Close the file of an HDF5 dataset."""
    if library(array) == "h5py":
        array.file.close()
