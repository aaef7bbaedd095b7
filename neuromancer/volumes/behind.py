"""Arrays in files that lie behind lazy ones, of dask or xarray, which say nothing of what is missing of them."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from neuromancer.arrays import library, offers
from neuromancer.errors import translating
from neuromancer.volumes import hdf5, zarrs
from neuromancer.volumes.chunk_files import damage_in
from neuromancer.volumes.missing import Part

MOST = 100_000
"""Objects that are looked at: of graphs of any size, a second's worth."""
MOST_EACH = 10_000
"""Objects that are looked at of one container, so that a layer of many tasks does not hide the others."""
FOLLOWED = (dict, list, tuple, set, frozenset, partial)


def stated_behind(array: Any, label: str) -> tuple[list[Part], bool]:
    """What is missing of the arrays in files that a lazy array is made of, and whether nothing was written into any.

    Where a part lies in the lazy array is not known.

    Parameters
    ----------
    array : object
        Of dask, or what xarray reads lazily.
    label : str
        Its name in errors.

    Raises
    ------
    FileError
        If that cannot be told of one of them.
    """
    parts: dict[str, Part] = {}
    blank: list[bool] = []
    for found in arrays_behind(array):
        folder = _folder(found)
        if folder is not None and not folder.is_dir():
            parts[str(folder)] = Part(str(folder), "no such folder")
            continue
        with translating(label, "an array behind it cannot be read"):
            opened = hdf5.inspect_dataset(found) if library(found) == "h5py" else zarrs.inspect_zarr(found, label)
        for part in [*opened.missing, *_damaged_chunks(found, folder)]:
            parts[part.name] = Part(part.name, part.reason)
        blank.append(opened.blank)
    return list(parts.values()), bool(blank) and all(blank)


def arrays_behind(array: Any) -> list[Any]:
    """Data sets of h5py and arrays of zarr that something of dask or xarray refers to, each once."""
    found: dict[Any, Any] = {}
    seen: dict[int, Any] = {}
    waiting = deque([array])
    while waiting and len(seen) < MOST:
        value = waiting.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value  # kept, or its number would be given to another object
        kind = library(value)
        if kind in ("h5py", "zarr") and offers(value, "shape", "dtype"):
            found.setdefault(_place(value), value)
        elif isinstance(value, FOLLOWED) or (kind in ("dask", "xarray") and not isinstance(value, type)):
            waiting.extend(islice(_held(value), MOST_EACH))
    return list(found.values())


def _held(value: Any) -> Iterable[Any]:
    """What an object refers to; of one that opens its file only when it is read, the array there."""
    if not offers(value, "get_array"):
        return gc.get_referents(value)
    with suppress(Exception):  # whoever reads it says why it cannot be read
        array = value.get_array()
        return [getattr(array, "_h5ds", array)]
    return []


def _folder(array: Any) -> Path | None:
    return zarrs.local_folder(array) if library(array) == "zarr" else None


def _place(array: Any) -> Any:
    """What tells an array in a file from others."""
    return (array.file.filename, array.name) if library(array) == "h5py" else _folder(array) or id(array)


def _damaged_chunks(array: Any, folder: Path | None) -> Iterator[Part]:
    """Chunks that their library would take for ones that were left out."""
    if folder is not None:
        depth = array.metadata.encode_chunk_key((0,) * array.ndim).count("/") + 1
        yield from (Part(f"chunk {key} of {folder}", why) for key, why in damage_in(folder, depth))
