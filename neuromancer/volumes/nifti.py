"""Volumes in NIfTI files (.nii, .nii.gz): axes x, y, z and channels, indexed as nibabel does."""

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

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
AXES = "xyzf", "xyztf"
"""Axes of up to four and of five dimensions: the fourth alone holds channels, and time only if a fifth does."""
CODES = {"meter": "meter", "millimeter": "mm", "micrometer": "micron"}
DOUBLE = 540
"""Bytes of a header of NIfTI-2, and what it starts with."""
LONGEST = 32767
"""Maximum size of an axis in NIfTI-1; longer ones need NIfTI-2."""
STRAIGHT = 1e-6
"""Maximum component of an axis across itself, per length, that counts as a rounding error."""


def read_header(file: IO[bytes], path: str, label: str) -> Header:
    """Read the header of an open file."""
    nibabel = require("nibabel", "nifti", label)
    head = file.read(DOUBLE)
    double = DOUBLE in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind = nibabel.Nifti2Header if double else nibabel.Nifti1Header
    size = kind.template_dtype.itemsize
    if len(head) < size:
        raise FileError("is no NIfTI file", where=label, got=f"{len(head)} bytes", expected=f"a header of {size}")
    found = kind(head[:size], check=False)
    if bytes(found["magic"])[:3] not in (b"n+1", b"n+2"):
        raise FileError("is no NIfTI file with voxels in it", where=label, got=f"magic {bytes(found['magic'])!r}")
    shape = tuple(int(n) for n in found.get_data_shape())
    if not 2 <= len(shape) <= 5:
        raise FileError("has the wrong number of axes", where=label, got=f"shape {shape}", expected="x, y, z, channels")
    _require_possible(nibabel, found, label)
    start = int(found.get_data_offset()) or found.single_vox_offset
    slope, shift = found.get_slope_inter()
    scaled = slope is not None and (slope, shift) != (1, 0)
    token, unknown, _ = note_in(bytes(found["descrip"]).decode("latin-1"))
    placement, doubts = _placement(found, min(len(shape), 3), unknown, double)
    return Header(
        found.get_data_dtype(),
        start,
        shape,
        fortran=True,
        axes=AXES[len(shape) == 5][: len(shape)],
        placement=placement,
        packing={"scale_factor": float(slope), "add_offset": float(shift)} if scaled else {},
        doubts=doubts,
        token=token,
    )


def _require_possible(nibabel: Any, found: Any, label: str) -> None:
    """Raise FileError for fields that nibabel itself cannot interpret."""
    code, start, shift = int(found["datatype"]), float(found["vox_offset"]), float(found["scl_inter"])
    odd = None
    if code not in nibabel.nifti1.data_type_codes.dtype:
        odd = f"datatype {code}"
    elif not np.isfinite(start) or 0 != start < found.sizeof_hdr:
        odd = f"voxels at byte {start:g}"
    elif found["scl_slope"] != 0 and np.isfinite(found["scl_slope"]) and not np.isfinite(shift):
        odd = f"scl_inter {shift}"
    if odd is not None:
        raise FileError("has an impossible header", where=label, got=odd, expected="a header as in the standard")


def _placement(found: Any, n: int, unknown: str, double: bool) -> tuple[StatedPlacement, tuple[str, ...]]:
    """Return the placement of the spatial axes, x first, and what makes no sense."""
    value = float if double else single
    unit = found.get_xyzt_units()[0]
    sizes: list[float | None] = [value(s) for s in found.get_zooms()[:n]]
    placed = int(found["sform_code"]) > 0 or int(found["qform_code"]) > 0
    if not placed and unit == "unknown" and set(sizes) == {1.0}:
        return StatedPlacement(), ()  # what a header says that says nothing
    sizes = [None if "xyz"[k] in unknown else s for k, s in enumerate(sizes)]
    stated = StatedPlacement(sizes, unit=unit)
    if not placed:
        return stated, ()
    affine = found.get_best_affine()
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < STRAIGHT:
        return stated, ("affine that has no inverse",)
    towards = affine[:3, :3] / lengths
    if np.abs(towards - np.diag(np.sign(np.diag(towards)))).max() < STRAIGHT:
        signs = [int(s) for s in np.sign(np.diag(towards))[:n]]
        return StatedPlacement(sizes, [value(o) for o in affine[:n, 3]], unit, signs), ()
    if n < 3:
        return stated, ()
    offset = np.linalg.solve(towards, affine[:3, 3]).tolist()
    return StatedPlacement(sizes, offset, unit, orientation=[tuple(v) for v in towards.T.tolist()]), ()


def build(path: Path, spec: StoreSpec, token: str, label: str) -> None:
    """Make a sparse file of zeros: NIfTI-1, or NIfTI-2 for long axes."""
    nibabel = require("nibabel", "nifti", label)
    shape, placement = spec.stored_shape, spec.stored_placement
    double = max(shape) > LONGEST
    header = (nibabel.Nifti2Header if double else nibabel.Nifti1Header)()
    header.set_data_dtype(np.dtype(spec.dtype))
    header.set_data_shape(shape)
    unit, factor = _unit(placement.unit)
    spatial = [a for a in spec.layout.stored if a not in ("f", PASSED)]
    sizes = {a: s and s * factor for a, s in zip(spatial, placement.voxel_size or [None] * len(spatial), strict=True)}
    zooms = [sizes.get(a) or 1.0 for a in "xyz"]
    header.set_zooms([*zooms, *[1.0] * len(shape)][: len(shape)])
    header["descrip"] = noted(token, placement, spatial).encode()
    if placement != Placement():
        header.set_xyzt_units(unit)
        affine = _affine(placement, spatial, zooms, factor)
        header.set_sform(affine, code="scanner")
        header.set_qform(affine, code="scanner", strip_shears=True)
    header["vox_offset"] = header.single_vox_offset
    with path.open("xb") as file:
        header.write_to(file)
        file.truncate(header.single_vox_offset + int(np.prod(shape, dtype=object)) * np.dtype(spec.dtype).itemsize)


def _unit(unit: str | None) -> tuple[str, float]:
    """Return the unit to store, and its length in units of the given one, inverted."""
    if unit is None:
        return "unknown", 1.0
    nearest = unit if unit in CODES else "micrometer" if ratio(unit, "micrometer") < 1 else "millimeter"
    return CODES[nearest], ratio(unit, nearest)


def _affine(placement: Placement, spatial: list[str], zooms: list[float], factor: float) -> np.ndarray:
    """Return the matrix from voxel index (x, y, z) to position."""
    places = [(o or 0.0) * factor for o in placement.offset or [0.0] * len(spatial)]
    turned = dict(zip(spatial, placement.direction or [1] * len(spatial), strict=True))
    if placement.orientation is not None and len(spatial) == 3:
        towards = np.array(placement.orientation).T
        shift = towards @ places
    else:
        towards = np.diag([float(turned.get(a, 1)) for a in "xyz"])
        shift = np.array([dict(zip(spatial, places, strict=True)).get(a, 0.0) for a in "xyz"])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = towards * zooms, shift
    return affine


FORMAT = HeadedFormat("NIfTI", read_header, build)
open_stored, open_for_writing, make_sink = FORMAT.open_stored, FORMAT.open_for_writing, FORMAT.make_sink
create, discard = FORMAT.create, FORMAT.discard
