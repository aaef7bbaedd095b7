"""Tensorstore arrays, open or by their spec, and N5 folders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError, translating
from neuromancer.volumes.axes import Layout, letters
from neuromancer.volumes.chunk_files import ChunkFileReader, holds_no_chunks, require_no_pipe
from neuromancer.volumes.conventions import SIZES, axes_stated, odd_axes, stated_in_attributes
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.sink import ArraySink
from neuromancer.volumes.stored import member, require

EXTRA = "tensorstore"
INHERITED = (*SIZES[:2], "pixelResolution", "offset", "axes", "unit", "units")
LEVEL = re.compile(r"s(\d+)")
METADATA = {"n5": "attributes.json", "zarr": ".zarray", "zarr3": "zarr.json", "neuroglancer_precomputed": "info"}
PATIENCE = 60.0
"""Timeout in seconds for servers that do not respond; tensorstore itself retries for many minutes."""


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open an N5 dataset, or an array by its JSON spec, for reading."""
    ts = require("tensorstore", EXTRA, label)
    if path.startswith("{"):
        spec = json.loads(path)
        _require_metadata(spec)
        return inspect_tensorstore(ts.open(spec, read=True).result(PATIENCE))
    root = Path(path)
    folder = root / dataset
    if not _is_array(folder):
        if not root.is_dir():
            raise FileError("no such folder", where=label, got=path)
        found = [p.parent for p in sorted(root.rglob("attributes.json")) if _is_array(p.parent)]
        names = [p.relative_to(root).as_posix() for p in found]
        folder = root / member(finest(names), finest_in(names, dataset), label)
    attributes = attributes_of(folder)
    opened = inspect_tensorstore(_open_n5(ts, folder, attributes))
    array, stated = opened.array, {**_inherited(folder, root), **attributes}
    if "downsamplingFactors" not in stated and (factors := _factors(folder)) is not None:
        stated["downsamplingFactors"] = factors
    reader: Callable[[Any, Any], np.ndarray] = read_tensorstore
    if opened.chunks:
        sizes = opened.chunks[::-1]
        reader = ChunkFileReader(reader, folder, sizes, lambda number: "/".join(map(str, number[::-1])))
    return Opened(
        array.transpose(list(range(array.ndim))[::-1]),
        *n5_stated(stated, array.ndim),
        opened.chunks and opened.chunks[::-1],
        read=reader,
        identity=json.dumps(attributes, sort_keys=True),
        blank=holds_no_chunks(folder),
        doubts=odd_axes(stated, array.ndim),
    )


def finest(names: Sequence[str]) -> list[str]:
    """Return the names of arrays without the coarser levels s1, s2, ... beside a level s0.

    Examples
    --------
    >>> finest(["em/s0", "em/s1", "labels", "other/s1"])
    ['em/s0', 'labels', 'other/s1']
    """
    pairs = [(name, *name.rpartition("/")[::2]) for name in names]
    return [n for n, above, last in pairs if last == "s0" or not (LEVEL.fullmatch(last) and _in(above, "s0") in names)]


def finest_in(names: Sequence[str], wanted: str) -> str:
    """Return the name of the finest level of a group, or of the array itself."""
    return _in(wanted.strip("/"), "s0") if wanted and _in(wanted.strip("/"), "s0") in names else wanted


def _in(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name


def _factors(folder: Path) -> Any:
    """Return the downsampling factors of a level, as listed in its group."""
    scales, level = attributes_of(folder.parent).get("scales"), LEVEL.fullmatch(folder.name)
    if level is None or not isinstance(scales, list) or int(level[1]) >= len(scales):
        return None
    return scales[int(level[1])]


def _require_metadata(spec: Mapping[str, Any]) -> None:
    """Raise FileError if the metadata file of an array in a folder is a pipe or a device."""
    place, name = spec.get("kvstore"), METADATA.get(spec.get("driver", ""))
    if isinstance(place, Mapping) and place.get("driver") == "file" and name is not None:
        require_no_pipe(Path(str(place.get("path", ""))) / str(spec.get("path", "")) / name)


def _open_n5(ts: Any, folder: Path, attributes: Mapping[str, Any]) -> Any:
    """Open an N5 dataset, ignoring its placement attributes if tensorstore refuses them as invalid."""
    spec: dict[str, Any] = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    try:
        return ts.open(spec, read=True).result()
    except ValueError:
        needed = {key: value for key, value in attributes.items() if key not in ("axes", "units", "resolution")}
        if needed == attributes:
            raise
    context, file = ts.Context(), "attributes.json"
    memory = ts.KvStore.open({"driver": "memory"}, context=context).result()
    memory[file] = json.dumps(needed).encode()
    layers = [{"base": spec["kvstore"]}, {"exact": file, "base": {"driver": "memory", "path": file}}]
    return ts.open(spec | {"kvstore": {"driver": "kvstack", "layers": layers}}, read=True, context=context).result()


def n5_stated(attributes: Mapping[str, Any], ndim: int) -> tuple[str | None, StatedPlacement]:
    """Return axes and placement of an N5 dataset, whose attributes are in order from fastest to slowest axis."""
    if isinstance(attributes.get("transform"), Mapping) and not any(name in attributes for name in SIZES):
        # The attributes of COSEM are in C order.
        transform = attributes["transform"]
        order = -1 if transform.get("order") == "F" else 1
        turned = {key: _turned(value) if order < 0 else value for key, value in transform.items()}
        attributes = {"transform": turned}
        return axes_stated(attributes, ndim), stated_in_attributes(attributes)
    stated, axes = stated_in_attributes(attributes), axes_stated(attributes, ndim)
    size, offset = _turned(stated.voxel_size), _turned(stated.offset)
    factors = _turned(attributes.get("downsamplingFactors"))
    if factors is not None and isinstance(size, list) and len(size) == len(factors):
        with suppress(TypeError):
            first = offset or [0.0] * len(size)
            offset = [o + (f - 1) / 2 * s for o, f, s in zip(first, factors, size, strict=True)]
            size = [s * f for s, f in zip(size, factors, strict=True)]
    return axes and axes[::-1], StatedPlacement(size, offset, _turned(stated.unit), None, _turned(stated.first_voxel))


def _turned(values: Any) -> Any:
    return values[::-1] if isinstance(values, list) else values


def _inherited(folder: Path, root: Path) -> dict[str, Any]:
    """Return attributes inherited from the groups around an array; inner groups override outer ones."""
    found: dict[str, Any] = {}
    for parent in [p for p in reversed(folder.parents) if p == root or root in p.parents]:
        found |= {key: value for key, value in attributes_of(parent).items() if key in INHERITED}
    return found


def attributes_of(folder: Path) -> dict[str, Any]:
    """Return the attributes of an N5 group or array; empty if it has none."""
    file = folder / "attributes.json"
    require_no_pipe(file)
    try:
        found = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as error:
        raise FileError("the file cannot be read", where=str(file), got=str(error)) from error
    if not isinstance(found, dict):
        raise FileError("the file cannot be read", where=str(file), got=type(found).__name__, expected="an object")
    return found


def _is_array(folder: Path) -> bool:
    return "dimensions" in attributes_of(folder)


def inspect_tensorstore(array: Any) -> Opened:
    """Inspect an open array: dimension labels, units and origin."""
    chunks = array.chunk_layout.read_chunk.shape
    axes = letters(array.domain.labels) if all(array.domain.labels) else None
    units = [(None, None) if u is None else (u.multiplier, u.base_unit) for u in array.dimension_units]
    # The domain starts at the position of the volume, e.g. at the voxel_offset of Neuroglancer.
    placement = StatedPlacement([u[0] for u in units], None, [u[1] for u in units], None, list(array.domain.origin))
    known = tuple(int(c) for c in chunks) if chunks and all(chunks) else None
    return Opened(
        Zeroed(array),
        axes,
        placement,
        known,
        read=_watched(array),
        identity=repr(array.spec()),
        fill=0 if array.fill_value is None else array.fill_value,
    )


class Zeroed:
    """A tensorstore whose domain starts at 0 and whose dtype is a NumPy dtype."""

    def __init__(self, array: Any) -> None:
        origin = tuple(array.domain.origin)
        self.array = array if not any(origin) else array[tuple(slice(o, None) for o in origin)].translate_to[0]
        self.shape, self.ndim = tuple(int(n) for n in array.shape), int(array.ndim)
        self.dtype = np.dtype(array.dtype.numpy_dtype)

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]

    def transpose(self, order: list[int]) -> Zeroed:
        """Return the array with its axes permuted; nothing is read."""
        return Zeroed(self.array.transpose(order))


def read_tensorstore(array: Zeroed, key: Any) -> np.ndarray:
    """Read a block synchronously."""
    return np.asarray(array[key].read().result())


def _watched(array: Any) -> Callable[[Any, Any], np.ndarray]:
    """Return the reader of an array; that of a complete array in a local folder checks its chunk files."""
    spec, chunks = array.spec().to_json(), write_chunks(array)
    place, transform = spec.get("kvstore", {}), spec.get("transform", {})
    first = tuple(transform.get("input_inclusive_min", ()))
    scale = spec.get("scale_metadata", {})
    if spec.get("driver") == "neuroglancer_precomputed":
        key = _precomputed_key(scale, tuple(array.shape))
        moved = "output" in transform or first[:3] != tuple(scale.get("voxel_offset", (0, 0, 0)))
    else:
        key = _key_of(spec.get("driver"), spec.get("metadata", {}))
        moved = "output" in transform or any(first)
    if key is None or chunks is None or moved or not isinstance(place, dict) or place.get("driver") != "file":
        return read_tensorstore
    return ChunkFileReader(read_tensorstore, Path(place["path"]) / spec.get("path", ""), chunks, key)


def _key_of(driver: str, metadata: dict[str, Any]) -> Callable[[tuple[int, ...]], str] | None:
    """Return a function from the index of a chunk to its key; None for other drivers."""
    if driver == "zarr3":
        encoding = metadata.get("chunk_key_encoding", {})
        default = encoding.get("name", "default") == "default"
        sign = encoding.get("configuration", {}).get("separator", "/" if default else ".")
        return lambda number: sign.join([*(["c"] if default else []), *map(str, number)])
    signs = {"zarr": metadata.get("dimension_separator", "."), "n5": "/"}
    return (lambda number: signs[driver].join(map(str, number))) if driver in signs else None


def _precomputed_key(scale: Mapping[str, Any], shape: Sequence[int]) -> Callable[[tuple[int, ...]], str] | None:
    """Return a function from the index of a Neuroglancer chunk to its key; None for shards and parts of a volume."""
    sizes, first = scale.get("chunk_size"), scale.get("voxel_offset", (0, 0, 0))
    if scale.get("sharding") is not None or sizes is None or list(shape[:3]) != scale.get("size"):
        return None

    def name(number: tuple[int, ...]) -> str:
        begins = [k * c for k, c in zip(number, sizes, strict=False)]
        ends = [min(b + c, n) for b, c, n in zip(begins, sizes, shape, strict=False)]
        return f"{scale['key']}/" + "_".join(f"{o + b}-{o + e}" for o, b, e in zip(first, begins, ends, strict=True))

    return name


class TensorStoreSink(ArraySink):
    """Sink that writes into an open tensorstore."""

    steps = False

    def _write(self, where: Where, values: np.ndarray) -> None:
        self.array[where].write(np.ascontiguousarray(values)).result()

    def _read(self, where: Where) -> np.ndarray:
        return read_tensorstore(self.array, where)

    def flush(self) -> None:
        """Do nothing: a write returns when the store has committed it; the file driver syncs files itself."""


def write_chunks(array: Any) -> tuple[int, ...] | None:
    """Return the block shape that must not be written by two writers at once."""
    chunks = array.chunk_layout.write_chunk.shape
    return tuple(int(c) for c in chunks) if chunks and all(chunks) else None


def spec_of(array: Any) -> str | None:
    """Return the JSON spec by which another process opens an array; None for one in memory."""
    spec = array.spec(retain_context=False).to_json()
    text = json.dumps(spec, sort_keys=True)
    return None if '"driver": "memory"' in text or spec.get("driver") == "array" else text


def open_for_writing(locator: Locator) -> Zeroed:
    """Open an array by its JSON spec for writing."""
    ts = require("tensorstore", EXTRA, str(locator))
    with translating(locator, "cannot be opened for writing"):
        return Zeroed(ts.open(json.loads(locator.path), read=True, write=True).result(PATIENCE))


def make_sink(array: Zeroed, layout: Layout, label: str, locator: Locator | None) -> TensorStoreSink:
    """Return a sink for an open array."""
    return TensorStoreSink(array, layout, label, write_chunks(array.array), locator)
