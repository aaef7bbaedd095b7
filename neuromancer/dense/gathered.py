"""What was gathered from a whole image: statistics of its features, and activations kept in files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path

import numpy as np

from neuromancer.dense.symmetry import View
from neuromancer.errors import FileError, naming
from neuromancer.graph.window import Window

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Activations:
    """Values of a node for the whole image, in a file of tiles.

    Parameters
    ----------
    path : Path
    shape : tuple of int, (f, images, *spatial)
    tile : tuple of int, (images, *spatial)
        Tile shape; tiles at the ends are smaller. The file has room for a whole tile each, in order of their indices.
    dtype : str
    """

    path: Path
    shape: tuple[int, ...]
    tile: tuple[int, ...]
    dtype: str

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of tiles per axis."""
        return tuple(-(-n // t) for n, t in zip(self.shape[1:], self.tile, strict=True))

    @property
    def room(self) -> int:
        """Bytes of a whole tile."""
        return self.shape[0] * prod(self.tile) * np.dtype(self.dtype).itemsize

    def place(self, number: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """Return the offset in bytes of a tile, by its number along each axis, and its shape."""
        sizes = (min(t, n - k * t) for k, t, n in zip(number, self.tile, self.shape[1:], strict=True))
        return int(np.ravel_multi_index(tuple(number), self.grid)) * self.room, (self.shape[0], *sizes)

    def read(self, ranges: Ranges) -> np.ndarray:
        """Return the values of a range of images and voxels, (f, images, *spatial).

        A tile is mapped only while it is copied, so that what has been read does not count as memory in use.

        Raises
        ------
        FileError
        """
        result = np.empty([self.shape[0], *(b - a for a, b in ranges)], self.dtype)
        with naming(self.path, "cannot be read"):
            for number in product(*(range(a // t, -(-b // t)) for (a, b), t in zip(ranges, self.tile, strict=True))):
                start, shape = self.place(number)
                block = self._mapped(start, shape)
                to, here = [slice(None)], [slice(None)]
                for (a, b), k, t, n in zip(ranges, number, self.tile, shape[1:], strict=True):
                    low, high = max(a, k * t), min(b, k * t + n)
                    to.append(slice(low - a, high - a))
                    here.append(slice(low - k * t, high - k * t))
                result[tuple(to)] = block[tuple(here)]
                del block
        return result

    def _mapped(self, start: int, shape: tuple[int, ...]) -> np.ndarray:
        require_file(self.path)
        try:
            return np.memmap(self.path, self.dtype, "r", start, shape)
        except (ValueError, FileNotFoundError) as error:  # ValueError: the file is too short
            raise damaged(self.path, "values missing") from error


def require_file(path: Path) -> None:
    """Raise FileError for anything but a file, such as a link or a pipe, which no pass makes."""
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise damaged(path, "not a file")


def damaged(path: Path, got: str) -> FileError:
    """Return the error for a file of an earlier pass that is not as the journal says."""
    return FileError(
        "what an earlier pass gathered is missing or damaged",
        where=str(path),
        got=got,
        expected=f"intact files; or remove {path.parent.parent} to gather the statistics again",
    )


@dataclass(frozen=True)
class Gathered:
    """What earlier passes over an image gathered, for the tiles of one more.

    Parameters
    ----------
    statistics : mapping of View to mapping of str to numpy.ndarray, (rows, images, f)
        Per view of the image, statistics by name of the node that needs them.
    stored : mapping of str to Activations
        Kept values, by name of their node.
    before : tuple of int
        Voxels by which the image is padded at its start.
    """

    statistics: Mapping[View, Mapping[str, np.ndarray]] = field(default_factory=dict)
    stored: Mapping[str, Activations] = field(default_factory=dict)
    before: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cut:
    """A node whose values are stored, and the windows through which its voxels lie on the image."""

    name: str
    windows: tuple[Window, ...]

    def voxels(self, starts: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Return the range of voxels that lie within a range of the image."""
        first = [a // w.down for a, w in zip(starts, self.windows, strict=True)]
        return [(a, a + (n - w.size) // w.down + 1) for a, n, w in zip(first, sizes, self.windows, strict=True)]


@dataclass(frozen=True)
class Frozen:
    """How a network that depends on the whole image is evaluated in tiles.

    Parameters
    ----------
    statistics : tuple of str
        Nodes whose statistics of the whole image are given.
    stored : tuple of Cut
        Nodes whose values are given.
    whole : bool
        Whether the only tile is the whole image, so that nothing has to be given.
    """

    statistics: tuple[str, ...] = ()
    stored: tuple[Cut, ...] = ()
    whole: bool = False
