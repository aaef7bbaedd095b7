"""Volumes in MRC files (.mrc, .map, .rec; .gz and .bz2): sections, rows and columns, indexed as mrcfile does."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.volumes.axes import PASSED
from neuromancer.volumes.headed import HeadedFormat, Header
from neuromancer.volumes.notes import note_in, noted, single
from neuromancer.volumes.placement import Placement, StatedPlacement
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import require
from neuromancer.volumes.units import ratio

DTYPES = ("int8", "int16", "uint16", "float16", "float32")
MODES = (0, 1, 2, 4, 6, 12)
"""Numbers of dtypes; 4 are complex values, which are no image either."""
UNIT = "angstrom"


def read_header(file: IO[bytes], path: str, label: str) -> Header:
    """Read the header of an open file."""
    mrcfile = require("mrcfile", "mrc", label)
    found = _fields(mrcfile, file, label)
    sizes = int(found.nx), int(found.ny), int(found.nz)
    if min(sizes) < 1 or int(found.nsymbt) < 0 or (int(found.ispg) >= 401 and int(found.mz) < 1):
        got = f"{found.nx} x {found.ny} x {found.nz} voxels, sections of {found.mz}"
        raise FileError("has an impossible header", where=label, got=got)
    shape = tuple(int(n) for n in mrcfile.utils.data_shape_from_header(found))
    # Programs before 2000 leave the order of axes at 0.
    order = [int(found.maps), int(found.mapr), int(found.mapc)]
    letters = ["xyz"[k - 1] for k in order] if sorted(order) == [1, 2, 3] else list("zyx")
    doubts = () if sorted(order) == [1, 2, 3] or not any(order) else (f"order of axes {order[::-1]}",)
    if int(found.mode) not in MODES:
        raise FileError("holds what cannot be read", where=label, got=f"mode {found.mode}", expected=f"one of {MODES}")
    note = note_in(b" ".join(np.atleast_1d(found.label).tolist()).decode("latin-1"))
    axes = letters if len(shape) == 3 else letters[1:] if len(shape) == 2 else ["f", *letters]
    return Header(
        mrcfile.utils.data_dtype_from_header(found),
        int(found.nbytes) + int(found.nsymbt),
        shape,
        fortran=False,
        axes="".join(axes),
        placement=_placement(found, letters, axes, note),
        doubts=doubts,
        token=note[0],
    )


def _fields(mrcfile: Any, file: IO[bytes], label: str) -> Any:
    """Return the fields of a header; mrcfile's own reader would write to the file when it is closed."""
    dtype, head = mrcfile.dtypes.HEADER_DTYPE, file.read(mrcfile.dtypes.HEADER_DTYPE.itemsize)
    if len(head) < dtype.itemsize:
        raise FileError(
            "is no MRC file", where=label, got=f"{len(head)} bytes", expected=f"a header of {dtype.itemsize}"
        )
    plain = np.frombuffer(head, dtype)[0]
    if plain["map"][:3] != b"MAP":
        raise FileError("is no MRC file", where=label, got=f"{plain['map']!r} in its header", expected="'MAP'")
    order = mrcfile.utils.byte_order_from_machine_stamp(bytearray(plain["machst"].tobytes()))
    return np.frombuffer(head, dtype.newbyteorder(order)).reshape(()).view(np.recarray)


def _placement(found: Any, letters: list[str], axes: list[str], note: tuple[str, str, str]) -> StatedPlacement:
    """Return the placement per stored axis; a header of zeros says nothing."""
    cells = {a: single(found.cella[a]) for a in "xyz"}
    counts = dict(zip("xyz", (int(found.mx), int(found.my), int(found.mz)), strict=True))
    if not any(cells.values()):
        return StatedPlacement()
    sizes = {a: single(np.float32(cells[a]) / np.float32(counts[a])) if counts[a] > 0 else 0.0 for a in "xyz"}
    starts = dict(zip(letters[::-1], (int(found.nxstart), int(found.nystart), int(found.nzstart)), strict=True))
    origin = {a: single(found.origin[a]) for a in "xyz"}
    if not any(origin.values()):
        origin = {a: starts[a] * sizes[a] for a in "xyz"}
    _, unknown, turned = note
    spatial = [a for a in axes if a != "f"]
    return StatedPlacement(
        [None if a in unknown else sizes[a] for a in spatial],
        [origin[a] for a in spatial],
        UNIT,
        [-1 if a in turned else 1 for a in spatial],
    )


def build(path: Path, spec: StoreSpec, token: str, label: str) -> None:
    """Make a sparse file of zeros: a volume, or a stack of volumes for several channels."""
    mrcfile = require("mrcfile", "mrc", label)
    placement, shape = spec.stored_placement, spec.stored_shape
    spatial = [a for a in spec.layout.stored if a not in ("f", PASSED)]
    mode = mrcfile.utils.mode_from_dtype(np.dtype(spec.dtype))
    with mrcfile.new_mmap(path, shape, mrc_mode=mode) as file:
        if len(shape) == 3:
            file.set_volume()
        file.header.label[0] = noted(token, placement, spatial).encode()
        file.header.nlabl = 1
        if placement.unit is not None:
            _state(file.header, placement, dict(zip("xyz", shape[:-4:-1], strict=False)), spatial)


def _state(header: Any, placement: Placement, counts: dict[str, int], spatial: list[str]) -> None:
    """Write voxel size and origin, in ångströms."""
    factor = ratio(placement.unit or UNIT, UNIT)
    sizes = dict(zip(spatial, placement.voxel_size or [None] * len(spatial), strict=True))
    places = dict(zip(spatial, placement.offset or [None] * len(spatial), strict=True))
    for a in "xyz":
        header.cella[a] = (sizes.get(a) or 1.0 / factor) * factor * counts.get(a, 1)
        header.origin[a] = (places.get(a) or 0.0) * factor


FORMAT = HeadedFormat("MRC", read_header, build)
open_stored, open_for_writing, make_sink = FORMAT.open_stored, FORMAT.open_for_writing, FORMAT.make_sink
create, discard = FORMAT.create, FORMAT.discard
