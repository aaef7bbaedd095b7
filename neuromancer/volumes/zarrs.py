"""Volumes in zarr folders and object stores (formats 2 and 3), including OME-Zarr images."""

from __future__ import annotations

import os
import re
import threading
import warnings
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
from neuromancer.volumes.chunk_files import holds_no_chunks
from neuromancer.volumes.conventions import (
    DIMENSION_UNITS,
    axes_stated,
    axis_names_in,
    dimension_units,
    odd_axes,
    stated_in_attributes,
)
from neuromancer.volumes.coordinates import Coordinate, stated_in_coordinates
from neuromancer.volumes.fresh import Note, discard_fresh, fresh, new_token, tokens
from neuromancer.volumes.missing import Part, shown
from neuromancer.volumes.ome import image_metadata, image_of, image_with, levels_of, odd_image, read_level
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.paths import is_address
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.sink import FileSink, fsync_all
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import member, require
from neuromancer.volumes.tiff_pages import missing_pages

IDENTITY = "neuromancer_id"
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
FINEST = "0"
V2_KEYS = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
"""Chunks in nested folders, as OME-Zarr requires of zarr 2 as well."""
COMPRESSIONS = ("default", "blosc", "zstd", "gzip", None)


def join(path: str, *parts: str) -> str:
    """Return the path or address of an array in a store."""
    return "/".join([path.rstrip("/"), *(p for p in parts if p)])


def zarr_of(path: str) -> Any:
    """Import zarr, and check what it requires for remote addresses."""
    if is_address(path) and not path.startswith("file://"):
        require("fsspec", "remote", path)
    return require("zarr", "zarr", path)


def open_node(path: str) -> Any:
    """Open the array or group at a path for reading; None if there is nothing."""
    zarr = zarr_of(path)
    try:
        # zarr 3.4 warns of chunks without voxels, and reads all of their array as its fill value
        with warnings.catch_warnings():
            warnings.filterwarnings("error", r".*stored chunk shape .* is invalid")
            return zarr.open(path if is_address(path) else _files_in(Path(path)), mode="r")
    except FileNotFoundError:
        return None
    except UserWarning as warning:
        shape = re.search(r"stored chunk shape [\[(](.*?)[\])]", str(warning))
        if shape is None:
            raise
        raise _no_voxels(path, shape[1]) from None
    except ValueError as error:
        if type(error).__name__ != "UnknownCodecError":  # of zarr or of numcodecs
            raise
        raise MissingDependencyError(
            "is compressed with a codec that is not installed",
            node=path,
            got=str(error),
            expected="the codec's package",
        ) from error


def _no_voxels(label: str, chunks: str) -> FileError:
    got, expected = f"chunks of ({chunks})", "at least 1 voxel along every axis"
    return FileError("has invalid metadata", where=label, got=got, expected=expected)


def _files_in(folder: Path) -> Any:
    """Return the store in a folder, for reading."""
    return require("neuromancer.volumes.zarr_store", "zarr", str(folder)).FileStore(folder, read_only=True)


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open an array for reading; the finest level of an OME-Zarr image, if none is named."""
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
            finest = levels_of(image)[0]
            if not isinstance(found.get(finest), zarr.Array):
                raise FileError("its finest level is missing", where=label, got=finest, expected=arrays_in(found))
            return inspect_zarr(found[finest], label, image, finest)
        inner, _, name = member(arrays_in(found), "", label).rpartition("/")
        group = found[inner] if inner else found
        return inspect_zarr(group[name], label, image_with(dict(group.attrs), name), name, group)
    parent, _, last = join(path, dataset).rpartition("/")
    above = open_node(parent) if dataset or Path(parent).exists() else None
    group = above if isinstance(above, zarr.Group) else None
    return inspect_zarr(found, label, None if group is None else image_with(dict(group.attrs), last), last, group)


def arrays_in(group: Any) -> list[str]:
    """Return the paths of all arrays of a group, except for coordinates."""
    zarr = require("zarr", "zarr", str(group))
    found = {name: item for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
    images = [name for name, item in found.items() if item.ndim and dimension_names_of(item) != [item.basename]]
    return sorted(images or found)


def inspect_zarr(array: Any, label: str, image: Any = None, level: str = "", group: Any = None) -> Opened:
    """Inspect an array: OME-Zarr metadata, or else dimension names and attributes.

    Parameters
    ----------
    array : zarr.Array
    label : str
    image, level : optional
        OME-Zarr image to which it belongs, and the name of its level.
    group : zarr.Group, optional
        Its group, with the coordinates of its dimensions.
    """
    attributes = dict(array.attrs)
    group = _group_around(array) if group is None else group
    if image is not None:
        axes, placement = read_level(image, level, label)
    else:
        names = dimension_names_of(array)
        axes = letters(names) if names else axes_stated(attributes, array.ndim)
        placement = stated_in_attributes(attributes)
        if placement.voxel_size is None and names and group is not None:
            placement = stated_in_coordinates(names, lambda name: _coordinate(group, name))
    folder, blocks = local_folder(array), array.shards or array.chunks
    if 0 in (*blocks, *array.chunks):
        raise _no_voxels(label, ", ".join(map(str, blocks)))

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
        blank=folder is not None and holds_no_chunks(folder),
        doubts=(*odd_axes(attributes, array.ndim), *(() if group is None else odd_image(dict(group.attrs)))),
    )
    return unpacked(opened, packing_attributes(array, group))


def _tiff_parts(store: Any) -> list[Part]:
    """Return the missing parts of a TIFF series that was opened through tifffile's zarr store."""
    if not type(store).__module__.startswith("tifffile"):
        return []
    series = next(iter(getattr(store, "_data", ())), None)
    file = None if series is None else series.keyframe.parent
    return missing_pages(file, series) if file is not None and any(s is series for s in file.series) else []


def _group_around(array: Any) -> Any:
    """Return the group of an open array; None if its store has none."""
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


def dimension_names_of(array: Any) -> list[str]:
    """Return the dimension names of an array; empty if one is missing."""
    names = (
        getattr(array.metadata, "dimension_names", None) or axis_names_in(array.attrs.get("_ARRAY_DIMENSIONS")) or []
    )
    return [str(n) for n in names] if all(names) and len(names) == array.ndim else []


def _coordinate(group: Any, name: str) -> Coordinate | None:
    """Return positions along a dimension: an array of its name beside the image, as written by xarray."""
    found = group.get(name)
    if found is None or getattr(found, "ndim", 0) != 1 or dimension_names_of(found) != [name]:
        return None
    checked = require("neuromancer.volumes.zarr_store", "zarr", name).checked
    opened = unpacked(Opened(checked(found, local_folder(found))), packing_attributes(found, group))
    return opened.read(opened.array, slice(None)), found.attrs.get("units")


def packing_attributes(array: Any, group: Any = None) -> dict[str, Any]:
    """Return attributes of an array, including the `_FillValue` that xarray stores in the metadata of zarr 2."""
    attributes, fill = dict(array.attrs), array.fill_value
    if array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in attributes and fill is not None:
        # Other programs leave it at 0 without meaning missing data; they do not write consolidated metadata either.
        consolidated = group is not None and group.metadata.consolidated_metadata is not None
        if fill or consolidated or set(KEYS) & set(attributes):
            attributes.setdefault("_FillValue", fill)
    return attributes


class ZarrSink(FileSink):
    """Sink that writes into a zarr array; several processes may write at once if none shares a chunk (or shard).

    Parameters
    ----------
    array : zarr.Array
        Open for writing.
    folder : Path, optional
        Its local folder; None for other stores, whose writes are durable.
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
        """Write everything durably to disk: chunks, and the folders that contain them."""
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
    """Return all folders between files and `top`, deepest first."""
    found: set[Path] = set()
    for file in files:
        folder = file.parent
        while folder not in found and folder != top.parent:
            found.add(folder)
            folder = folder.parent
    return sorted(found, key=lambda p: -len(p.parts))


def open_for_writing(locator: Locator) -> Any:
    """Open the existing array at a path for writing; None if there is none."""
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
    """Return the folder of an array in a local store, also through fsspec, which dask uses."""
    root, files = getattr(array.store, "root", None), getattr(array.store, "fs", None)
    if "file" in np.atleast_1d(getattr(files, "protocol", "")):
        root = Path(array.store.path)
    return root / array.path if isinstance(root, Path) else None


def create(locator: Locator, spec: StoreSpec, note: Note) -> None:
    """Create the array, alone or in a group.

    On a local disk, the outermost new folder is renamed to its target once it is complete. Other content does not
    change.
    """
    label, identity = str(locator), new_token(note)
    names = _names(locator, spec.multiscale)
    settings = {
        "shape": spec.stored_shape,
        "dtype": spec.dtype,
        "chunks": spec.stored_chunks if spec.shards is None else spec.layout.per_stored(spec.chunks, 1),
        "shards": spec.stored_shards,
        "compressors": compressors(spec.compression, np.dtype(spec.dtype), label, spec.zarr_format),
        "fill_value": np.zeros((), spec.dtype)[()],
        "attributes": {IDENTITY: identity, **spec.attributes(), **_units_of(spec)},
        "zarr_format": spec.zarr_format,
        **(V2_KEYS if spec.zarr_format == 2 else {"dimension_names": spec.axis_names}),
    }
    image = names[-2] if len(names) > 1 else Path(locator.path).stem
    levels = [(FINEST, spec.stored_placement)]
    version = spec.ome_version
    attributes = image_metadata(image, spec.layout.stored, levels, version=version) if spec.multiscale else {}
    try:
        with naming(label):
            if is_address(locator.path):
                _create_in(locator.path, names, settings, attributes)
                return
            depth, place = _room(followed(locator.path), names, label, spec.zarr_format)
            with fresh(place, note, _workplace(followed(locator.path))) as new:
                _create_in(str(new), names[depth:], settings, attributes if depth < len(names) else {})
                files = [path for path in new.rglob("*") if path.name in METADATA]
                fsync_all(files)
                fsync_all(folders_of(files, new))
            if attributes and depth == len(names):
                zarr_of(str(place)).open_group(place.parent, mode="r+").attrs.update(attributes)
                fsync_all([*(place.parent / name for name in METADATA), place.parent])
    except (NeuromancerError, MemoryError):
        raise
    except (ValueError, TypeError) as error:
        raise ArgumentError("cannot be created", where=label, got=reason(error)) from shown_cause(error)
    except Exception as error:  # from the library of a remote store
        raise FileError("cannot be created", where=label, got=reason(error)) from shown_cause(error)


def _units_of(spec: StoreSpec) -> dict[str, Any]:
    """Return sizes of all stored axes as Neuroglancer and tensorstore read them."""
    placement = spec.stored_placement
    if placement.voxel_size is None:
        return {}
    spatial = [name for name in spec.axis_names if name != "c"]
    sizes = dict(zip(spatial, placement.voxel_size, strict=True))
    return {DIMENSION_UNITS: dimension_units(spec.axis_names, sizes, placement.unit)}


def _names(locator: Locator, multiscale: bool) -> list[str]:
    """Return the names of the groups and the array below the path."""
    return [*filter(None, locator.dataset.split("/")), *([FINEST] if multiscale else [])]


def _create_in(path: str, names: list[str], settings: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Create an array below a path with all groups above it; the innermost group gets the attributes."""
    if not names:
        zarr_of(path).create_array(path, **settings)
        return
    group = _group(path, settings.pop("zarr_format"))
    for name in names[:-1]:
        group = group.require_group(name)
    group.create_array(names[-1], **settings)
    if attributes:
        group.attrs.update(attributes)


def _room(root: Path, names: list[str], label: str, version: int) -> tuple[int, Path]:
    """Return the outermost new folder, and the number of names that lead to it.

    Raises
    ------
    FileError
        If the path exists, or passes through an array or a dangling link.
    """
    place = root
    for depth in range(len(names) + 1):
        if place.is_symlink() and not place.exists():
            raise FileError("a link that leads nowhere", where=label, got=str(place), expected="another name")
        if not place.exists():
            return depth, place
        found = open_node(str(place))
        if depth == len(names) or (found is not None and not hasattr(found, "require_group")):
            raise FileError("the path exists already", where=label, got=str(place), expected="another name")
        _group(str(place), version)
        place = place / names[depth]
    raise AssertionError("the last place is free or taken")


def _workplace(root: Path) -> Path:
    """Return where to create new parts of a store: beside it, so that readers do not see them, or else in it."""
    beside = root.parent
    if not root.exists() or (os.access(beside, os.W_OK | os.X_OK) and beside.stat().st_dev == root.stat().st_dev):
        return beside
    return root


def discard(locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
    """Remove the array if its creation was interrupted, as far as the recorded traces prove that."""
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
    """Remove the metadata of an image whose only level has been removed."""
    group = open_node(str(folder)) if folder.exists() else None
    image = None if group is None else image_of(dict(group.attrs))
    if image is not None and levels_of(image) == [FINEST]:
        attributes = zarr_of(str(folder)).open_group(folder, mode="r+").attrs
        del attributes["ome" if "ome" in attributes else "multiscales"]


def _is_new(outer: Path, inner: Path, spec: StoreSpec, traces: Collection[str]) -> bool:
    """Return whether a folder holds nothing but one array, as specified and without written chunks."""
    folders = [inner, *inner.parents]
    expected = folders[: folders.index(outer) + 1]
    with suppress(Exception):  # the library may raise anything for a foreign folder
        return _is_meant(open_node(str(inner)), spec, traces) and all(
            path.name in METADATA and path.parent in expected for path in outer.rglob("*") if not path.is_dir()
        )
    return False


def _is_meant(array: Any, spec: StoreSpec, traces: Collection[str]) -> bool:
    known = array is not None and str(array.attrs.get(IDENTITY, "")) in tokens(traces)
    return known and spec.describes(array)


def _discard_remote(address: str, spec: StoreSpec, traces: Collection[str]) -> None:
    if _is_meant(open_node(address), spec, traces):
        files, path = require("fsspec.core", "remote", address).url_to_fs(address)
        if all(name.endswith(METADATA) for name in files.find(path)):
            files.rm(path, recursive=True)


def _group(path: str, version: int) -> Any:
    """Open the group at a path, creating it if there is none."""
    found = open_node(path)
    if found is None:
        return zarr_of(path).open_group(path, mode="a", zarr_format=version)
    got = found.metadata.zarr_format
    if got != version:
        raise FileError(f"the output would be in zarr format {version}", node=path, got=f"a folder of format {got}")
    return zarr_of(path).open_group(path, mode="r+")


def compressors(name: str | None, dtype: np.dtype, label: str, version: int = 3) -> Any:
    """Return the codecs for a compression."""
    if name not in COMPRESSIONS:
        raise ArgumentError("unknown compression for zarr", where=label, got=name, expected=COMPRESSIONS)
    if name is None:
        return None
    if version == 2:
        codecs = require("numcodecs", "zarr", label)
        made = {"zstd": lambda: codecs.Zstd(3), "gzip": lambda: codecs.GZip(5)}
        return made.get(name, lambda: codecs.Blosc("zstd", 3, codecs.Blosc.SHUFFLE))()
    codecs = require("zarr.codecs", "zarr", label)
    if name == "zstd":
        return codecs.ZstdCodec(level=3)
    if name == "gzip":
        return codecs.GzipCodec(level=5)
    return codecs.BloscCodec(cname="zstd", clevel=3, typesize=dtype.itemsize, shuffle="shuffle")


def make_sink(array: Any, layout: Layout, label: str, locator: Locator | None) -> ZarrSink:
    """Return a sink for an array that is open for writing."""
    identity = str(array.attrs.get(IDENTITY, ""))
    return ZarrSink(array, layout, label, locator=locator, identity=identity, folder=local_folder(array))
