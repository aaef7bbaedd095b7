"""What a TIFF file says that it holds, beside what is there: tifffile reads what it finds and only logs the rest."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.volumes.missing import Part
from neuromancer.volumes.protocol import Where

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by type."""
OFFSETS, COUNTS, DESCRIPTION = (273, 324), (279, 325), 270
NEEDED = {256, 257, 258, 259, 262, 266, DESCRIPTION, 277, 278, 284, 317, 322, 323, 339, 50838, 50839} | {
    *OFFSETS,
    *COUNTS,
}
"""Tags without which a page cannot be read as it was meant."""
UNSIGNED = {3: "u2", 4: "u4", 16: "u8"}


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file.

    Parameters
    ----------
    page : int or None
        None if pages are lost, which ones is not known.
    reason : str
    """

    page: int | None
    reason: str


def damage(path: str) -> Iterator[Damage]:
    """What the file itself shows: a chain of pages that breaks off, tags and voxels beyond its end."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(4)
        byteorder = ">" if head[:2] == b"MM" else "<"
        big = head[2:] in (b"+\0", b"\0+")
        number, entry, place = ("Q", 20, "Q") if big else ("H", 12, "I")

        def read(offset: int, kind: str) -> int | None:
            file.seek(offset)
            data = file.read(struct.calcsize(byteorder + kind))
            return None if len(data) < struct.calcsize(kind) else int(struct.unpack(byteorder + kind, data)[0])

        offset, seen, page = read(8 if big else 4, place), set[int](), 0
        while offset:
            tags = None if offset in seen or offset >= size else read(offset, number)
            begin = offset + struct.calcsize(byteorder + number)
            following = None if tags is None else read(begin + tags * entry, place)
            if following is None:
                yield Damage(None, f"the chain of pages breaks off after {page}")
                return
            file.seek(begin)
            found = _Tags(file.read((tags or 0) * entry), byteorder, big)
            yield from (Damage(page, reason) for reason in found.problems(file, size))
            seen.add(offset)
            offset, page = following, page + 1


class _Tags:
    """Tags of a page, as they lie in the file."""

    def __init__(self, data: bytes, byteorder: str, big: bool) -> None:
        self.byteorder, self.inline, self.place = byteorder, 8 if big else 4, "Q" if big else "I"
        entries = struct.iter_unpack(f"{byteorder}HH{self.place}{self.inline}s", data)
        self.tags = {code: (kind, count, value) for code, kind, count, value in entries}

    def problems(self, file: Any, size: int) -> Iterator[str]:
        for code in sorted(NEEDED & set(self.tags)):
            kind, count, value = self.tags[code]
            n_bytes = count * SIZES.get(kind, 1)
            if n_bytes > self.inline and struct.unpack(self.byteorder + self.place, value)[0] + n_bytes > size:
                yield f"tag {code} lies beyond the end of the file"
                return
        offsets, counts = (self._values(file, codes) for codes in (OFFSETS, COUNTS))
        if offsets is None:
            return
        counts = np.ones_like(offsets) if counts is None or len(counts) != len(offsets) else counts
        beyond = (offsets + counts > size) & (offsets > 0) & (counts > 0)
        if beyond.any():
            yield f"{int(beyond.sum())} of its {len(offsets)} strips or tiles lie beyond the end of the file"

    def _values(self, file: Any, codes: tuple[int, ...]) -> np.ndarray | None:
        code = next((c for c in codes if c in self.tags), None)
        if code is None or self.tags[code][0] not in UNSIGNED:
            return None
        kind, count, value = self.tags[code]
        if count * SIZES[kind] > self.inline:
            file.seek(struct.unpack(self.byteorder + self.place, value)[0])
            value = file.read(count * SIZES[kind])
        return np.frombuffer(value, self.byteorder + UNSIGNED[kind], count).astype("i8")


def missing_parts(file: Any, series: Any) -> list[Part]:
    """Pages of a series that are missing or damaged.

    Parameters
    ----------
    file : tifffile.TiffFile
    series : tifffile.TiffPageSeries
    """
    parts, pages = [], list(series.pages)
    owners = {id(p.parent): p.parent for p in pages if p is not None} or {0: file}
    for owner in owners.values():
        # These have offsets and sizes of their own making.
        if owner.is_ndpi or owner.is_lsm or owner.is_stk:
            continue
        mine = {int(np.atleast_1d(p.index)[-1]): k for k, p in enumerate(pages) if p is not None and p.parent is owner}
        several = f" of {owner.filename}" if len(owners) > 1 else ""
        for found in damage(owner.filehandle.path):
            if found.page is None:
                parts.append(Part(f"pages{several}", found.reason))
            elif found.page in mine:
                parts.append(Part(f"page {found.page}{several}", found.reason, region(series, mine[found.page])))
    lost = [k for k, p in enumerate(pages) if p is None]
    gone = _missing_files(file) if lost else []
    parts += [Part(f"file {name}", "no such file") for name in gone]
    where = "in a file that is missing" if gone else "in the metadata, not in the file"
    parts += [Part(f"image {k}", where, region(series, k)) for k in lost]
    return parts or [Part("pages", reason) for reason in contradictions(file, series)]


def region(series: Any, k: int) -> Where | None:
    """Voxels of the k-th page of a series; None if they are not known."""
    inner = tuple(series.keyframe.shape)
    lead = tuple(series.shape[: len(series.shape) - len(inner)])
    if tuple(series.shape[len(lead) :]) != inner or k >= prod(lead):
        return None
    return (*(slice(int(i), int(i) + 1) for i in np.unravel_index(k, lead or (1,))[: len(lead)]), *map(_all, inner))


def ravel(starts: Sequence[int], shape: Sequence[int], inner: Sequence[int]) -> int:
    """Number of the page in which a voxel lies.

    Examples
    --------
    >>> ravel([1, 2, 0, 0], (3, 4, 5, 6), (5, 6))
    6
    """
    lead = tuple(shape[: len(shape) - len(inner)])
    return int(np.ravel_multi_index(tuple(starts[: len(lead)]), lead)) if lead else 0


def _all(n: int) -> slice:
    return slice(0, int(n))


def contradictions(file: Any, series: Any) -> Iterator[str]:
    """Where the numbers of images in metadata and in the file differ."""
    there = len(file.pages)
    stated = stated_shape(file, series)
    if stated is not None and prod(stated) != series.size:
        images = prod(stated) // max(1, series.keyframe.size)
        yield f"the metadata describes {images} images of {series.keyframe.shape}, the file holds {there}"
    elif series.kind == "imagej" and there > 1 and there != series.size // series.keyframe.size:
        yield f"the metadata describes {series.size // series.keyframe.size} images, the file holds {there}"
    elif file.is_ome and series.kind != "ome":
        yield "the OME metadata does not fit the file"
    elif series.kind == "ome" and not any(s.is_multifile for s in file.series):
        described = sum(s.size // max(1, s.keyframe.size) for s in file.series)
        if described < there and not any(file.pages.get(k).is_reduced for k in range(there)):
            yield f"the OME metadata describes {described} images, the file holds {there}"


def stated_shape(file: Any, series: Any) -> tuple[int, ...] | None:
    """Shape that tifffile or ImageJ wrote beside the images; None if there is none."""
    text = series.keyframe.shaped_description
    if text and text.lstrip().startswith("{"):
        try:
            return tuple(int(n) for n in json.loads(text)["shape"])
        except (ValueError, KeyError, TypeError):
            return None
    if file.is_imagej and series.kind != "imagej":
        meta = file.imagej_metadata or {}
        lead = [max(1, int(meta.get(name, 1))) for name in ("frames", "slices", "channels")]
        lead = lead if prod(lead) > 1 else [1, max(1, int(meta.get("images", 1))), 1]
        return (*lead, *file.pages.first.shape)
    return None


def restored(tifffile: Any, file: Any, series: Any) -> Any:
    """The series as the metadata describes it: pages that are lost are None, so that each has its place.

    The series itself where nothing is lost, or where its voxels lie in one piece.
    """
    stated, pages = stated_shape(file, series), list(series.pages)
    shape = series.shape if stated is None else stated
    images, first = prod(shape) // max(1, series.keyframe.size), int(np.atleast_1d(series.keyframe.index)[-1])
    there = len(file.pages) - first
    # A series of one page is taken for voxels in one piece; but then each has its page, or only the first has one.
    if images > max(len(pages), there) and there > 1:
        pages = [p for p in file.pages[first:] if p.shape == series.keyframe.shape]
    lost = images - len(pages)
    if lost < 1 or there == 1 or (series.dataoffset is not None and images <= there):
        return series
    inner = len(series.keyframe.shape)
    names = series.axes if stated is None else ("TZC" if file.is_imagej else "Q" * (len(shape) - inner))
    axes = names if stated is None else names + series.keyframe.axes
    return tifffile.TiffPageSeries(pages + [None] * lost, shape, series.dtype, axes, parent=file, kind=series.kind)


def odd_page(file: Any) -> tuple[int, tuple[int, ...]] | None:
    """Number and shape of a page of another shape between pages that belong together."""
    if any(s.kind != "generic" for s in file.series):
        return None
    numbers = {int(np.atleast_1d(p.index)[-1]) for p in max(file.series, key=len).pages}
    between = [k for k in range(min(numbers), max(numbers)) if k not in numbers]
    return (between[0], file.pages[between[0]].shape) if between else None


def _missing_files(file: Any) -> list[str]:
    """Files that the OME metadata names and that are not there."""
    names = dict.fromkeys(re.findall(r'FileName="([^"]+)"', file.ome_metadata or ""))
    return [name for name in names if not (Path(file.filehandle.dirname) / name).exists()]
