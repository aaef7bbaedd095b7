"""What the metadata of a TIFF file says of images and of other files, looked at before tifffile believes it."""

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
"""Images that metadata may describe of any file, and for each page of a larger one: lists are made of them."""
PIXELS, DATA = (re.compile(rf"<(?:\w+:)?{name}\b[^>]*>") for name in ("Pixels", "TiffData"))
SIZE = re.compile(r"""\bSize[ZCT]\s*=\s*["'](\d+)""")
COUNT = re.compile(r"""\b(?:PlaneCount|NumPlanes)\s*=\s*["'](\d+)""")
UUID = re.compile(r"""<(?:\w+:)?UUID\b[^>]*\bFileName\s*=\s*["']([^"']+)["'][^>]*>\s*([^<\s]*)""")
OWN_UUID = re.compile(r"""<(?:\w+:)?OME\b[^>]*\bUUID\s*=\s*["']([^"']+)""")


def require_possible(tifffile: Any, file: Any, label: str) -> None:
    """Raise FileError if metadata describes more than a file can hold, or names files that are others.

    Parameters
    ----------
    tifffile : module
    file : tifffile.TiffFile
        Of which no series has been asked for.
    label : str
    """
    folder, named = Path(file.filehandle.dirname), companions(file.ome_metadata or "")
    # Micro-Manager's are found by their names.
    others = [p.name for p in folder.glob("*.tif*")] if file.is_mmstack or file.is_ndtiff else []
    for name, uuid in (dict.fromkeys(others, "") | named).items():
        path = folder / name
        kind = kind_at(path)
        if kind not in (None, "a file"):
            raise FileError("a file of the image is none", where=label, got=f"{path} is {kind}", expected="a TIFF file")
        own = "" if kind is None or name == file.filename else _own_uuid(tifffile, path)
        if uuid and own and own != uuid:
            raise FileError("a file of the image is another one", where=label, got=f"{path} of {own}", expected=uuid)
    pages, page_bytes = len(file.pages), max(1, file.pages.first.nbytes)
    most = max(MANY, PER_PAGE * pages * (1 + len(named)), file.filehandle.size // page_bytes)
    described = max(_described(file), default=0)
    if described > most:
        got = f"{described} images, the file holds {pages}"
        raise FileError("the metadata describes more than there can be", where=label, got=got)


def companions(xml: str) -> dict[str, str]:
    """Files that OME metadata names, and their UUID.

    Examples
    --------
    >>> companions('<TiffData><UUID FileName="a &amp; b.tif">urn:uuid:7</UUID></TiffData>')
    {'a & b.tif': 'urn:uuid:7'}
    """
    return {unescape(name): uuid for name, uuid in UUID.findall(xml)}


def written_shape(page: Any) -> tuple[int, ...] | None:
    """Shape that tifffile wrote beside its images; None if there is none."""
    text = page.shaped_description
    if text and text.lstrip().startswith("{"):
        with suppress(ValueError, KeyError, TypeError):
            return tuple(int(n) for n in json.loads(text)["shape"])
    return None


def _described(file: Any) -> Iterator[int]:
    """Numbers of images that metadata describes."""
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
    """UUID that a file says it has; empty if it says none."""
    try:
        with tifffile.TiffFile(path) as file:
            found = OWN_UUID.search(file.pages.first.description)
    except Exception:  # what is no TIFF file is found when its pages are asked for
        return ""
    return "" if found is None else found[1]
