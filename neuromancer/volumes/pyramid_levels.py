"""Coarser levels of OME-TIFF images and Neuroglancer precomputed volumes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError, naming, translating
from neuromancer.files import fsync, replacing
from neuromancer.volumes.chunks import blocks
from neuromancer.volumes.downsample import COARSEST, factors_of, shrink
from neuromancer.volumes.placement import Placement
from neuromancer.volumes.precomputed import INFO, info_of, open_scale
from neuromancer.volumes.stored import require
from neuromancer.volumes.tensorstores import PATIENCE, Zeroed, write_chunks
from neuromancer.volumes.tiff import SOFTWARE, open_stored


def tiff_pyramid(path: str, method: str, levels: int | None) -> list[str]:
    """Rewrite an OME-TIFF image of this package with coarser levels as SubIFDs; y and x are halved.

    The file is replaced once the new one is complete.
    """
    tifffile = require("tifffile", "tifffile", path)
    with translating(path, "cannot be opened"), tifffile.TiffFile(path) as file:
        software, xml = str(file.pages.first.software), file.ome_metadata
        if not software.startswith(SOFTWARE) or xml is None:
            raise FileError("is no image of this package", node=path, expected="an output of create_sink")
        opened = open_stored(path, "", path)
        array, axes = opened.array, software.removeprefix(SOFTWARE)
    if not isinstance(array, np.memmap) or opened.missing:
        raise FileError("is not complete", node=path, expected="an output of create_sink, completely written")
    *lead, height, width = array.shape
    most = ceil(np.log2(max(height, width)))
    wanted = max(0, ceil(np.log2(max(height, width) / COARSEST))) if levels is None else min(levels, most)
    shapes = [(*lead, -(-height // 2**k), -(-width // 2**k)) for k in range(wanted + 1)]
    with naming(path), replacing(path) as new, translating(path, "cannot be written"):
        with tifffile.TiffWriter(new, bigtiff=True, ome=False) as file:
            for k, shape in enumerate(shapes):
                more = {"subfiletype": 1} if k else {"subifds": wanted, "description": xml.encode()}
                file.write(
                    _planes(array, k, method),
                    shape=shape,
                    dtype=array.dtype,
                    photometric="minisblack",
                    metadata=None,
                    software=SOFTWARE + axes,
                    contiguous=False,
                    **more,
                )
    return [str(k) for k in range(len(shapes))]


def _planes(array: Any, level: int, method: str) -> Iterator[np.ndarray]:
    """Iterate over the planes of a level, from those of the finest."""
    for index in np.ndindex(*array.shape[:-2]):
        plane = np.asarray(array[index])
        for _ in range(level):
            plane = shrink(plane, (2, 2), method)
        yield np.ascontiguousarray(plane)


def precomputed_pyramid(path: str, method: str, levels: int | None) -> list[str]:
    """Compute coarser scales of a precomputed volume, each from the previous one, block by block.

    They are listed in `info` once all of them are complete.
    """
    info = info_of(Path(path), path)
    finest = info["scales"][0]
    _rewrite(Path(path), info | {"scales": [finest]})
    with naming(path), tempfile.TemporaryDirectory(dir=path, prefix=".neuromancer-") as folder:
        array, scale, made = open_scale(path, finest["key"], path, write=False), finest, list[dict[str, Any]]()
        while (len(made) < levels) if levels is not None else max(scale["size"]) > COARSEST:
            factors = factors_of(scale["size"], Placement(tuple(map(float, scale["resolution"]))), range(3))
            if max(factors) == 1:
                break
            scale, lead = _coarser(scale, factors)
            array = _scale(folder, path, info, scale, array, [*factors, 1], [*lead, 0], method)
            made = info_of(Path(folder), path)["scales"]
        _require_apart(path, finest["key"], [scale["key"] for scale in made])
        for scale in made:
            shutil.rmtree(Path(path, scale["key"]), ignore_errors=True)
            Path(folder, scale["key"]).replace(Path(path, scale["key"]))
    _rewrite(Path(path), info | {"scales": [finest, *made]})
    return [scale["key"] for scale in (finest, *made)]


def _require_apart(path: str, finest: str, keys: Sequence[str]) -> None:
    """Raise FileError if a new scale would replace the finest one, whose key may be any."""
    voxels = Path(path, finest).resolve()
    for key in keys:
        if voxels.is_relative_to(Path(path, key).resolve()):
            raise FileError(
                "its finest scale has the key of a coarser one", where=path, got=finest, expected="another key"
            )


def _rewrite(folder: Path, info: dict[str, Any]) -> None:
    with naming(folder), replacing(folder / INFO) as new:
        new.write_text(json.dumps(info, indent=1))
        fsync(new)


def _coarser(scale: dict[str, Any], factors: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
    """Return the metadata of the next scale, and how many voxels its first one starts before those of this scale.

    Voxels of all scales start at multiples of their size, as Neuroglancer draws them.
    """
    first = scale.get("voxel_offset", [0] * 3)
    lead = [o % f for o, f in zip(first, factors, strict=True)]
    return {
        **{key: value for key, value in scale.items() if key not in ("key", "chunk_sizes", "sharding")},
        "resolution": [r * f for r, f in zip(scale["resolution"], factors, strict=True)],
        "size": [-(-(n + k) // f) for n, k, f in zip(scale["size"], lead, factors, strict=True)],
        "voxel_offset": [o // f for o, f in zip(first, factors, strict=True)],
    }, lead


def _scale(
    folder: str,
    path: str,
    info: dict[str, Any],
    scale: dict[str, Any],
    finer: Any,
    factors: Sequence[int],
    lead: Sequence[int],
    method: str,
) -> Any:
    """Compute a scale in a folder of its own, and return it."""
    ts = require("tensorstore", "tensorstore", path)
    chunk = [min(c, n) for c, n in zip(write_chunks(finer) or (), scale["size"], strict=False)]
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {key: info[key] for key in ("type", "data_type", "num_channels")},
        "scale_metadata": {"encoding": "raw", **scale, "chunk_size": chunk},
    }
    with translating(path, "cannot be written"):
        coarse = ts.open(spec, create=True, open=True, read=True, write=True).result(PATIENCE)
        fine, target = Zeroed(finer), Zeroed(coarse)
        for where in blocks(target.shape, (*chunk, target.shape[3])):
            starts = [s.start * f - k for s, f, k in zip(where, factors, lead, strict=True)]
            stops = [min(s.stop * f - k, n) for s, f, k, n in zip(where, factors, lead, fine.shape, strict=True)]
            values = fine[tuple(slice(max(a, 0), b) for a, b in zip(starts, stops, strict=True))].read().result()
            values = np.pad(np.asarray(values), [(max(-a, 0), 0) for a in starts], mode="edge")
            target[where].write(np.ascontiguousarray(shrink(values, factors, method))).result()
    return coarse
