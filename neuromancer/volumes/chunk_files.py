"""Chunks stored as files: a missing file means fill value by the format, anything else in its place is damage."""

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

METADATA = ("zarr.json", ".zarray", "attributes.json", "info", "header.wkw")
"""Metadata files; the folder of every array has one of them."""
KEY = re.compile(r"c|(c\.)?\d+(\.\d+)*")
"""Component of a chunk key: the name of a file or folder."""
MOST = 1_000_000
"""Maximum number of files checked when an array is opened."""


def require_absent(folder: Path, key: str) -> None:
    """Raise OSError if a chunk that was not found is damaged, not just never written.

    Parameters
    ----------
    folder : Path
        Of the array.
    key : str
        Key of the chunk: its path relative to the folder.
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
    """Raise FileError if a path is a pipe or a device: opening it could block forever."""
    kind = None if path is None else kind_at(path)
    if kind not in (None, "a file", "a folder"):
        raise FileError("is not a file", where=label or str(path), got=f"{path} is {kind}", expected="a file")


def damage_in(folder: Path, depth: int) -> list[tuple[str, str]]:
    """Return the keys of chunks that exist but are not files, and why; unreadable files are not looked into.

    Parameters
    ----------
    folder : Path
        Of the array.
    depth : int
        Number of path components of a key.
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
    """Iterate over the entries of a folder and its subfolders, with their depth."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry, level
            if level < depth and entry.is_dir():
                yield from _entries(entry.path, level + 1, depth)


def holds_no_chunks(folder: Path) -> bool:
    """Return whether the folder of an array holds nothing but metadata."""
    return not any(
        any(entry.iterdir()) if entry.is_dir() else not entry.name.startswith((".", "zarr.json", "attributes.json"))
        for entry in folder.iterdir()
    )


class ChunkFileReader:
    """Reader of blocks that checks before and after a read that absent chunks were never written.

    Parameters
    ----------
    read : callable
        (array, slices) -> numpy.ndarray.
    folder : Path
    chunks : sequence of int
        Shape of a chunk, in voxels.
    key : callable
        Returns the key of a chunk from its index along every axis.
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
        """Raise OSError if something in the place of a chunk is not a file, or the whole array has been removed."""
        if where is not None:
            touched = (range(s.start // c, -(-s.stop // c)) for s, c in zip(where, self.chunks, strict=True))
            for number in product(*touched):
                key = self.key(number)
                if not (self.folder / key).is_file():
                    require_absent(self.folder, key)
