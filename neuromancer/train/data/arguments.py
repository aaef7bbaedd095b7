"""Checks of a sampler's arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from neuromancer.nodes.node import Node
from neuromancer.printable import described
from neuromancer.train.checks import known, switch, whole
from neuromancer.train.data.batch_fields import BatchField
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.geometric import Geometric
from neuromancer.train.data.labels import IGNORED, holds
from neuromancer.train.data.placement import Placed
from neuromancer.train.data.volumes import LabelledVolume, Volume
from neuromancer.train.data.warp import Warp
from neuromancer.utils import as_floatX

LABEL = "PatchSampler"
BALANCE_VOXELS = 1 << 26
"""Default maximum number of voxels to search for classes."""
Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def seed_of(seed: Any) -> int:
    """Return a seed; raise ArgumentError if it is not one."""
    return whole(seed, "seed", LABEL)


def batch_size_of(node: Node, batch_size: int | None) -> int:
    """Return the batch size of a node's source, or `batch_size` if the source leaves it open."""
    source = node.input_nodes[0]
    declared = source.shape["b"] if source.shape.hastag("b") else 1
    size = declared if batch_size is None else batch_size
    if size is None:
        raise ArgumentError("the batch size is open", node=source, expected="batch_size=...", nearest="batch_size=1")
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1 or declared not in (None, size):
        raise ShapeError(
            "not the batch size of the network" if declared is not None else "not a batch size",
            node=source,
            got=size,
            expected=declared or "a whole number of at least 1",
        )
    return int(size)


def scale_of(scale: Any) -> Any:
    """Return a scaling of raw data: (middle, width), a function or None; raise ArgumentError for anything else."""
    if scale is None or callable(scale):
        return scale
    if isinstance(scale, (tuple, list)) and len(scale) == 2:
        real = all(isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool) for v in scale)
        if real and np.isfinite(as_floatX(scale)).all() and as_floatX(scale[1]) != 0:
            return float(scale[0]), float(scale[1])
    raise ArgumentError("not a scaling", where=LABEL, got=scale, expected="(middle, width), a function, or None")


def check_options(axes: Any, pad_raw: Any, ignore: Any, balance: Any, balance_voxels: Any, **functions: Any) -> None:
    """Raise ArgumentError or InputTypeError for options that are invalid or have no effect."""
    if axes is not None and not isinstance(axes, str):
        raise InputTypeError("unusable axes", where=LABEL, got=repr(axes)[:100], expected="a string such as 'zyx'")
    switch(pad_raw, "pad_raw", LABEL)
    if ignore is not None:
        whole(ignore, "ignore", LABEL, least=-(1 << 63))
    whole(balance_voxels, "balance_voxels", LABEL, 1)
    if balance is None and balance_voxels != BALANCE_VOXELS:
        raise ArgumentError("balance_voxels has no effect without balance", where=LABEL, got=balance_voxels)
    for name, function in functions.items():
        if function is not None and (not callable(function) or isinstance(function, type)):
            raise InputTypeError(f"{name} is not a function", where=LABEL, got=repr(function)[:100])
        whole(getattr(function, "margin", 0), f"margin of {name}", LABEL)


def require_ignorable(ignore: int | None, volumes: Sequence[Volume]) -> None:
    """Raise ArgumentError for an ignored label that no volume can hold."""
    dtypes = [np.dtype(v.labels.array.dtype) for v in volumes]
    if ignore not in (None, IGNORED) and not any(d.kind == "f" or holds(d, ignore) for d in dtypes):
        raise ArgumentError(
            "ignore has no effect: no labels can have this value", where=LABEL, got=ignore,
            expected=f"a value of {sorted({str(d) for d in dtypes})}",
        )  # fmt: skip


def volumes_of(volumes: Any, axes: str | None) -> list[LabelledVolume]:
    """Return one or several volumes, each a pair or a LabelledVolume, as a list of LabelledVolume."""
    if isinstance(volumes, LabelledVolume) or (isinstance(volumes, tuple) and not _all_pairs(volumes)):
        volumes = [volumes]
    if not isinstance(volumes, (list, tuple)) or not volumes:
        raise InputTypeError(
            "no volumes", where=LABEL, got=described(volumes), expected="a list of (raw, labels) or LabelledVolume"
        )
    result = []
    for number, volume in enumerate(volumes):
        if isinstance(volume, LabelledVolume):
            result.append(volume if volume.axes or not axes else replace(volume, axes=axes))
        elif isinstance(volume, (tuple, list)) and len(volume) == 2:
            result.append(LabelledVolume(volume[0], volume[1], axes=axes))
        else:
            raise InputTypeError(
                "not a pair",
                where=f"volume {number}",
                got=type(volume).__name__,
                expected="(raw, labels) or LabelledVolume",
            )
    return result


def _all_pairs(volumes: tuple[Any, ...]) -> bool:
    return all(isinstance(v, LabelledVolume) or (isinstance(v, tuple) and len(v) == 2) for v in volumes)


def augmentations_of(augment: Any, frame: PatchFrame) -> tuple[list[Geometric], list[Augmentation]]:
    """Return the checked augmentations: geometric ones and functions, each in their order."""
    listed = isinstance(augment, (list, tuple)) and not any(isinstance(a, type) for a in augment)
    if not listed or not all(callable(a) or isinstance(a, Geometric) for a in augment):
        raise InputTypeError(
            "not a list of augmentations",
            where=LABEL,
            got=repr(augment)[:200],
            expected="[Flip(), ...] with Flip, Rotate90, Warp and functions (raw, labels, rng) -> (raw, labels)",
        )
    geometric = [a for a in augment if isinstance(a, Geometric)]
    if sum(isinstance(a, Warp) for a in geometric) > 1:
        raise ArgumentError("more than one Warp", where=LABEL, got=augment, expected="one, with all amounts")
    for change in geometric:
        change.check(frame)
    return geometric, [a for a in augment if not isinstance(a, Geometric)]


def require_room(volume: Volume, found: list[tuple[int, int]], plain: Placed) -> None:
    """Raise ShapeError, which names sufficient sizes, unless a volume has positions for patches."""
    short = [max(0, a - b) for a, b in found]
    if not any(short):
        return
    spans = [b - a + 1 for a, b in plain.labels]
    labelled = [n < s for n, s in zip(volume.label_sizes, spans, strict=True)]
    raise ShapeError(
        "the volume has no position for a patch: "
        + ("too few labels" if any(labelled) else "too little raw data around the labels"),
        where=volume.label,
        got=f"raw {volume.shown(volume.sizes)}, labels {volume.shown(volume.label_sizes)} from raw voxel "
        f"{volume.shown(volume.label_start)}",
        expected=f"labels of at least {volume.shown(spans)}, in raw data of at least "
        f"{volume.shown(volume.frame.sizes)} that begins {volume.shown([a for a, _ in plain.labels])} before them",
        nearest=None
        if any(labelled)
        else "pad_raw=True, which mirrors raw data, or "
        f"{volume.shown([n + s for n, s in zip(volume.sizes, short, strict=True)])} raw voxels",
    )


def require_read(volume: Volume, fields: Sequence[BatchField]) -> None:
    """Raise UnknownNameError for an extra array that the loss does not read."""
    known(
        volume.extras, [s.name for s in fields if s.role == "extra"], "the loss reads no such extra array", volume.label
    )


def require_provided(volume: Volume, fields: Sequence[BatchField]) -> None:
    """Raise GraphError or ShapeError unless a volume provides a fitting array for every source of the loss."""
    lacking = [s.name for s in fields if s.role == "extra" and s.name not in volume.extras]
    if lacking:
        raise GraphError(
            "the loss reads more than raw data and labels",
            where=volume.label,
            got=f"nothing for {lacking}",
            expected=f"LabelledVolume(..., extras={{{lacking[0]!r}: array}}), or targets=function",
        )
    channels = volume.labels.channels
    for field in fields:
        if field.role == "target" and field.features not in (None, channels):
            raise ShapeError(
                f"the labels do not fit the target {field.name!r}",
                where=volume.label,
                got=f"{channels} channels, shape {tuple(volume.labels.array.shape)}",
                expected=f"{field.features} channels",
            )
