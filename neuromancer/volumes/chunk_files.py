"""Chunks that are files: one that is not there is fill value by the format, anything else in its place is damage."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, product
from pathlib import Path
from typing import Any

from neuromancer.errors import FileError
from neuromancer.places import kind_at
from neuromancer.volumes.blocks import whole_index
from neuromancer.volumes.protocol import Where

METADATA = ("zarr.json", ".zarray", "attributes.json", "info")
"""Files of which one lies in the folder of every array."""
KEY = re.compile(r"c|(c\.)?\d+(\.\d+)*")
"""Part of a chunk's key that is the name of a file or folder."""
MOST = 1_000_000
"""Files that are looked at where no block is asked for."""


def require_absent(folder: Path, key: str) -> None:
    """Raise OSError if a chunk that was not found was not simply left out.

    Parameters
    ----------
    folder : Path
        Of the array.
    key : str
        Of the chunk, below it.
    """
    path = folder / key
    for place in (path, *path.parents):
        if place == folder:
            break
        if place.is_symlink() and not place.exists():
            raise OSError(f"{place.relative_to(folder)} is a link that leads nowhere")
        kind = kind_at(place)
        if kind not in (None, "a file" if place == path else "a folder"):
            raise OSError(f"{place.relative_to(folder)} is {kind}")
    if not any((folder / name).exists() for name in METADATA):
        raise OSError("the metadata of its array has gone")


def require_no_pipe(path: Path | None, label: str | None = None) -> None:
    """Raise FileError if a pipe or a device lies where a file may: whoever opens it waits for ever."""
    kind = None if path is None else kind_at(path)
    if kind not in (None, "a file", "a folder"):
        raise FileError("is no file", where=label or str(path), got=f"{path} is {kind}", expected="a file")


def damage_in(folder: Path, depth: int) -> list[tuple[str, str]]:
    """Keys of chunks that are there and no files, and why; what cannot be read is found by whoever reads it.

    Parameters
    ----------
    folder : Path
        Of the array.
    depth : int
        Names of which a key consists.
    """
    entries = ((place, level) for place, level in _entries(folder, 1, depth) if KEY.fullmatch(place.name))
    found = []
    for place, level in islice(entries, MOST):
        key = os.path.relpath(place.path, folder).replace(os.sep, "/")
        if place.is_symlink() and not Path(place.path).exists():
            found.append((key, "is a link that leads nowhere"))
        elif place.is_dir() == (level == depth):
            found.append((key, f"is a {'folder' if place.is_dir() else 'file'}"))
    return found


def _entries(folder: str | Path, level: int, depth: int) -> Iterator[tuple[os.DirEntry[str], int]]:
    """What lies in a folder and in those below it, with how deep it lies."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry, level
            if level < depth and entry.is_dir():
                yield from _entries(entry.path, level + 1, depth)


def is_blank(folder: Path) -> bool:
    """Whether nothing but metadata lies in the folder of an array."""
    return not any(
        any(entry.iterdir()) if entry.is_dir() else not entry.name.startswith((".", "zarr.json", "attributes.json"))
        for entry in folder.iterdir()
    )


class Watched:
    """Reads blocks, and looks whether chunks that were not found were left out on purpose.

    Parameters
    ----------
    read : callable
        (array, slices) -> numpy.ndarray.
    folder : Path
    chunks : sequence of int
        Voxels per file.
    key : callable
        Name of a chunk from its number per axis.
    """

    def __init__(
        self,
        read: Callable[[Any, Any], Any],
        folder: Path,
        chunks: Sequence[int],
        key: Callable[[tuple[int, ...]], str],
    ) -> None:
        self.read, self.folder, self.chunks, self.key = read, folder, tuple(chunks), key

    def __call__(self, array: Any, index: Any) -> Any:
        where = whole_index(index, array.shape)
        self._require_files(where)
        block = self.read(array, index)
        self._require_files(where)
        return block

    def _require_files(self, where: Where | None) -> None:
        """Raise OSError if something else than a file lies in the place of a chunk, or chunks went with their array."""
        if where is not None:
            touched = (range(s.start // c, -(-s.stop // c)) for s, c in zip(where, self.chunks, strict=True))
            for number in product(*touched):
                key = self.key(number)
                if not (self.folder / key).is_file():
                    require_absent(self.folder, key)
