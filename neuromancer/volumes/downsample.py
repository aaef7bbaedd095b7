"""Downsampling by integer factors, for resolution pyramids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuromancer.volumes.placement import Placement

COARSEST = 256
"""Maximum size of an axis of the coarsest level."""


def factors_of(shape: Sequence[int], placement: Placement, spatial: Sequence[int]) -> list[int]:
    """Return the downsampling factor of each stored axis.

    An axis is halved while its voxels are less than twice as long as those of the shortest axis.

    Parameters
    ----------
    shape : sequence of int
    placement : Placement
        Per stored spatial axis.
    spatial : sequence of int
        Which of the stored axes are spatial.
    """
    known = placement.voxel_size or (None,) * len(spatial)
    # An axis of unknown voxel size is treated like the finest one.
    shortest = min([s for s, k in zip(known, spatial, strict=True) if shape[k] > 1 and s is not None], default=1.0)
    sizes = [shortest if s is None else s for s in known]
    factors = [1] * len(shape)
    for size, k in zip(sizes, spatial, strict=True):
        factors[k] = 2 if shape[k] > 1 and size < 2 * shortest else 1
    return factors


def shrink(block: np.ndarray, factors: Sequence[int], method: str) -> np.ndarray:
    """Downsample a block by integer factors; the last voxel along an axis may cover fewer.

    Examples
    --------
    >>> shrink(np.array([[1, 3, 8]], "uint8"), (1, 2), "mean"), shrink(np.array([1, 3, 8]), (2,), "nearest")
    (array([[2, 8]], dtype=uint8), array([1, 8]))
    """
    if method == "nearest":
        return block[tuple(slice(None, None, f) for f in factors)]
    dtype = block.dtype
    values = block if dtype.kind == "f" and dtype.itemsize > 2 else block.astype("float64")
    for axis, f in enumerate(factors):
        if f > 1:
            # Repeat the last voxel: for factor 2 at most one is missing, so this is the mean of the existing ones.
            pad = [(0, 0)] * values.ndim
            pad[axis] = (0, -values.shape[axis] % f)
            values = np.pad(values, pad, mode="edge")
            parts = [np.take(values, range(k, values.shape[axis], f), axis) for k in range(f)]
            values = sum(parts[1:], parts[0]) / np.asarray(f, values.dtype)
    return (np.rint(values) if dtype.kind in "iub" else values).astype(dtype)
