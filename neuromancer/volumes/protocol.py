"""What dense prediction reads from and writes to."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from neuromancer.places import is_address
from neuromancer.printable import printable, redact

Where = tuple[slice, ...]


@dataclass(frozen=True)
class Locator:
    """How another process finds a volume again: :func:`open_source` and :func:`open_sink` take it.

    Parameters
    ----------
    kind : str
        'hdf5', 'zarr', 'npy', 'tif', 'n5' or 'tensorstore'.
    path : str
        File, folder or address; of a tensorstore its description in JSON.
    dataset : str
        Which array of it; empty where there is but one.
    axes : str
        Letter of every stored axis, as :class:`Layout` has them.
    spatial : str
        The spatial axes in the order of the view.
    on_missing : {'error', 'fill'}
        What becomes of parts that are missing or damaged.
    """

    kind: str
    path: str
    dataset: str = ""
    axes: str = ""
    spatial: str = ""
    on_missing: str = "error"

    def resolved(self) -> Locator:
        """The same without links in its path, so that it says by whatever name it is reached where the volume lies."""
        local = self.kind != "tensorstore" and not is_address(self.path)
        return replace(self, path=os.path.realpath(self.path)) if local else self

    def __str__(self) -> str:
        return printable(f"{self.path}:{self.dataset}" if self.dataset else self.path)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={redact(value)!r}" for name, value in vars(self).items())
        return f"Locator({shown})"


@runtime_checkable
class Source(Protocol):
    """A volume that can be read in blocks, in the order (f, *spatial).

    Attributes
    ----------
    shape : tuple of int
        (f, *spatial); f is 1 if the data has no channels.
    dtype : numpy.dtype
    chunks : tuple of int or None
        Blocks in which the data is stored.
    voxel_size : tuple of float or None
        Per spatial axis, in `unit`; None in it for an axis of which it is not known, None for all of them.
    unit : str or None
        Of lengths, e.g. 'micrometer'.
    offset : tuple of float
        Position of the centre of voxel 0 per spatial axis, in `unit`; 0 if unknown.
    direction : tuple of int or None, optional
        -1 for spatial axes along which positions fall, else 1; None, or no such attribute, if they grow along all.
    spatial : str
        Names of the spatial axes, e.g. 'zyx'.
    locator : Locator or None
        None if no other process can open it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...] | None
    voxel_size: tuple[float | None, ...] | None
    unit: str | None
    offset: tuple[float, ...]
    spatial: str
    locator: Locator | None

    def __getitem__(self, where: Where) -> np.ndarray:
        """Block between step-1 slices within the shape; may be called by several threads at once."""
        ...

    def fingerprint(self) -> str:
        """Short text that changes with the data, as far as can be told without reading all of it."""
        ...

    def close(self) -> None:
        """Close what was opened; arrays that came in open stay so."""
        ...


@runtime_checkable
class Sink(Protocol):
    """A volume that can be written in blocks, in the order (f, *spatial).

    Attributes
    ----------
    shape : tuple of int
        (f, *spatial).
    dtype : numpy.dtype
    spatial : str
        Names of the spatial axes, e.g. 'zyx'.
    unit_of_write : tuple of int or None
        Two threads or processes must not write into one such block at once; None if any region is safe.
    exclusive : bool
        True if but one process may have it open for writing.
    locator : Locator or None
        None if no other process can open it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    spatial: str
    unit_of_write: tuple[int, ...] | None
    exclusive: bool
    locator: Locator | None

    def __setitem__(self, where: Where, values: np.ndarray) -> None:
        """Write a block."""
        ...

    def __getitem__(self, where: Where) -> np.ndarray:
        """Read back."""
        ...

    def flush(self) -> None:
        """Return when all that was written would survive a power cut."""
        ...

    def fingerprint(self) -> str:
        """Short text that tells this output from another, whatever has been written to it."""
        ...

    def close(self) -> None:
        """Flush, and close what was opened."""
        ...
