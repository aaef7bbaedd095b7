"""Discrete Fourier transforms of vectors of channels, compiled for each length on demand.

The functions write the instructions of one transform (see `dft`). Complex numbers are a vector of real parts and one of
imaginary parts.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from neuromancer.engine.pytensor.kernels.dft import Arithmetic, Complex, Transform
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, Function, vectors
from neuromancer.engine.pytensor.kernels.simd import LANES, PAIR
from neuromancer.engine.pytensor.kernels.values import Number, Value, when, written
from neuromancer.engine.pytensor.kernels.vectors import FUSED, VECTOR, Rows, constant, load, prefetch, registers

REAL_TO_HALF = [FLOATS, INT, INT, FLOATS]
HALF_TO_REAL = [FLOATS, FLOATS, INT, INT, FLOATS]
FULL = [FLOATS, FLOATS, INT, FLOATS, FLOATS, INT]
"""Arguments of the transforms."""


class VectorArithmetic(Arithmetic):
    """Instructions on vectors of channels.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Of the function that the instructions are written into.
    """

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def add(self, a: Any, b: Any) -> Any:
        """a + b; may be fused with a product that it adds."""
        return self.builder.fadd(a, b, flags=FUSED)

    def sub(self, a: Any, b: Any) -> Any:
        """a - b; may be fused with a product that it subtracts."""
        return self.builder.fsub(a, b, flags=FUSED)

    def neg(self, a: Any) -> Any:
        """-a"""
        return self.builder.fneg(a)

    def scale(self, a: Any, factor: float) -> Any:
        """a * factor, with a factor that is known at compile time."""
        return self.builder.fmul(a, constant(factor, a.type), flags=FUSED)


class ComplexRows:
    """Complex vectors at regular distances.

    Parameters
    ----------
    re, im : Value
        Addresses of the first real and imaginary parts.
    step : Value or int
        Distance between vectors.
    kind : llvmlite.ir.VectorType
    """

    def __init__(self, re: Value, im: Value, step: Number, kind: Any = VECTOR) -> None:
        self.re, self.im = Rows(re, step, kind), Rows(im, step, kind)

    def load(self, k: int) -> Complex:
        """Load the k-th vector."""
        return Complex(self.re.load(k), self.im.load(k))

    def store(self, k: int, value: Complex, nontemporal: bool = False) -> None:
        """Store the k-th vector."""
        self.re.store(k, value.re, nontemporal)
        self.im.store(k, constant(0.0, value.re.type) if value.im is None else value.im, nontemporal)


@cache
def real_to_half(n: int) -> Function:
    """Compile the transform of `n` real rows of x into ``n // 2 + 1`` complex rows of y.

    The function takes x, the distance of its rows, that of rows to be prefetched, and y.
    """

    def write(x: Value, step: Value, ahead: Value, y: Value) -> None:
        for k in range(n):
            prefetch(Rows(x, step).at(k, ahead))
        with registers(x) as (c, kind):
            source, target = Rows(x + c, step, kind), ComplexRows(y + c, y + (c + LANES), PAIR, kind)
            values = [source.load(k) for k in range(n)]
            for k, value in enumerate(Transform(VectorArithmetic(x.builder)).of_real(values)):
                target.store(k, value)

    return written("real_to_half", REAL_TO_HALF, write)


@cache
def half_to_real(n: int) -> Function:
    """Compile the inverse transform of ``n // 2 + 1`` complex rows of x into real rows of y.

    The function takes x, y, the distance of rows of y, the number of results to be stored, and a row that is added.
    """

    def write(x: Value, y: Value, step: Value, outputs: Value, bias: Value) -> None:
        with registers(x) as (c, kind):
            source, target = ComplexRows(x + c, x + (c + LANES), PAIR, kind), Rows(y + c, step, kind)
            half, offset = [source.load(k) for k in range(n // 2 + 1)], load(bias + c, kind)
            for k, value in enumerate(Transform(VectorArithmetic(x.builder), inverse=True).to_real(half, n)):
                with when(outputs > k):
                    target.store(k, x.builder.fadd(value, offset))

    return written("half_to_real", HALF_TO_REAL, write)


@cache
def full(n: int, nontemporal: bool = False) -> Function:
    """Compile the transform of `n` complex rows of x into rows of y, which may be those of x.

    The function takes the real and imaginary parts of x, the distance of its rows, and the same for y. With real and
    imaginary parts exchanged on both sides, the transform is the inverse one. `nontemporal` results bypass the caches.
    """
    # whole cache lines do so at once: parts of several rows are collected
    collected = nontemporal and n > 1 and vectors().lanes < LANES

    def write(x_re: Value, x_im: Value, step: Value, y_re: Value, y_im: Value, apart: Value) -> None:
        re, im, distance = y_re, y_im, apart
        if collected:
            re = y_re.room(n * PAIR)
            im, distance = re + LANES, apart.constant(PAIR)
        with registers(x_re) as (c, kind):
            source, target = ComplexRows(x_re + c, x_im + c, step, kind), ComplexRows(re + c, im + c, distance, kind)
            values = [source.load(k) for k in range(n)]
            for k, value in enumerate(Transform(VectorArithmetic(x_re.builder)).full(values)):
                target.store(k, value, nontemporal and not collected)
        if collected:
            results, target = ComplexRows(re, im, distance), ComplexRows(y_re, y_im, apart)
            for k in range(n):
                target.store(k, results.load(k), nontemporal)

    return written("full", FULL, write)
