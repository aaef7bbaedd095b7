"""Input and output transforms of tiles for `fourier`, compiled by numba.

A few tiles at a time are transformed axis after axis, in a buffer that fits into a core's L2 cache.

A unit is LANES channels of a tile. Where the number of input channels is no multiple of LANES, the first group starts
with channels of the voxel before, whose products are left out; the last group of output channels overlaps the one
before it. The buffer `work` holds units (z, y, half of x). All groups of a tile are done together at each position,
because they are neighbours in images and in products.

The array `g` holds how an image is cut into tiles: number of the first tile, tiles per phase (3), phases (3), outputs
per tile (3), padding (3), groups of channels, inputs per tile along z and y.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from neuromancer.engine.pytensor.kernels import machine_code
from neuromancer.engine.pytensor.kernels.dft_instructions import (
    from_products,
    half_to_real,
    in_place,
    real_to_half,
    to_products,
)
from neuromancer.engine.pytensor.kernels.simd import LANES, PAIR
from neuromancer.engine.pytensor.kernels.vectors import FloatArray, fence

IntArray = npt.NDArray[np.int64]


def _rows_in(size: tuple[int, ...], image: FloatArray, work: FloatArray, g: IntArray, first: int, end: int) -> None:
    """Transform the last axis of units of an image (z, y, x, c) into `work`."""
    n, half = len(size), len(size) // 2 + 1
    begin, tz, ty, tx, dz, dy, dx, mz, my, mx, pz, py, px, groups, nz, ny = g
    depth, height, width, channels = image.shape
    source, unit = image.reshape(-1), nz * ny * half * PAIR
    step, before = dx * channels, groups * LANES - channels
    gathered = np.zeros(n * LANES, np.float32)
    for tile in range(first // groups, (end - 1) // groups + 1):
        low, high = max(first, tile * groups), min(end, (tile + 1) * groups)
        rest, x = divmod(begin + tile, tx * dx)
        z, y = divmod(rest, ty * dy)
        front, top = z // tz + dz * mz * (z % tz) - pz, y // ty + dy * my * (y % ty) - py
        left = x // tx + dx * mx * (x % tx) - px
        inside = left >= 0 and left + (n - 1) * dx < width
        for i in range(nz):
            for j in range(ny):
                plane, row = front + i * dz, top + j * dy
                empty = plane < 0 or plane >= depth or row < 0 or row >= height
                for k in range(low, high):
                    to = (k - first) * unit + (i * ny + j) * half * PAIR
                    if empty:
                        work[to : to + half * PAIR] = 0
                        continue
                    channel = (k - tile * groups) * LANES - before
                    start = ((plane * height + row) * width + left) * channels + channel
                    if inside and start >= 0:
                        real_to_half(size, source, start, step, dy * width * channels, work, to)
                        continue
                    for m in range(n):
                        if 0 <= left + m * dx < width:
                            for c in range(max(0, -channel), LANES):
                                gathered[m * LANES + c] = source[start + m * step + c]
                        else:
                            gathered[m * LANES : (m + 1) * LANES] = 0
                    real_to_half(size, gathered, 0, LANES, 0, work, to)


def _columns(
    size: tuple[int, ...], direction: tuple[int, ...], work: FloatArray, units: int, used: int, planes: int, half: int
) -> None:
    """Transform the middle axis in place, in the first `used` of `planes` planes; see `in_place` for `direction`."""
    n, step = len(size), half * PAIR
    for unit in range(units):
        for plane in range(used):
            start = (unit * planes + plane) * n * step
            for k in range(half):
                in_place(size, direction, work, start + k * PAIR, step)


def _planes_in(
    size: tuple[int, ...], work: FloatArray, v: FloatArray, g: IntArray, columns: IntArray, first: int, end: int
) -> None:
    """Transform the first axis of units of `work` into v (frequencies, tiles, groups * PAIR).

    `columns` numbers the frequencies that are stored, see `fourier.columns`.
    """
    n, across, groups = len(size), len(columns), g[13]
    points, target, step = v.shape[0], v.reshape(-1), across * PAIR
    apart = v.shape[1] * v.shape[2]
    aligned = v.ctypes.data % 64 == 0
    for tile in range(first // groups, (end - 1) // groups + 1):
        low, high = max(first, tile * groups), min(end, (tile + 1) * groups)
        for k in range(across):
            if columns[k] < 0:
                continue
            for unit in range(low, high):
                start, to = (unit - first) * n * step + k * PAIR, columns[k] * apart + PAIR * unit
                to_products(size, work, start, step, target, to, points // n * apart, aligned)
    fence()


def _planes_out(
    size: tuple[int, ...], s: FloatArray, work: FloatArray, g: IntArray, columns: IntArray, first: int, end: int
) -> None:
    """Inverse of `_planes_in`, from s (frequencies, tiles, groups * PAIR)."""
    n, across, groups = len(size), len(columns), g[13]
    half = across // g[15]
    points, source, step = s.shape[0], s.reshape(-1), across * PAIR
    apart = s.shape[1] * s.shape[2]
    for tile in range(first // groups, (end - 1) // groups + 1):
        low, high = max(first, tile * groups), min(end, (tile + 1) * groups)
        for k in range(across):
            for unit in range(low, high):
                to = (unit - first) * n * step
                if columns[k] >= 0:
                    start = columns[k] * apart + PAIR * unit
                    from_products(size, source, start, points // n * apart, apart, work, to + k * PAIR, step)
                    continue
                # copied from the conjugate column, which comes earlier
                other = to + (across - k // half * half + k % half) * PAIR
                for at in range(to + k * PAIR, to + n * step, step):
                    for c in range(LANES):
                        work[at + c] = work[other + c]
                        work[at + LANES + c] = -work[other + LANES + c]
                    other += step


def _rows_out(
    size: tuple[int, ...], work: FloatArray, image: FloatArray, bias: FloatArray, g: IntArray, first: int, end: int
) -> None:
    """Inverse of `_rows_in`, plus `bias`, for the voxels inside the image (z, y, x, c)."""
    half = len(size) // 2 + 1
    begin, tz, ty, tx, dz, dy, dx, mz, my, mx, _, _, _, groups, nz, ny = g
    depth, height, width, channels = image.shape
    target, unit = image.reshape(-1), nz * ny * half * PAIR
    for tile in range(first // groups, (end - 1) // groups + 1):
        low, high = max(first, tile * groups), min(end, (tile + 1) * groups)
        rest, x = divmod(begin + tile, tx * dx)
        z, y = divmod(rest, ty * dy)
        front, top, left = z // tz + dz * mz * (z % tz), y // ty + dy * my * (y % ty), x // tx + dx * mx * (x % tx)
        outputs = min(mx, (width - left + dx - 1) // dx)
        for i in range(min(mz, (depth - front + dz - 1) // dz)):
            for j in range(min(my, (height - top + dy - 1) // dy)):
                row = (((front + i * dz) * height + top + j * dy) * width + left) * channels
                for k in range(low, high):
                    channel = min((k - tile * groups) * LANES, channels - LANES)
                    start = (k - first) * unit + (i * ny + j) * half * PAIR
                    half_to_real(size, work, start, target, row + channel, dx * channels, outputs, bias, channel)


@cache
def compiled(name: str) -> Callable[..., None]:
    """Compile one of the passes: 'rows_in', 'columns', 'planes_in', 'planes_out' or 'rows_out'."""
    return machine_code.compiled(globals()[f"_{name}"])
