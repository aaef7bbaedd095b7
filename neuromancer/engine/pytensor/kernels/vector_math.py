"""Elementary functions of float32 vectors as LLVM instructions, without calls into a mathematical library.

LLVM would turn its own ``llvm.exp`` of a vector into one library call per lane. Polynomials are minimax fits of our own
(relative error below 3e-8) to the forms named at each function. All functions take every float32 value, including
subnormal numbers, infinities and NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

FLOAT, INT32, BIT = ir.FloatType(), ir.IntType(32), ir.IntType(1)
FUSED = ("contract",)
"""Fast-math flag: a multiplication and an addition may be fused."""

SHIFTER = 1.5 * 2.0**23
"""Adding it rounds a number below 2^22 to an integer, which is then found in the lowest bits."""
LOG2_E = 1 / math.log(2)
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440054690583e-4
"""log(2) in two parts; the product of the first one with any exponent is exact (Cody and Waite 1980)."""
TINY = 2.0**-60
"""Numbers below it are left as they are by functions with f(x) = x + O(x^2), also where they are subnormal."""


class Vectors:
    """Instructions on vectors of float32.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    lanes : int
    """

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes
        self.floats = ir.VectorType(FLOAT, lanes)
        self.ints = ir.VectorType(INT32, lanes)

    def number(self, value: float) -> Any:
        """Return a vector with a number in every lane."""
        return ir.Constant(self.floats, [ir.Constant(FLOAT, value)] * self.lanes)

    def integer(self, value: int) -> Any:
        """Return a vector with an integer in every lane."""
        return ir.Constant(self.ints, [ir.Constant(INT32, value)] * self.lanes)

    def add(self, a: Any, b: Any) -> Any:
        """a + b"""
        return self.builder.fadd(a, b, flags=FUSED)

    def sub(self, a: Any, b: Any) -> Any:
        """a - b"""
        return self.builder.fsub(a, b, flags=FUSED)

    def mul(self, a: Any, b: Any) -> Any:
        """a * b"""
        return self.builder.fmul(a, b, flags=FUSED)

    def div(self, a: Any, b: Any) -> Any:
        """a / b"""
        return self.builder.fdiv(a, b)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once where the processor can."""
        return self.add(self.mul(a, b), c)

    def polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        """Evaluate a polynomial, coefficients from the constant term upward (Horner)."""
        result = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.multiply_add(result, x, self.number(coefficient))
        return result

    def intrinsic(self, name: str, *arguments: Any) -> Any:
        """Call one of LLVM's functions that take and return vectors and become single instructions."""
        kind = ir.FunctionType(self.floats, [self.floats] * len(arguments))
        function = self.builder.module.declare_intrinsic(f"{name}.v{self.lanes}f32", (), kind)
        return self.builder.call(function, arguments)

    def compare(self, symbol: str, a: Any, b: Any) -> Any:
        """Compare; only "!=" holds for NaN."""
        if symbol == "!=":
            return self.builder.fcmp_unordered(symbol, a, b)
        return self.builder.fcmp_ordered(symbol, a, b)

    def select(self, mask: Any, a: Any, b: Any) -> Any:
        """A where the mask is set, else b."""
        return self.builder.select(mask, a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        """The larger number, NaN if one of them is NaN."""
        return self._extreme(">", a, b)

    def minimum(self, a: Any, b: Any) -> Any:
        """The smaller number, NaN if one of them is NaN."""
        return self._extreme("<", a, b)

    def _extreme(self, symbol: str, a: Any, b: Any) -> Any:
        # a comparison with NaN selects the second operand, and so do the processors' own instructions
        a, b = (b, a) if isinstance(b, ir.Constant) else (a, b)
        extreme = self.select(self.compare(symbol, a, b), a, b)
        return extreme if isinstance(a, ir.Constant) else self.select(self.is_nan(a), a, extreme)

    def is_nan(self, x: Any) -> Any:
        """Whether x is NaN."""
        return self.builder.fcmp_unordered("uno", x, x)

    def absolute(self, x: Any) -> Any:
        """|x|"""
        return self.intrinsic("llvm.fabs", x)

    def with_sign(self, x: Any, sign: Any) -> Any:
        """|x| with the sign of another number."""
        return self.intrinsic("llvm.copysign", x, sign)

    def bits(self, x: Any) -> Any:
        """The bits of floating point numbers as integers."""
        return self.builder.bitcast(x, self.ints)

    def from_bits(self, x: Any) -> Any:
        """The floating point numbers with these bits."""
        return self.builder.bitcast(x, self.floats)

    def power_of_two(self, n: Any) -> Any:
        """2^n for integers from -126 to 127."""
        return self.from_bits(self.builder.shl(self.builder.add(n, self.integer(127)), self.integer(23)))


EXP = (
    0.5,
    0.1666666567325592,
    0.04166635870933533,
    0.008333389647305012,
    0.0013940893113613129,
    0.00019845897622872144,
)
"""(e^r - 1 - r) / r^2 for abs(r) <= log(2) / 2."""
LARGEST_EXP = 89.0
"""Beyond it, e^x is infinite."""


def _reduced(v: Vectors, x: Any) -> tuple[Any, Any]:
    """Return integers n and numbers r with x = n log(2) + r and abs(r) <= log(2) / 2 (Cody and Waite 1980)."""
    shifted = v.add(v.mul(x, v.number(LOG2_E)), v.number(SHIFTER))
    n = v.builder.fsub(shifted, v.number(SHIFTER))
    r = v.multiply_add(n, v.number(-LN2_HIGH), x)
    r = v.multiply_add(n, v.number(-LN2_LOW), r)
    shifter = v.bits(v.number(SHIFTER))
    return v.builder.sub(v.bits(shifted), shifter), r


def exp(v: Vectors, x: Any, low: Any = None) -> Any:
    """e^x as 2^n e^r; or e^(x + low), for numbers `low` that are small beside x."""
    x = v.minimum(v.maximum(x, v.number(-104.0)), v.number(LARGEST_EXP))
    n, r = _reduced(v, x)
    r = r if low is None else v.add(r, low)
    y = v.add(v.multiply_add(v.mul(r, r), v.polynomial(r, EXP), r), v.number(1.0))
    # in two factors, as 2^n itself may be too large or too small for a float
    half = v.builder.ashr(n, v.integer(1))
    rest = v.builder.sub(n, half)
    return v.builder.fmul(v.builder.fmul(y, v.power_of_two(half)), v.power_of_two(rest))


def expm1(v: Vectors, x: Any) -> Any:
    """e^x - 1 as 2^n (e^r - 1) + (2^n - 1), in which the last difference is exact wherever it matters."""
    clipped = v.minimum(v.maximum(x, v.number(-30.0)), v.number(LARGEST_EXP))
    n, r = _reduced(v, clipped)
    q = v.multiply_add(v.mul(r, r), v.polynomial(r, EXP), r)
    half = v.power_of_two(v.builder.sub(n, v.integer(1)))  # 2^n itself may be infinite
    y = v.multiply_add(q, half, v.sub(half, v.number(0.5)))
    small = v.compare("<", v.absolute(x), v.number(TINY))
    return v.select(small, x, v.builder.fadd(y, y))


LOG = (
    0.3333331346511841, -0.25000008940696716, 0.2000211924314499, -0.1666799634695053, 0.14219550788402557,
    -0.12405592203140259, 0.11888177692890167, -0.1167563870549202, 0.06746591627597809,
)  # fmt: skip
"""(log(1 + f) - f + f^2 / 2) / f^3 for sqrt(1/2) - 1 <= f <= sqrt(2) - 1: the form of Cephes (Moshier 1989)."""


def _log_of_normal(v: Vectors, x: Any, correction: Any, exponent: Any = None) -> Any:
    """log(x) + correction for positive normal numbers: x = 2^n (1 + f), log(x) = n log(2) + log(1 + f)."""
    origin = v.bits(v.number(0.5**0.5))
    n = v.builder.ashr(v.builder.sub(v.bits(x), origin), v.integer(23))
    f = v.builder.fsub(v.from_bits(v.builder.sub(v.bits(x), v.builder.shl(n, v.integer(23)))), v.number(1.0))
    n = n if exponent is None else v.builder.add(n, exponent)
    e = v.builder.sitofp(n, v.floats)
    square = v.mul(f, f)
    y = v.mul(v.mul(square, f), v.polynomial(f, LOG))
    y = v.multiply_add(e, v.number(LN2_LOW), y)
    y = y if correction is None else v.add(y, correction)
    y = v.multiply_add(square, v.number(-0.5), y)
    return v.multiply_add(e, v.number(LN2_HIGH), v.add(f, y))


def _outside(v: Vectors, y: Any, x: Any, zero: float) -> Any:
    """Return y = f(x) with the values of a logarithm at its pole `zero`, below it, at infinity and for NaN."""
    y = v.select(v.compare("==", x, v.number(zero)), v.number(float("-inf")), y)
    y = v.select(v.compare("==", x, v.number(float("inf"))), x, y)
    return v.select(v.compare(">=", x, v.number(zero)), y, v.number(float("nan")))


def logarithm(v: Vectors, x: Any) -> Any:
    """Natural logarithm of x."""
    subnormal = v.compare("<", x, v.number(2.0**-126))
    scaled = v.select(subnormal, v.builder.fmul(x, v.number(2.0**23)), x)
    y = _log_of_normal(v, scaled, None, v.select(subnormal, v.integer(-23), v.integer(0)))
    return _outside(v, y, x, 0.0)


def log1p(v: Vectors, x: Any) -> Any:
    """log(1 + x) as log(u) + (1 + x - u) / u, for the rounded sum u = 1 + x (Kahan)."""
    one = v.number(1.0)
    u = v.builder.fadd(x, one)
    large = v.compare(">=", x, one)
    lost = v.select(large, v.builder.fsub(one, v.builder.fsub(u, x)), v.builder.fsub(x, v.builder.fsub(u, one)))
    y = _outside(v, _log_of_normal(v, u, v.div(lost, u)), x, -1.0)
    return v.select(v.compare("<", v.absolute(x), v.number(TINY)), x, y)


def tanh(v: Vectors, x: Any) -> Any:
    """-t / (t + 2) for t = e^(-2 abs(x)) - 1, with the sign of x."""
    size = v.absolute(x)
    t = expm1(v, v.builder.fmul(size, v.number(-2.0)))
    y = v.div(t, v.builder.fadd(t, v.number(2.0)))
    # twice a tiny number may not be tiny, but half of a subnormal one is not exact
    y = v.select(v.compare("<", size, v.number(TINY)), x, y)
    return v.with_sign(y, x)


def sigmoid(v: Vectors, x: Any) -> Any:
    """1 / (1 + e^-x), for negative x as e^x / (1 + e^x), which does not become 0 too early."""
    e = exp(v, v.builder.fneg(v.absolute(x)))
    negative = v.compare("<", x, v.number(0.0))
    return v.div(v.select(negative, e, v.number(1.0)), v.builder.fadd(e, v.number(1.0)))


def softplus(v: Vectors, x: Any) -> Any:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-abs(x))."""
    e = exp(v, v.builder.fneg(v.absolute(x)))
    return v.builder.fadd(v.maximum(x, v.number(0.0)), log1p(v, e))


ERF = (
    0.1283791065216064, -0.3761262595653534, 0.1128358542919159, -0.026853810995817184, 0.00518832728266716,
    -0.000801019137725234, 7.853854185668752e-05,
)  # fmt: skip
"""erf(x) / x - 1 in x^2 for abs(x) <= 1 (Cody 1969)."""
ERFC = (
    1.2769783735275269, -0.0927639827132225, -0.16603142023086548, 0.16405534744262695, -0.0542043000459671,
    -0.00805987510830164, 0.008631681092083454, 0.0013135228073224425, -0.0012299276422709227,
    -0.0004005769733339548,
)  # fmt: skip
"""(1 + 2x) exp(x^2) erfc(x) in (x - 2) / (x + 2) for 0 <= x <= 10.1 (Shepherd and Laframboise 1981)."""


def _erfc_of_positive(v: Vectors, x: Any) -> Any:
    """erfc(x) for x >= 0."""
    x = v.minimum(x, v.number(10.5))
    y = v.polynomial(v.div(v.sub(x, v.number(2.0)), v.add(x, v.number(2.0))), ERFC)
    # the square in two parts: its rounding error would be multiplied by the square itself
    high = v.from_bits(v.builder.and_(v.bits(x), v.integer(-4096)))
    square = v.builder.fmul(high, high)
    low = v.mul(v.builder.fsub(high, x), v.builder.fadd(high, x))
    return v.div(v.mul(y, exp(v, v.builder.fneg(square), low)), v.multiply_add(x, v.number(2.0), v.number(1.0)))


def _erf_of_small(v: Vectors, x: Any) -> Any:
    """erf(x) for abs(x) <= 1."""
    return v.multiply_add(x, v.polynomial(v.mul(x, x), ERF), x)


def erfc(v: Vectors, x: Any) -> Any:
    """Complementary error function."""
    size = v.absolute(x)
    y = _erfc_of_positive(v, size)
    far = v.select(v.compare("<", x, v.number(0.0)), v.builder.fsub(v.number(2.0), y), y)
    near = v.builder.fsub(v.number(1.0), _erf_of_small(v, x))
    return v.select(v.compare("<", size, v.number(0.5)), near, far)


def erf(v: Vectors, x: Any) -> Any:
    """Error function."""
    size = v.absolute(x)
    far = v.with_sign(v.builder.fsub(v.number(1.0), _erfc_of_positive(v, size)), x)
    return v.select(v.compare("<", size, v.number(1.0)), _erf_of_small(v, x), far)


TAIL = (
    0.7978866696357727, 0.3182859420776367, 0.036423344165086746, -0.004931541159749031, 9.846336615737528e-05,
    0.00014561857096850872, -3.892914901371114e-05, 5.195290214032866e-06, -3.725855606262485e-07,
    1.1388089582453631e-08,
)  # fmt: skip
"""-log(2 Phi(-x)) / x for 0 <= x <= 6, where Phi is the normal distribution; fitted by weighted least squares."""
LAST = 6.0
"""Where Phi(-x) is 1e-9."""


def gelu(v: Vectors, x: Any) -> Any:
    """x Phi(x), to 1.3e-7 of x; `erfc`, which is accurate relative to its result, needs more operations."""
    size = v.absolute(x)
    near = v.minimum(size, v.number(LAST))
    tail = v.builder.fmul(exp(v, v.builder.fneg(v.mul(near, v.polynomial(near, TAIL)))), v.number(0.5))
    tail = v.select(v.compare(">", size, v.number(LAST)), v.number(0.0), tail)
    below = v.compare("<", x, v.number(0.0))
    return v.builder.fmul(x, v.select(below, tail, v.builder.fsub(v.number(1.0), tail)))


def power(v: Vectors, x: Any, exponent: float) -> Any:
    """x to a constant power: a multiple of 1/2, of moderate size."""
    whole, base = int(abs(exponent)), x
    result = v.intrinsic("llvm.sqrt", x) if abs(exponent) != whole else None
    while whole:
        if whole % 2:
            result = base if result is None else v.mul(result, base)
        whole //= 2
        base = v.mul(base, base) if whole else base
    result = v.number(1.0) if result is None else result
    return v.div(v.number(1.0), result) if exponent < 0 else result


def sign(v: Vectors, x: Any) -> Any:
    """-1, 0 or 1; NaN for NaN."""
    unit = v.with_sign(v.number(1.0), x)
    return v.select(v.compare("==", x, v.number(0.0)), v.number(0.0), v.select(v.is_nan(x), x, unit))


FUNCTIONS: dict[str, Callable[[Vectors, Any], Any]] = {
    "exp": exp,
    "expm1": expm1,
    "log": logarithm,
    "log1p": log1p,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "erf": erf,
    "erfc": erfc,
    "gelu": gelu,
    "sign": sign,
}
"""Name -> function of one vector."""
