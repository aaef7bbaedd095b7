"""Input and output transforms of tiles for `winograd`, compiled by numba.

The matrices are those of `cook_toom`. Channels are the last axis and are transformed in vectors. The tile size is known
at compile time: it is the length of a tuple, as that is part of the tuple's type.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels import machine_code
from neuromancer.engine.pytensor.kernels.cook_toom import matrices
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.vectors import FLOATS, INT, FloatArray, Rows, constant


def _weighted_sum(builder: Any, weights: Any, values: Any, total: Any = None) -> Any:
    """Return the weighted sum of vectors, added to `total`."""
    for weight, value in zip(weights, values, strict=True):
        if weight == 0:
            continue
        if abs(weight) != 1:
            value = builder.fmul(value, constant(abs(weight)), flags=("contract",))
        if total is None:
            total = value if weight > 0 else builder.fneg(value)
        else:
            add = builder.fadd if weight > 0 else builder.fsub
            total = add(total, value, flags=("contract",))
    return total


@intrinsic
def _transform_inputs(
    typing: Any, size: Any, x: Any, start: Any, down: Any, right: Any, y: Any, to: Any, apart: Any
) -> Any:
    """Apply the matrix B along both axes of N x N rows of x; the results are rows of y."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, x, start, down, right, y, to, apart = args
        n, b = size.count, matrices(2, size.count)[2]
        half = []
        for j in range(n):
            first = builder.add(start, builder.mul(right, ir.Constant(right.type, j)))
            source = Rows(context, builder, x, first, down)
            values = [source.load(k) for k in range(n)]
            half.append([_weighted_sum(builder, weights, values) for weights in b])
        target = Rows(context, builder, y, to, apart)
        for i in range(n):
            values = [half[j][i] for j in range(n)]
            for k, weights in enumerate(b):
                target.store(i * n + k, _weighted_sum(builder, weights, values))
        return context.get_dummy_value()

    return types.void(size, FLOATS, INT, INT, INT, FLOATS, INT, INT), generate


@intrinsic
def _transform_outputs(
    typing: Any, size: Any, x: Any, start: Any, step: Any, y: Any, to: Any, apart: Any, bias: Any, at: Any, m: Any
) -> Any:
    """Apply the matrix A for `m` outputs to N rows of x and add a row of `bias`; the results are rows of y."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        n = size.count
        source, target = (Rows(context, builder, *args[k : k + 3]) for k in (1, 4))
        values = [source.load(k) for k in range(n)]
        bias, at, m = args[7:]
        offset = Rows(context, builder, bias, at, ir.Constant(at.type, 0)).load(0)
        for outputs in range(2, n):
            with builder.if_then(builder.icmp_signed("==", m, ir.Constant(m.type, outputs))):
                for k, weights in enumerate(matrices(n + 1 - outputs, n)[0]):
                    target.store(k, _weighted_sum(builder, weights, values, offset))
        return context.get_dummy_value()

    return types.void(size, FLOATS, INT, INT, FLOATS, INT, INT, FLOATS, INT, INT), generate


def _input_transform(
    size: tuple[int, ...], x: FloatArray, v: FloatArray, first: int, ny: int, nx: int, dy: int, dx: int, my: int,
    mx: int, pz: int, py: int, px: int,
) -> None:  # fmt: skip
    """Transform tiles of x (z, y, x, c), padded by pz, py, px, into v (n, n, z, tile, c), from tile `first` on.

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
                a = min(start, channels - LANES)  # the last vector may overlap the one before
                to = (z * tiles + tile) * channels + a
                if inside:
                    _transform_inputs(size, source, begin + a, down, right, target, to, apart)
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
                _transform_inputs(size, gathered, 0, n * LANES, LANES, target, to, apart)


def _output_transform(
    size: tuple[int, ...], s: FloatArray, y: FloatArray, bias: FloatArray, first: int, ny: int, nx: int, dy: int,
    dx: int, my: int, mx: int,
) -> None:  # fmt: skip
    """Transform tiles of s (n, n, z, tile, c) into outputs y (z, y, x, c) and add `bias`."""
    n = len(size)
    depth, height, width, channels = y.shape
    tiles = s.shape[3]
    source, target = s.reshape(-1), y.reshape(-1)
    right, down, apart = dx * channels, dy * width * channels, depth * tiles * channels
    half, result = np.empty(n * n * LANES, np.float32), np.empty(n * LANES, np.float32)
    no_bias = np.zeros(LANES, np.float32)
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
                    _transform_outputs(
                        size, source, at + j * apart, n * apart, half, j * LANES, n * LANES, no_bias, 0, my
                    )
                for i in range(rows):
                    to = begin + i * down + a
                    if columns == mx:
                        _transform_outputs(size, half, i * n * LANES, LANES, target, to, right, bias, a, mx)
                    else:
                        _transform_outputs(size, half, i * n * LANES, LANES, result, 0, LANES, bias, a, mx)
                        for j in range(columns):
                            target[to + j * right : to + j * right + LANES] = result[j * LANES : (j + 1) * LANES]


@cache
def compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """Compile the input and the output transform."""
    return machine_code.compiled(_input_transform), machine_code.compiled(_output_transform)
