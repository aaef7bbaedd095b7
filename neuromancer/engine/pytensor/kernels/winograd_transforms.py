"""Transforms of tiles between images and the products of `winograd`, compiled by numba.

The matrices are those of short convolutions with fewer products (Toom 1963, Cook 1966; Winograd 1980), found exactly:
``m`` outputs of a correlation with ``r`` taps follow from ``n = m + r - 1`` products, ``y = A ((G w) * (B x))`` for
inputs x (n,) and taps w (r,). In two dimensions they apply to either axis (Lavin & Gray 2016, arXiv:1509.09308).

Channels come last and are worked on in groups, as many as the largest registers hold. What is done to a group is given
to the compiler as vectors, because it would have to prove for loops that arrays do not overlap, and then does it one
channel at a time. It knows the size of a tile by the type of a tuple with so many numbers. All of this is in one file
because numba compiles again when the file of a function has changed, not when others have.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels import machine_code

A = npt.NDArray[np.float32]
F = types.Array(types.float32, 1, "C")
INT = types.intp
LANES = 16
"""Channels that are transformed together."""
VECTOR = ir.VectorType(ir.FloatType(), LANES)
POINTS: dict[int, tuple[Fraction, ...]] = {
    6: (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2)),
    7: (Fraction(0), Fraction(1), Fraction(-1), Fraction(-1, 2), Fraction(-2), Fraction(3, 2)),
}
"""By size of a tile: where the polynomials are evaluated, besides infinity. Of all sets with small numbers those that
lose the least precision: 2e-6 and 5e-6 of the largest value, in single precision and with 300 terms per output."""


@cache
def matrices(taps: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices A (m, n), G (n, r) and B (n, n) for a number of taps and tiles of a size n; ``m = n + 1 - taps``.

    B does not depend on the number of taps.

    Examples
    --------
    >>> A, G, B = matrices(4, 6)
    >>> x, w = np.arange(6.0) ** 2, np.array([1.0, -2.0, 3.0, 4.0])
    >>> np.allclose(A @ ((G @ w) * (B @ x)), np.correlate(x, w, 'valid'))
    True
    """
    points = POINTS[size]
    outputs = size + 1 - taps
    a = np.zeros((outputs, size))
    g = np.zeros((size, taps))
    b = np.zeros((size, size))
    for i, point in enumerate(points):
        others = [p for p in points if p != point]
        scale = Fraction(1)
        for p in others:
            scale *= point - p
        a[:, i] = [point**k for k in range(outputs)]
        g[i] = [point**k / scale for k in range(taps)]
        b[i, : size - 1] = _coefficients(others)
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = _coefficients(points)
    return a, g, b


def _coefficients(roots: tuple[Fraction, ...] | list[Fraction]) -> list[float]:
    """Coefficients, lowest power first, of the polynomial with these roots."""
    result = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *result], [*(c * root for c in result), Fraction(0)]
        result = [s - c for s, c in zip(shifted, scaled, strict=True)]
    return [float(c) for c in result]


class _Rows:
    """Rows of LANES channels of an array: the first at `start`, the others `step` numbers apart."""

    def __init__(self, context: Any, builder: Any, array: Any, start: Any, step: Any) -> None:
        self.builder, self.start, self.step = builder, start, step
        self.data = context.make_array(F)(context, builder, array).data

    def _place(self, k: int) -> Any:
        step = self.builder.mul(self.step, ir.Constant(self.step.type, k))
        pointer = self.builder.gep(self.data, [self.builder.add(self.start, step)])
        return self.builder.bitcast(pointer, VECTOR.as_pointer())

    def __getitem__(self, k: int) -> Any:
        return self.builder.load(self._place(k), align=4)

    def __setitem__(self, k: int, value: Any) -> None:
        self.builder.store(value, self._place(k), align=4)


def _combined(builder: Any, weights: Any, values: Any, total: Any = None) -> Any:
    """The weighted sum of vectors, added to `total`."""
    for weight, value in zip(weights, values, strict=True):
        if weight == 0:
            continue
        if abs(weight) != 1:
            value = builder.fmul(value, ir.Constant(VECTOR, [float(abs(weight))] * LANES), flags=("contract",))
        if total is None:
            total = value if weight > 0 else builder.fneg(value)
        else:
            add = builder.fadd if weight > 0 else builder.fsub
            total = add(total, value, flags=("contract",))
    return total


@intrinsic
def _forth(typing: Any, size: Any, x: Any, start: Any, down: Any, right: Any, y: Any, to: Any, apart: Any) -> Any:
    """The matrix B applied to N x N rows of x along both axes; the results are rows of y."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, x, start, down, right, y, to, apart = args
        n, b = size.count, matrices(2, size.count)[2]
        half = []
        for j in range(n):
            first = builder.add(start, builder.mul(right, ir.Constant(right.type, j)))
            source = _Rows(context, builder, x, first, down)
            values = [source[k] for k in range(n)]
            half.append([_combined(builder, weights, values) for weights in b])
        target = _Rows(context, builder, y, to, apart)
        for i in range(n):
            values = [half[j][i] for j in range(n)]
            for k, weights in enumerate(b):
                target[i * n + k] = _combined(builder, weights, values)
        return context.get_dummy_value()

    return types.void(size, F, INT, INT, INT, F, INT, INT), generate


@intrinsic
def _back(
    typing: Any, size: Any, x: Any, start: Any, step: Any, y: Any, to: Any, apart: Any, extra: Any, at: Any, m: Any
) -> Any:
    """The matrix A for `m` outputs applied to N rows of x, plus a row of `extra`; the results are rows of y."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        n = size.count
        source, target = (_Rows(context, builder, *args[k : k + 3]) for k in (1, 4))
        values = [source[k] for k in range(n)]
        extra, at, wanted = args[7:]
        more = _Rows(context, builder, extra, at, ir.Constant(at.type, 0))[0]
        for outputs in range(2, n):
            with builder.if_then(builder.icmp_signed("==", wanted, ir.Constant(wanted.type, outputs))):
                for k, weights in enumerate(matrices(n + 1 - outputs, n)[0]):
                    target[k] = _combined(builder, weights, values, more)
        return context.get_dummy_value()

    return types.void(size, F, INT, INT, F, INT, INT, F, INT, INT), generate


def _take_in(
    size: tuple[int, ...], x: A, v: A, first: int, ny: int, nx: int, dy: int, dx: int, my: int, mx: int,
    pz: int, py: int, px: int,
) -> None:  # fmt: skip
    """Transform tiles of x (z, y, x, c), with pz, py, px zeros around it, from `first` on into v (n, n, z, tile, c).

    There are ny, nx tiles per phase, dy, dx phases (the dilation) and my, mx outputs per tile.
    """
    n = len(size)
    depth, height, width, channels = x.shape
    tiles = v.shape[3]
    source, target = x.reshape(-1), v.reshape(-1)
    right, down, apart = dx * channels, dy * width * channels, v.shape[2] * tiles * channels
    gathered = np.empty(n * n * LANES, np.float32)
    for z in range(v.shape[2]):
        layer = z - pz
        if layer < 0 or layer >= depth:
            v[:, :, z] = 0
            continue
        for tile in range(tiles):
            row, column = divmod(first + tile, nx * dx)
            top = row // ny + dy * my * (row % ny) - py
            left = column // nx + dx * mx * (column % nx) - px
            inside = top >= 0 and top + (n - 1) * dy < height and left >= 0 and left + (n - 1) * dx < width
            begin = ((layer * height + top) * width + left) * channels
            for start in range(0, channels, LANES):
                a = min(start, channels - LANES)  # the last lanes may be done twice
                to = (z * tiles + tile) * channels + a
                if inside:
                    _forth(size, source, begin + a, down, right, target, to, apart)
                    continue
                for i in range(n):
                    y = top + i * dy
                    for j in range(n):
                        at = left + j * dx
                        place = (i * n + j) * LANES
                        if 0 <= y < height and 0 <= at < width:
                            gathered[place : place + LANES] = x[layer, y, at, a : a + LANES]
                        else:
                            gathered[place : place + LANES] = 0
                _forth(size, gathered, 0, n * LANES, LANES, target, to, apart)


def _give_out(
    size: tuple[int, ...], s: A, y: A, bias: A, first: int, ny: int, nx: int, dy: int, dx: int, my: int, mx: int
) -> None:
    """Transform tiles of s (n, n, z, tile, c) back into y (z, y, x, c)."""
    n = len(size)
    depth, height, width, channels = y.shape
    tiles = s.shape[3]
    source, target = s.reshape(-1), y.reshape(-1)
    right, down, apart = dx * channels, dy * width * channels, depth * tiles * channels
    half, result = np.empty(n * n * LANES, np.float32), np.empty(n * LANES, np.float32)
    nothing = np.zeros(LANES, np.float32)
    for z in range(depth):
        for tile in range(tiles):
            row, column = divmod(first + tile, nx * dx)
            top = row // ny + dy * my * (row % ny)
            left = column // nx + dx * mx * (column % nx)
            rows, columns = min(my, (height - top + dy - 1) // dy), min(mx, (width - left + dx - 1) // dx)
            begin = ((z * height + top) * width + left) * channels
            for start in range(0, channels, LANES):
                a = min(start, channels - LANES)
                at = (z * tiles + tile) * channels + a
                for j in range(n):
                    _back(size, source, at + j * apart, n * apart, half, j * LANES, n * LANES, nothing, 0, my)
                for i in range(rows):
                    to = begin + i * down + a
                    if columns == mx:
                        _back(size, half, i * n * LANES, LANES, target, to, right, bias, a, mx)
                    else:
                        _back(size, half, i * n * LANES, LANES, result, 0, LANES, bias, a, mx)
                        for j in range(columns):
                            target[to + j * right : to + j * right + LANES] = result[j * LANES : (j + 1) * LANES]


@cache
def compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """What takes tiles in and gives them out, as machine code."""
    return machine_code.compiled(_take_in), machine_code.compiled(_give_out)
