"""Volumes in TIFF files: any that tifffile reads; uncompressed OME-TIFF for writing."""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Collection
from math import inf, prod
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError, MissingDependencyError, naming, reason, translating
from neuromancer.files import followed
from neuromancer.volumes.axes import Layout, letters
from neuromancer.volumes.flat import FlatSink, discard_flat, mapped, read_part
from neuromancer.volumes.fresh import Note, fresh
from neuromancer.volumes.missing import require_whole, shown
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import file_identity, member, require
from neuromancer.volumes.tiff_claims import require_possible
from neuromancer.volumes.tiff_pages import damage, missing_pages, odd_page, ravel, restored, stated_shape
from neuromancer.volumes.units import says_no_unit, short_unit

__all__ = ["TiffSink", "create", "discard", "make_sink", "open_for_writing", "open_stored"]

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
NAMESPACE = "neuromancer/offset"
SOFTWARE = "neuromancer "
DECREASING = "decreasing "
CENTIMETRES, INCHES = 3, 2
INCH = 2.54
"""In centimetres."""
# Damage that tifffile logs is an error here; it need not be printed as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a series of a TIFF file for reading: memory-mapped if contiguous, else through zarr."""
    tifffile = require("tifffile", "tifffile", label)
    try:
        file = tifffile.TiffFile(path)
    except (tifffile.TiffFileError, struct.error) as error:
        raise _no_tiff(path, label, error) from error
    try:
        require_possible(tifffile, file, label)
        odd = odd_page(file) if not dataset and len(file.series) > 1 else None
        if odd is not None:
            raise FileError(
                "pages are of different kinds",
                where=label,
                got=odd,
                expected=f"pages of one shape and kind, or a series: {path}:0",
            )
        number = int(member([str(k) for k in range(len(file.series))], dataset, label))
        series = restored(tifffile, file, file.series[number])
        return _open_series(path, file, series, number, label)
    except (tifffile.TiffFileError, struct.error) as error:
        file.close()
        raise _no_tiff(path, label, error) from error
    except BaseException:
        file.close()
        raise


def _no_tiff(path: str, label: str, error: Exception) -> FileError:
    """Return the error of tifffile, with the location of the first damage."""
    found = next(damage(path), None) if Path(path).stat().st_size > 8 else None
    where = "" if found is None else f"; {'' if found.page is None else f'page {found.page}: '}{found.reason}"
    return FileError(
        "the file cannot be read", where=label, got=f"{reason(error)}{where}", expected="an intact TIFF file"
    )


def _open_series(path: str, file: Any, series: Any, number: int, label: str) -> Opened:
    """Open a series that tifffile has found."""
    shape, missing = tuple(series.shape), missing_pages(file, series)
    # Outputs of this package record all of their axes, even those of size 1, which tifffile omits.
    written = str(series.keyframe.software).removeprefix(SOFTWARE)
    own = str(series.keyframe.software).startswith(SOFTWARE)
    named = written if own else series.axes
    axes, placement = _axes(named), _placement(file, series, number, named)
    stated, start = stated_shape(file, series), series.dataoffset
    if start is not None and series.dtype is not None:
        kind = np.dtype(file.byteorder + series.dtype.char)
        if own:
            sizes = dict(zip(series.axes, shape, strict=True))
            shape = tuple(sizes.get(a, 1) for a in named)
        elif stated is not None and prod(stated) > prod(shape) and len(file.pages) == 1:
            shape, axes, placement = tuple(n for n in stated if n > 1), None, StatedPlacement()
        array, cut = mapped(path, kind, start, shape)
        file.close()
        return Opened(array, axes, placement, read=_native, identity=file_identity(path), missing=[*missing, *cut])
    zarr = require("zarr", "zarr", label)
    _require_codec(series.keyframe, label)
    view = zarr.open_array(series.aszarr(level=0), mode="r")

    def name_of(where: Where) -> str:
        k = ravel([s.start for s in where], view.shape, series.keyframe.shape)
        return f"page {k}, {shown(where)}"

    return Opened(
        view,
        axes,
        placement,
        tuple(view.chunks),
        close=file.close,
        identity=file_identity(path),
        lock=True,  # tifffile seeks in a shared file handle
        fill=0 if view.fill_value is None else view.fill_value,
        missing=missing,
        name_of=name_of,
    )


def _require_codec(page: Any, label: str) -> None:
    """Raise MissingDependencyError if voxels are compressed with a codec that is not installed."""
    try:
        page.decode(b"", 0)
    except Exception as error:
        if not isinstance(error, ImportError) and not re.search("imagecodecs|COMPRESSION", str(error)):
            return
        raise MissingDependencyError(
            "is compressed with a codec that is not installed",
            where=label,
            got=str(error),
            expected="the package imagecodecs",
            nearest="pip install imagecodecs",
        ) from error


def _native(array: Any, key: Any) -> np.ndarray:
    block = read_part(array, key)
    return block.astype(block.dtype.newbyteorder("="), copy=False)


def _axes(named: str) -> str | None:
    """Return axis letters; a single axis of unknown kind counts as z if there is none. None if several are unknown."""
    unknown = [a for a in named if a in "QI"]
    if "Z" not in named and len(unknown) == 1:
        named = named.replace(unknown[0], "Z")
    return None if set(named) & set("QI") else letters(named)


def _placement(file: Any, series: Any, number: int, axes: str) -> StatedPlacement:
    """Return voxel size (and offset, for files of this package) per spatial axis."""
    sizes, units, notes = _ome(file.ome_metadata, number) if file.is_ome else (*_resolutions(file, series.keyframe), {})
    spatial = [a if a in "YX" else "Z" for a in axes if a in "ZYXQI"]
    offset = [notes.get(a) for a in spatial]
    return StatedPlacement(
        [sizes.get(a) for a in spatial],
        offset if any(o is not None for o in offset) else None,
        [units.get(a) for a in spatial],
        [-1 if notes.get(f"{DECREASING}{a}") else 1 for a in spatial],
    )


def _resolutions(file: Any, page: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return sizes and units by axis from ImageJ metadata or TIFF tags; empty without a unit."""
    found = {a: _pixel(page.tags.get(name)) for a, name in (("X", "XResolution"), ("Y", "YResolution"))}
    if file.is_imagej:
        meta = file.imagej_metadata or {}
        unit = meta.get("unit")
        sizes = {} if says_no_unit(unit) else found | {"Z": meta.get("spacing")}
        return sizes, dict.fromkeys(sizes, unit)
    code = page.tags.get("ResolutionUnit")
    unit = {CENTIMETRES: "centimeter", INCHES: "inch"}.get(int(code.value)) if code is not None else None
    factor = INCH if unit == "inch" else 1.0
    sizes = {} if unit is None else {a: None if v is None else v * factor for a, v in found.items()}
    return sizes, dict.fromkeys(sizes, "centimeter")


def _pixel(tag: Any) -> float | None:
    """Return the pixel size from a resolution tag, in pixels per unit."""
    if tag is None:
        return None
    pixels, units = tag.value
    return float(units) / float(pixels) if pixels else inf


def _ome(xml: str, number: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return sizes and units by axis, and the annotations that this package writes."""
    tifffile = require("tifffile", "tifffile", "OME metadata")
    root = tifffile.xml2dict(xml).get("OME", {})
    images = _listed(root.get("Image"))
    pixels = images[number].get("Pixels", {}) if number < len(images) else {}
    sizes = {a: pixels[f"PhysicalSize{a}"] for a in "ZYX" if f"PhysicalSize{a}" in pixels}
    units = {a: pixels.get(f"PhysicalSize{a}Unit", "µm") for a in sizes}
    for note in _listed(root.get("StructuredAnnotations", {}).get("MapAnnotation")):
        if note.get("Namespace") == NAMESPACE:
            pairs = _listed(note.get("Value", {}).get("M"))
            return sizes, units, {str(p["K"]): p["value"] for p in pairs}
    return sizes, units, {}


def _listed(items: Any) -> list[Any]:
    return items if isinstance(items, list) else [] if items is None else [items]


def open_for_writing(locator: Locator) -> Any:
    """Map the voxels of an existing file, which must be contiguous."""
    opened = open_stored(locator.path, locator.dataset, str(locator))
    array = opened.array
    require_whole(opened.missing, str(locator))
    if not isinstance(array, np.memmap) or not array.dtype.isnative:
        opened.close()
        raise FileError("is not writable", where=str(locator), expected="uncompressed TIFF in native byte order")
    return array


class TiffSink(FlatSink):
    """Sink that writes into a TIFF file; one process at a time."""

    exclusive = True


def make_sink(array: np.memmap, layout: Layout, label: str, locator: Locator) -> TiffSink:
    """Return a sink for an existing file, identified by its OME UUID."""
    tifffile = require("tifffile", "tifffile", label)
    with tifffile.TiffFile(locator.path) as file:
        identity = str(tifffile.xml2dict(file.ome_metadata)["OME"].get("UUID", "")) if file.is_ome else ""
    return TiffSink(array, layout, label, locator=locator, identity=identity)


def create(locator: Locator, spec: StoreSpec, note: Note) -> None:
    """Create a BigTIFF file of zeros with OME metadata, atomically."""
    label = str(locator)
    tifffile = require("tifffile", "tifffile", label)
    placement, axes = spec.stored_placement, "".join(spec.axis_names).upper()
    spatial = [a for a in axes if a != "C"]
    metadata: dict[str, Any] = {"axes": axes}
    for a, size in zip(spatial, placement.voxel_size or (), strict=False):
        if size is not None:
            metadata |= {f"PhysicalSize{a}": size, f"PhysicalSize{a}Unit": short_unit(placement.unit) or "pixel"}
    offsets = zip(spatial, placement.offset or (), strict=False)
    notes = {a: repr(v) for a, v in offsets if v is not None}
    notes |= {f"{DECREASING}{a}": "1" for a, d in zip(spatial, placement.direction or (), strict=False) if d < 0}
    if notes:
        metadata["MapAnnotation"] = {"Namespace": NAMESPACE, **notes}
    with naming(label), fresh(followed(locator.path), note) as new, translating(label, "cannot be written"):
        # Every file has its own UUID, so that another one at the same path is not mistaken for it.
        tifffile.imwrite(
            new,
            shape=spec.stored_shape,
            dtype=spec.dtype,
            bigtiff=True,
            ome=True,
            photometric="minisblack",
            metadata=metadata,
            software=SOFTWARE + axes,
        )


def discard(locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
    """Remove the file if its creation was interrupted, as far as the recorded traces prove that."""
    discard_flat(locator, spec, traces, lambda: open_for_writing(locator))
