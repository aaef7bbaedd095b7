"""PyTensor's scalar operations as functions of tensors and Python numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from pytensor.scalar import basic as ps
from pytensor.scalar import math as psm

OUTPUT, COMMON, ASIS = "output", "common", "asis"
"""Dtype in which a function takes its inputs: that of the output, the common one of the inputs, or their own."""


def _fold(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *args: reduce(function, args)


def _tensor_like(value: Any, other: torch.Tensor) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=other.dtype)


def _pairwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of two tensors as one that takes a number for either."""

    def call(a: Any, b: Any) -> Any:
        if not isinstance(a, torch.Tensor):
            a = _tensor_like(a, b)
        elif not isinstance(b, torch.Tensor):
            b = _tensor_like(b, a)
        return function(a, b)

    return call


def _maximum(a: Any, b: Any) -> Any:
    if not isinstance(b, torch.Tensor):
        return torch.clamp_min(a, b)
    return torch.maximum(a, b) if isinstance(a, torch.Tensor) else torch.clamp_min(b, a)


def _minimum(a: Any, b: Any) -> Any:
    if not isinstance(b, torch.Tensor):
        return torch.clamp_max(a, b)
    return torch.minimum(a, b) if isinstance(a, torch.Tensor) else torch.clamp_max(b, a)


def _power(base: Any, exponent: Any) -> Any:
    if not isinstance(exponent, torch.Tensor) and exponent == 2:
        return torch.square(base)
    return operator.pow(base, exponent)


def _clip(x: Any, low: Any, high: Any) -> Any:
    if any(isinstance(v, torch.Tensor) for v in (low, high)):
        return _minimum(_maximum(x, low) if isinstance(x, torch.Tensor) else _maximum(low, x), high)
    return torch.clamp(x, low, high)


def _round_away(x: Any) -> Any:
    return torch.sign(x) * torch.floor(torch.abs(x) + 0.5)


def _log1mexp(x: Any) -> Any:
    return torch.where(x < -np.log(2.0), torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x)))


def second(a: Any, b: Any) -> Any:
    shape = torch.broadcast_shapes(getattr(a, "shape", ()), getattr(b, "shape", ()))
    if isinstance(b, torch.Tensor):
        return b.expand(shape)
    return torch.full(shape, b, dtype=a.dtype, device=a.device)


def _not(x: Any) -> Any:
    return torch.logical_not(x) if x.dtype == torch.bool else torch.bitwise_not(x)


def _maximum_into(a: Any, b: Any, out: Any) -> Any:
    if not isinstance(b, torch.Tensor):
        return torch.clamp_min(a, b, out=out)
    return torch.maximum(a, b, out=out) if isinstance(a, torch.Tensor) else torch.clamp_min(b, a, out=out)


def _commutative_into(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*operands: Any, out: Any) -> Any:
        # the operand that is overwritten must be read first
        result = out
        skipped = False
        for value in operands:
            if value is out and not skipped:
                skipped = True
            else:
                result = function(result, value, out=out)
        return result

    return call


IN_PLACE: dict[type, Callable[..., Any]] = {
    ps.Add: _commutative_into(torch.add),
    ps.Mul: _commutative_into(torch.mul),
    ps.Maximum: _maximum_into,
    **{
        scalar: function
        for scalar, function in (
            (ps.Sub, torch.sub),
            (ps.TrueDiv, torch.true_divide),
            (ps.Neg, torch.neg),
            (ps.Abs, torch.abs),
            (ps.Exp, torch.exp),
            (ps.Log, torch.log),
            (ps.Sqr, torch.square),
            (ps.Sqrt, torch.sqrt),
            (ps.Tanh, torch.tanh),
            (psm.Sigmoid, torch.sigmoid),
        )
    },
}
"""Functions that can overwrite one of their float operands; they never return a view."""

_sp = torch.special

TABLE: dict[type, tuple[Callable[..., Any], str]] = {
    ps.Add: (_fold(operator.add), OUTPUT),
    ps.Mul: (_fold(operator.mul), OUTPUT),
    ps.Sub: (operator.sub, OUTPUT),
    ps.TrueDiv: (operator.truediv, OUTPUT),
    ps.IntDiv: (operator.floordiv, OUTPUT),
    ps.Mod: (_pairwise(torch.remainder), OUTPUT),
    ps.Pow: (_power, OUTPUT),
    ps.Maximum: (_maximum, OUTPUT),
    ps.Minimum: (_minimum, OUTPUT),
    ps.Clip: (_clip, OUTPUT),
    ps.Second: (second, OUTPUT),
    ps.Identity: (lambda x: x, OUTPUT),
    ps.Cast: (lambda x: x, ASIS),
    ps.LT: (operator.lt, COMMON),
    ps.GT: (operator.gt, COMMON),
    ps.LE: (operator.le, COMMON),
    ps.GE: (operator.ge, COMMON),
    ps.EQ: (operator.eq, COMMON),
    ps.NEQ: (operator.ne, COMMON),
    ps.IsNan: (torch.isnan, ASIS),
    ps.IsInf: (torch.isinf, ASIS),
    ps.OR: (operator.or_, OUTPUT),
    ps.XOR: (operator.xor, OUTPUT),
    ps.AND: (operator.and_, OUTPUT),
    ps.Invert: (_not, OUTPUT),
    ps.Abs: (torch.abs, OUTPUT),
    ps.Sign: (torch.sign, OUTPUT),
    ps.Ceil: (torch.ceil, OUTPUT),
    ps.Floor: (torch.floor, OUTPUT),
    ps.Trunc: (torch.trunc, OUTPUT),
    ps.RoundHalfToEven: (torch.round, OUTPUT),
    ps.RoundHalfAwayFromZero: (_round_away, OUTPUT),
    ps.Neg: (torch.neg, OUTPUT),
    ps.Reciprocal: (torch.reciprocal, OUTPUT),
    ps.Log: (torch.log, OUTPUT),
    ps.Log2: (torch.log2, OUTPUT),
    ps.Log10: (torch.log10, OUTPUT),
    ps.Log1p: (torch.log1p, OUTPUT),
    ps.Exp: (torch.exp, OUTPUT),
    ps.Exp2: (torch.exp2, OUTPUT),
    ps.Expm1: (torch.expm1, OUTPUT),
    ps.Sqr: (torch.square, OUTPUT),
    ps.Sqrt: (torch.sqrt, OUTPUT),
    ps.Cos: (torch.cos, OUTPUT),
    ps.ArcCos: (torch.arccos, OUTPUT),
    ps.Sin: (torch.sin, OUTPUT),
    ps.ArcSin: (torch.arcsin, OUTPUT),
    ps.Tan: (torch.tan, OUTPUT),
    ps.ArcTan: (torch.arctan, OUTPUT),
    ps.ArcTan2: (_pairwise(torch.arctan2), OUTPUT),
    ps.Cosh: (torch.cosh, OUTPUT),
    ps.ArcCosh: (torch.arccosh, OUTPUT),
    ps.Sinh: (torch.sinh, OUTPUT),
    ps.ArcSinh: (torch.arcsinh, OUTPUT),
    ps.Tanh: (torch.tanh, OUTPUT),
    ps.ArcTanh: (torch.arctanh, OUTPUT),
    psm.Sigmoid: (torch.sigmoid, OUTPUT),
    # torch's default threshold of 20, beyond which it returns x, loses digits in float64
    psm.Softplus: (partial(torch.nn.functional.softplus, threshold=40.0), OUTPUT),
    psm.Log1mexp: (_log1mexp, OUTPUT),
    psm.Erf: (torch.erf, OUTPUT),
    psm.Erfc: (torch.erfc, OUTPUT),
    psm.Erfcx: (_sp.erfcx, OUTPUT),
    psm.Erfinv: (torch.erfinv, OUTPUT),
    psm.GammaLn: (torch.lgamma, OUTPUT),
    psm.Psi: (torch.digamma, OUTPUT),
    psm.GammaInc: (_pairwise(_sp.gammainc), OUTPUT),
    psm.GammaIncC: (_pairwise(_sp.gammaincc), OUTPUT),
    psm.J0: (_sp.bessel_j0, OUTPUT),
    psm.J1: (_sp.bessel_j1, OUTPUT),
    psm.I0: (_sp.i0, OUTPUT),
    psm.I1: (_sp.i1, OUTPUT),
}
"""Scalar operation -> (function of tensors and Python numbers, dtype in which it takes its inputs)."""
for _name, _function in (("Deg2Rad", torch.deg2rad), ("Rad2Deg", torch.rad2deg)):
    if hasattr(ps, _name):  # newer versions multiply by a constant instead
        TABLE[getattr(ps, _name)] = (_function, OUTPUT)
