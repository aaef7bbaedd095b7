"""Exact statistics of a whole volume, read block by block: mean, standard deviation and percentiles.

They do not depend on tiles, threads or the memory that is free: blocks are read in one fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import ceil, floor, prod
from typing import Any, Protocol

import numpy as np

from neuromancer.errors import ArgumentError, PredictionError
from neuromancer.masked import unmasked

BLOCK = 1 << 20
"""Number of values read at once, or one chunk of the store if that is more."""
DIGIT = 16
"""Bits of the values that one pass of the percentiles counts."""
GROUPS = 16
"""Number of groups, such as the images of a stack, whose percentiles are counted in the same passes."""
MOST_GROUPS = 1 << 16


class Volume(Protocol):
    """What statistics are taken of."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        """Read a block by step-1 slices."""


Region = tuple[slice, ...]


def moments(volume: Volume, reduced: Sequence[int], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and population standard deviation over some axes, in float64.

    Blocks are combined by the pairwise formula of T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances" (1979), which does not suffer from large means.

    Parameters
    ----------
    volume : Volume
    reduced : sequence of int
        Axes over which the statistics are taken jointly.
    where : str
        For errors.

    Returns
    -------
    mean, std : numpy.ndarray
        With as many axes as the volume, of size 1 along `reduced`.

    Raises
    ------
    PredictionError
        If a value is not finite.
    ArgumentError
        If there would be more than 65536 means.

    Examples
    --------
    >>> mean, std = moments(np.arange(12.0).reshape(2, 2, 3), (1, 2), "example")
    >>> mean.ravel().tolist(), std.ravel().round(3).tolist()
    ([2.5, 8.5], [1.708, 1.708])
    """
    shape = _kept(volume, reduced, where)
    count, mean, square = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for region in _blocks(volume, tuple(slice(0, n) for n in volume.shape)):
        block = _read(volume, region, where).astype("float64", copy=False)
        place = tuple(slice(0, 1) if k in reduced else part for k, part in enumerate(region))
        n = prod(block.shape[k] for k in reduced)
        own = block.mean(axis=tuple(reduced), keepdims=True)
        with np.errstate(invalid="ignore"):  # infinite values are found at the end
            spread = np.square(block - own).sum(axis=tuple(reduced), keepdims=True)
        before = count[place]
        total = before + n
        with np.errstate(invalid="ignore"):
            distance = own - mean[place]
            mean[place] += distance * n / total
            square[place] += spread + distance**2 * before * n / total
        count[place] = total
    with np.errstate(invalid="ignore"):
        std = np.sqrt(square / count)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise _not_finite(where)
    return mean, std


def quantiles(
    volume: Volume, reduced: Sequence[int], fractions: Sequence[float], where: str, method: str = "linear"
) -> list[np.ndarray]:
    """Return exact quantiles over some axes, by counting: as ``numpy.quantile`` of the whole volume in float64.

    Values are read as integers that sort in the same way, 16 bits per pass from the top: one pass for 8- and 16-bit
    integers, two for float32, four for 64-bit types.

    Parameters
    ----------
    volume : Volume
    reduced : sequence of int
        Axes over which the quantiles are taken jointly.
    fractions : sequence of float
        From 0 to 1.
    where : str
        For errors.
    method : {'linear', 'inverted_cdf'}
        Interpolation, as in ``numpy.quantile``.

    Returns
    -------
    list of numpy.ndarray
        One per fraction, with as many axes as the volume, of size 1 along `reduced`.

    Raises
    ------
    PredictionError
        If a value is NaN, or a quantile infinite.
    ArgumentError
        If there would be more than 65536 quantiles.

    Examples
    --------
    >>> low, high = quantiles(np.arange(101, dtype="uint8")[None], (0, 1), (0.25, 0.998), "example")
    >>> low.item(), round(high.item(), 3)
    (25.0, 99.8)
    """
    shape = _kept(volume, reduced, where)
    found = [np.zeros(shape) for _ in fractions]
    count = prod(volume.shape[k] for k in reduced)
    places = [_place(fraction, count, method) for fraction in fractions]
    ranks = sorted({rank for low, high, _ in places for rank in (low, high)})
    for region in _slabs(volume, reduced):
        values = _ranked(volume, region, reduced, ranks, where)
        place = tuple(slice(0, 1) if k in reduced else part for k, part in enumerate(region))
        for result, (low, high, weight) in zip(found, places, strict=True):
            a, b = (values[ranks.index(rank)].astype("float64") for rank in (low, high))
            result[place] = _between(a, b, weight).reshape(result[place].shape)
    if not all(np.isfinite(values).all() for values in found):
        raise _not_finite(where)
    return found


def _kept(volume: Volume, reduced: Sequence[int], where: str) -> tuple[int, ...]:
    """Shape of the statistics of a volume."""
    shape = tuple(1 if k in reduced else n for k, n in enumerate(volume.shape))
    if prod(shape) > MOST_GROUPS:
        raise ArgumentError(
            "statistics over these axes are as many as voxels, and cannot be kept in memory",
            where=where,
            got=f"{prod(shape)} of them",
            expected=f"at most {MOST_GROUPS}; axes that include the spatial ones",
        )
    return shape


def _not_finite(where: str) -> PredictionError:
    return PredictionError(
        "the volume contains values that are not finite, so its statistics are not either",
        where=where,
        got="NaN or infinity",
        expected="finite values",
    )


def _blocks(volume: Volume, region: Region) -> Iterator[Region]:
    """Divide a region into blocks of whole chunks, in the order of memory."""
    sizes = [part.stop - part.start for part in region]
    chunks = getattr(volume, "chunks", None) or (1,) * len(sizes)
    block = [min(c, n) for c, n in zip(chunks, sizes, strict=True)]
    for k in reversed(range(len(sizes))):  # whole rows first
        room = max(1, BLOCK // prod(block))
        block[k] = min(sizes[k], block[k] * room)
    starts = [range(part.start, part.stop, step) for part, step in zip(region, block, strict=True)]
    for corner in product(*starts):
        yield tuple(slice(a, min(a + n, part.stop)) for a, n, part in zip(corner, block, region, strict=True))


def _read(volume: Volume, region: Region, where: str) -> np.ndarray:
    block = np.asarray(unmasked(volume[region], "image"))
    if block.dtype.kind == "f" and np.isnan(block.min(initial=0.0)):
        raise _not_finite(where)
    return block


# ---- quantiles
def _slabs(volume: Volume, reduced: Sequence[int]) -> Iterator[Region]:
    """Regions with a few groups each: runs along the last axis that is not reduced."""
    kept = [k for k in range(len(volume.shape)) if k not in reduced and volume.shape[k] > 1]
    if not kept:
        yield tuple(slice(0, n) for n in volume.shape)
        return
    *single, last = kept
    for index in product(*(range(volume.shape[k]) for k in single)):
        for start in range(0, volume.shape[last], GROUPS):
            region = [slice(0, n) for n in volume.shape]
            for k, i in zip(single, index, strict=True):
                region[k] = slice(i, i + 1)
            region[last] = slice(start, min(start + GROUPS, volume.shape[last]))
            yield tuple(region)


def _place(fraction: float, count: int, method: str) -> tuple[int, int, float]:
    """Ranks between which a quantile lies, and the weight of the upper one."""
    if method == "inverted_cdf":
        rank = min(max(ceil(fraction * count) - 1, 0), count - 1)
        return rank, rank, 0.0
    position = fraction * (count - 1)
    low = min(floor(position), count - 1)
    return low, min(low + 1, count - 1), position - low


def _between(low: np.ndarray, high: np.ndarray, weight: float) -> np.ndarray:
    """Interpolate from the nearer end, so that the result stays between both."""
    if weight == 0:
        return low
    with np.errstate(invalid="ignore"):  # infinite values are found at the end
        distance = high - low
        result: np.ndarray = low + distance * weight if weight < 0.5 else high - distance * (1 - weight)
    return result


def _ranked(volume: Volume, region: Region, reduced: Sequence[int], ranks: list[int], where: str) -> np.ndarray:
    """Values of the given ranks in ascending order, per group of a slab: (ranks, groups)."""
    keys_of, value_of, bits = _order(volume.dtype)
    groups = prod(part.stop - part.start for k, part in enumerate(region) if k not in reduced)
    rest = np.tile(np.asarray(ranks, "int64")[:, None], (1, groups))
    prefix = np.zeros((len(ranks), groups), "uint64")
    for top in range(bits, 0, -DIGIT):
        width = min(DIGIT, bits)
        counts = [{int(p): np.zeros(1 << width, "int64") for p in prefix[:, g]} for g in range(groups)]
        for part in _blocks(volume, region):
            block = _read(volume, part, where)
            order = [k for k in range(block.ndim) if k not in reduced] + list(reduced)
            rows = keys_of(block.transpose(order).reshape(-1, prod(block.shape[k] for k in reduced)))
            for row, g in zip(rows, _numbers(part, region, reduced), strict=True):
                _count(counts[g], row, top, width, bits)
        for g, r in product(range(groups), range(len(ranks))):
            sums = np.cumsum(counts[g][int(prefix[r, g])])
            digit = int(np.searchsorted(sums, rest[r, g], side="right"))
            rest[r, g] -= sums[digit - 1] if digit else 0
            prefix[r, g] = (int(prefix[r, g]) << width) | digit
    return value_of(prefix)


def _numbers(part: Region, region: Region, reduced: Sequence[int]) -> Iterator[int]:
    """Numbers of the groups of a slab that a block holds a part of."""
    kept = [k for k in range(len(region)) if k not in reduced]
    sizes = [region[k].stop - region[k].start for k in kept]
    for index in product(*(range(part[k].start - region[k].start, part[k].stop - region[k].start) for k in kept)):
        yield int(np.ravel_multi_index(index, sizes)) if kept else 0


def _count(counts: dict[int, np.ndarray], keys: np.ndarray, top: int, width: int, bits: int) -> None:
    """Add the digits below bit `top` of the keys that start with a prefix to its counts."""
    shift = top - width
    for prefix, into in counts.items():
        own = keys if top == bits else keys[(keys >> keys.dtype.type(top)) == prefix]
        digits = (own >> keys.dtype.type(shift)) & keys.dtype.type((1 << width) - 1)
        into += np.bincount(digits.astype("int64"), minlength=1 << width)


def _order(dtype: np.dtype) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray], int]:
    """Functions from values to unsigned integers that sort in the same way, and back; and their number of bits."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return lambda v: v.astype("uint8"), lambda k: k.astype("uint8"), 8
    if dtype == np.float16:
        keys, values, bits = _order(np.dtype("float32"))
        return lambda v: keys(v.astype("float32")), values, bits
    size = dtype.itemsize
    unsigned, top = np.dtype(f"uint{8 * size}"), 8 * size - 1
    sign = unsigned.type(1 << top)
    if dtype.kind == "u":
        return lambda v: v.astype(unsigned, copy=False), lambda k: k.astype(unsigned), 8 * size
    native = dtype.newbyteorder("=")
    if dtype.kind == "i":
        flipped = lambda v: np.ascontiguousarray(v, native).view(unsigned) ^ sign  # noqa: E731
        return flipped, lambda k: (k.astype(unsigned) ^ sign).view(native), 8 * size

    def keys_of(values: np.ndarray) -> np.ndarray:
        raw = (np.ascontiguousarray(values, native) + native.type(0)).view(unsigned)  # -0 counts as 0
        keys: np.ndarray = np.where(raw & sign, ~raw, raw | sign)
        return keys

    def values_of(keys: np.ndarray) -> np.ndarray:
        raw = keys.astype(unsigned)
        values: np.ndarray = np.where(raw & sign, raw ^ sign, ~raw).view(native)
        return values

    return keys_of, values_of, 8 * size


def statistics_to_plain(statistics: Sequence[Sequence[np.ndarray]]) -> list[Any]:
    """Return the statistics of some steps as JSON values."""
    return [[{"shape": list(a.shape), "values": a.ravel().tolist()} for a in own] for own in statistics]


def statistics_from_plain(plain: Any) -> list[tuple[np.ndarray, ...]]:
    """Return statistics from JSON values; ValueError, TypeError or KeyError if they are damaged."""
    return [tuple(np.reshape(np.asarray(a["values"], "float64"), a["shape"]) for a in own) for own in plain]
