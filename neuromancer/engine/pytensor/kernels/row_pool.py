"""Maxima over windows of contiguous images, in one pass over memory, with vectors along rows."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, prod
from typing import Any

import numpy as np
import torch
from llvmlite import ir

from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, INTS, Function, build, counted, vectors
from neuromancer.engine.pytensor.kernels.row_code import at, first_lanes, load, store
from neuromancer.engine.pytensor.kernels.threads import each
from neuromancer.engine.pytensor.kernels.vector_math import Vectors

Ints = tuple[int, ...]

STRIDES = (1, 2)
"""Strides along x for which there is code."""
TASKS = 8
"""Number of tasks per thread."""
ARGUMENTS = [FLOATS, FLOATS, INTS, *[INT] * 12]
"""Image, result, where the values of a window are; number of these, first and last plane (of all channels, along z),
lengths of the result along z, y, x, then distances of channels, z and y in the image and in the result."""


def can_pool(x: torch.Tensor, stride: Ints) -> bool:
    """Return whether `max_pool_rows` can compute the maxima of windows."""
    on_host = x.device.type == "cpu" and x.dtype == torch.float32
    return on_host and x.ndim in (4, 5) and stride[-1] in STRIDES and x.numel() > 0 and x.is_contiguous()


def max_pool_rows(x: torch.Tensor, size: Ints, stride: Ints, dilation: Ints) -> torch.Tensor:
    """Return the maxima of all windows of a contiguous image; NaN if a window has one."""
    flat = (1,) * (5 - x.ndim)
    lengths = (*flat, *x.shape[2:])
    size, stride, dilation = ((*flat, *n) for n in (size, stride, dilation))
    per_axis = zip(lengths, size, stride, dilation, strict=True)
    out = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in per_axis]
    result = empty(*x.shape[:2], *out[len(flat) :])
    _, height, width = lengths
    taps = [
        (z * dilation[0] * height + y * dilation[1]) * width + k * dilation[2]
        for z in range(size[0])
        for y in range(size[1])
        for k in range(size[2])
    ]
    offsets = np.array(taps, np.int64)
    apart = (prod(lengths), stride[0] * height * width, stride[1] * width, prod(out), out[1] * out[2], out[2])
    planes, threads = x.shape[0] * x.shape[1] * out[0], torch.get_num_threads()
    step = ceil(planes / (TASKS * threads))
    run = _compiled(stride[2])

    def part(first: int) -> None:
        last = min(first + step, planes)
        run(x.data_ptr(), result.data_ptr(), offsets.ctypes.data, len(taps), first, last, *out, *apart)

    each(part, range(0, planes, step), threads)
    return result


@lru_cache
def _compiled(stride: int) -> Function:
    def emit(
        module: Any, builder: Any, x: Any, y: Any, taps: Any, n_taps: Any, first: Any, last: Any, nz: Any, ny: Any,
        nx: Any, c: Any, z: Any, row: Any, c_out: Any, z_out: Any, row_out: Any,
    ) -> None:  # fmt: skip
        lanes = vectors().lanes
        with counted(builder, last, first) as plane, counted(builder, ny) as j:
            channel, layer = builder.sdiv(plane, nz), builder.srem(plane, nz)
            source = at(builder, x, (channel, c), (layer, z), (j, row))
            target = at(builder, y, (channel, c_out), (layer, z_out), (j, row_out))
            with counted(builder, nx, step=lanes) as k:
                remaining = builder.sub(nx, k)
                with builder.if_else(builder.icmp_signed(">=", remaining, INT(lanes + stride - 1))) as (whole, part):
                    for branch in (whole, part):
                        with branch:
                            left = remaining if branch is part else None
                            value = _maximum(builder, at(builder, source, (k, INT(stride))), taps, n_taps, stride, left)
                            mask = None if left is None else first_lanes(builder, left)
                            store(builder, value, builder.gep(target, [k]), mask)

    return build("max_pool", ARGUMENTS, emit, apart=True)


def _maximum(builder: Any, x: Any, taps: Any, n_taps: Any, stride: int, left: Any) -> Any:
    """Return the maxima of the windows of a vector of outputs, of which `left` exist; None: all, and one more."""
    best = builder.alloca(ir.VectorType(ir.FloatType(), vectors().lanes))

    def window(tap: Any) -> Any:
        return _values(builder, builder.gep(x, [builder.load(builder.gep(taps, [tap]))]), stride, left)

    builder.store(window(INT(0)), best)
    with counted(builder, n_taps, INT(1)) as tap:
        larger = Vectors(builder, vectors().lanes).maximum(builder.load(best), window(tap))
        builder.store(larger, best)
    return builder.load(best)


def _values(builder: Any, data: Any, stride: int, left: Any) -> Any:
    """Load a vector of values that are `stride` apart."""
    lanes = vectors().lanes
    # values between the last two may be behind the image
    count = None if left is None else builder.sub(builder.mul(left, INT(stride)), INT(stride - 1))
    parts = []
    for k in range(stride):
        mask = None if count is None else first_lanes(builder, builder.sub(count, INT(k * lanes)))
        parts.append(load(builder, builder.gep(data, [INT(k * lanes)]), mask=mask))
    if stride == 1:
        return parts[0]
    places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [stride * k for k in range(lanes)])
    return builder.shuffle_vector(parts[0], parts[1], places)
