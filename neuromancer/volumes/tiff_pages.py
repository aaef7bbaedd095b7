"""Consistency of a TIFF file with its metadata: tifffile reads what it finds and only logs what is missing."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.volumes.missing import Part
from neuromancer.volumes.protocol import Where
from neuromancer.volumes.tiff_claims import companions, written_shape

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes per value, by TIFF type."""
OFFSETS, COUNTS, DESCRIPTION = (273, 324), (279, 325), 270
NEEDED = {256, 257, 258, 259, 262, 266, DESCRIPTION, 277, 278, 284, 317, 322, 323, 339, 50838, 50839} | {
    *OFFSETS,
    *COUNTS,
}
"""Tags without which a page cannot be decoded."""
UNSIGNED = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
KIND = {
    256: ("width", None),
    257: ("length", None),
    258: ("bits", 1),
    259: ("compression", 1),
    262: ("photometric", None),
    266: ("fill order", 1),
    277: ("samples", 1),
    278: ("rows per strip", None),
    284: ("planar configuration", 1),
    317: ("predictor", 1),
    322: ("tile width", None),
    323: ("tile length", None),
    339: ("sample format", 1),
    32997: ("depth", 1),
    32998: ("tile depth", None),
}
"""Tags that define the storage of voxels, with their names and defaults."""
SAME = {32946: 8}
"""Codes of the same compression."""
SIZED_OTHERWISE = (1, 6)
"""No compression, and old JPEG: some programs omit the byte counts of their strips."""


@dataclass(frozen=True)
class Damage:
    """A defect of a file.

    Parameters
    ----------
    page : int or None
        None if unknown pages are lost.
    reason : str
    offset : int
        Byte at which the tags of the page begin.
    """

    page: int | None
    reason: str
    offset: int = 0


def damage(path: str) -> Iterator[Damage]:
    """Find defects of a file: a broken chain of pages, tags and voxels beyond the end of the file."""
    with _Pages(path) as pages:
        offset, seen, page = pages.first, set[int](), 0
        while offset:
            found = None if offset in seen else pages.tags(offset)
            # An interrupted copy into preallocated space ends in zeros: no tags, and no further page.
            if found is None or not found[0].tags or 0 in found[0].tags:
                yield Damage(None, f"the chain of pages breaks off after {page}")
                return
            yield from (Damage(page, reason, offset) for reason in found[0].problems(pages.file, pages.size))
            seen.add(offset)
            offset, page = found[1], page + 1


class _Pages:
    """Raw tags of the pages of a file."""

    def __init__(self, path: str) -> None:
        self.size = Path(path).stat().st_size
        self.file = Path(path).open("rb")
        head = self.file.read(4)
        self.byteorder = ">" if head[:2] == b"MM" else "<"
        self.big = head[2:] in (b"+\0", b"\0+")
        self.number, self.entry, self.place = ("Q", 20, "Q") if self.big else ("H", 12, "I")
        self.first = self._number(8 if self.big else 4, self.place) or 0

    def __enter__(self) -> _Pages:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def tags(self, offset: int) -> tuple[_Tags, int] | None:
        """Read the tags at an offset, and the offset of the next page; None if they cannot be read."""
        number = self._number(offset, self.number) if offset < self.size else None
        begin = offset + struct.calcsize(self.byteorder + self.number)
        following = None if number is None else self._number(begin + number * self.entry, self.place)
        if number is None or following is None:
            return None
        self.file.seek(begin)
        return _Tags(self.file.read(number * self.entry), self.byteorder, self.big), following

    def kind(self, page: Any) -> dict[str, Any] | None:
        """Return how the voxels of a page are stored; None if its tags cannot be read."""
        found = self.tags(page.offset)
        return None if found is None else found[0].kind(self.file)

    def _number(self, offset: int, kind: str) -> int | None:
        self.file.seek(offset)
        data = self.file.read(struct.calcsize(self.byteorder + kind))
        return None if len(data) < struct.calcsize(kind) else int(struct.unpack(self.byteorder + kind, data)[0])


class _Tags:
    """Raw tags of a page."""

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
        text = self._content(file, DESCRIPTION) if DESCRIPTION in self.tags else b""
        kept = text.strip(b"\0 \r\n\t")
        if len(text) > self.inline and not kept:
            yield "its description has been lost: zeros"
            return
        if re.match(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<OME\b", kept, re.DOTALL) and not kept.endswith(b"OME>"):
            yield "its OME metadata breaks off"
        offsets, counts = (self._values(file, codes) for codes in (OFFSETS, COUNTS))
        if offsets is None:
            return
        if counts is not None and len(counts) == len(offsets):
            if not (offsets.any() or counts.any()) and self._are_zeros(file):
                yield "its tags have been lost: zeros"
            if self.kind(file)["compression"] not in SIZED_OTHERWISE:
                half = int(((offsets > 0) != (counts > 0)).sum())
                if half:
                    yield f"{half} of its {len(offsets)} strips or tiles have no place or no size"
        else:
            counts = np.ones_like(offsets)
        beyond = (offsets + counts > size) & (offsets > 0) & (counts > 0)
        if beyond.any():
            yield f"{int(beyond.sum())} of its {len(offsets)} strips or tiles lie beyond the end of the file"

    def _are_zeros(self, file: Any) -> bool:
        """Return whether a value stored out of line is all zeros, except for strips, which may be omitted."""
        long = [c for c, (kind, count, _) in self.tags.items() if count * SIZES.get(kind, 1) > self.inline]
        return any(not self._content(file, c).strip(b"\0") for c in long if c not in (*OFFSETS, *COUNTS))

    def kind(self, file: Any) -> dict[str, Any]:
        """Return how the voxels are stored, by tag name."""
        found: dict[str, Any] = {}
        for code, (name, default) in KIND.items():
            values = self._values(file, (code,))
            # One value per sample, often the same for all.
            distinct = set() if values is None else set(values.tolist())
            single = len(distinct) == 1
            found[name] = distinct.pop() if single else default if values is None else tuple(values.tolist())
        found["compression"] = SAME.get(found["compression"], found["compression"])
        found["planar configuration"] = 1 if found["samples"] == 1 else found["planar configuration"]
        rows = [n for n in (found["rows per strip"], found["length"]) if isinstance(n, int)]
        found["rows per strip"] = min(rows, default=None)
        return found

    def _values(self, file: Any, codes: tuple[int, ...]) -> np.ndarray | None:
        code = next((c for c in codes if c in self.tags), None)
        if code is None or self.tags[code][0] not in UNSIGNED:
            return None
        kind, count, _ = self.tags[code]
        content = self._content(file, code)
        whole = len(content) == count * SIZES[kind]
        return np.frombuffer(content, self.byteorder + UNSIGNED[kind]).astype("i8") if whole else None

    def _content(self, file: Any, code: int) -> bytes:
        """Read the bytes of a tag's value, which is stored out of line if it is long."""
        kind, count, value = self.tags[code]
        n = count * SIZES.get(kind, 1)
        if n > self.inline:
            file.seek(struct.unpack(self.byteorder + self.place, value)[0])
            value = file.read(n)
        return bytes(value[:n])


def missing_pages(file: Any, series: Any) -> list[Part]:
    """Return the pages of a series that are missing or damaged.

    Parameters
    ----------
    file : tifffile.TiffFile
    series : tifffile.TiffPageSeries

    Raises
    ------
    FileError
        If a page is stored differently from the others.
    """
    parts, pages, harmed = [], list(series.pages), set()
    owners = {id(p.parent): p.parent for p in pages if p is not None} or {0: file}
    for owner in owners.values():
        if _odd_by_design(owner):
            continue
        mine = {p.offset: k for k, p in enumerate(pages) if p is not None and p.parent is owner}
        several = f" of {owner.filename}" if len(owners) > 1 else ""
        for found in damage(owner.filehandle.path):
            if found.page is None:
                parts.append(Part(f"pages{several}", found.reason))
            elif found.offset in mine:
                harmed.add(found.offset)
                parts.append(Part(f"page {found.page}{several}", found.reason, region(series, mine[found.offset])))
    require_alike(series, harmed)
    lost = [k for k, p in enumerate(pages) if p is None]
    gone = _missing_files(file) if lost else []
    parts += [Part(f"file {name}", "no such file") for name in gone]
    where = "in a file that is missing" if gone else "in the metadata, not in the file"
    parts += [Part(f"image {k}", where, region(series, k)) for k in lost]
    return parts or [Part("pages", reason) for reason in contradictions(file, series)]


def region(series: Any, k: int) -> Where | None:
    """Return the voxels of the k-th page of a series; None if they are unknown."""
    inner = tuple(series.keyframe.shape)
    lead = tuple(series.shape[: len(series.shape) - len(inner)])
    if tuple(series.shape[len(lead) :]) != inner or k >= prod(lead):
        return None
    return (*(slice(int(i), int(i) + 1) for i in np.unravel_index(k, lead or (1,))[: len(lead)]), *map(_all, inner))


def ravel(starts: Sequence[int], shape: Sequence[int], inner: Sequence[int]) -> int:
    """Return the index of the page that contains a voxel.

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
    """Find contradictions between the numbers of images in metadata and file."""
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
    """Return the shape that tifffile or ImageJ wrote into the metadata; None if there is none."""
    written = written_shape(series.keyframe)
    if written is not None:
        return written
    if file.is_imagej and series.kind != "imagej":
        meta = file.imagej_metadata or {}
        lead = [max(1, int(meta.get(name, 1))) for name in ("frames", "slices", "channels")]
        lead = lead if prod(lead) > 1 else [1, max(1, int(meta.get("images", 1))), 1]
        return (*lead, *file.pages.first.shape)
    return None


def restored(tifffile: Any, file: Any, series: Any) -> Any:
    """Return the series as the metadata describes it, with None for lost pages, so that others keep their index.

    The series itself is returned if nothing is lost, or if its voxels are contiguous.
    """
    stated, pages = stated_shape(file, series), list(series.pages)
    shape = series.shape if stated is None else stated
    images, first = prod(shape) // max(1, series.keyframe.size), int(np.atleast_1d(series.keyframe.index)[-1])
    there = len(file.pages) - first
    # tifffile takes a series of one page for contiguous; but then either every image has a page, or only the first.
    if images > max(len(pages), there) and there > 1:
        pages = [p for p in file.pages[first:] if p.shape == series.keyframe.shape]
    lost = images - len(pages)
    if lost < 1 or there == 1 or (series.dataoffset is not None and images <= there):
        return series
    inner = len(series.keyframe.shape)
    names = series.axes if stated is None else ("TZC" if file.is_imagej else "Q" * (len(shape) - inner))
    axes = names if stated is None else names + series.keyframe.axes
    return tifffile.TiffPageSeries(pages + [None] * lost, shape, series.dtype, axes, parent=file, kind=series.kind)


def odd_page(file: Any) -> str | None:
    """Describe a page, damaged or of another kind, that splits a series; None if there is none."""
    if any(s.kind != "generic" for s in file.series):
        return None
    for found in damage(file.filehandle.path):
        return f"{'pages' if found.page is None else f'page {found.page}'}: {found.reason}"
    series = max(file.series, key=len)
    numbers = {int(np.atleast_1d(p.index)[-1]) for p in series.pages}
    k = next((k for k in range(min(numbers), max(numbers)) if k not in numbers), None)
    if k is None:
        return None
    odd = file.pages[k]
    if odd.shape != series.keyframe.shape:
        return f"page {k} of {odd.shape}, others of {series.keyframe.shape}"
    with _Pages(file.filehandle.path) as pages:
        return f"page {k}: {difference(pages.kind(odd), pages.kind(series.keyframe))}"


def require_alike(series: Any, harmed: Collection[int] = ()) -> None:
    """Raise FileError unless all pages of a series are stored like the first: tifffile decodes all by the first.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
    harmed : collection of int
        Offsets of damaged pages, which cannot be read anyway.
    """
    key = series.keyframe
    with _Pages(key.parent.filehandle.path) as file:
        wanted = file.kind(key)
    pages = [p for p in series.pages if p is not None and not p.is_virtual and p.offset not in harmed]
    for owner in {id(p.parent): p.parent for p in pages}.values():
        if _odd_by_design(owner):
            continue
        with _Pages(owner.filehandle.path) as file:
            for page in (p for p in pages if p.parent is owner):
                odd = difference(file.kind(page), wanted)
                if odd is not None:
                    raise FileError(
                        "pages are stored in different ways",
                        where=str(owner.filehandle.path),
                        got=f"page {page.index}: {odd}",
                        expected="pages of one kind, with the same compression",
                    )


def difference(kind: dict[str, Any] | None, wanted: dict[str, Any] | None) -> str | None:
    """Describe how the storage of two pages differs; None if it does not, or they cannot be read."""
    odd = [] if kind is None or wanted is None else [name for name in wanted if kind[name] != wanted[name]]
    return None if not odd or kind is None or wanted is None else f"{odd[0]} {kind[odd[0]]}, others {wanted[odd[0]]}"


def _odd_by_design(file: Any) -> bool:
    """Return whether the format of a file uses nonstandard offsets and sizes in its tags."""
    return bool(file.is_ndpi or file.is_lsm or file.is_stk)


def _missing_files(file: Any) -> list[str]:
    """Return the missing files that the OME metadata names."""
    folder = Path(file.filehandle.dirname)
    return [name for name in companions(file.ome_metadata or "") if not (folder / name).exists()]
