"""Validation of TIFF metadata about images and companion files, before tifffile relies on it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

import numpy as np

from neuromancer.errors import FileError
from neuromancer.places import kind_at

MANY, PER_PAGE = 100_000, 100
"""Maximum number of images that metadata may describe in any file, or per page of larger files: they go into lists."""
PIXELS, DATA = (re.compile(rf"<(?:\w+:)?{name}\b[^>]*>") for name in ("Pixels", "TiffData"))
SIZE = re.compile(r"""\bSize[ZCT]\s*=\s*["'](\d+)""")
COUNT = re.compile(r"""\b(?:PlaneCount|NumPlanes)\s*=\s*["'](\d+)""")
UUID = re.compile(r"""<(?:\w+:)?UUID\b[^>]*\bFileName\s*=\s*["']([^"']+)["'][^>]*>\s*([^<\s]*)""")
OWN_UUID = re.compile(r"""<(?:\w+:)?OME\b[^>]*\bUUID\s*=\s*["']([^"']+)""")


def require_possible(tifffile: Any, file: Any, label: str) -> None:
    """Raise FileError if metadata describes more images than a file can hold, or names files that do not belong to it.

    Parameters
    ----------
    tifffile : module
    file : tifffile.TiffFile
        Before any access to its series.
    label : str
    """
    folder, named = Path(file.filehandle.dirname), companions(file.ome_metadata or "")
    # Companion files of Micro-Manager are found by name.
    others = [p.name for p in folder.glob("*.tif*")] if file.is_mmstack or file.is_ndtiff else []
    for name, uuid in (dict.fromkeys(others, "") | named).items():
        path = folder / name
        kind = kind_at(path)
        if kind not in (None, "a file"):
            raise FileError(
                "a companion file is not a file", where=label, got=f"{path} is {kind}", expected="a TIFF file"
            )
        own = "" if kind is None or name == file.filename else _own_uuid(tifffile, path)
        if uuid and own and own != uuid:
            raise FileError("a companion file has been replaced", where=label, got=f"{path} of {own}", expected=uuid)
    pages, page_bytes = len(file.pages), max(1, file.pages.first.nbytes)
    most = max(MANY, PER_PAGE * pages * (1 + len(named)), file.filehandle.size // page_bytes)
    described = max(_described(file), default=0)
    if described > most:
        got = f"{described} images, the file holds {pages}"
        raise FileError("the metadata describes more images than possible", where=label, got=got)


def companions(xml: str) -> dict[str, str]:
    """Return the files that OME metadata names, with their UUID.

    Examples
    --------
    >>> companions('<TiffData><UUID FileName="a &amp; b.tif">urn:uuid:7</UUID></TiffData>')
    {'a & b.tif': 'urn:uuid:7'}
    """
    return {unescape(name): uuid for name, uuid in UUID.findall(xml)}


def written_shape(page: Any) -> tuple[int, ...] | None:
    """Return the shape that tifffile wrote into the description; None if there is none."""
    text = page.shaped_description
    if text and text.lstrip().startswith("{"):
        with suppress(ValueError, KeyError, TypeError):
            return tuple(int(n) for n in json.loads(text)["shape"])
    return None


def _described(file: Any) -> Iterator[int]:
    """Iterate over the numbers of images that the metadata describes."""
    xml = file.ome_metadata or ""
    yield from (prod(map(int, SIZE.findall(pixels))) for pixels in PIXELS.findall(xml))
    yield from (int(n) for data in DATA.findall(xml) for n in COUNT.findall(data))
    meta = file.imagej_metadata or {}
    for names in (["images"], ["frames", "slices", "channels"]):
        yield prod(int(meta.get(name, 1)) for name in names)
    shape = written_shape(file.pages.first)
    if shape is not None:
        yield prod(shape) // max(1, int(np.prod(file.pages.first.shape)))


def _own_uuid(tifffile: Any, path: Path) -> str:
    """Return the UUID in the metadata of a file; empty if there is none."""
    try:
        with tifffile.TiffFile(path) as file:
            found = OWN_UUID.search(file.pages.first.description)
    except Exception:  # a file that is not TIFF is reported when its pages are accessed
        return ""
    return "" if found is None else found[1]
