"""Open arrays with the metadata of their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuromancer.masked import unmasked
from neuromancer.volumes.missing import Part, shown
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.protocol import Where


def read(array: Any, key: Any) -> np.ndarray:
    """Read a block of an array, by slices."""
    return np.asarray(unmasked(array[key], "image"))


def _chunk(where: Where) -> str:
    return f"chunk {shown(where)}"


@dataclass
class Opened:
    """An open array with the metadata of its file.

    Parameters
    ----------
    array : object
        Has shape, dtype and slicing.
    axes : str, optional
        Axis letters.
    placement : StatedPlacement
        Voxel size, offset and unit as stated in the file.
    chunks : tuple of int, optional
    read : callable
        (array, slices) -> numpy.ndarray.
    close : callable
        Closes what was opened.
    identity : str
        Changes with the data, as far as can be told without reading it; part of the fingerprint.
    lock : bool
        Whether reads must be serialised.
    fill : number
        Value of voxels that were never written.
    missing : sequence of Part
        Parts that are known to be missing or damaged before anything is read.
    name_of : callable
        Returns the name of a chunk from its slices.
    blank : bool
        Whether nothing was ever written, so that all voxels are fill value.
    doubts : tuple of str
        Implausible metadata, other than the placement.
    """

    array: Any
    axes: str | None = None
    placement: StatedPlacement = field(default_factory=StatedPlacement)
    chunks: tuple[int, ...] | None = None
    read: Callable[[Any, Any], np.ndarray] = read
    close: Callable[[], None] = lambda: None
    identity: str = ""
    lock: bool = False
    fill: Any = 0
    missing: Sequence[Part] = ()
    name_of: Callable[[Where], str] = _chunk
    blank: bool = False
    doubts: tuple[str, ...] = ()
