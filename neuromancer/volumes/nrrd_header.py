"""Headers of new NRRD files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.volumes.axes import PASSED
from neuromancer.volumes.notes import noted
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import require
from neuromancer.volumes.units import short_unit

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
COMPRESSIONS = ("default", None, "gzip")
NAMES = {
    "i1": "signed char/int8/int8_t",
    "u1": "uchar/unsigned char/uint8/uint8_t",
    "i2": "short/short int/signed short/signed short int/int16/int16_t",
    "u2": "ushort/unsigned short/unsigned short int/uint16/uint16_t",
    "i4": "int/signed int/int32/int32_t",
    "u4": "uint/unsigned int/uint32/uint32_t",
    "i8": "longlong/long long/long long int/signed long long/signed long long int/int64/int64_t",
    "u8": "ulonglong/unsigned long long/unsigned long long int/uint64/uint64_t",
    "f4": "float",
    "f8": "double",
}
KEY = "neuromancer"
"""Name of the field that identifies files of this package."""


def build(path: Path, spec: StoreSpec, token: str, label: str) -> None:
    """Make a sparse file of zeros, its voxels uncompressed whatever its header says."""
    require("nrrd", "nrrd", label)
    with path.open("xb") as file:
        file.write(header_text(spec, token))
        file.truncate(file.tell() + int(np.prod(spec.stored_shape, dtype=object)) * np.dtype(spec.dtype).itemsize)


def header_text(spec: StoreSpec, token: str) -> bytes:
    """Return the header of a new file."""
    dtype, placement = np.dtype(spec.dtype), spec.stored_placement
    names = [a for a in spec.layout.stored if a != PASSED]
    spatial = [a for a in names if a != "f"]
    n, known = len(spatial), placement.voxel_size or (None,) * len(spatial)
    vectors = _vectors(spatial, placement.direction or (1,) * n, placement.orientation)
    rows = {
        a: None if s is None else [s * v for v in vector] for a, s, vector in zip(spatial, known, vectors, strict=True)
    }
    lines = [
        "NRRD0005",
        f"type: {NAMES[dtype.kind + str(dtype.itemsize)].split('/')[-1 if dtype.kind == 'f' else -2]}",
        f"dimension: {len(names)}",
        f"sizes: {' '.join(str(k) for k in spec.stored_shape)}",
        f"endian: {'little' if dtype.newbyteorder('=').str[0] != '>' else 'big'}",
        f"encoding: {'gzip' if spec.compression == 'gzip' else 'raw'}",
        f"labels: {' '.join(f'{_quoted(a)}' for a in spec.axis_names)}",
        f"kinds: {' '.join('list' if a == 'f' else 'domain' for a in names)}",
    ]
    unit = {"µm": "um", "Å": "angstrom"}.get(short_unit(placement.unit) or "", short_unit(placement.unit))  # in ASCII
    if any(s is None for s in known):
        # An axis of unknown size has no direction, so there is no space either.
        spacings = dict(zip(spatial, known, strict=True))
        lines.append(f"spacings: {' '.join(repr(spacings.get(a) or np.nan) for a in names)}")
        lines += [f"units: {' '.join(_quoted('' if a == 'f' else unit) for a in names)}"] if unit else []
    else:
        oriented = placement.orientation is not None and n == 3
        lines.append("space: right-anterior-superior" if n == 3 else f"space dimension: {n}")
        lines.append(f"space directions: {' '.join(_vector(rows.get(a)) for a in names)}")
        lines += [f"space units: {' '.join([_quoted(unit)] * n)}"] if unit else []
        places = [o or 0.0 for o in placement.offset or [0.0] * n]
        alone = dict(zip(spatial, places, strict=True))
        origin = (np.array(vectors).T @ places).tolist() if oriented else [alone[a] for a in sorted(spatial)]
        lines.append(f"space origin: {_vector(origin)}")
    note = noted(token, placement, spatial).removeprefix(f"{KEY} ")
    return ("\n".join([*lines, f"{KEY}:={note}"]) + "\n\n").encode()


def _vectors(spatial: Sequence[str], signs: Sequence[int], orientation: Any) -> list[Sequence[float]]:
    """Return the direction of each axis in space."""
    if orientation is not None and len(spatial) == 3:
        return list(orientation)
    order = sorted(spatial)
    return [[float(sign) * (a == b) for b in order] for a, sign in zip(spatial, signs, strict=True)]


def _vector(values: Sequence[float] | None) -> str:
    return "none" if values is None else f"({','.join(repr(float(v) + 0.0) for v in values)})"


def _quoted(text: str | None) -> str:
    return f'"{text or ""}"'
