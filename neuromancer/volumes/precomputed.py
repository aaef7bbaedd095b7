"""Neuroglancer precomputed volumes in local folders: axes x, y, z and channels, resolutions in nanometres."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError, naming, translating
from neuromancer.files import followed, fsync
from neuromancer.volumes.axes import Layout
from neuromancer.volumes.chunk_files import require_no_pipe
from neuromancer.volumes.fresh import Note, discard_fresh, fresh, new_token, tokens
from neuromancer.volumes.notes import note_in, noted
from neuromancer.volumes.opened import Opened
from neuromancer.volumes.placement import Placement, StatedPlacement
from neuromancer.volumes.protocol import Locator
from neuromancer.volumes.store_spec import StoreSpec
from neuromancer.volumes.stored import member, require
from neuromancer.volumes.tensorstores import PATIENCE, TensorStoreSink, Zeroed, inspect_tensorstore, write_chunks
from neuromancer.volumes.units import ratio

EXTRA = "tensorstore"
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
INFO = "info"
NOTE, PLACE = "neuromancer", "neuromancer_offset"
"""Members of `info` that this package adds: a note on axes, and the position of the centre of voxel 0 in nanometres."""
UNIT = "nanometer"


def open_stored(path: str, dataset: str, label: str) -> Opened:
    """Open a scale for reading; the finest if none is named."""
    info = info_of(Path(path), label)
    keys = [scale["key"] for scale in info["scales"]]
    finest = min(info["scales"], key=lambda scale: prod(scale["resolution"]))["key"]
    key = member(keys, dataset, label) if dataset else finest
    opened = inspect_tensorstore(open_scale(path, key, label, write=False))
    scale = next(s for s in info["scales"] if s["key"] == key)
    place = Path(path) / key
    return replace(
        opened,
        placement=_placement(opened.placement, info, scale, key == finest),
        identity=json.dumps(info, sort_keys=True),
        blank=not place.is_dir() or not any(place.iterdir()),
    )


def info_of(folder: Path, label: str) -> dict[str, Any]:
    """Return the metadata of a volume.

    Raises
    ------
    FileError
        If there is none, or it does not describe a volume.
    """
    file = folder / INFO
    require_no_pipe(file, label)
    if not file.is_file():
        raise FileError("holds no precomputed volume", where=label, expected="a file 'info' in it")
    with translating(label, "the file info cannot be read"):
        found = json.loads(file.read_text())
    scales = found.get("scales") if isinstance(found, dict) else None
    needed = {"key", "resolution", "size"}
    if not isinstance(scales, list) or not scales or not all(isinstance(s, dict) and needed <= set(s) for s in scales):
        raise FileError("is no precomputed volume", where=label, got=f"info: {found}"[:100], expected="scales in info")
    return found


def open_scale(path: str | Path, key: str, label: str, write: bool) -> Any:
    """Open a scale as a tensorstore."""
    ts = require("tensorstore", EXTRA, label)
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{path}/"}}
    with translating(label, "cannot be opened for writing" if write else "the file cannot be read"):
        return ts.open(spec | {"scale_metadata": {"key": key}}, read=True, write=write).result(PATIENCE)


def _placement(
    found: StatedPlacement, info: Mapping[str, Any], scale: Mapping[str, Any], finest: bool
) -> StatedPlacement:
    """Return the placement of a scale, with what the format itself cannot say."""
    _, unknown, turned = note_in(f"neuromancer {info.get(NOTE, '')}")
    sizes = [None if a in unknown else s for a, s in zip("xyz", scale["resolution"], strict=True)]
    place = info.get(PLACE) if finest else None
    signs = [-1 if a in turned else 1 for a in "xyz"]
    return StatedPlacement(sizes, place, UNIT, signs, None if place else found.first_voxel)


class PrecomputedSink(TensorStoreSink):
    """Sink that writes into the finest scale; several processes may write at once if none shares a chunk."""


def open_for_writing(locator: Locator) -> Zeroed:
    """Open the finest scale for writing."""
    label = str(locator)
    scales = info_of(followed(locator.path), label)["scales"]
    return Zeroed(open_scale(followed(locator.path), scales[0]["key"], label, write=True))


def make_sink(array: Zeroed, layout: Layout, label: str, locator: Locator) -> PrecomputedSink:
    """Return a sink for a volume that was opened by :func:`open_for_writing`."""
    identity = _token(followed(locator.path), label)
    return PrecomputedSink(array, layout, label, write_chunks(array.array), locator, identity)


def _token(folder: Path, label: str) -> str:
    return note_in(f"neuromancer {info_of(folder, label).get(NOTE, '')}")[0]


def create(locator: Locator, spec: StoreSpec, note: Note) -> None:
    """Create a folder with metadata and no chunks, atomically."""
    label, token = str(locator), new_token(note)
    ts = require("tensorstore", EXTRA, label)
    with naming(label), fresh(followed(locator.path), note) as new:
        with translating(label, "cannot be created"):
            ts.open(_metadata(spec) | {"kvstore": {"driver": "file", "path": f"{new}/"}}, create=True).result(PATIENCE)
        file, placement = new / INFO, spec.stored_placement
        spatial = [a for a in spec.layout.stored if a in "xyz"]
        sizes = dict(zip(spatial, placement.voxel_size or (), strict=False))
        signs = dict(zip(spatial, placement.direction or (), strict=False))
        whole = Placement(tuple(map(sizes.get, "xyz")), direction=tuple(signs.get(a, 1) for a in "xyz"))
        more: dict[str, Any] = {NOTE: noted(token, whole, "xyz").removeprefix("neuromancer ")}
        if placement.offset is not None and placement.unit is not None:
            places = dict(zip(spatial, placement.offset, strict=True))
            factor = ratio(placement.unit, UNIT)
            more[PLACE] = [(places.get(a) or 0.0) * factor for a in "xyz"]
        file.write_text(json.dumps(json.loads(file.read_text()) | more, indent=1))
        fsync(file)


def _metadata(spec: StoreSpec) -> dict[str, Any]:
    """Return the specification of a new volume."""
    placement, stored = spec.stored_placement, spec.layout.stored
    spatial = [a for a in stored if a in "xyz"]
    factor = ratio(placement.unit, UNIT) if placement.unit is not None else 1.0
    given = dict(zip(spatial, placement.voxel_size or [None] * len(spatial), strict=True))
    sizes = [float((given.get(a) or 1.0 / factor) * factor) for a in "xyz"]
    places = dict(zip(spatial, placement.offset or [None] * len(spatial), strict=True))
    first = [round((places.get(a) or 0.0) * factor / s) for a, s in zip("xyz", sizes, strict=True)]
    shape = dict(zip(stored, spec.stored_shape, strict=True))
    chunks = dict(zip(stored, spec.stored_chunks, strict=True))
    return {
        "driver": "neuroglancer_precomputed",
        "multiscale_metadata": {
            "type": "image",
            "data_type": np.dtype(spec.dtype).name,
            "num_channels": shape.get("f", 1),
        },
        "scale_metadata": {
            "resolution": sizes,
            "size": [shape.get(a, 1) for a in "xyz"],
            "voxel_offset": first,
            "chunk_size": [chunks.get(a, 1) for a in "xyz"],
            "encoding": "raw",
        },
    }


def discard(locator: Locator, spec: StoreSpec, traces: Collection[str]) -> None:
    """Remove the folder if its creation was interrupted, as far as the recorded traces prove that."""
    target = followed(locator.path)

    def is_new() -> bool:
        alone = [path for path in target.rglob("*") if not path.is_dir()] == [target / INFO]
        return alone and _token(target, str(locator)) in tokens(traces) and spec.describes(open_for_writing(locator))

    discard_fresh(target, traces, is_new)
