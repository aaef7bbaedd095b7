"""Coarser levels of OME-TIFF images and Neuroglancer precomputed volumes."""

from __future__ import annotations

import json
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
from neuromancer.volumes.precomputed import INFO, NOTE, PLACE, info_of, open_scale
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
    """Add coarser scales to a precomputed volume, each from the previous one, block by block."""
    info = info_of(Path(path), path)
    finest = info["scales"][0]
    own = {key: info[key] for key in (NOTE, PLACE) if key in info}
    _rewrite(Path(path), info | {"scales": [finest]})
    array, scale, made = open_scale(path, finest["key"], path, write=False), finest, [finest["key"]]
    while (len(made) <= levels) if levels is not None else max(scale["size"]) > COARSEST:
        factors = factors_of(scale["size"], Placement(tuple(map(float, scale["resolution"]))), range(3))
        if max(factors) == 1:
            break
        scale = {
            **{key: value for key, value in scale.items() if key not in ("key", "chunk_sizes", "sharding")},
            "resolution": [r * f for r, f in zip(scale["resolution"], factors, strict=True)],
            "size": [-(-n // f) for n, f in zip(scale["size"], factors, strict=True)],
            "voxel_offset": [round(o / f) for o, f in zip(scale.get("voxel_offset", [0] * 3), factors, strict=True)],
        }
        array = _scale(path, scale, array, [*factors, 1], method)
        scale["key"] = array.spec().to_json()["scale_metadata"]["key"]
        made.append(scale["key"])
    _rewrite(Path(path), info_of(Path(path), path) | own)
    return made


def _rewrite(folder: Path, info: dict[str, Any]) -> None:
    with naming(folder), replacing(folder / INFO) as new:
        new.write_text(json.dumps(info, indent=1))
        fsync(new)


def _scale(path: str, scale: dict[str, Any], finer: Any, factors: Sequence[int], method: str) -> Any:
    ts = require("tensorstore", "tensorstore", path)
    chunk = [min(c, n) for c, n in zip(write_chunks(finer) or (), scale["size"], strict=False)]
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "scale_metadata": {"encoding": "raw", **scale, "chunk_size": chunk},
    }
    with translating(path, "cannot be written"):
        coarse = ts.open(spec, create=True, open=True, read=True, write=True).result(PATIENCE)
        fine, target = Zeroed(finer), Zeroed(coarse)
        for where in blocks(target.shape, (*chunk, target.shape[3])):
            pairs = zip(where, factors, fine.shape, strict=True)
            values = fine[tuple(slice(s.start * f, min(s.stop * f, n)) for s, f, n in pairs)].read().result()
            target[where].write(np.ascontiguousarray(shrink(np.asarray(values), factors, method))).result()
    return coarse
