"""Volumes in zarr folders and object stores, format 3 and 2, and OME-Zarr images in them."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import (
    ArgumentError,
    FileError,
    MissingDependencyError,
    NeuromancerError,
    naming,
    reason,
    shown_cause,
    translating,
)
from neuromancer.files import followed
from neuromancer.volumes.axes import Layout, letters
from neuromancer.volumes.cf import KEYS, unpacked
from neuromancer.volumes.chunk_files import is_blank
from neuromancer.volumes.conventions import DIMENSION_UNITS, axes_stated, dimension_units, names_in, odd_axes, stated_by
from neuromancer.volumes.coordinates import Coordinate
from neuromancer.volumes.coordinates import stated_by as stated_by_coordinates
from neuromancer.volumes.fresh import Note, discard_fresh, fresh, new_token, tokens
from neuromancer.volumes.missing import Part, shown
from neuromancer.volumes.ome import image_metadata, image_of, levels_of, odd_image, read_level
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.paths import is_address
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.sink import FileSink, fsync_all
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import member, require
from neuromancer.volumes.tiff_pages import missing_parts

IDENTITY = "neuromancer_id"
METADATA = "zarr.json"
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
    zarr = zarr_of(path)
    try:
        return zarr.open(path if is_address(path) else _files_in(Path(path)), mode="r")
    except FileNotFoundError:
        return None
    except ValueError as error:
        if type(error).__name__ != "UnknownCodecError":  # of zarr or of numcodecs
            raise
        raise MissingDependencyError(
            "is packed with a codec that is not installed", node=path, got=str(error), expected="the codec's package"
        ) from error


def _files_in(folder: Path) -> Any:
    """The store in a folder, for reading."""
    return require("neuromancer.volumes.zarr_store", "zarr", str(folder)).FileStore(folder, read_only=True)


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open an array for reading; of an OME-Zarr image the finest level, if none is named."""
    zarr = zarr_of(path)
    found = open_node(join(path, dataset))
    if found is None:
        root = open_node(path) if dataset else None
        if isinstance(root, zarr.Group):
            member(arrays_in(root), dataset, label)
        raise FileError("holds no zarr array or group", where=label, expected="zarr.json, .zarray or .zgroup in it")
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
        axes = letters(names) if names else axes_stated(attributes, array.ndim)
        placement = stated_by(attributes)
        if placement.voxel_size is None and names and group is not None:
            placement = stated_by_coordinates(names, lambda name: _coordinate(group, name))
    folder, blocks = local_folder(array), array.shards or array.chunks
    if 0 in (*blocks, *array.chunks):
        got = f"chunks of {tuple(blocks)}"
        raise FileError(
            "its metadata cannot be true", where=label, got=got, expected="at least 1 voxel along every axis"
        )

    def name_of(where: Where) -> str:
        number = tuple(s.start // n for s, n in zip(where, blocks, strict=True))
        return f"chunk {array.metadata.encode_chunk_key(number)}, {shown(where)}"

    opened = Opened(
        require("neuromancer.volumes.zarr_store", "zarr", label).checked(array, folder),
        axes,
        placement,
        tuple(array.chunks),
        identity=repr(array.metadata.to_dict()),
        fill=0 if array.fill_value is None else array.fill_value,
        missing=_tiff_parts(array.store),
        name_of=name_of,
        blank=folder is not None and is_blank(folder),
        doubts=(*odd_axes(attributes, array.ndim), *(() if group is None else odd_image(dict(group.attrs)))),
    )
    return unpacked(opened, packing_attributes(array, group))


def _tiff_parts(store: Any) -> list[Part]:
    """What is missing of a series of a TIFF file that was opened through tifffile's store."""
    if not type(store).__module__.startswith("tifffile"):
        return []
    series = next(iter(getattr(store, "_data", ())), None)
    file = None if series is None else series.keyframe.parent
    return missing_parts(file, series) if file is not None and any(s is series for s in file.series) else []


def _group_around(array: Any) -> Any:
    """The group in which an open array lies; None if there is none in its store."""
    parent, _, own = array.path.rpartition("/")
    if not own:
        return None
    zarr = require("zarr", "zarr", str(array))
    try:
        root = getattr(array.store, "root", None)
        store = _files_in(root) if isinstance(root, Path) else array.store
        return zarr.open_group(store=store, path=parent, mode="r")
    except (FileNotFoundError, ValueError):
        return None


def dimensions_of(array: Any) -> list[str]:
    """Names of the dimensions of an array; empty if one has none."""
    names = getattr(array.metadata, "dimension_names", None) or names_in(array.attrs.get("_ARRAY_DIMENSIONS")) or []
    return [str(n) for n in names] if all(names) and len(names) == array.ndim else []


def _coordinate(group: Any, name: str) -> Coordinate | None:
    """Positions along a dimension: an array of its name beside the image, as xarray writes them."""
    found = group.get(name)
    if found is None or getattr(found, "ndim", 0) != 1 or dimensions_of(found) != [name]:
        return None
    checked = require("neuromancer.volumes.zarr_store", "zarr", name).checked
    opened = unpacked(Opened(checked(found, local_folder(found))), packing_attributes(found, group))
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
    with translating(locator, "cannot be opened for writing"):
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
    """Folder of an array in a local store, also where fsspec stands between, as dask has it."""
    root, files = getattr(array.store, "root", None), getattr(array.store, "fs", None)
    if "file" in np.atleast_1d(getattr(files, "protocol", "")):
        root = Path(array.store.path)
    return root / array.path if isinstance(root, Path) else None


def create(locator: Locator, spec: StoreSpec, note: Note) -> None:
    """Create the array, alone or in a group.

    On a disk, the outermost folder that is new gets its name when all of it is there. What else lies there stays.
    """
    label, identity = str(locator), new_token(note)
    names = _names(locator, spec.multiscale)
    settings = {
        "shape": spec.stored_shape,
        "dtype": spec.dtype,
        "chunks": spec.stored_chunks if spec.shards is None else spec.layout.per_stored(spec.chunks, 1),
        "shards": spec.stored_shards,
        "compressors": compressors(spec.compression, np.dtype(spec.dtype), label),
        "fill_value": np.zeros((), spec.dtype)[()],
        "dimension_names": spec.axis_names,
        "attributes": {IDENTITY: identity, **spec.attributes(), **_units_of(spec)},
    }
    image = names[-2] if len(names) > 1 else Path(locator.path).stem
    levels = [(FINEST, spec.stored_placement)]
    attributes = image_metadata(image, spec.layout.stored, levels) if spec.multiscale else {}
    try:
        with naming(label):
            if is_address(locator.path):
                _create_in(locator.path, names, settings, attributes)
                return
            depth, place = _room(followed(locator.path), names, label)
            with fresh(place, note, _workplace(followed(locator.path))) as new:
                _create_in(str(new), names[depth:], settings, attributes if depth < len(names) else {})
                fsync_all(new.rglob("zarr.json"))
                fsync_all(folders_of(new.rglob("zarr.json"), new))
            if attributes and depth == len(names):
                zarr_of(str(place)).open_group(place.parent, mode="r+").attrs.update(attributes)
                fsync_all([place.parent / "zarr.json", place.parent])
    except (NeuromancerError, MemoryError):
        raise
    except (ValueError, TypeError) as error:
        raise ArgumentError("cannot be created so", where=label, got=reason(error)) from shown_cause(error)
    except Exception as error:  # of the library for a remote store
        raise FileError("cannot be created", where=label, got=reason(error)) from shown_cause(error)


def _units_of(spec: StoreSpec) -> dict[str, Any]:
    """Sizes of all stored axes as Neuroglancer and tensorstore read them."""
    placement = spec.stored_placement
    if placement.voxel_size is None:
        return {}
    spatial = [name for name in spec.axis_names if name != "c"]
    sizes = dict(zip(spatial, placement.voxel_size, strict=True))
    return {DIMENSION_UNITS: dimension_units(spec.axis_names, sizes, placement.unit)}


def _names(locator: Locator, multiscale: bool) -> list[str]:
    """Names of the groups and the array below the path."""
    return [*filter(None, locator.dataset.split("/")), *([FINEST] if multiscale else [])]


def _create_in(path: str, names: list[str], settings: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Create an array below a path with all groups that lead to it; the last of these gets the attributes."""
    if not names:
        zarr_of(path).create_array(path, zarr_format=3, **settings)
        return
    group = _group(path)
    for name in names[:-1]:
        group = group.require_group(name)
    group.create_array(names[-1], **settings)
    if attributes:
        group.attrs.update(attributes)


def _room(root: Path, names: list[str], label: str) -> tuple[int, Path]:
    """The outermost folder that is new, and how many of the names lead to it.

    Raises
    ------
    FileError
        If something lies there, an array lies on the way, or a link that leads nowhere.
    """
    place = root
    for depth in range(len(names) + 1):
        if place.is_symlink() and not place.exists():
            raise FileError("a link that leads nowhere", where=label, got=str(place), expected="another name")
        if not place.exists():
            return depth, place
        found = open_node(str(place))
        if depth == len(names) or (found is not None and not hasattr(found, "require_group")):
            raise FileError("something lies there already", where=label, got=str(place), expected="another name")
        _group(str(place))
        place = place / names[depth]
    raise AssertionError("the last place is free or taken")


def _workplace(root: Path) -> Path:
    """Where new parts of a store are made: beside it, so that nobody sees them in it, or else in it."""
    beside = root.parent
    if not root.exists() or (os.access(beside, os.W_OK | os.X_OK) and beside.stat().st_dev == root.stat().st_dev):
        return beside
    return root


def discard(locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
    """Remove the array if it was left half made, as far as the notes about it prove that."""
    for names in (_names(locator, False), _names(locator, True)):
        if is_address(locator.path):
            _discard_remote(join(locator.path, *names), spec, traces)
            continue
        root = followed(locator.path)
        for depth in range(len(names) + 1):
            place = root.joinpath(*names[:depth])
            inner = root.joinpath(*names)
            if discard_fresh(place, traces, partial(_is_new, place, inner, spec, traces), _workplace(root)):
                if place.name == FINEST:
                    _forget_image(place.parent)
                return


def _forget_image(folder: Path) -> None:
    """Take away what was said in a group about an image whose only level has been removed."""
    group = open_node(str(folder)) if folder.exists() else None
    image = None if group is None else image_of(dict(group.attrs))
    if image is not None and levels_of(image) == [FINEST]:
        del zarr_of(str(folder)).open_group(folder, mode="r+").attrs["ome"]


def _is_new(outer: Path, inner: Path, spec: StoreSpec, traces: Collection[str]) -> bool:
    """Whether a folder holds nothing but one array, as it would be made, into which nothing has been written."""
    way = [inner, *inner.parents]
    expected = {folder / METADATA for folder in way[: way.index(outer) + 1]}
    with suppress(Exception):  # whatever the library says of a folder that is not ours
        return _is_meant(open_node(str(inner)), spec, traces) and expected == {
            path for path in outer.rglob("*") if not path.is_dir()
        }
    return False


def _is_meant(array: Any, spec: StoreSpec, traces: Collection[str]) -> bool:
    known = array is not None and str(array.attrs.get(IDENTITY, "")) in tokens(traces)
    return known and spec.describes(array)


def _discard_remote(address: str, spec: StoreSpec, traces: Collection[str]) -> None:
    if _is_meant(open_node(address), spec, traces):
        files, path = require("fsspec.core", "remote", address).url_to_fs(address)
        if all(name.endswith(METADATA) for name in files.find(path)):
            files.rm(path, recursive=True)


def _group(path: str) -> Any:
    """The group at a path, made if there is none."""
    found = open_node(path)
    if found is None:
        return zarr_of(path).open_group(path, mode="a", zarr_format=3)
    if found.metadata.zarr_format != 3:
        raise FileError("outputs are made in zarr format 3 only", node=path, got="a folder of format 2")
    return zarr_of(path).open_group(path, mode="r+")


def compressors(name: str | None, dtype: np.dtype, label: str) -> Any:
    """Codecs by name."""
    codecs = require("zarr.codecs", "zarr", label)
    if name not in COMPRESSIONS:
        raise ArgumentError("no such compression for zarr", where=label, got=name, expected=COMPRESSIONS)
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
