"""Chunk and shard shapes of stored volumes, and blocks aligned to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil

import numpy as np

CHUNK_BYTES = 4 << 20
SHARD_CHUNKS = 4
STEP = 16


def chunks_for(shape: Sequence[int], dtype: np.dtype | str, n_bytes: int = CHUNK_BYTES) -> tuple[int, ...]:
    """Return a chunk shape for a volume (f, *spatial): one channel, nearly cubic, at most `n_bytes`.

    Axes shorter than the side of the cube are not divided, which leaves more room for the others. Those are divided
    into nearly equal multiples of 16.

    Parameters
    ----------
    shape : sequence of int
        (f, *spatial).
    dtype : numpy.dtype
    n_bytes : int
        Maximum size of a chunk before compression.

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> chunks_for((2, 1000, 1000, 1000), "float32")
    (1, 96, 96, 96)
    >>> chunks_for((3, 10, 5000, 5000), "uint8")
    (1, 10, 640, 640)
    """
    spatial = [int(n) for n in shape[1:]]
    room = max(1, n_bytes // np.dtype(dtype).itemsize)
    chunks = [1] * len(spatial)
    long = sorted(range(len(spatial)), key=lambda k: spatial[k])
    while long and spatial[long[0]] ** len(long) <= room:
        axis = long.pop(0)
        chunks[axis] = max(1, spatial[axis])
        room //= chunks[axis]
    if long:
        side = int(room ** (1 / len(long)))
        side = max(1, side // STEP * STEP or side)
        for axis in long:
            part = ceil(spatial[axis] / ceil(spatial[axis] / side))
            chunks[axis] = min(side, ceil(part / STEP) * STEP)
    return (1, *chunks)


def shards_for(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """Return a shard shape of up to four chunks along every spatial axis, no larger than the volume needs.

    Examples
    --------
    >>> shards_for((2, 1000, 100, 1000), (1, 96, 96, 96))
    (1, 384, 192, 384)
    """
    counts = [min(SHARD_CHUNKS, ceil(n / c)) for n, c in zip(shape[1:], chunks[1:], strict=True)]
    return (chunks[0], *(c * k for c, k in zip(chunks[1:], counts, strict=True)))


def aligned(tile: Sequence[int], unit: Sequence[int] | None, shape: Sequence[int]) -> tuple[int, ...]:
    """Round a tile down to whole write units; at least one unit, and no larger than the volume.

    Parameters
    ----------
    tile : sequence of int
        Desired tile shape, (f, *spatial).
    unit : sequence of int, optional
        ``unit_of_write`` of a sink.
    shape : sequence of int
        Of the volume.

    Examples
    --------
    >>> aligned((2, 100, 20, 300), (1, 32, 32, 32), (2, 500, 500, 250))
    (2, 96, 32, 250)
    """
    unit = [1] * len(shape) if unit is None else unit
    return tuple(n if t >= n else min(n, max(u, t // u * u)) for t, u, n in zip(tile, unit, shape, strict=True))


def blocks(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Iterate over all blocks of a volume in C order; those at the upper ends may be smaller.

    Examples
    --------
    >>> list(blocks((1, 5), (1, 3)))
    [(slice(0, 1, None), slice(0, 3, None)), (slice(0, 1, None), slice(3, 5, None))]
    """
    axes = [[slice(i, min(i + b, n)) for i in range(0, n, b)] for b, n in zip(block, shape, strict=True)]
    return product(*axes)
