"""Volumes in HDF5 files."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromancer.errors import FileError, naming, reason
from neuromancer.files import followed, fsync
from neuromancer.volumes import hdf5_sources
from neuromancer.volumes.axes import Layout, letters
from neuromancer.volumes.cf import unpacked
from neuromancer.volumes.conventions import axes_stated, odd_axes, stated_in_attributes
from neuromancer.volumes.coordinates import Coordinate, stated_in_coordinates
from neuromancer.volumes.fresh import Note, discard_fresh, fresh, is_blank, new_token, tokens, was_fresh
from neuromancer.volumes.hdf5_attributes import Dimension, attributes_of, dimensions_of, is_scale, text_of
from neuromancer.volumes.hdf5_changes import change, roll_back
from neuromancer.volumes.opened import Opened, read
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.sink import FileSink
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import file_identity, member

IDENTITY = "neuromancer_id"
NO_POSITIONS = "This is a netCDF dimension but not a netCDF variable"
DEFAULT_NAME = "data"
FILTERS = {"default": None, None: None, "gzip": "gzip", "lzf": "lzf"}


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a dataset for reading."""
    file = h5py.File(path, "r")
    try:
        require_target(file, dataset, label)
        found = file.get(dataset) if dataset else None
        if not isinstance(found, h5py.Dataset):
            name = member(datasets_in(file, label), dataset, label)
            require_target(file, name, label)
            found = file[name]
        return inspect_dataset(hdf5_sources.spanned(found), file.close, file_identity(path), label)
    except BaseException:
        file.close()
        raise


def inspect_dataset(array: Any, close: Any = lambda: None, identity: str = "", label: str = "raw") -> Opened:
    """Inspect an open dataset: axis labels, and attributes for voxel size and offset."""
    hdf5_sources.require_no_pipes(array, label)
    attributes, unread = attributes_of(array)
    dimensions, odd = dimensions_of(array)
    names = [d.name for d in dimensions]
    axes = letters(names) if any(names) else axes_stated(attributes, array.ndim)
    placement = stated_in_attributes(attributes)
    if placement.voxel_size is None and any(d.scale is not None for d in dimensions):
        placement = stated_in_coordinates(dimensions, _coordinate)
    if IDENTITY in attributes:
        placement = replace(placement, voxel_size=_with_gaps(placement.voxel_size), offset=_with_gaps(placement.offset))
    elsewhere, missing = hdf5_sources.identity(array), hdf5_sources.missing_parts(array, label)
    opened = Opened(
        array,
        axes,
        placement,
        array.chunks,
        read=hdf5_sources.ExternalFileReader(array, missing) if array.is_virtual or array.external else read,
        close=close,
        identity=f"{identity} {elsewhere}" if elsewhere else identity,
        fill=array.fillvalue,
        missing=missing,
        blank=not (array.is_virtual or array.external or array.id.get_storage_size()),
        doubts=(*unread, *odd, *odd_axes(attributes, array.ndim)),
    )
    return unpacked(opened, attributes)


def _coordinate(dimension: Dimension) -> Coordinate | None:
    """Return the positions along a dimension from its attached scale; None if the scale holds no positions."""
    scale = dimension.scale
    if scale is None:
        return None
    attributes, _ = attributes_of(scale)
    if text_of(attributes.get("NAME")).startswith(NO_POSITIONS):
        return None
    if scale.shape != (dimension.size,):
        raise ValueError(f"positions of shape {scale.shape} for {dimension.size} voxels")
    opened = unpacked(Opened(scale), attributes)
    return opened.read(opened.array, slice(None)), attributes.get("units")


def _with_gaps(values: Any) -> Any:
    """Return values as written by this package, with None for NaN: HDF5 has no None."""
    known = isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.ndim == 1
    return [None if np.isnan(v) else v for v in values] if known else values


def datasets_in(file: Any, label: str = "hdf5") -> list[str]:
    """Return paths of all datasets of an open file except coordinates; paths of links if there is no dataset."""
    found: dict[str, bool] = {}
    links: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            hdf5_sources.require_no_pipes(item, label)
            found[name] = item.ndim > 1 or not is_scale(item)

    file.visititems(note)
    file.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else links.append(name))
    return sorted(name for name, image in found.items() if image or not any(found.values())) or sorted(links)


def require_target(file: Any, path: str, label: str) -> None:
    """Raise FileError if a path contains a dangling link."""
    here = file
    for name in path.strip("/").split("/") if path else ():
        link = here.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            hdf5_sources.require_link(here, link.filename, label)
        try:
            here = here[name]
        except (KeyError, OSError, RuntimeError) as error:
            if link is None or isinstance(link, h5py.HardLink):
                return
            target = f"{link.filename}:{link.path}" if isinstance(link, h5py.ExternalLink) else link.path
            raise FileError(
                "a link leads nowhere", where=label, got=f"{name} -> {target}, {reason(error)}", expected="its target"
            ) from error
        if not isinstance(here, h5py.Group):
            return


class Hdf5Sink(FileSink):
    """Sink that writes into a dataset; one process at a time.

    Uncompressed chunks are allocated at creation, so that writing changes voxels only: the process may be killed at
    any time. Compressed chunks are allocated when they are written; the file's index then changes in ``flush()`` only,
    and a kill during a flush can corrupt the file.
    """

    exclusive = True
    owned = True

    def flush(self) -> None:
        """Write everything durably to disk."""
        with naming(self.label):
            self.array.file.flush()
            fsync(Path(self.array.file.filename))

    def close(self) -> None:
        """Flush, and close the file if it was opened here."""
        if self.array:
            self.flush()
            if self.owned:
                self.array.file.close()


class OpenHdf5Sink(Hdf5Sink):
    """Sink that writes into a dataset of a file that the user has open."""

    owned = False


def open_for_writing(locator: Locator) -> Any:
    """Open an existing dataset for writing."""
    try:
        file = h5py.File(locator.path, "r+", rdcc_nbytes=0)
    except OSError as error:
        hint = "another file than the raw volume's" if "already open" in str(error) else "an intact HDF5 file"
        raise FileError(
            "the file cannot be opened for writing", where=str(locator), got=str(error), expected=hint
        ) from error
    try:
        found = _find(file, locator)
    except BaseException:
        file.close()
        raise
    if found is None:
        return file
    if found.compression is not None:
        _index_in_memory(file)
    return found


def is_taken(locator: Locator) -> bool:
    """Return whether the dataset exists; the file is not modified."""
    try:
        file = h5py.File(locator.path, "r")
    except OSError:
        return False  # the reason is raised when it is opened for writing
    with file:
        return _find(file, locator) is not None


def _find(file: Any, locator: Locator) -> Any:
    """Return the dataset; None if its name is free."""
    found = file.get(locator.dataset or DEFAULT_NAME)
    if found is None:
        _require_room(file, locator.dataset or DEFAULT_NAME, str(locator))
    elif not isinstance(found, h5py.Dataset):
        raise FileError("a group has the name of the output", where=str(locator), expected="another name")
    return found


def _index_in_memory(file: Any) -> None:
    """Write the file's index to disk in a flush only, not whenever its cache is full."""
    settings = file.id.get_mdc_config()
    settings.evictions_enabled = False
    settings.incr_mode = settings.flash_incr_mode = settings.decr_mode = 0
    file.id.set_mdc_config(settings)


def create(locator: Locator, spec: StoreSpec, note: Note) -> None:
    """Create the dataset, in a new file or in an existing one.

    Creation is atomic; other content of the file does not change.
    """
    label = str(locator)
    target, name = followed(locator.path), locator.dataset or DEFAULT_NAME
    with naming(label):
        identity = new_token(note)
        if not target.exists():
            with fresh(target, note) as new, h5py.File(new, "x") as file:
                _fill(file, name, spec, identity)
            return

        def add(file: Any) -> None:
            if _find(file, locator) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), label)
            _fill(file, name, spec, identity)

        change(target, identity, add)


def discard(locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
    """Remove the dataset if its creation was interrupted, as far as the recorded traces prove that."""
    target, name = followed(locator.path), locator.dataset or DEFAULT_NAME

    def is_new(alone: bool = True) -> bool:
        # The library may raise anything for a foreign file.
        with suppress(Exception), h5py.File(target, "r") as file:
            found = file[name]
            mine = str(found.attrs.get(IDENTITY, "")) in tokens(traces) and spec.describes(found)
            return mine and (datasets_in(file) == [name] or not alone) and _is_blank(found, target)
        return False

    if discard_fresh(target, traces, is_new) or not target.exists():
        return
    with naming(str(locator)):
        for token in tokens(traces):
            roll_back(target, token)
        if is_new() and was_fresh(target, traces):
            target.unlink()
        elif is_new(alone=False):
            change(target, tokens(traces)[0], lambda file: file.__delitem__(name))


def _is_blank(array: Any, path: Path) -> bool:
    """Return whether a dataset holds zeros only."""
    places: list[tuple[int, int]] = []
    array.id.chunk_iter(lambda chunk: places.append((chunk.byte_offset, chunk.size)))
    return all(is_blank(path, at, at + size) for at, size in places)


def _require_room(file: Any, name: str, label: str) -> None:
    """Raise FileError for a name that passes through a link of the file or through a dataset."""
    parts = name.split("/")
    for k in range(1, len(parts) + 1):
        above, here = "/".join(parts[: k - 1]) or "/", "/".join(parts[:k])
        link = file[above].get(parts[k - 1], getlink=True)
        if link is None:
            return
        if not isinstance(link, h5py.HardLink):
            raise FileError("a link has the name of the output", where=label, got=here, expected="another name")
        if not isinstance(file[here], h5py.Group):
            raise FileError(
                "is not a group, so it cannot contain arrays", where=label, got=here, expected="another name"
            )


def _fill(file: Any, name: str, spec: StoreSpec, identity: str) -> None:
    parent, _, last = name.rpartition("/")
    group = file.require_group(parent) if parent else file
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(spec.stored_chunks)
    properties.set_obj_track_times(False)
    chosen = FILTERS[spec.compression]
    if chosen is None:
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    else:
        properties.set_shuffle()
        if chosen == "gzip":
            properties.set_deflate(4)
        else:
            properties.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple(spec.stored_shape)
    kind = h5py.h5t.py_create(np.dtype(spec.dtype), logical=True)
    made = h5py.Dataset(h5py.h5d.create(group.id, last.encode(), kind, space, properties))
    for k, axis in enumerate(spec.axis_names):
        made.dims[k].label = axis
    made.attrs[IDENTITY] = identity
    for key, value in spec.attributes().items():
        made.attrs[key] = np.array(value, float) if isinstance(value, list) else value


def make_sink(array: Any, layout: Layout, label: str, locator: Locator) -> Hdf5Sink:
    """Return a sink for a dataset that was opened by :func:`open_for_writing`."""
    return Hdf5Sink(array, layout, label, array.chunks, locator, str(array.attrs.get(IDENTITY, "")))
