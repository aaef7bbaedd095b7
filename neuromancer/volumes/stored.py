"""Arrays in files, opened lazily in every process."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import (
    FileError,
    MissingDependencyError,
    UnknownNameError,
    nearest_name,
    translating,
)
from neuromancer.places import is_address
from neuromancer.printable import printable
from neuromancer.volumes.accept import checked_dtype, checked_shape
from neuromancer.volumes.blocks import read_block
from neuromancer.volumes.missing import Filled, require_whole
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.paths import EXPECTED, local_path, require_content, require_kind, split_path

OPENERS = {
    "hdf5": "neuromancer.volumes.hdf5",
    "zarr": "neuromancer.volumes.zarrs",
    "npy": "neuromancer.volumes.flat",
    "tif": "neuromancer.volumes.tiff",
    "n5": "neuromancer.volumes.tensorstores",
    "tensorstore": "neuromancer.volumes.tensorstores",
    "nifti": "neuromancer.volumes.nifti",
    "mrc": "neuromancer.volumes.mrc",
    "nrrd": "neuromancer.volumes.nrrd",
    "precomputed": "neuromancer.volumes.precomputed",
    "imaris": "neuromancer.volumes.imaris",
    "bdv": "neuromancer.volumes.bdv",
    "wkw": "neuromancer.volumes.wkws",
}
PACKAGES = {"nrrd": "pynrrd"}
"""Names of packages that differ from those of their modules."""


class StoredArray:
    """An array in a file: shape and dtype are known at once, voxels are read when sliced.

    It can be pickled, and is reopened in every process. Axes are in the stored order.

    Parameters
    ----------
    path : str or path
        File, folder or address.
    dataset : str
        Name of the array in the file; may be omitted if there is only one.
    kind : str, optional
        A key of `OPENERS`; default: by the suffix of the path.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts.

    Attributes
    ----------
    filled : Filled
        Record of the parts that were read as fill value so far.
    shape, dtype : tuple of int, numpy.dtype
    chunks : tuple of int or None
    axes : str or None
        Axis letters, if the file names the axes.
    placement : StatedPlacement

    Raises
    ------
    FileError
        If the file does not exist or cannot be read, or if parts are known to be missing, unless they are to be
        filled.
    UnknownNameError
        If the file has no such array; names the nearest.
    MissingDependencyError
        If the library for this file format is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dataset: str = "",
        kind: str | None = None,
        on_missing: str = "error",
    ) -> None:
        # Absolute, so that processes with another working directory find it too.
        self.path = os.fspath(path) if kind == "tensorstore" else local_path(path, "volume")
        self.dataset, self.on_missing = dataset, on_missing
        self.kind = split_path(path, "volume")[0] if kind is None else kind
        self._opened: tuple[int, Opened] | None = None
        self._lock, self._read_lock = threading.Lock(), threading.Lock()
        self.filled = Filled(str(self))
        found = self.opened()
        self.shape, self.dtype = checked_shape(found.array, str(self)), checked_dtype(found.array, str(self))
        self.chunks, self.axes, self.placement = found.chunks, found.axes, found.placement

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read a block, by slices; thread-safe."""
        found = self.opened()
        with self._read_lock if found.lock else nullcontext():
            return read_block(found, key, str(self), self.on_missing, self.filled)

    def __repr__(self) -> str:
        return _shown(self.path, self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_opened", "_closing", "_lock", "_read_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _opened=None, _lock=threading.Lock(), _read_lock=threading.Lock())

    def opened(self) -> Opened:
        """Return the open array; a handle inherited through a fork is not used."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                opened = self._open()
                self._opened = os.getpid(), opened
                # Files that are not closed explicitly are closed with this object.
                self._closing = weakref.finalize(self, opened.close)
            return self._opened[1]

    def identity(self) -> str:
        """Return a string that changes with the data, without reading it; the same through any link."""
        local = self.kind != "tensorstore" and not is_address(self.path)
        path = os.path.realpath(self.path) if local else self.path
        return f"{_shown(path, self.dataset.strip('/'))} {self.opened().identity}"

    def close(self) -> None:
        """Close the file; it is reopened by the next read."""
        with self._lock:
            if self._opened is not None and self._opened[0] == os.getpid():
                self._closing()
            self._opened = None

    def _open(self) -> Opened:
        label, local = str(self), self.kind != "tensorstore" and not is_address(self.path)
        if local:
            require_kind(self.path, self.kind, label)
        with translating(label, "the file cannot be read", EXPECTED):
            module = import_module(OPENERS[self.kind])
            try:
                opened = module.open_stored(self.path, self.dataset, label)
            except (MissingDependencyError, UnknownNameError):
                raise
            except Exception:
                if local:
                    require_content(self.path, self.kind, label)
                raise
        try:
            require_whole(opened.missing, label, self.on_missing)
        except FileError:
            opened.close()
            raise
        return opened


def _shown(path: str, dataset: str) -> str:
    return printable(f"{path}:{dataset}" if dataset else path)


def member(names: Iterable[str], wanted: str, label: str) -> str:
    """Return which of the arrays of a file is meant.

    Raises
    ------
    UnknownNameError
        If there is no such array, or none is named and there are several.

    Examples
    --------
    >>> member(["raw"], "", "a.h5")
    'raw'
    """
    names, wanted = list(names), wanted.strip("/")
    if not wanted and len(names) == 1:
        return names[0]
    if wanted in names:
        return wanted
    if not names:
        raise UnknownNameError("the file holds no arrays", where=label, got=wanted or None)
    raise UnknownNameError(
        "no such array in the file" if wanted else "the file holds several arrays, say which",
        where=label,
        got=wanted or None,
        expected=f"one of {names}",
        nearest=nearest_name(wanted, names),
    )


def file_identity(path: str) -> str:
    """Return size and modification time of a file."""
    found = Path(path).stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def require(module: str, extra: str, label: str) -> Any:
    """Import an optional library.

    Raises
    ------
    MissingDependencyError
        If it is not installed; names the extra that installs it.
    """
    try:
        return import_module(module)
    except ImportError:
        root = module.split(".")[0]
        raise MissingDependencyError(
            f"needs the package {PACKAGES.get(root, root)}",
            where=label,
            expected=f"the extra {extra!r}: pip install 'neuromancer-graph[{extra}]'",
            nearest=f"pip install {PACKAGES.get(root, root)}",
        ) from None
