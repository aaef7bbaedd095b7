"""WebKnossos volumes in wkw cubes: the folder of one magnification of a layer; read only."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.volumes.blocks import whole_index
from neuromancer.volumes.chunk_files import require_absent, require_no_pipe
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.placement import StatedPlacement
from neuromancer.volumes.stored import member, require

HEADER, PROPERTIES = "header.wkw", "datasource-properties.json"
HEAD = 16
"""Bytes before the voxels of a cube, or before the ends of its compressed blocks."""
MAG = re.compile(r"(\d+)(?:-(\d+)-(\d+))?")
CUBE = re.compile(r"z(\d+)/y(\d+)/x(\d+)\.wkw")


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a magnification; ``dataset`` names layer and magnification within the folder, such as color/1."""
    wkw = require("wkw", "wkw", label)
    folder = Path(path) / dataset
    if not (folder / HEADER).exists():
        names = sorted(p.parent.relative_to(path).as_posix() for p in Path(path).rglob(HEADER))
        folder = Path(path) / member(names, dataset, label)
    require_no_pipe(folder / HEADER, label)
    volume = wkw.Dataset.open(str(folder))
    header = volume.header
    mag = MAG.fullmatch(folder.name)
    factors = [1, 1, 1] if mag is None else [int(m or mag[1]) for m in mag.groups()]
    side = header.block_len * header.file_len
    properties = _properties(folder)
    first, size = _box(folder, properties, factors, side, label)
    return Opened(
        Cubes(volume, folder, first, (header.num_channels, *size)),
        "fxyz",
        _placement(properties, factors, first),
        (1, *[min(header.block_len, n) for n in size]),
        close=volume.close,
        identity=f"{(folder / HEADER).stat().st_mtime_ns} {first} {size}",
        lock=True,
        blank=not any(folder.rglob("x*.wkw")),
    )


class Cubes:
    """A box of a wkw dataset as an array (c, x, y, z).

    Cubes that were never written are 0. Damaged ones are an error; wkw itself would read some of them as 0.

    Parameters
    ----------
    hidden : wkw.Dataset
    folder : Path
    first : sequence of int
        First voxel (x, y, z).
    shape : tuple of int
        (c, x, y, z).
    """

    def __init__(self, hidden: Any, folder: Path, first: Sequence[int], shape: tuple[int, ...]) -> None:
        self.hidden, self.folder, self.first, self.shape = hidden, folder, tuple(first), shape
        self.dtype, self.ndim = np.dtype(hidden.header.voxel_type), len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        where = whole_index(key, self.shape)
        if where is None:
            raise TypeError("only slices can be read")
        begin = [f + s.start for f, s in zip(self.first, where[1:], strict=True)]
        sizes = [s.stop - s.start for s in where[1:]]
        self._require_cubes(begin, sizes)
        block = self.hidden.read(begin, sizes)[where[0]]
        self._require_cubes(begin, sizes)
        return np.asarray(block)

    def _require_cubes(self, begin: Sequence[int], sizes: Sequence[int]) -> None:
        """Raise OSError if a cube of a box is cut off, or something else is in its place."""
        header = self.hidden.header
        side, n = header.block_len * header.file_len, header.file_len**3
        for x, y, z in product(*(range(b // side, -(-(b + s) // side)) for b, s in zip(begin, sizes, strict=True))):
            key = f"z{z}/y{y}/x{x}.wkw"
            file = self.folder / key
            if not file.is_file():
                require_absent(self.folder, key)
                continue
            size, needed = file.stat().st_size, HEAD + side**3 * header.num_channels * self.dtype.itemsize
            if header.block_type != header.BLOCK_TYPE_RAW:
                with file.open("rb") as opened:
                    ends = opened.read(HEAD + 8 * n)[HEAD:]
                needed = int.from_bytes(ends[-8:], "little") if len(ends) == 8 * n else HEAD + 8 * n
            if size < needed:
                raise OSError(f"{key} ends after {size} of {needed} bytes")


def _properties(folder: Path) -> dict[str, Any]:
    """Return the description of a layer and of its data set; empty if there is none."""
    file = folder.parent.parent / PROPERTIES
    require_no_pipe(file)
    try:
        found = json.loads(file.read_text()) if file.is_file() else {}
    except ValueError as error:
        raise FileError("the file cannot be read", where=str(file), got=str(error)) from error
    layers = found.get("dataLayers") if isinstance(found, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict) and layer.get("name") == folder.parent.name:
            return {"layer": layer, "scale": found.get("scale")}
    return {}


def _box(
    folder: Path, properties: dict[str, Any], factors: list[int], side: int, label: str
) -> tuple[list[int], list[int]]:
    """Return first voxel and size (x, y, z): the layer's bounding box, or else that of the cubes."""
    box = properties.get("layer", {}).get("boundingBox")
    if box is None:
        cubes = [CUBE.fullmatch(p.relative_to(folder).as_posix()) for p in folder.rglob("x*.wkw")]
        numbers = np.array([[int(n) for n in c.groups()[::-1]] for c in cubes if c is not None] or [[0, 0, 0]])
        first = (numbers.min(0) * side).tolist()
        return first, ((numbers.max(0) + 1) * side - first).tolist()
    try:
        corner = [int(n) for n in box["topLeft"]]
        sizes = [int(box[name]) for name in ("width", "height", "depth")]
        first = [c // f for c, f in zip(corner, factors, strict=True)]
        ends = [-(-(c + n) // f) for c, n, f in zip(corner, sizes, factors, strict=True)]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise FileError("its bounding box cannot be understood", where=label, got=f"{box}"[:100]) from error
    return first, [end - begin for begin, end in zip(first, ends, strict=True)]


def _placement(properties: dict[str, Any], factors: list[int], first: list[int]) -> StatedPlacement:
    """Return the placement per spatial axis; the scale of old versions is a list, in nanometres."""
    scale = properties.get("scale")
    unit = scale.get("unit") if isinstance(scale, dict) else "nanometer"
    sizes = scale.get("factor") if isinstance(scale, dict) else scale
    if isinstance(sizes, list) and len(sizes) == 3 and all(isinstance(s, (int, float)) for s in sizes):
        sizes = [s * f for s, f in zip(sizes, factors, strict=True)]
    return StatedPlacement(sizes, unit=None if sizes is None else unit, first_voxel=first)
