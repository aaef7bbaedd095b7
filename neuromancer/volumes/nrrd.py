"""Volumes in NRRD files (.nrrd, .nhdr): axes from the fastest on, indexed as pynrrd does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.volumes.axes import letters
from neuromancer.volumes.chunk_files import require_no_pipe
from neuromancer.volumes.headed import HeadedFormat, Header
from neuromancer.volumes.notes import note_in
from neuromancer.volumes.nrrd_header import COMPRESSIONS, DTYPES, KEY, NAMES, build
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.stored import file_identity, require
from neuromancer.volumes.unzipped import unzip

__all__ = ["COMPRESSIONS", "DTYPES", "FORMAT", "create", "discard", "make_sink", "open_for_writing", "open_stored"]

TYPES = {name: code for code, names in NAMES.items() for name in names.split("/")}
ENCODINGS = {"raw": None, "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
SPATIAL_KINDS = ("domain", "space", "???")
LONGEST = 1 << 20
"""Maximum length of a header."""


def read_header(file: IO[bytes], path: str, label: str) -> Header:
    """Read the header of an open file; find its voxels, and decompress them."""
    nrrd = require("nrrd", "nrrd", label)
    found: dict[str, Any] = nrrd.read_header(_lines(file, label))
    kind, encoding = str(found["type"]), str(found["encoding"]).lower()
    if kind not in TYPES or encoding not in ENCODINGS:
        got = f"type {kind!r}, encoding {encoding!r}"
        raise FileError("holds what cannot be read", where=label, got=got, expected=f"numbers, {tuple(ENCODINGS)}")
    order = {"big": ">", "little": "<"}.get(str(found.get("endian", "")).lower(), "=")
    dtype, shape = np.dtype(order + TYPES[kind]), tuple(int(n) for n in found["sizes"])
    if len(shape) != found["dimension"] or min(shape, default=0) < 1 or (order == "=" and dtype.itemsize > 1):
        raise FileError("has an impossible header", where=label, got=f"{dict(found)}"[:200])
    other = _data_file(found, path, label)
    doubts: list[str] = []
    placement = StatedPlacement()
    axes = _axes(found, len(shape), doubts)
    if axes is not None:
        placement = _placement(found, axes, doubts)
    with Path(other).open("rb") if other else nullcontext(file) as voxels:
        start, unzipped, damaged = _start(voxels, found, ENCODINGS[encoding], dtype.itemsize * prod(shape), label)
    return Header(
        dtype,
        start,
        shape,
        fortran=True,
        axes=axes,
        placement=placement,
        doubts=tuple(doubts),
        token=note_in(f"{KEY} {found.get(KEY, '')}")[0],
        voxels=unzipped or other,
        identity="" if other is None else f" {file_identity(other)}",
        missing=damaged,
    )


def _lines(file: IO[bytes], label: str) -> list[str]:
    """Return the lines of a header; pynrrd itself would drop the µ of µm."""
    lines, size = [file.readline(LONGEST)], 0
    if not lines[0].startswith(b"NRRD000"):
        raise FileError("is no NRRD file", where=label, got=f"{lines[0][:20]!r}", expected="'NRRD000...'")
    while lines[-1].strip() and size < LONGEST:
        lines.append(file.readline(LONGEST))
        size += len(lines[-1])
    return [line.decode(errors="replace") for line in lines]


def _data_file(found: Mapping[str, Any], path: str, label: str) -> str | None:
    """Return the file that holds the voxels; None if they follow the header."""
    name = found.get("data file", found.get("datafile"))
    if name is None:
        return None
    if name.startswith("LIST") or "%" in name:
        raise FileError("is spread over several files", where=label, got=name, expected="a single data file")
    place = Path(path).parent / name
    require_no_pipe(place, label)
    if not place.is_file():
        raise FileError("the file of its voxels is missing", where=label, got=str(place))
    return str(place)


def _start(
    file: IO[bytes], found: Mapping[str, Any], method: str | None, nbytes: int, label: str
) -> tuple[int, IO[bytes] | None, list[Any]]:
    """Return where the voxels start, in the file or in the temporary file they were decompressed into."""
    for _ in range(_skipped(found, "line", 0, label)):
        if not file.readline(LONGEST):
            break
    skip = _skipped(found, "byte", -1, label)
    unzipped, damaged = (None, []) if method is None else unzip(file, method, label, lambda _: max(0, skip) + nbytes)
    if skip >= 0:
        return (file.tell() if unzipped is None else 0) + skip, unzipped, damaged
    first = file.tell() if unzipped is None else 0
    start = (unzipped or file).seek(0, os.SEEK_END) - nbytes
    if start < first or damaged:
        if unzipped is not None:
            unzipped.close()
        raise FileError("the file ends early", where=label, got=f"{start + nbytes - first} of {nbytes} bytes")
    return start, unzipped, damaged


def _skipped(found: Mapping[str, Any], what: str, least: int, label: str) -> int:
    """Return how many lines or bytes to leave out; -1 bytes stand for all before the voxels."""
    given = int(found.get(f"{what} skip", found.get(f"{what}skip", 0)))
    if given < least:
        raise FileError("has an impossible header", where=label, got=f"{what} skip {given}", expected=f">= {least}")
    return given


def _axes(found: Mapping[str, Any], n: int, doubts: list[str]) -> str | None:
    """Return axis letters: by labels, else by kinds and directions, else x, y, z and channels."""
    labels, kinds, rows = found.get("labels"), found.get("kinds"), found.get("space directions")
    if labels is not None and len(labels) == n and (named := letters(labels)) is not None:
        return named
    spatial = [True] * min(n, 3) + [False] * (n - 3)
    if kinds is not None and len(kinds) == n:
        spatial = [kind.lower() in SPATIAL_KINDS for kind in kinds]
    elif rows is not None and len(rows) == n:
        spatial = [bool(np.isfinite(row).all()) for row in rows]
    others = ["t" if kinds is not None and kinds[k].lower() == "time" else "f" for k in range(n) if not spatial[k]]
    if sum(spatial) > 3 or len(set(others)) < len(others):
        doubts.append(f"kinds {kinds}"[:80])
        return None
    names, rest = iter("xyz"), iter(others)
    return "".join(next(names) if here else next(rest) for here in spatial)


def _placement(found: Mapping[str, Any], axes: str, doubts: list[str]) -> StatedPlacement:
    """Return the placement per spatial axis, in the stored order."""
    spatial = [k for k, a in enumerate(axes) if a in "xyz"]
    rows, spacings, units = found.get("space directions"), found.get("spacings"), found.get("space units")
    if rows is None or len(rows) != len(axes):
        sizes = None if spacings is None or len(spacings) != len(axes) else [_known(spacings[k]) for k in spatial]
        named = found.get("units")
        named = [named[k] for k in spatial] if named is not None and len(named) == len(axes) else None
        return StatedPlacement(sizes, unit=named)
    matrix = np.array([rows[k] for k in spatial], float)
    origin = np.asarray(found.get("space origin", np.full(matrix.shape[1], np.nan)), float)
    if matrix.shape == (3, 4) and not matrix[:, 3].any():  # in space and time
        matrix, origin, units = matrix[:, :3], origin[:3], None if units is None else units[:3]
    lengths = np.linalg.norm(matrix, axis=1)
    unit = units[0] if units is not None and len(set(units)) == 1 else None
    sizes = [_known(s) for s in lengths]
    stated = StatedPlacement(sizes, unit=unit)
    if matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all() or not lengths.all():
        return stated
    signs = _signs(str(found.get("space", "")), matrix.shape[1])
    towards, origin = matrix / lengths[:, None] * signs, origin * signs
    order = np.argsort(np.argsort([axes[k] for k in spatial]))
    if np.allclose(np.abs(towards), np.eye(len(spatial))[order], atol=1e-6):
        places = [_known(origin[k] + 0.0) for k in order]
        return StatedPlacement(sizes, places, unit, [int(np.sign(row.sum())) for row in towards])
    if len(spatial) == 3 and abs(np.linalg.det(towards)) > 1e-6 and np.isfinite(origin).all():
        offset = np.linalg.solve(towards.T, origin).tolist()
        return StatedPlacement(sizes, offset, unit, orientation=[tuple(v) for v in towards.tolist()])
    doubts.append(f"space directions {np.round(matrix, 3).tolist()}"[:80])
    return stated


def _signs(space: str, n: int) -> np.ndarray:
    """Return the signs that take positions in a named space to right, anterior, superior.

    Examples
    --------
    >>> _signs("left-posterior-superior", 3), _signs("", 2)
    (array([-1., -1.,  1.]), array([1., 1.]))
    """
    words = {"lps": "left-posterior", "las": "left-anterior"}.get(space.lower()[:3], space.lower())
    signs = np.ones(n)
    signs[:1] = -1 if "left" in words else 1
    signs[1:2] = -1 if "posterior" in words else 1
    return signs


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


FORMAT = HeadedFormat("NRRD", read_header, build)
open_stored, open_for_writing, make_sink = FORMAT.open_stored, FORMAT.open_for_writing, FORMAT.make_sink
create, discard = FORMAT.create, FORMAT.discard
