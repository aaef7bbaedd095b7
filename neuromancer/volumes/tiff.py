"""Volumes in TIFF files: reading any that tifffile reads, writing OME-TIFF without compression."""

from __future__ import annotations

import logging
import re
import struct
import uuid
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, FileError, InputTypeError, MissingDependencyError, naming
from neuromancer.volumes.axes import Layout, letters
from neuromancer.volumes.flat import FlatSink, check_options, mapped, read_part
from neuromancer.volumes.missing import require_whole, said, shown
from neuromancer.volumes.placement import Placement, long_unit, one_unit, short_unit
from neuromancer.volumes.protocol import Locator, Where
from neuromancer.volumes.request import Request
from neuromancer.volumes.sink import fsync
from neuromancer.volumes.stored import Opened, file_identity, member, require
from neuromancer.volumes.tiff_pages import damage, missing_parts, odd_page, ravel, restored, stated_shape

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
NAMESPACE = "neuromancer/offset"
SOFTWARE = "neuromancer "
CENTIMETRES, INCHES = 3, 2
# What tifffile says of damaged files is an error here, and need not be printed as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a series of a TIFF file for reading: mapped if its voxels lie in one piece, else through zarr."""
    tifffile = require("tifffile", "tifffile", label)
    try:
        file = tifffile.TiffFile(path)
    except (tifffile.TiffFileError, struct.error) as error:
        raise _no_tiff(path, label, error) from error
    try:
        odd = odd_page(file) if not dataset and len(file.series) > 1 else None
        if odd is not None:
            raise FileError(
                "pages have different shapes",
                node=label,
                got=f"page {odd[0]} of {odd[1]}, others of {max(file.series, key=len).keyframe.shape}",
                expected=f"pages of one shape, or a series: {path}:0",
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
    """What tifffile says, and where in the file the damage begins."""
    found = next(damage(path), None) if Path(path).stat().st_size > 8 else None
    where = "" if found is None else f"; {'' if found.page is None else f'page {found.page}: '}{found.reason}"
    return FileError("the file cannot be read", node=label, got=f"{said(error)}{where}", expected="a whole TIFF file")


def _open_series(path: str, file: Any, series: Any, number: int, label: str) -> Opened:
    """A series that tifffile has found, for reading."""
    shape, missing = tuple(series.shape), missing_parts(file, series)
    # Outputs of this package say all of their axes, also those of size 1 that tifffile leaves out.
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
            shape, axes, placement = tuple(n for n in stated if n > 1), None, Placement()
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
        lock=True,  # tifffile moves one file handle to and fro
        fill=0 if view.fill_value is None else view.fill_value,
        missing=missing,
        name_of=name_of,
    )


def _require_codec(page: Any, label: str) -> None:
    """Raise MissingDependencyError if voxels are packed in a way for which there is no library."""
    try:
        page.decode(b"", 0)
    except Exception as error:
        if not isinstance(error, ImportError) and not re.search("imagecodecs|COMPRESSION", str(error)):
            return
        raise MissingDependencyError(
            "is packed with a codec that is not installed",
            node=label,
            got=str(error),
            expected="the package imagecodecs",
            nearest="pip install imagecodecs",
        ) from error


def _native(array: Any, key: Any) -> np.ndarray:
    block = read_part(array, key)
    return block.astype(block.dtype.newbyteorder("="), copy=False)


def _axes(named: str) -> str | None:
    """Letters; a sequence of unknown kind is z if there is no other. None if several are unknown."""
    unknown = [a for a in named if a in "QI"]
    if "Z" not in named and len(unknown) == 1:
        named = named.replace(unknown[0], "Z")
    return None if set(named) & set("QI") else letters(named)


def _placement(file: Any, series: Any, number: int, axes: str) -> Placement:
    """Voxel size (and offset, of our own files) by the letters of its spatial axes."""
    sizes: dict[str, Any] = {}
    offset: dict[str, Any] = {}
    unit = None
    if file.is_ome:
        sizes, offset, unit = _ome(file.ome_metadata, number)
    else:
        page = series.keyframe
        found = {a: _pixel(page.tags.get(name)) for a, name in (("X", "XResolution"), ("Y", "YResolution"))}
        if file.is_imagej:
            meta = file.imagej_metadata or {}
            sizes, unit = found | {"Z": meta.get("spacing")}, long_unit(meta.get("unit"))
        else:
            code = page.tags.get("ResolutionUnit")
            lengths = {CENTIMETRES: 1.0, INCHES: 2.54}
            if code is not None and int(code.value) in lengths:
                factor = lengths[int(code.value)]
                sizes, unit = {a: None if v is None else v * factor for a, v in found.items()}, "centimeter"
    spatial = [a if a in "YX" else "Z" for a in axes if a in "ZYXQI"]
    complete = spatial and unit is not None and all(sizes.get(a) for a in spatial)
    return Placement(
        tuple(float(sizes[a]) for a in spatial) if complete else None,
        tuple(float(offset[a]) for a in spatial) if all(a in offset for a in spatial) else None,
        unit if complete else None,
    )


def _pixel(tag: Any) -> float | None:
    """Size of a pixel from pixels per unit."""
    if tag is None or not tag.value[0]:
        return None
    return float(tag.value[1]) / float(tag.value[0])


def _ome(xml: str, number: int) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    tifffile = require("tifffile", "tifffile", "OME metadata")
    root = tifffile.xml2dict(xml).get("OME", {})
    images = root.get("Image", [])
    images = images if isinstance(images, list) else [images]
    pixels = images[number].get("Pixels", {}) if number < len(images) else {}
    known = [a for a in "ZYX" if f"PhysicalSize{a}" in pixels]
    units = [long_unit(pixels.get(f"PhysicalSize{a}Unit", "µm")) for a in known]
    values, unit = one_unit([pixels[f"PhysicalSize{a}"] for a in known], units)
    notes = root.get("StructuredAnnotations", {}).get("MapAnnotation", [])
    offset = {}
    for note in notes if isinstance(notes, list) else [notes]:
        if note.get("Namespace") == NAMESPACE:
            pairs = note.get("Value", {}).get("M", [])
            offset = {str(p["K"]): float(p["value"]) for p in (pairs if isinstance(pairs, list) else [pairs])}
    return dict(zip(known, values, strict=True)), offset, unit


def open_for_writing(locator: Locator) -> Any:
    """The voxels of an existing file, which must lie in one piece."""
    opened = open_stored(locator.path, locator.dataset, str(locator))
    array = opened.array
    require_whole(opened.missing, str(locator))
    if not isinstance(array, np.memmap) or not array.dtype.isnative:
        opened.close()
        raise FileError("cannot be written into", node=str(locator), expected="TIFF without compression, native order")
    return array


class TiffSink(FlatSink):
    """Output into a TIFF file; one process at a time."""

    exclusive = True


def make_sink(array: np.memmap, layout: Layout, label: str, locator: Locator) -> TiffSink:
    """Sink of an existing file; known by the UUID that was written into it."""
    tifffile = require("tifffile", "tifffile", label)
    with tifffile.TiffFile(locator.path) as file:
        identity = str(tifffile.xml2dict(file.ome_metadata)["OME"].get("UUID", "")) if file.is_ome else ""
    return TiffSink(array, layout, label, locator=locator, identity=identity)


def create(locator: Locator, request: Request) -> np.memmap:
    """Create a BigTIFF file of zeros with OME metadata; it is there whole or not at all."""
    label, target = str(locator), Path(locator.path)
    tifffile = require("tifffile", "tifffile", label)
    check_options(request, label)
    if locator.dataset:
        raise ArgumentError("an output in TIFF has no name within the file", node=label, got=locator.dataset)
    if np.dtype(request.dtype).name not in DTYPES:
        raise InputTypeError(
            "OME-TIFF does not know this dtype", node=label, got=str(np.dtype(request.dtype)), expected=DTYPES
        )
    placement, axes = request.stored_placement, "".join(request.axis_names).upper()
    spatial = [a for a in axes if a != "C"]
    metadata: dict[str, Any] = {"axes": axes}
    if placement.voxel_size is not None:
        for a, size in zip(spatial, placement.voxel_size, strict=True):
            metadata |= {f"PhysicalSize{a}": size, f"PhysicalSize{a}Unit": short_unit(placement.unit) or "pixel"}
    if placement.offset is not None:
        pairs = {a: repr(v) for a, v in zip(spatial, placement.offset, strict=True)}
        metadata["MapAnnotation"] = {"Namespace": NAMESPACE, **pairs}
    new = target.with_name(f".{uuid.uuid4().hex}.tmp.tif")
    with naming(label):
        try:
            # Every file has a UUID of its own, so that another one at the same place is not taken for it.
            tifffile.imwrite(
                new,
                shape=request.stored_shape,
                dtype=request.dtype,
                bigtiff=True,
                ome=True,
                photometric="minisblack",
                metadata=metadata,
                software=SOFTWARE + axes,
            )
            fsync(new)
            new.replace(target)
            fsync(target.parent)
        except ValueError as error:
            raise ArgumentError("cannot be written as OME-TIFF", node=label, got=str(error)) from error
        finally:
            new.unlink(missing_ok=True)
    return open_for_writing(locator)
