"""Fourier transforms of tiles between images and the products of `fourier`, compiled by numba.

Transforms of one axis are written out as straight lines of instructions, one program for every length: recursive
decimation (Cooley & Tukey 1965) into butterflies of 2, 3, 4 and 5, of half the numbers where the data is real. Each
number is a vector of channels, given to the compiler as such for the reasons told in `tiles`. A length is known to it
by the type of a tuple with so many numbers. What it makes is kept on disk, so all of this is in one file.

Tiles are worked on a few at a time, axis after axis, in memory that fits into a core's own cache. Complex numbers are a
vector of real parts and one of imaginary parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import cos, pi, sin, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels import machine_code

A = npt.NDArray[np.float32]
I = npt.NDArray[np.int64]  # noqa: E741
F = types.Array(types.float32, 1, "C")
INT = types.intp
LANES = 16
"""Channels that are transformed together."""
PAIR = 2 * LANES
VECTOR = ir.VectorType(ir.FloatType(), LANES)
WHOLE, BYTE = ir.IntType(32), ir.IntType(8).as_pointer()
FUSED = ("contract", "nsz")


# ---- transforms as programs of additions and multiplications
class Complex(NamedTuple):
    """A complex number of real ones that may be anything; no imaginary part: it is 0."""

    re: Any
    im: Any = None


class Arithmetic:
    """What a program is made of: numbers as they are, or instructions that compute them (`Vectors`)."""

    def add(self, a: Any, b: Any) -> Any:
        """a + b"""
        return a + b

    def sub(self, a: Any, b: Any) -> Any:
        """a - b"""
        return a - b

    def neg(self, a: Any) -> Any:
        """-a"""
        return -a

    def scale(self, a: Any, factor: float) -> Any:
        """a * factor"""
        return a * factor


class Vectors(Arithmetic):
    """Instructions on vectors of channels.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Of the function that they become part of.
    """

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def add(self, a: Any, b: Any) -> Any:
        """a + b; may become one instruction with the product it is made of."""
        return self.builder.fadd(a, b, flags=FUSED)

    def sub(self, a: Any, b: Any) -> Any:
        """a - b, likewise."""
        return self.builder.fsub(a, b, flags=FUSED)

    def neg(self, a: Any) -> Any:
        """-a"""
        return self.builder.fneg(a)

    def scale(self, a: Any, factor: float) -> Any:
        """a times a number that is known now."""
        return self.builder.fmul(a, ir.Constant(VECTOR, [factor] * LANES), flags=FUSED)


class Transform:
    """Programs of discrete Fourier transforms.

    Parameters
    ----------
    arithmetic : Arithmetic
        What computes with the numbers.
    inverse : bool
        With the other sign in the exponent; nothing is divided by the length.
    """

    def __init__(self, arithmetic: Arithmetic, inverse: bool = False) -> None:
        self.on, self.sign = arithmetic, 1 if inverse else -1

    # complex numbers
    def _plus(self, a: Complex, b: Complex) -> Complex:
        im = a.im if b.im is None else b.im if a.im is None else self.on.add(a.im, b.im)
        return Complex(self.on.add(a.re, b.re), im)

    def _minus(self, a: Complex, b: Complex) -> Complex:
        im = a.im if b.im is None else self.on.neg(b.im) if a.im is None else self.on.sub(a.im, b.im)
        return Complex(self.on.sub(a.re, b.re), im)

    def _times(self, a: Complex, factor: float) -> Complex:
        return Complex(self.on.scale(a.re, factor), None if a.im is None else self.on.scale(a.im, factor))

    def _plus_i(self, a: Complex, b: Complex, sign: int) -> Complex:
        """a + sign i b"""
        add, sub = (self.on.add, self.on.sub) if sign > 0 else (self.on.sub, self.on.add)
        re = a.re if b.im is None else sub(a.re, b.im)
        if a.im is None:
            return Complex(re, b.re if sign > 0 else self.on.neg(b.re))
        return Complex(re, add(a.im, b.re))

    def _turned(self, a: Complex, k: int, n: int) -> Complex:
        """a exp(sign 2 pi i k / n)"""
        k = k * self.sign % n
        if k == 0:
            return a
        if 2 * k == n:
            return Complex(self.on.neg(a.re), None if a.im is None else self.on.neg(a.im))
        if 4 * k in (n, 3 * n):
            return self._quarter(a, 1 if 4 * k == n else -1)
        c, s = cos(2 * pi * k / n), sin(2 * pi * k / n)
        if a.im is None:
            return Complex(self.on.scale(a.re, c), self.on.scale(a.re, s))
        return Complex(
            self.on.sub(self.on.scale(a.re, c), self.on.scale(a.im, s)),
            self.on.add(self.on.scale(a.re, s), self.on.scale(a.im, c)),
        )

    def _quarter(self, a: Complex, sign: int) -> Complex:
        """sign i a"""
        zero = a.im is None
        if sign > 0:
            return Complex(self.on.scale(a.re, 0.0) if zero else self.on.neg(a.im), a.re)
        return Complex(self.on.scale(a.re, 0.0) if zero else a.im, self.on.neg(a.re))

    def _conjugate(self, a: Complex) -> Complex:
        return Complex(a.re, None if a.im is None else self.on.neg(a.im))

    def _butterfly(self, t: Sequence[Complex]) -> list[Complex]:
        """The transform of 2, 3, 4 or 5 numbers."""
        n, sign = len(t), self.sign
        plus, minus = self._plus, self._minus
        if n == 2:
            return [plus(t[0], t[1]), minus(t[0], t[1])]
        if n == 3:
            both, apart = plus(t[1], t[2]), self._times(minus(t[1], t[2]), sqrt(0.75))
            middle = minus(t[0], self._times(both, 0.5))
            return [plus(t[0], both), self._plus_i(middle, apart, sign), self._plus_i(middle, apart, -sign)]
        if n == 4:
            a, b, c, d = plus(t[0], t[2]), minus(t[0], t[2]), plus(t[1], t[3]), minus(t[1], t[3])
            return [plus(a, c), self._plus_i(b, d, sign), minus(a, c), self._plus_i(b, d, -sign)]
        c1, c2, s1, s2 = cos(2 * pi / 5), cos(4 * pi / 5), sin(2 * pi / 5), sin(4 * pi / 5)
        p, q, u, v = plus(t[1], t[4]), plus(t[2], t[3]), minus(t[1], t[4]), minus(t[2], t[3])
        near = plus(plus(t[0], self._times(p, c1)), self._times(q, c2))
        far = plus(plus(t[0], self._times(p, c2)), self._times(q, c1))
        first = plus(self._times(u, s1), self._times(v, s2))
        second = minus(self._times(u, s2), self._times(v, s1))
        return [
            plus(t[0], plus(p, q)),
            self._plus_i(near, first, sign),
            self._plus_i(far, second, sign),
            self._plus_i(far, second, -sign),
            self._plus_i(near, first, -sign),
        ]

    # transforms
    def full(self, x: Sequence[Complex]) -> list[Complex]:
        """The transform of complex numbers."""
        n = len(x)
        if n == 1:
            return list(x)
        r = radix(n)
        parts = [self.full(x[q::r]) for q in range(r)]
        result: list[Any] = [None] * n
        for k in range(n // r):
            turned = [self._turned(part[k], q * k, n) for q, part in enumerate(parts)]
            result[k :: n // r] = self._butterfly(turned)
        return result

    def of_real(self, x: Sequence[Any]) -> list[Complex]:
        """The first half, up to n // 2, of the transform of real numbers; the others are its conjugates."""
        n = len(x)
        if n == 1:
            return [Complex(x[0])]
        r = radix(n)
        m = n // r
        parts = [self.of_real(x[q::r]) for q in range(r)]
        result: list[Any] = [None] * (n // 2 + 1)
        for k in range(m // 2 + 1):
            turned = [self._turned(part[k], q * k, n) for q, part in enumerate(parts)]
            for p, value in enumerate(self._butterfly(turned)):
                at = k + p * m
                if at <= n // 2:
                    result[at] = value
                elif result[n - at] is None:
                    result[n - at] = self._conjugate(value)
        return result

    def to_real(self, x: Sequence[Complex], n: int) -> list[Any]:
        """The n real numbers of which x is the first half of the transform (of the other sign)."""
        if n == 1:
            return [x[0].re]
        r = radix(n)
        m = n // r
        parts: list[list[Complex]] = [[] for _ in range(r)]
        for k in range(m // 2 + 1):
            places = [k + p * m for p in range(r)]
            values = [x[at] if at <= n // 2 else self._conjugate(x[n - at]) for at in places]
            for q, value in enumerate(self._butterfly(values)):
                parts[q].append(self._turned(value, q * k, n))
        result: list[Any] = [None] * n
        for q, part in enumerate(parts):
            result[q::r] = self.to_real(part, m)
        return result


def radix(n: int) -> int:
    """By what a transform of length n is divided first.

    Examples
    --------
    >>> [radix(n) for n in (2, 6, 8, 9, 10, 16, 15)]
    [2, 2, 4, 3, 2, 4, 3]
    """
    return next(r for r in (4, 2, 3, 5) if n % r == 0)


# ---- the same as instructions
class _Places:
    """Vectors of an array: the first at `start`, the others `step` numbers apart."""

    def __init__(self, context: Any, builder: Any, array: Any, start: Any, step: Any) -> None:
        self.builder, self.start, self.step = builder, start, step
        self.data = context.make_array(F)(context, builder, array).data

    def _pointer(self, k: int, more: Any, kind: Any) -> Any:
        at = self.builder.add(self.start, self.builder.mul(self.step, ir.Constant(self.step.type, k)))
        more = ir.Constant(at.type, more) if isinstance(more, int) else more
        return self.builder.bitcast(self.builder.gep(self.data, [self.builder.add(at, more)]), kind.as_pointer())

    def load(self, k: int, more: int = 0) -> Any:
        """Read the k-th vector, or what begins `more` numbers further on."""
        return self.builder.load(self._pointer(k, more, VECTOR), align=4)

    def store(self, k: int, value: Any, more: int = 0, past: bool = False) -> None:
        """Write a vector; `past` the caches, to places that are whole lines of them, where it is read much later."""
        done = self.builder.store(value, self._pointer(k, more, VECTOR), align=64 if past else 4)
        if past:
            done.set_metadata("nontemporal", self.builder.module.add_metadata([ir.Constant(WHOLE, 1)]))

    def prefetch(self, k: int, ahead: Any) -> None:
        """Have the second cache read what stands `ahead` numbers further on."""
        kind = ir.FunctionType(ir.VoidType(), [BYTE, WHOLE, WHOLE, WHOLE])
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [BYTE], kind)
        read, near, data = (ir.Constant(WHOLE, v) for v in (0, 2, 1))
        self.builder.call(function, [self._pointer(k, ahead, ir.IntType(8)), read, near, data])

    def complex(self, k: int) -> Complex:
        """Real and imaginary parts, one after the other."""
        return Complex(self.load(k), self.load(k, LANES))

    def put(self, k: int, value: Complex, past: bool = False) -> None:
        """Write what `complex` reads."""
        self.store(k, value.re, past=past)
        self.store(k, ir.Constant(VECTOR, [0.0] * LANES) if value.im is None else value.im, LANES, past)


@intrinsic
def _real_to_half(typing: Any, size: Any, x: Any, start: Any, step: Any, ahead: Any, y: Any, to: Any) -> Any:
    """Transform N rows of x into N // 2 + 1 complex ones of y; those `ahead` are read next."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, x, start, step, ahead, y, to = args
        source = _Places(context, builder, x, start, step)
        target = _Places(context, builder, y, to, ir.Constant(to.type, PAIR))
        for k in range(size.count):
            source.prefetch(k, ahead)
        values = [source.load(k) for k in range(size.count)]
        for k, value in enumerate(Transform(Vectors(builder)).of_real(values)):
            target.put(k, value)
        return context.get_dummy_value()

    return types.void(size, F, INT, INT, INT, F, INT), generate


@intrinsic
def _half_to_real(
    typing: Any, size: Any, x: Any, start: Any, y: Any, to: Any, step: Any, wanted: Any, extra: Any, at: Any
) -> Any:
    """Transform N // 2 + 1 complex rows of x back; the first of the results, plus a row of `extra`, are rows of y."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        n, (_, x, start, y, to, step, wanted, extra, at) = size.count, args
        source = _Places(context, builder, x, start, ir.Constant(start.type, PAIR))
        target = _Places(context, builder, y, to, step)
        more = _Places(context, builder, extra, at, ir.Constant(at.type, 0)).load(0)
        values = Transform(Vectors(builder), inverse=True).to_real([source.complex(k) for k in range(n // 2 + 1)], n)
        for k, value in enumerate(values):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(wanted.type, k), wanted)):
                target.store(k, builder.fadd(value, more))
        return context.get_dummy_value()

    return types.void(size, F, INT, F, INT, INT, INT, F, INT), generate


@intrinsic
def _along(typing: Any, size: Any, back: Any, x: Any, start: Any, step: Any) -> Any:
    """Transform N rows of x where they are; `back` is an empty tuple for the inverse."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = _Places(context, builder, *args[2:5])
        values = [rows.complex(k) for k in range(size.count)]
        for k, value in enumerate(Transform(Vectors(builder), back.count == 0).full(values)):
            rows.put(k, value)
        return context.get_dummy_value()

    return types.void(size, back, F, INT, INT), generate


@intrinsic
def _to_products(
    typing: Any, size: Any, x: Any, start: Any, step: Any, y: Any, to: Any, apart: Any, whole_lines: Any
) -> Any:
    """Transform N rows of x into rows of y, which are past the caches where they are whole lines."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (_Places(context, builder, *args[k : k + 3]) for k in (1, 4))
        values = Transform(Vectors(builder)).full([source.complex(k) for k in range(size.count)])
        with builder.if_else(args[7]) as (whole, other):
            for branch, past in ((whole, True), (other, False)):
                with branch:
                    for k, value in enumerate(values):
                        target.put(k, value, past)
        return context.get_dummy_value()

    return types.void(size, F, INT, INT, F, INT, INT, types.boolean), generate


@intrinsic
def _from_products(
    typing: Any, size: Any, x: Any, start: Any, step: Any, ahead: Any, y: Any, to: Any, apart: Any
) -> Any:
    """Transform N rows of x back into rows of y; those `ahead` are read next."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = _Places(context, builder, *args[1:4]), _Places(context, builder, *args[5:8])
        for k in range(size.count):
            source.prefetch(k, args[4])
            source.prefetch(k, builder.add(args[4], ir.Constant(args[4].type, LANES)))
        values = [source.complex(k) for k in range(size.count)]
        for k, value in enumerate(Transform(Vectors(builder), inverse=True).full(values)):
            target.put(k, value)
        return context.get_dummy_value()

    return types.void(size, F, INT, INT, INT, F, INT, INT), generate


@intrinsic
def finish(typing: Any) -> Any:
    """Wait until what went past the caches can be seen by all threads."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


# ---- over tiles
# A unit is LANES channels of a tile; before the first channel of an image there are as many others (of the voxel
# before) as make the groups whole, of which nothing is used. In results, the last group begins so that it ends with
# them. In `work` its numbers are in the order z, y, half of x. The array `g` says how an image is cut: first tile,
# tiles per phase (3), phases (3), outputs per tile (3), zeros before the image (3), groups of channels, inputs per tile
# along z and y. Of a tile, one group after the other is worked on at every place, because they lie one after the other
# in images and products.
def _rows_in(size: tuple[int, ...], image: A, work: A, g: I, first: int, end: int) -> None:
    """Transform the last axis of units out of an image (z, y, x, c) into `work`."""
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
                at, row = front + i * dz, top + j * dy
                empty = at < 0 or at >= depth or row < 0 or row >= height
                for k in range(low, high):
                    to = (k - first) * unit + (i * ny + j) * half * PAIR
                    if empty:
                        work[to : to + half * PAIR] = 0
                        continue
                    a = (k - tile * groups) * LANES - before
                    start = ((at * height + row) * width + left) * channels + a
                    if inside and start >= 0:
                        _real_to_half(size, source, start, step, dy * width * channels, work, to)
                        continue
                    for m in range(n):
                        if 0 <= left + m * dx < width:
                            for c in range(max(0, -a), LANES):
                                gathered[m * LANES + c] = source[start + m * step + c]
                        else:
                            gathered[m * LANES : (m + 1) * LANES] = 0
                    _real_to_half(size, gathered, 0, LANES, 0, work, to)


def _columns(size: tuple[int, ...], back: tuple[int, ...], work: A, units: int, used: int, of: int, half: int) -> None:
    """Transform the middle axis where it is, in `used` planes of the first `of`."""
    n, step = len(size), half * PAIR
    for unit in range(units):
        for plane in range(used):
            start = (unit * of + plane) * n * step
            for k in range(half):
                _along(size, back, work, start + k * PAIR, step)


def _planes_in(size: tuple[int, ...], work: A, v: A, g: I, columns: I, first: int, end: int) -> None:
    """Transform the first axis of units out of `work` into v (points, tiles, numbers).

    `columns` says which points are wanted, see `fourier.columns`.
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
                _to_products(size, work, start, step, target, to, points // n * apart, aligned)
    finish()


def _planes_out(size: tuple[int, ...], s: A, work: A, g: I, columns: I, first: int, end: int) -> None:
    """The inverse of `_planes_in`."""
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
                    _from_products(size, source, start, points // n * apart, apart, work, to + k * PAIR, step)
                    continue
                other = to + (across - k // half * half + k % half) * PAIR  # the conjugate one is there already
                for at in range(to + k * PAIR, to + n * step, step):
                    for c in range(LANES):
                        work[at + c] = work[other + c]
                        work[at + LANES + c] = -work[other + LANES + c]
                    other += step


def _rows_out(size: tuple[int, ...], work: A, image: A, bias: A, g: I, first: int, end: int) -> None:
    """The inverse of `_rows_in`, of what lies in the image."""
    half = len(size) // 2 + 1
    begin, tz, ty, tx, dz, dy, dx, mz, my, mx, _, _, _, groups, nz, ny = g
    depth, height, width, channels = image.shape
    target, unit = image.reshape(-1), nz * ny * half * PAIR
    for tile in range(first // groups, (end - 1) // groups + 1):
        low, high = max(first, tile * groups), min(end, (tile + 1) * groups)
        rest, x = divmod(begin + tile, tx * dx)
        z, y = divmod(rest, ty * dy)
        front, top, left = z // tz + dz * mz * (z % tz), y // ty + dy * my * (y % ty), x // tx + dx * mx * (x % tx)
        wanted = min(mx, (width - left + dx - 1) // dx)
        for i in range(min(mz, (depth - front + dz - 1) // dz)):
            for j in range(min(my, (height - top + dy - 1) // dy)):
                row = (((front + i * dz) * height + top + j * dy) * width + left) * channels
                for k in range(low, high):
                    a = min((k - tile * groups) * LANES, channels - LANES)
                    start = (k - first) * unit + (i * ny + j) * half * PAIR
                    _half_to_real(size, work, start, target, row + a, dx * channels, wanted, bias, a)


@cache
def compiled(name: str) -> Callable[..., None]:
    """One of the passes over tiles as machine code."""
    return machine_code.compiled(globals()[f"_{name}"])
