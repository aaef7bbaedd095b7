"""Volumes in zarr folders and object stores, format 3 and 2, and OME-Zarr images in them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, naming
from neuromancer.volumes.axes import Layout, letters
from neuromancer.volumes.cf import KEYS, unpacked
from neuromancer.volumes.conventions import DIMENSION_UNITS, axes_stated, dimension_units, stated_by
from neuromancer.volumes.coordinates import Coordinate
from neuromancer.volumes.coordinates import stated_by as stated_by_coordinates
from neuromancer.volumes.ome import image_metadata, image_of, levels_of, read_level
from neuromancer.volumes.paths import is_address
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.request import Request
from neuromancer.volumes.sink import FileSink, fsync_all
from neuromancer.volumes.stored import Opened, member, require

IDENTITY = "neuromancer_id"
FINEST = "0"
COMPRESSIONS = ("default", "blosc", "zstd", "gzip", None)


def join(path: str, *parts: str) -> str:
    """Path or address of an array in a store."""
    return "/".join([path.rstrip("/"), *(p for p in parts if p)])


def zarr_of(path: str) -> Any:
    """The library; with what it needs for remote addresses."""
    if is_address(path) and not path.startswith("file://"):
        require("fsspec", "remote", path)
    return require("zarr", "zarr", path)


def open_node(path: str) -> Any:
    """The array or group at a path, for reading; None if there is nothing."""
    try:
        return zarr_of(path).open(path, mode="r")
    except FileNotFoundError:
        return None


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open an array for reading; of an OME-Zarr image the finest level, if none is named."""
    zarr = zarr_of(path)
    found = open_node(join(path, dataset))
    if found is None:
        root = open_node(path) if dataset else None
        if isinstance(root, zarr.Group):
            member(arrays_in(root), dataset, label)
        raise FileError("holds no zarr array or group", node=label, expected="zarr.json, .zarray or .zgroup in it")
    if isinstance(found, zarr.Group):
        image = image_of(dict(found.attrs))
        if image is not None:
            return describe(found[levels_of(image)[0]], label, image, levels_of(image)[0])
        inner, _, name = member(arrays_in(found), "", label).rpartition("/")
        group = found[inner] if inner else found
        return describe(group[name], label, group=group)
    parent, _, last = join(path, dataset).rpartition("/")
    above = open_node(parent) if dataset or Path(parent).exists() else None
    group = above if isinstance(above, zarr.Group) else None
    image = None if group is None else image_of(dict(group.attrs))
    image = image if image is not None and last in levels_of(image) else None
    return describe(found, label, image, last, group)


def arrays_in(group: Any) -> list[str]:
    """Paths of all arrays of a group, but for the coordinates of others."""
    zarr = require("zarr", "zarr", str(group))
    found = {name: item for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
    images = [name for name, item in found.items() if item.ndim and dimensions_of(item) != [item.basename]]
    return sorted(images or found)


def describe(array: Any, label: str, image: Any = None, level: str = "", group: Any = None) -> Opened:
    """What an array says about itself: OME-Zarr metadata, else names of its dimensions and attributes.

    Parameters
    ----------
    array : zarr.Array
    label : str
    image, level : optional
        The OME-Zarr image of which it is a level, and the level's name.
    group : zarr.Group, optional
        In which it lies, with the coordinates of its dimensions.
    """
    attributes = dict(array.attrs)
    group = _group_around(array) if group is None else group
    if image is not None:
        axes, placement = read_level(image, level, label)
    else:
        names = dimensions_of(array)
        axes = letters(names) if names else axes_stated(attributes)
        placement = stated_by(attributes)
        if placement.voxel_size is None and names and group is not None:
            placement = stated_by_coordinates(names, lambda name: _coordinate(group, name))
    opened = Opened(array, axes, placement, tuple(array.chunks), identity=repr(array.metadata.to_dict()))
    return unpacked(opened, packing_attributes(array, group))


def _group_around(array: Any) -> Any:
    """The group in which an open array lies; None if there is none in its store."""
    parent, _, own = array.path.rpartition("/")
    if not own:
        return None
    zarr = require("zarr", "zarr", str(array))
    try:
        return zarr.open_group(store=array.store, path=parent, mode="r")
    except (FileNotFoundError, ValueError):
        return None


def dimensions_of(array: Any) -> list[str]:
    """Names of the dimensions of an array; empty if one has none."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or []
    return [str(n) for n in names] if all(names) else []


def _coordinate(group: Any, name: str) -> Coordinate | None:
    """Positions along a dimension: an array of its name beside the image, as xarray writes them."""
    found = group.get(name)
    if found is None or getattr(found, "ndim", 0) != 1 or dimensions_of(found) != [name]:
        return None
    opened = unpacked(Opened(found), packing_attributes(found, group))
    return opened.read(opened.array, slice(None)), found.attrs.get("units")


def packing_attributes(array: Any, group: Any = None) -> dict[str, Any]:
    """Attributes of an array; with the fill value that zarr 2 has in another place where xarray has written it."""
    attributes, fill = dict(array.attrs), array.fill_value
    if array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in attributes and fill is not None:
        # Others leave it at 0, which is then a value like others; they do not write consolidated metadata either.
        consolidated = group is not None and group.metadata.consolidated_metadata is not None
        if fill or consolidated or set(KEYS) & set(attributes):
            attributes.setdefault("_FillValue", fill)
    return attributes


class ZarrSink(FileSink):
    """Output into a zarr array; several processes at a time, as long as none shares a chunk (or shard).

    Parameters
    ----------
    array : zarr.Array
        Open for writing.
    folder : Path, optional
        Where it lies on the local disk; None for other stores, which keep what they have taken.
    **kwargs
        As for :class:`ArraySink`.
    """

    def __init__(self, array: Any, *args: Any, folder: Path | None = None, **kwargs: Any) -> None:
        super().__init__(array, *args, **kwargs)
        self.folder, self.blocks = folder, tuple(array.shards or array.chunks)
        self.unit_of_write = self.layout.per_axis(self.blocks, 1)
        self._pending: set[tuple[int, ...]] = set()
        self._pending_lock = threading.Lock()

    def _write(self, where: Where, values: np.ndarray) -> None:
        self.array[where] = np.ascontiguousarray(values)
        if self.folder is not None:
            touched = (range(s.start // b, (s.stop - 1) // b + 1) for s, b in zip(where, self.blocks, strict=True))
            with self._pending_lock:
                self._pending.update(product(*touched))

    def flush(self) -> None:
        """Return when all that was written would survive a power cut: chunks, and the folders that name them."""
        if self.folder is None:
            return
        with self._pending_lock:
            pending, self._pending = self._pending, set()
        try:
            with naming(self.label):
                files = [self.folder / self.array.metadata.encode_chunk_key(index) for index in pending]
                fsync_all(files)
                fsync_all(folders_of(files, self.folder))
        except BaseException:
            with self._pending_lock:
                self._pending |= pending
            raise


def folders_of(files: Iterable[Path], top: Path) -> list[Path]:
    """All folders between files and `top`, the deepest first."""
    found: set[Path] = set()
    for file in files:
        folder = file.parent
        while folder not in found and folder != top.parent:
            found.add(folder)
            folder = folder.parent
    return sorted(found, key=lambda p: -len(p.parts))


def open_for_writing(locator: Locator) -> Any:
    """The existing array at a path, for writing; None if there is none."""
    zarr = zarr_of(locator.path)
    try:
        found = zarr.open(join(locator.path, locator.dataset), mode="r+")
    except FileNotFoundError:
        return None
    if isinstance(found, zarr.Group):
        image = image_of(dict(found.attrs))
        level = levels_of(image)[0] if image is not None else None
        return found[level] if level is not None and level in found else None
    return found


def local_folder(array: Any) -> Path | None:
    """Folder of an array in a local store."""
    root = getattr(array.store, "root", None)
    return root / array.path if isinstance(root, Path) else None


def create(locator: Locator, request: Request) -> Any:
    """Create the array, alone or in a group, and return it open for writing."""
    path, label = locator.path, str(locator)
    zarr, dataset = zarr_of(path), locator.dataset
    groups, name = dataset.split("/")[:-1] if dataset else [], dataset.split("/")[-1] if dataset else ""
    if request.multiscale:
        groups, name = [*groups, *([name] if name else [])], FINEST
    settings = {
        "shape": request.stored_shape,
        "dtype": request.dtype,
        "chunks": request.stored_chunks if request.shards is None else request.layout.per_stored(request.chunks, 1),
        "shards": request.stored_shards,
        "compressors": compressors(request.compression, np.dtype(request.dtype), label),
        "fill_value": np.zeros((), request.dtype)[()],
        "dimension_names": request.axis_names,
        "attributes": {IDENTITY: uuid.uuid4().hex, **request.attributes(), **_units_of(request)},
    }
    try:
        with naming(label):
            if not name:
                array = zarr.create_array(path, zarr_format=3, **settings)
            else:
                parent = _group(path, label)
                for group in groups:
                    parent = parent.require_group(group)
                if request.multiscale:
                    levels = [(FINEST, request.stored_placement)]
                    image = groups[-1] if groups else Path(path).stem
                    parent.attrs.update(image_metadata(image, request.layout.stored, levels))
                array = parent.create_array(name, **settings)
            folder = local_folder(array)
            if folder is not None:
                files = [p for p in Path(path).rglob("zarr.json") if p.parent in (folder, *folder.parents)]
                fsync_all(files)
                fsync_all([folder, *folders_of(files, Path(path)), Path(path).absolute().parent])
            return array
    except ValueError as error:
        raise ArgumentError("cannot be created so", node=label, got=str(error)) from error


def _units_of(request: Request) -> dict[str, Any]:
    """Sizes of all stored axes as Neuroglancer and tensorstore read them."""
    placement = request.stored_placement
    if placement.voxel_size is None:
        return {}
    spatial = [name for name in request.axis_names if name != "c"]
    sizes = dict(zip(spatial, placement.voxel_size, strict=True))
    return {DIMENSION_UNITS: dimension_units(request.axis_names, sizes, placement.unit)}


def _group(path: str, label: str) -> Any:
    """The group at a path, made if there is none."""
    found = zarr_of(path).open_group(path, mode="r+") if open_node(path) is not None else None
    if found is None:
        return zarr_of(path).open_group(path, mode="a", zarr_format=3)
    if found.metadata.zarr_format != 3:
        raise FileError("outputs are made in zarr format 3 only", node=label, got="a folder of format 2")
    return found


def compressors(name: str | None, dtype: np.dtype, label: str) -> Any:
    """Codecs by name."""
    codecs = require("zarr.codecs", "zarr", label)
    if name not in COMPRESSIONS:
        raise ArgumentError("no such compression for zarr", node=label, got=name, expected=COMPRESSIONS)
    if name is None:
        return None
    if name == "zstd":
        return codecs.ZstdCodec(level=3)
    if name == "gzip":
        return codecs.GzipCodec(level=5)
    return codecs.BloscCodec(cname="zstd", clevel=3, typesize=dtype.itemsize, shuffle="shuffle")


def make_sink(array: Any, layout: Layout, label: str, locator: Locator | None) -> ZarrSink:
    """Sink of an array that is open for writing."""
    identity = str(array.attrs.get(IDENTITY, ""))
    return ZarrSink(array, layout, label, locator=locator, identity=identity, folder=local_folder(array))
