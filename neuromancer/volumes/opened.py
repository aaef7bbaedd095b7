"""An array that is open, and what its file says about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuromancer.masked import unmasked
from neuromancer.volumes.missing import Part, shown
from neuromancer.volumes.placement import Stated
from neuromancer.volumes.protocol import Where


def read(array: Any, key: Any) -> np.ndarray:
    """Read a part of an array, by slices."""
    return np.asarray(unmasked(array[key], "image"))


def _chunk(where: Where) -> str:
    return f"chunk {shown(where)}"


@dataclass
class Opened:
    """An open array, and what its file says about it.

    Parameters
    ----------
    array : object
        Has shape, dtype and slicing.
    axes : str, optional
        Letters of the axes.
    placement : Stated
        What the file says of its place.
    chunks : tuple of int, optional
    read : callable
        (array, slices) -> numpy.ndarray.
    close : callable
        Closes what was opened.
    identity : str
        What says that the data is another one without reading it, for the fingerprint.
    lock : bool
        Whether two threads must not read at once.
    fill : number
        What the store reads where nothing was ever written.
    missing : sequence of Part
        What is known to be missing or damaged before anything is read.
    name_of : callable
        Name of a chunk, from its slices.
    blank : bool
        Whether nothing was ever written, so that all is fill value.
    doubts : tuple of str
        What the file says and cannot be true, besides its place.
    """

    array: Any
    axes: str | None = None
    placement: Stated = field(default_factory=Stated)
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
