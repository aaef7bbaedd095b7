"""Checks of what a labelling is given: its arguments, and the labels of each block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from neuromancer.casts import is_number, is_whole
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, short
from neuromancer.instances.grid import BlockGrid
from neuromancer.utils import as_array
from neuromancer.volumes.missing import shown
from neuromancer.volumes.protocol import Where

MOST_VOXELS = 1 << 31
"""Maximum number of voxels of a block with its halo; labels of blocks are stored in 32 bits."""


def grid_of(shape: Sequence[int], block_shape: Any, halo: Any) -> BlockGrid:
    """Return the blocks of a volume (*spatial).

    Raises
    ------
    ArgumentError
        If block shape or halo are not whole numbers per axis, or the halo is 0 between blocks.
    """
    for name, value, least in (("block_shape", block_shape, 1), ("halo", halo, 0)):
        is_list = isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim == 1)
        if not is_list or len(value) != len(shape) or not all(is_whole(n) and n >= least for n in value):
            raise ArgumentError(
                "not a number of voxels per spatial axis",
                where=name,
                got=value,
                expected=f"{len(shape)} integers of at least {least}",
            )
    block = tuple(min(int(b), int(n)) for b, n in zip(block_shape, shape, strict=True))
    grid = BlockGrid(tuple(int(n) for n in shape), block, tuple(int(h) for h in halo))
    if any(h < 1 < count for h, count in zip(grid.halo, grid.counts, strict=True)):
        raise ArgumentError(
            "neighbouring blocks would share no voxels",
            where="halo",
            got=grid.halo,
            expected="at least 1 along axes with several blocks",
            nearest=tuple(max(h, int(count > 1)) for h, count in zip(grid.halo, grid.counts, strict=True)),
        )
    if grid.most_voxels >= MOST_VOXELS:
        raise ArgumentError("too large", where="block_shape", got=block, expected=f"under {MOST_VOXELS} voxels")
    return grid


def check_limits(min_iou: Any, min_size: Any) -> None:
    """Raise ArgumentError unless the limits for overlaps and objects are valid."""
    if not is_number(min_iou) or not 0 <= min_iou < 1:
        raise ArgumentError("not an overlap", where="min_iou", got=min_iou, expected="0 <= min_iou < 1")
    if not is_whole(min_size) or min_size < 1:
        raise ArgumentError("not a number of voxels", where="min_size", got=min_size, expected="an integer, 1 or more")


def described(segment: Callable[..., Any]) -> str:
    """Describe a function and the arguments that are bound to it, the same in every process.

    Raises
    ------
    InputTypeError
        If it is not callable.

    Examples
    --------
    >>> described(partial(np.clip, a_min=0))
    'numpy.clip(a_min=0)'
    """
    if not callable(segment):
        raise InputTypeError("not a function", where="segment", got=type(segment).__name__, expected="a callable")
    if isinstance(segment, partial):
        bound = [short(a) for a in segment.args] + [f"{k}={short(v)}" for k, v in sorted(segment.keywords.items())]
        return f"{described(segment.func)}({', '.join(bound)})"
    named = segment if hasattr(segment, "__qualname__") else type(segment)
    return f"{named.__module__}.{named.__qualname__}"


def checked_labels(labels: Any, outer: Where) -> np.ndarray:
    """Return the labels of a block as uint32, numbered up to the number of its voxels at most.

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        If they are not integers of at least 0 in the shape of the block.
    """
    size, label = tuple(s.stop - s.start for s in outer), f"the labels of block {shown(outer)}"
    try:
        labels = as_array(labels)
    except ValueError as error:
        several = isinstance(labels, (tuple, list))
        raise InputTypeError(
            "not an array",
            where=label,
            got=f"{len(labels)} items" if several else str(error),
            expected="integers",
            nearest="its first item" if several else None,
        ) from None
    if labels.shape != size:
        raise ShapeError("of the wrong shape", where=label, got=labels.shape, expected=f"{size}, without channels")
    if labels.dtype.kind not in "iu":
        nearest = "scipy.ndimage.label(mask)[0]" if labels.dtype.kind == "b" else None
        raise InputTypeError("not integers", where=label, got=labels.dtype, expected="e.g. int32", nearest=nearest)
    if labels.min() < 0:
        raise ArgumentError("are negative", where=label, got=labels.min(), expected="0 for background, else 1 or more")
    if labels.max() > labels.size:
        values, labels = np.unique(labels, return_inverse=True)
        labels = labels.reshape(size) + int(values[0] != 0)
    return labels.astype(np.uint32)
