"""Linear interpolation of large float32 images to other sizes on the CPU.

torch interpolates every result from 2, 4 or 8 values, and channels-last images of a batch of one in a single thread.
Here rows are stretched first, once for all results that read them; the other axes are then blended along rows, with
whole vectors in either memory format.
"""

from __future__ import annotations

import ctypes
from functools import cache
from math import prod
from typing import Any

import numpy as np
import torch
from llvmlite import ir

from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.native import FLOAT, FLOATS, INT, INTS, Function, build, counted, vectors
from neuromancer.engine.pytensor.kernels.threads import each
from neuromancer.engine.pytensor.kernels.vector_math import FUSED

Ints = tuple[int, ...]

LEAST = 1 << 16
"""Minimum number of results: below, torch is as fast."""
INT32 = ir.IntType(32)


def is_suitable(x: torch.Tensor, sizes: Ints) -> bool:
    """Return whether an image (b, c, *spatial) is interpolated here: to sizes of which none is smaller."""
    fits = x.device.type == "cpu" and x.dtype is torch.float32 and x.numel() > 0
    larger = all(n >= old for n, old in zip(sizes, x.shape[2:], strict=True))
    return fits and larger and x.shape[0] * x.shape[1] * prod(sizes) >= LEAST


def linear_resize(x: torch.Tensor, sizes: Ints, align_corners: bool) -> torch.Tensor:
    """Return an image (b, c, *spatial) with other spatial sizes, in its memory format: contiguous or channels-last."""
    b, c, *old = x.shape
    channels_last = not x.is_contiguous() and x.movedim(1, -1).is_contiguous()
    x = x if channels_last else x.contiguous()
    result = empty(b, *sizes, c).movedim(-1, 1) if channels_last else empty(b, c, *sizes)
    images, step = (b, c) if channels_last else (b * c, 1)
    # of two axes, the first one is divided among threads
    (depth, height), (new_depth, new_height) = ([*n[:-1], 1, 1][:2] for n in (old, sizes))
    row, new_row = old[-1] * step, sizes[-1] * step
    lanes = vectors().lanes
    padded = -(-new_row // lanes) * lanes
    tables = [
        *_table(depth, new_depth, align_corners),
        *_table(height, new_height, align_corners),
        *(_along_channels(t, step, padded, k < 2) for k, t in enumerate(_table(old[-1], sizes[-1], align_corners))),
    ]
    fixed = [*(t.ctypes.data for t in tables), height, row, new_height, new_row, padded]
    threads = torch.get_num_threads()
    parts = 1 if images >= 2 * threads else min(threads, new_depth)
    bounds = [new_depth * k // parts for k in range(parts + 1)]

    def task(number: int) -> None:
        image, part = divmod(number, parts)
        source = x.data_ptr() + 4 * image * depth * height * row
        target = result.data_ptr() + 4 * image * new_depth * new_height * new_row
        planes = empty(2, height, padded)
        table = (ctypes.c_int64 * (3 + len(fixed)))(source, target, planes.data_ptr(), *fixed)
        _function()(ctypes.addressof(table), bounds[part], bounds[part + 1])

    each(task, range(images * parts), min(threads, images * parts))
    return result


def _table(old: int, new: int, align_corners: bool) -> tuple[Any, Any, Any]:
    """Return the positions of the two values between which each result lies, and the weight of the second one."""
    at = np.arange(new, dtype=np.float64)
    places = at * ((old - 1) / max(new - 1, 1)) if align_corners else np.maximum((at + 0.5) * (old / new) - 0.5, 0)
    first = np.minimum(places.astype(np.int64), old - 1)
    return first, np.minimum(first + 1, old - 1), (places - first).astype(np.float32)


def _along_channels(values: Any, channels: int, padded: int, positions: bool) -> Any:
    """Return a table for rows of all channels, as long as whole vectors."""
    table = np.repeat(values, channels)
    if positions:
        table = (table * channels + np.tile(np.arange(channels), len(values))).astype(np.int32)
    return np.pad(table, (0, padded - len(table)))


@cache
def _function() -> Function:
    """Return a function that computes planes of an image, from the first one to before the last one.

    It takes the address of a table: the addresses of image, result, memory for two planes of stretched rows, and tables
    of positions and weights per axis; then the sizes of planes and rows, and the length of stretched rows in memory.
    """

    def body(module: Any, b: Any, table: Any, start: Any, stop: Any) -> None:
        entries = [b.load(b.gep(table, [INT(k)])) for k in range(17)]
        image, result, planes = entries[:3]
        *_, height, row, new_height, new_row, padded = entries
        code = _Planes(b, entries[9:12], row, new_row, padded)
        size, place = b.mul(height, padded), INT(4)
        present = b.alloca(INT, 2)
        for slot in range(2):
            b.store(INT(-1), b.gep(present, [INT(slot)]))
        with counted(b, stop, start) as z:
            addresses = []
            for position in entries[3:5]:
                number = code.number(position, z)
                slot = b.and_(number, INT(1))
                plane = b.add(planes, b.mul(b.mul(slot, size), place))
                addresses.append(plane)
                known = b.gep(present, [slot])
                with b.if_then(b.icmp_signed("!=", b.load(known), number)):
                    b.store(number, known)
                    with counted(b, height) as y:
                        source = b.add(image, b.mul(b.mul(b.add(b.mul(number, height), y), row), place))
                        code.stretch(source, b.add(plane, b.mul(b.mul(y, padded), place)))
            deep = code.weight(entries[5], z)
            with counted(b, new_height) as y:
                rows = [b.mul(b.mul(code.number(position, y), padded), place) for position in entries[6:8]]
                target = b.add(result, b.mul(b.mul(b.add(b.mul(z, new_height), y), new_row), place))
                sources = [[b.add(plane, offset) for offset in rows] for plane in addresses]
                code.blend(sources, code.weight(entries[8], y), deep, target)

    return build("linear_resize", [INTS, INT, INT], body)


class _Planes:
    """Instructions for rows.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    stretching : list
        Addresses of the positions and the weights along a row.
    row, new_row, padded
        Lengths of a row, of one of the result, and of that in whole vectors.
    """

    def __init__(self, builder: Any, stretching: list[Any], row: Any, new_row: Any, padded: Any) -> None:
        self.builder, self.stretching = builder, stretching
        self.row, self.new_row, self.padded = row, new_row, padded
        self.lanes = vectors().lanes
        self.floats, self.integers = ir.VectorType(FLOAT, self.lanes), ir.VectorType(INT32, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)

    def number(self, table: Any, index: Any) -> Any:
        """Load an integer."""
        return self.builder.load(self.builder.gep(self.builder.inttoptr(table, INTS), [index]))

    def weight(self, table: Any, index: Any) -> Any:
        """Load a weight, into all lanes."""
        b = self.builder
        value = b.load(b.gep(b.inttoptr(table, FLOATS), [index]))
        return self._splat(value, self.floats)

    def stretch(self, source: Any, target: Any) -> None:
        """Compute a row of the length of the result from a row of the image."""
        b = self.builder
        long, pointers = ir.VectorType(INT, self.lanes), ir.VectorType(FLOATS, self.lanes)
        base = self._splat(source, long)
        kind = ir.FunctionType(self.floats, [pointers, INT32, self.mask, self.floats])
        gather = b.module.declare_intrinsic(f"llvm.masked.gather.v{self.lanes}f32.v{self.lanes}p0", (), kind)
        everything = ir.Constant(self.mask, [ir.IntType(1)(1)] * self.lanes)
        with counted(b, self.padded, None, self.lanes) as column:
            near = []
            for table in self.stretching[:2]:
                index = b.zext(b.load(self._at(table, column, self.integers), align=4), long)
                places = b.inttoptr(b.add(base, b.shl(index, ir.Constant(long, [INT(2)] * self.lanes))), pointers)
                near.append(b.call(gather, [places, INT32(4), everything, ir.Constant(self.floats, None)]))
            weight = b.load(self._at(self.stretching[2], column, self.floats), align=4)
            b.store(self._between(near[0], near[1], weight), self._at(target, column, self.floats), align=4)

    def blend(self, sources: list[list[Any]], across: Any, deep: Any, target: Any) -> None:
        """Compute a row of the result from two rows of each of two planes."""
        b, lanes = self.builder, INT(self.lanes)

        def value(column: Any) -> Any:
            loaded = [[b.load(self._at(a, column, self.floats), align=4) for a in plane] for plane in sources]
            front, back = (self._between(a, c, across) for a, c in loaded)
            return self._between(front, back, deep)

        whole = b.mul(b.sdiv(self.new_row, lanes), lanes)
        with counted(b, whole, None, self.lanes) as column:
            b.store(value(column), self._at(target, column, self.floats), align=4)
        with b.if_then(b.icmp_signed("<", whole, self.new_row)):
            left = self._splat(b.trunc(b.sub(self.new_row, whole), INT32), self.integers)
            mask = b.icmp_signed("<", ir.Constant(self.integers, [INT32(k) for k in range(self.lanes)]), left)
            pointer = self._at(target, whole, self.floats)
            kind = ir.FunctionType(ir.VoidType(), [self.floats, pointer.type, INT32, self.mask])
            store = b.module.declare_intrinsic(f"llvm.masked.store.v{self.lanes}f32.p0", (), kind)
            b.call(store, [value(whole), pointer, INT32(4), mask])

    def _between(self, a: Any, c: Any, weight: Any) -> Any:
        b = self.builder
        rest = b.fsub(ir.Constant(self.floats, [FLOAT(1.0)] * self.lanes), weight)
        return b.fadd(b.fmul(a, rest, flags=FUSED), b.fmul(c, weight, flags=FUSED), flags=FUSED)

    def _at(self, address: Any, column: Any, kind: Any) -> Any:
        return self.builder.inttoptr(self.builder.add(address, self.builder.mul(column, INT(4))), kind.as_pointer())

    def _splat(self, value: Any, kind: Any) -> Any:
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, INT32(0))
        return self.builder.shuffle_vector(one, one, ir.Constant(self.integers, [0] * self.lanes))
