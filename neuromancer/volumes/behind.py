"""Damage in files behind lazy arrays of dask or xarray, which do not report it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuromancer.arrays import library, offers
from neuromancer.errors import translating
from neuromancer.volumes import hdf5, zarrs
from neuromancer.volumes.chunk_files import damage_in
from neuromancer.volumes.graph_walk import sources_behind
from neuromancer.volumes.missing import Part

MOST = 100_000
"""Maximum number of objects visited: about a second, for graphs of any size."""


def stated_behind(array: Any, label: str) -> tuple[list[Part], bool]:
    """Return the missing parts of the files behind a lazy array, and whether nothing was written into any of them.

    The position of a missing part in the lazy array is unknown.

    Parameters
    ----------
    array : object
        A dask array, or the lazy array of an xarray Variable.
    label : str
        Its name in errors.

    Raises
    ------
    FileError
        If one of the files cannot be checked.
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
    """Return the h5py datasets and zarr arrays from which an array of dask or xarray reads, each once."""
    found: dict[Any, Any] = {}
    # Volumes of this package report their own damage, as their `on_missing` says.
    for value in sources_behind(array, MOST, own=False):
        if library(value) in ("h5py", "zarr") and offers(value, "shape", "dtype"):
            found.setdefault(_place(value), value)
    return list(found.values())


def _folder(array: Any) -> Path | None:
    return zarrs.local_folder(array) if library(array) == "zarr" else None


def _place(array: Any) -> Any:
    """Return a key that identifies an array in a file."""
    return (array.file.filename, array.name) if library(array) == "h5py" else _folder(array) or id(array)


def _damaged_chunks(array: Any, folder: Path | None) -> Iterator[Part]:
    """Find damaged chunks that their library would take for ones that were never written."""
    if folder is not None:
        depth = array.metadata.encode_chunk_key((0,) * array.ndim).count("/") + 1
        yield from (Part(f"chunk {key} of {folder}", why) for key, why in damage_in(folder, depth))
