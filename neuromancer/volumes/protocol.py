"""Interfaces of the volumes that dense prediction reads and writes."""

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
    """Location of a volume, for other processes to open by :func:`open_source` or :func:`open_sink`.

    Parameters
    ----------
    kind : str
        File format: a key of ``neuromancer.volumes.stored.OPENERS``.
    path : str
        File, folder or address; for tensorstore its JSON spec.
    dataset : str
        Name of the array in the file; may be empty if there is only one.
    axes : str
        Letter of every stored axis, as in :class:`Layout`.
    spatial : str
        Spatial axes in the order of the view.
    on_missing : {'error', 'fill'}
        How to treat missing or damaged parts.
    """

    kind: str
    path: str
    dataset: str = ""
    axes: str = ""
    spatial: str = ""
    on_missing: str = "error"

    def resolved(self) -> Locator:
        """Return the locator with links in its path resolved, so that it is the same for all names of the volume."""
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
        Shape of the stored chunks.
    voxel_size : tuple of float or None
        Per spatial axis, in `unit`; an item is None if unknown for that axis, the whole if unknown for all.
    unit : str or None
        Unit of length, e.g. 'micrometer'.
    offset : tuple of float
        Position of the centre of voxel 0 per spatial axis, in `unit`; 0 if unknown.
    direction : tuple of int or None, optional
        -1 for spatial axes along which positions decrease, else 1; None, or absent, if all increase.
    orientation : tuple of (float, float, float) or None, optional
        Unit vector of each spatial axis, as (right, anterior, superior), if they are not parallel to these; `offset`
        is measured along them. None, or absent, if they are parallel, or it is unknown.
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
        """Read a block by step-1 slices within the shape; thread-safe."""
        ...

    def fingerprint(self) -> str:
        """Return a short string that changes with the data, as far as can be told without reading all of it."""
        ...

    def close(self) -> None:
        """Close what was opened; arrays that were passed open stay open."""
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
        Block that must not be written by two threads or processes at once; None if any region is safe.
    exclusive : bool
        True if only one process may have it open for writing.
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
        """Read a block back."""
        ...

    def flush(self) -> None:
        """Write everything durably to disk."""
        ...

    def fingerprint(self) -> str:
        """Return a short string that identifies the output, whatever has been written to it."""
        ...

    def close(self) -> None:
        """Flush, and close what was opened."""
        ...
