"""Checks of a sampler's arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.graph.node import Node
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.geometric import Geometric
from neuromancer.train.data.volumes import LabelledVolume
from neuromancer.train.data.warp import Warp

LABEL = "PatchSampler"
Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def seed_of(seed: Any) -> int:
    """A seed, or ArgumentError."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ArgumentError("not a seed", node=LABEL, got=seed, expected="a whole number of at least 0")
    return int(seed)


def batch_size_of(node: Node, wanted: int | None) -> int:
    """Batch size of a node's source, or the one wanted where that is open."""
    source = node.input_nodes[0]
    declared = source.shape["b"] if source.shape.hastag("b") else 1
    size = declared if wanted is None else wanted
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
    """Scaling of raw data: (middle, width), a function or None."""
    if scale is None or callable(scale):
        return scale
    if isinstance(scale, (tuple, list)) and len(scale) == 2:
        middle, width = (float(v) for v in scale)
        if np.isfinite(middle) and np.isfinite(width) and width != 0:
            return middle, width
    raise ArgumentError("not a scaling", node=LABEL, got=scale, expected="(middle, width), a function, or None")


def volumes_of(volumes: Any, axes: str | None) -> list[LabelledVolume]:
    """Volumes as LabelledVolume, from one or several, as pairs or not."""
    if isinstance(volumes, LabelledVolume) or (isinstance(volumes, tuple) and not _all_pairs(volumes)):
        volumes = [volumes]
    if not isinstance(volumes, (list, tuple)) or not volumes:
        raise InputTypeError(
            "no volumes", node=LABEL, got=repr(volumes)[:100], expected="a list of (raw, labels) or LabelledVolume"
        )
    result = []
    for number, volume in enumerate(volumes):
        if isinstance(volume, LabelledVolume):
            result.append(volume if volume.axes or not axes else replace(volume, axes=axes))
        elif isinstance(volume, (tuple, list)) and len(volume) == 2:
            result.append(LabelledVolume(volume[0], volume[1], axes=axes))
        else:
            raise InputTypeError(
                "is no pair",
                node=f"volume {number}",
                got=type(volume).__name__,
                expected="(raw, labels) or LabelledVolume",
            )
    return result


def _all_pairs(volumes: tuple[Any, ...]) -> bool:
    return all(isinstance(v, LabelledVolume) or (isinstance(v, tuple) and len(v) == 2) for v in volumes)


def augmentations_of(augment: Any, frame: PatchFrame) -> tuple[list[Geometric], list[Augmentation]]:
    """Augmentations that move voxels, checked, and functions, each in their order."""
    if not isinstance(augment, (list, tuple)) or not all(callable(a) or isinstance(a, Geometric) for a in augment):
        raise InputTypeError(
            "not a list of augmentations",
            node=LABEL,
            got=repr(augment)[:200],
            expected="[Flip(), ...] with Flip, Rotate90, Warp and functions (raw, labels, rng) -> (raw, labels)",
        )
    geometric = [a for a in augment if isinstance(a, Geometric)]
    if sum(isinstance(a, Warp) for a in geometric) > 1:
        raise ArgumentError("more than one Warp", node=LABEL, got=augment, expected="one, with all amounts")
    for change in geometric:
        change.check(frame)
    return geometric, [a for a in augment if not isinstance(a, Geometric)]
