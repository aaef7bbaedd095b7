"""Discrete Fourier transforms of one axis as straight-line programs of additions and multiplications.

Recursive decimation (Cooley & Tukey 1965) into butterflies of 2, 3, 4 and 5; for real data, half of the frequencies. A
program computes with floats, or with values of LLVM: then it emits the instructions of a transform of this length
(`dft_instructions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin, sqrt
from typing import Any, NamedTuple


class Complex(NamedTuple):
    """A complex number whose parts are of any type; `im` is None for a real number."""

    re: Any
    im: Any = None


class Arithmetic:
    """Operations of a program; here on plain numbers."""

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


class Transform:
    """Programs of discrete Fourier transforms.

    Parameters
    ----------
    arithmetic : Arithmetic
        Operations on the real and imaginary parts.
    inverse : bool
        Positive sign in the exponent; not divided by the length.
    """

    def __init__(self, arithmetic: Arithmetic, inverse: bool = False) -> None:
        self.ops, self.sign = arithmetic, 1 if inverse else -1

    # complex arithmetic
    def _plus(self, a: Complex, b: Complex) -> Complex:
        im = a.im if b.im is None else b.im if a.im is None else self.ops.add(a.im, b.im)
        return Complex(self.ops.add(a.re, b.re), im)

    def _minus(self, a: Complex, b: Complex) -> Complex:
        im = a.im if b.im is None else self.ops.neg(b.im) if a.im is None else self.ops.sub(a.im, b.im)
        return Complex(self.ops.sub(a.re, b.re), im)

    def _times(self, a: Complex, factor: float) -> Complex:
        return Complex(self.ops.scale(a.re, factor), None if a.im is None else self.ops.scale(a.im, factor))

    def _plus_i(self, a: Complex, b: Complex, sign: int) -> Complex:
        """a + sign i b"""
        add, sub = (self.ops.add, self.ops.sub) if sign > 0 else (self.ops.sub, self.ops.add)
        re = a.re if b.im is None else sub(a.re, b.im)
        if a.im is None:
            return Complex(re, b.re if sign > 0 else self.ops.neg(b.re))
        return Complex(re, add(a.im, b.re))

    def _rotated(self, a: Complex, k: int, n: int) -> Complex:
        """a exp(sign 2 pi i k / n)"""
        k = k * self.sign % n
        if k == 0:
            return a
        if 2 * k == n:
            return Complex(self.ops.neg(a.re), None if a.im is None else self.ops.neg(a.im))
        if 4 * k in (n, 3 * n):
            return self._quarter(a, 1 if 4 * k == n else -1)
        c, s = cos(2 * pi * k / n), sin(2 * pi * k / n)
        if a.im is None:
            return Complex(self.ops.scale(a.re, c), self.ops.scale(a.re, s))
        return Complex(
            self.ops.sub(self.ops.scale(a.re, c), self.ops.scale(a.im, s)),
            self.ops.add(self.ops.scale(a.re, s), self.ops.scale(a.im, c)),
        )

    def _quarter(self, a: Complex, sign: int) -> Complex:
        """sign i a"""
        zero = a.im is None
        if sign > 0:
            return Complex(self.ops.scale(a.re, 0.0) if zero else self.ops.neg(a.im), a.re)
        return Complex(self.ops.scale(a.re, 0.0) if zero else a.im, self.ops.neg(a.re))

    def _conjugate(self, a: Complex) -> Complex:
        return Complex(a.re, None if a.im is None else self.ops.neg(a.im))

    def _butterfly(self, t: Sequence[Complex]) -> list[Complex]:
        """Return the transform of 2, 3, 4 or 5 numbers."""
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
        """Return the transform of complex numbers."""
        n = len(x)
        if n == 1:
            return list(x)
        r = radix(n)
        parts = [self.full(x[q::r]) for q in range(r)]
        result: list[Any] = [None] * n
        for k in range(n // r):
            rotated = [self._rotated(part[k], q * k, n) for q, part in enumerate(parts)]
            result[k :: n // r] = self._butterfly(rotated)
        return result

    def of_real(self, x: Sequence[Any]) -> list[Complex]:
        """Return frequencies 0 to n // 2 of the transform of n real numbers; the others are their conjugates."""
        n = len(x)
        if n == 1:
            return [Complex(x[0])]
        r = radix(n)
        m = n // r
        parts = [self.of_real(x[q::r]) for q in range(r)]
        result: list[Any] = [None] * (n // 2 + 1)
        for k in range(m // 2 + 1):
            rotated = [self._rotated(part[k], q * k, n) for q, part in enumerate(parts)]
            for p, value in enumerate(self._butterfly(rotated)):
                at = k + p * m
                if at <= n // 2:
                    result[at] = value
                elif result[n - at] is None:
                    result[n - at] = self._conjugate(value)
        return result

    def to_real(self, x: Sequence[Complex], n: int) -> list[Any]:
        """Return the n real numbers whose transform (with the opposite sign) has frequencies 0 to n // 2 in x."""
        if n == 1:
            return [x[0].re]
        r = radix(n)
        m = n // r
        parts: list[list[Complex]] = [[] for _ in range(r)]
        for k in range(m // 2 + 1):
            places = [k + p * m for p in range(r)]
            values = [x[at] if at <= n // 2 else self._conjugate(x[n - at]) for at in places]
            for q, value in enumerate(self._butterfly(values)):
                parts[q].append(self._rotated(value, q * k, n))
        result: list[Any] = [None] * n
        for q, part in enumerate(parts):
            result[q::r] = self.to_real(part, m)
        return result


def radix(n: int) -> int:
    """Return the radix of the first decimation of a transform of length n.

    Examples
    --------
    >>> [radix(n) for n in (2, 6, 8, 9, 10, 16, 15)]
    [2, 2, 4, 3, 2, 4, 3]
    """
    return next(r for r in (4, 2, 3, 5) if n % r == 0)
