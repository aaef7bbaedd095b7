"""Discrete Fourier transforms of vectors of channels, as numba intrinsics.

Each intrinsic emits the instructions of one transform (see `dft`). Its length is known at compile time: it is the
length of a tuple, as that is part of the tuple's type. Complex numbers are a vector of real parts followed by one of
imaginary parts.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from neuromancer.engine.pytensor.kernels.dft import Arithmetic, Complex, Transform
from neuromancer.engine.pytensor.kernels.simd import LANES, PAIR
from neuromancer.engine.pytensor.kernels.vectors import FLOATS, FUSED, INT, Rows, constant


class VectorArithmetic(Arithmetic):
    """Instructions on vectors of channels.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Of the function that the instructions are emitted into.
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
        return self.builder.fmul(a, constant(factor), flags=FUSED)


class ComplexRows(Rows):
    """Complex vectors of an array at regular distances."""

    def load_complex(self, k: int) -> Complex:
        """Load the real and the imaginary parts of the k-th vector."""
        return Complex(self.load(k), self.load(k, LANES))

    def store_complex(self, k: int, value: Complex, nontemporal: bool = False) -> None:
        """Store the real and the imaginary parts of the k-th vector."""
        self.store(k, value.re, nontemporal=nontemporal)
        self.store(k, constant(0.0) if value.im is None else value.im, LANES, nontemporal)


@intrinsic
def real_to_half(typing: Any, size: Any, x: Any, start: Any, step: Any, ahead: Any, y: Any, to: Any) -> Any:
    """Transform N real rows of x into N // 2 + 1 complex rows of y; prefetch the rows `ahead` of them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, x, start, step, ahead, y, to = args
        source = Rows(context, builder, x, start, step)
        target = ComplexRows(context, builder, y, to, ir.Constant(to.type, PAIR))
        for k in range(size.count):
            source.prefetch(k, ahead)
        values = [source.load(k) for k in range(size.count)]
        for k, value in enumerate(Transform(VectorArithmetic(builder)).of_real(values)):
            target.store_complex(k, value)
        return context.get_dummy_value()

    return types.void(size, FLOATS, INT, INT, INT, FLOATS, INT), generate


@intrinsic
def half_to_real(
    typing: Any, size: Any, x: Any, start: Any, y: Any, to: Any, step: Any, outputs: Any, bias: Any, at: Any
) -> Any:
    """Inverse transform of N // 2 + 1 complex rows of x; the first `outputs` results plus a row of `bias` go to y."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        n, (_, x, start, y, to, step, outputs, bias, at) = size.count, args
        source = ComplexRows(context, builder, x, start, ir.Constant(start.type, PAIR))
        target = Rows(context, builder, y, to, step)
        offset = Rows(context, builder, bias, at, ir.Constant(at.type, 0)).load(0)
        half = [source.load_complex(k) for k in range(n // 2 + 1)]
        for k, value in enumerate(Transform(VectorArithmetic(builder), inverse=True).to_real(half, n)):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(outputs.type, k), outputs)):
                target.store(k, builder.fadd(value, offset))
        return context.get_dummy_value()

    return types.void(size, FLOATS, INT, FLOATS, INT, INT, INT, FLOATS, INT), generate


@intrinsic
def in_place(typing: Any, size: Any, direction: Any, x: Any, start: Any, step: Any) -> Any:
    """Transform N complex rows of x in place; the inverse transform if `direction` is an empty tuple."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = ComplexRows(context, builder, *args[2:5])
        values = [rows.load_complex(k) for k in range(size.count)]
        for k, value in enumerate(Transform(VectorArithmetic(builder), direction.count == 0).full(values)):
            rows.store_complex(k, value)
        return context.get_dummy_value()

    return types.void(size, direction, FLOATS, INT, INT), generate


@intrinsic
def to_products(
    typing: Any, size: Any, x: Any, start: Any, step: Any, y: Any, to: Any, apart: Any, aligned: Any
) -> Any:
    """Transform N complex rows of x into rows of y; these bypass the caches if they are `aligned` to cache lines."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (ComplexRows(context, builder, *args[k : k + 3]) for k in (1, 4))
        values = Transform(VectorArithmetic(builder)).full([source.load_complex(k) for k in range(size.count)])
        with builder.if_else(args[7]) as (then, otherwise):
            for branch, nontemporal in ((then, True), (otherwise, False)):
                with branch:
                    for k, value in enumerate(values):
                        target.store_complex(k, value, nontemporal)
        return context.get_dummy_value()

    return types.void(size, FLOATS, INT, INT, FLOATS, INT, INT, types.boolean), generate


@intrinsic
def from_products(
    typing: Any, size: Any, x: Any, start: Any, step: Any, ahead: Any, y: Any, to: Any, apart: Any
) -> Any:
    """Inverse transform of N complex rows of x into rows of y; prefetch the rows `ahead` of them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = ComplexRows(context, builder, *args[1:4]), ComplexRows(context, builder, *args[5:8])
        for k in range(size.count):
            source.prefetch(k, args[4])
            source.prefetch(k, builder.add(args[4], ir.Constant(args[4].type, LANES)))
        values = [source.load_complex(k) for k in range(size.count)]
        for k, value in enumerate(Transform(VectorArithmetic(builder), inverse=True).full(values)):
            target.store_complex(k, value)
        return context.get_dummy_value()

    return types.void(size, FLOATS, INT, INT, INT, FLOATS, INT, INT), generate
