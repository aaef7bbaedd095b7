"""Transforms of tiles between images and the products of `winograd`, compiled by numba.

Channels come last and are worked on in groups, as many as one register of the processor holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

A = npt.NDArray[np.float32]

LANES = 16
"""Channels that are transformed together."""
HALF, ONE_HALF, TWO, TWO_HALF = np.float32(0.5), np.float32(1.5), np.float32(2), np.float32(2.5)


def _forth(s0: A, s1: A, s2: A, s3: A, s4: A, s5: A, t0: A, t1: A, t2: A, t3: A, t4: A, t5: A) -> None:
    """The matrix B applied to six rows of channels."""
    for c in range(LANES):
        a0, a1, a2, a3, a4, a5 = s0[c], s1[c], s2[c], s3[c], s4[c], s5[c]
        t0[c] = a0 - TWO * a2 + a4 + ONE_HALF * (a3 - a1)
        t1[c] = a4 - a1 + HALF * a2 + TWO_HALF * a3
        t2[c] = a4 + a1 - TWO_HALF * a2 + HALF * a3
        t3[c] = a4 - a2 + TWO * (a3 - a1)
        t4[c] = a4 - a2 + HALF * (a1 - a3)
        t5[c] = a5 + a1 - TWO * a3 + ONE_HALF * (a4 - a2)


def _back(a: A, k: int, s0: A, s1: A, s2: A, s3: A, s4: A, s5: A, extra: A, out: A) -> None:
    """Row k of the matrix A applied to six rows of channels, plus `extra`."""
    a0, a1, a2, a3, a4, a5 = a[k, 0], a[k, 1], a[k, 2], a[k, 3], a[k, 4], a[k, 5]
    for c in range(LANES):
        out[c] = a0 * s0[c] + a1 * s1[c] + a2 * s2[c] + a3 * s3[c] + a4 * s4[c] + a5 * s5[c] + extra[c]


def take_in(
    x: A, v: A, first: int, ny: int, nx: int, dy: int, dx: int, my: int, mx: int, pz: int, py: int, px: int
) -> None:
    """Transform tiles of x (z, y, x, c), with pz, py, px zeros around it, from `first` on into v (6, 6, z, tile, c).

    There are ny, nx tiles per phase, dy, dx phases (the dilation) and my, mx outputs per tile.
    """
    depth, height, width = x.shape[0], x.shape[1], x.shape[2]
    h = np.empty((6, 6, LANES), np.float32)
    g = np.empty((6, LANES), np.float32)
    for z in range(v.shape[2]):
        source = z - pz
        if source < 0 or source >= depth:
            v[:, :, z] = 0
            continue
        for tile in range(v.shape[3]):
            row, column = divmod(first + tile, nx * dx)
            top = row // ny + dy * my * (row % ny) - py
            left = column // nx + dx * mx * (column % nx) - px
            inside = top >= 0 and top + 5 * dy < height and left >= 0 and left + 5 * dx < width
            for start in range(0, x.shape[3], LANES):
                a = min(start, x.shape[3] - LANES)  # the last lanes may be done twice
                b = a + LANES
                for j in range(6):
                    at = left + j * dx
                    if inside:
                        _forth(
                            x[source, top, at, a:b], x[source, top + dy, at, a:b], x[source, top + 2 * dy, at, a:b],
                            x[source, top + 3 * dy, at, a:b], x[source, top + 4 * dy, at, a:b],
                            x[source, top + 5 * dy, at, a:b], h[0, j], h[1, j], h[2, j], h[3, j], h[4, j], h[5, j],
                        )  # fmt: skip
                        continue
                    for i in range(6):
                        y = top + i * dy
                        if 0 <= y < height and 0 <= at < width:
                            g[i] = x[source, y, at, a:b]
                        else:
                            g[i] = 0
                    _forth(
                        g[0], g[1], g[2], g[3], g[4], g[5],
                        h[0, j], h[1, j], h[2, j], h[3, j], h[4, j], h[5, j],
                    )  # fmt: skip
                for i in range(6):
                    _forth(
                        h[i, 0], h[i, 1], h[i, 2], h[i, 3], h[i, 4], h[i, 5],
                        v[i, 0, z, tile, a:b], v[i, 1, z, tile, a:b], v[i, 2, z, tile, a:b],
                        v[i, 3, z, tile, a:b], v[i, 4, z, tile, a:b], v[i, 5, z, tile, a:b],
                    )  # fmt: skip


def give_out(
    s: A, y: A, ay: A, ax: A, bias: A, first: int, ny: int, nx: int, dy: int, dx: int, my: int, mx: int
) -> None:
    """Transform tiles of s (6, 6, z, tile, c) back into y (z, y, x, c)."""
    h = np.empty((6, 6, LANES), np.float32)
    nothing = np.zeros(LANES, np.float32)
    for z in range(y.shape[0]):
        for tile in range(s.shape[3]):
            row, column = divmod(first + tile, nx * dx)
            top = row // ny + dy * my * (row % ny)
            left = column // nx + dx * mx * (column % nx)
            for start in range(0, y.shape[3], LANES):
                a = min(start, y.shape[3] - LANES)
                b = a + LANES
                for j in range(6):
                    for i in range(my):
                        _back(
                            ay, i, s[0, j, z, tile, a:b], s[1, j, z, tile, a:b], s[2, j, z, tile, a:b],
                            s[3, j, z, tile, a:b], s[4, j, z, tile, a:b], s[5, j, z, tile, a:b], nothing, h[i, j],
                        )  # fmt: skip
                for i in range(min(my, (y.shape[1] - top + dy - 1) // dy)):
                    for j in range(min(mx, (y.shape[2] - left + dx - 1) // dx)):
                        _back(
                            ax, j, h[i, 0], h[i, 1], h[i, 2], h[i, 3], h[i, 4], h[i, 5], bias[a:b],
                            y[z, top + i * dy, left + j * dx, a:b],
                        )  # fmt: skip


@cache
def compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """`take_in` and `give_out` as machine code, kept on disk for the next time if numba finds a place."""
    import numba
    from numba.extending import register_jitable

    for helper in (_forth, _back):
        register_jitable(helper)
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(take_in), numba.njit(cache=True, **options)(give_out)
    except RuntimeError:
        return numba.njit(**options)(take_in), numba.njit(**options)(give_out)
