"""Torch forms of elementwise operations, with PyTensor's dtypes and broadcasting rules."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from pytensor.graph.basic import Apply
from pytensor.scalar import basic as ps
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import Elemwise

from neuromancer.engine.pytensor.link.torch.registry import (
    ANY,
    DEVICE,
    HOST,
    TORCH_DTYPES,
    Context,
    Form,
    as_scalar,
    constant_value,
    is_size_one,
    torch_form,
)
from neuromancer.errors import ShapeError

OUTPUT, COMMON, ASIS = "output", "common", "asis"
"""In which dtype the inputs enter: that of the output, the common one of the inputs, or their own."""


def _fold(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *args: reduce(function, args)


def _tensor_like(value: Any, other: torch.Tensor) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=other.dtype)


def _pairwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of two tensors take a number for either of them."""

    def call(a, b):
        if not isinstance(a, torch.Tensor):
            a = _tensor_like(a, b)
        elif not isinstance(b, torch.Tensor):
            b = _tensor_like(b, a)
        return function(a, b)

    return call


def _maximum(a, b):
    if not isinstance(b, torch.Tensor):
        return torch.clamp_min(a, b)
    return torch.maximum(a, b) if isinstance(a, torch.Tensor) else torch.clamp_min(b, a)


def _minimum(a, b):
    if not isinstance(b, torch.Tensor):
        return torch.clamp_max(a, b)
    return torch.minimum(a, b) if isinstance(a, torch.Tensor) else torch.clamp_max(b, a)


def _power(base, exponent):
    if not isinstance(exponent, torch.Tensor) and exponent == 2:
        return torch.square(base)
    return operator.pow(base, exponent)


def _clip(x, low, high):
    if any(isinstance(v, torch.Tensor) for v in (low, high)):
        return _minimum(_maximum(x, low) if isinstance(x, torch.Tensor) else _maximum(low, x), high)
    return torch.clamp(x, low, high)


def _round_away(x):
    return torch.sign(x) * torch.floor(torch.abs(x) + 0.5)


def _log1mexp(x):
    return torch.where(x < -np.log(2.0), torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x)))


def _second(a, b):
    shape = torch.broadcast_shapes(getattr(a, "shape", ()), getattr(b, "shape", ()))
    if isinstance(b, torch.Tensor):
        return b.expand(shape)
    return torch.full(shape, b, dtype=a.dtype, device=a.device)


def _not(x):
    return torch.logical_not(x) if x.dtype == torch.bool else torch.bitwise_not(x)


def _maximum_into(a, b, out):
    if not isinstance(b, torch.Tensor):
        return torch.clamp_min(a, b, out=out)
    return torch.maximum(a, b, out=out) if isinstance(a, torch.Tensor) else torch.clamp_min(b, a, out=out)


def _commutative_into(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*operands, out):
        # the operand that is written over must be read first
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
"""Functions that can write over a float operand of theirs; these also never return a view."""

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
    ps.Second: (_second, OUTPUT),
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
    # beyond 20 the default of torch returns x itself, which costs digits in float64
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
"""Scalar operation -> (function on tensors and Python numbers, dtype of the inputs)."""
for _name, _function in (("Deg2Rad", torch.deg2rad), ("Rad2Deg", torch.rad2deg)):
    if hasattr(ps, _name):  # newer versions multiply by a constant instead
        TABLE[getattr(ps, _name)] = (_function, OUTPUT)


@torch_form.register(Elemwise)
def _elemwise(op: Elemwise, node: Apply, context: Context) -> Form | None:
    """Elementwise operation; one-element host values enter as Python numbers, without a transfer."""
    out_dtype = TORCH_DTYPES[node.outputs[0].dtype]
    if isinstance(op.scalar_op, ps.Switch):
        return _switch(node, context, out_dtype)
    entry = TABLE.get(type(op.scalar_op))
    if entry is None or len(node.outputs) != 1:
        return None
    function, rule = entry
    if rule == OUTPUT:
        wanted: torch.dtype | None = out_dtype
    elif rule == COMMON:
        common = np.result_type(*(np.dtype(i.dtype) for i in node.inputs)).name
        if common not in TORCH_DTYPES:
            return None
        wanted = TORCH_DTYPES[common]
    else:
        wanted = None
    takes, getters, bare = _operands(node, context, [wanted] * len(node.inputs))
    check = _broadcast_check(node, takes)
    fresh = type(op.scalar_op) in IN_PLACE and out_dtype.is_floating_point and len(node.inputs) > 0
    target = _overwritten(node, context, takes, getters) if fresh else None
    if target is not None:
        into = IN_PLACE[type(op.scalar_op)]
        run = _assemble(lambda *operands: into(*operands, out=operands[target]), getters, bare)
    else:
        run = _assemble(function, getters, bare)

    def finish(*args: Any) -> torch.Tensor:
        if check is not None:
            check(args)
        result = run(*args)
        return result if result.dtype is out_dtype else result.to(out_dtype)

    return Form(finish, takes, [DEVICE], fresh=fresh)


def _overwritten(node: Apply, context: Context, takes: list[str | None], getters: list[Any]) -> int | None:
    """Position of an operand in whose memory the result can be written."""
    out = node.outputs[0]
    if len(node.inputs) > 1 and takes[0] != DEVICE and not isinstance(node.op.scalar_op, ps.Add | ps.Mul | ps.Maximum):
        return None
    for k, variable in enumerate(node.inputs):
        if variable not in context.reusable or takes[k] != DEVICE or getters[k] is not None:
            continue
        if all(s != 1 or t == 1 for s, t in zip(variable.type.shape, out.type.shape, strict=True)):
            return k
    return None


def _switch(node: Apply, context: Context, dtype: torch.dtype) -> Form:
    """``where(condition, a, b)``, lazily typed: the branches enter in the dtype of the output."""
    takes, getters, bare = _operands(node, context, [torch.bool, dtype, dtype])
    check = _broadcast_check(node, takes)

    def where(condition, a, b):
        if not isinstance(condition, torch.Tensor):
            # a host condition picks a whole branch; the other one gives only its shape
            first, other = (a, b) if condition else (b, a)
            return _second(other, first) if isinstance(other, torch.Tensor) else first
        if not (isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor)):
            a = torch.tensor(a, dtype=dtype, device=condition.device)
        return torch.where(condition, a, b)

    run = _assemble(where, getters, bare)

    def finish(*args: Any) -> torch.Tensor:
        if check is not None:
            check(args)
        result = run(*args)
        return result if result.dtype is dtype else result.to(dtype)

    return Form(finish, takes, [DEVICE])


def _operands(
    node: Apply, context: Context, dtypes: list[torch.dtype | None]
) -> tuple[list[str | None], list[Callable[[Any], Any] | Any], bool]:
    """Per input: how it is taken and, if not as it is, a function from the taken value to the operand.

    A constant with one element becomes a number and is not taken at all; the third result tells that nothing is to be
    converted or inserted.
    """
    takes: list[str | None] = []
    getters: list[Any] = []
    bare = True
    for variable, dtype in zip(node.inputs, dtypes, strict=True):
        constant = constant_value(variable)
        if constant is not None and is_size_one(variable):
            takes.append(None)
            getters.append(_Number(_number(constant, dtype)))
            bare = False
        elif context.on_host(variable) and is_size_one(variable):
            takes.append(HOST)
            getters.append(as_scalar if dtype is not torch.bool else lambda v: bool(as_scalar(v)))
            bare = False
        else:
            takes.append(DEVICE)
            cast = dtype is not None and TORCH_DTYPES[variable.dtype] is not dtype
            getters.append(_caster(dtype) if cast else None)
            bare = bare and not cast
    return takes, getters, bare


class _Number:
    """A constant operand."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _number(value: Any, dtype: torch.dtype | None) -> Any:
    number = as_scalar(np.asarray(value))
    if dtype is None:
        return number
    if dtype is torch.bool:
        return bool(number)
    return float(number) if dtype.is_floating_point else int(number)


def _caster(dtype: torch.dtype | None) -> Callable[[torch.Tensor], torch.Tensor]:
    if dtype is torch.bool:
        return lambda t: t != 0
    return lambda t: t.to(dtype)


def _assemble(function: Callable[..., Any], getters: list[Any], bare: bool) -> Callable[..., Any]:
    """A function of the taken values that applies `getters` and puts the constants in their places."""
    if bare:
        return function
    if len(getters) == 2 and isinstance(getters[1], _Number) and getters[0] is None:
        right = getters[1].value
        return lambda x: function(x, right)
    if len(getters) == 2 and isinstance(getters[0], _Number) and getters[1] is None:
        left = getters[0].value
        return lambda x: function(left, x)

    def call(*args: Any) -> Any:
        taken = iter(args)
        operands = []
        for getter in getters:
            if getter is None:
                operands.append(next(taken))
            elif isinstance(getter, _Number):
                operands.append(getter.value)
            else:
                operands.append(getter(next(taken)))
        return function(*operands)

    return call


def _broadcast_check(node: Apply, takes: list[str | None]) -> Callable[[Any], None] | None:
    """Check that only axes known to have length 1 are broadcast, as PyTensor demands; None if types prove it.

    PyTensor derives shapes and gradients from the types alone, so broadcasting an axis that only happens to have length 1
    would give wrong gradients silently.
    """
    patterns = [i.type.shape for i, place in zip(node.inputs, takes, strict=True) if place is not None]
    if len(patterns) < 2:
        return None
    axes = []
    for axis in range(len(patterns[0])):
        members = [k for k, shape in enumerate(patterns) if shape[axis] != 1]
        if len(members) > 1 and any(patterns[k][axis] is None for k in members):
            axes.append((axis, members))
    if not axes:
        return None
    name = str(node.op)

    def check(args: Any) -> None:
        shapes = [a.shape for a in args]
        for axis, members in axes:
            n = shapes[members[0]][axis]
            for k in members[1:]:
                if shapes[k][axis] != n:
                    raise ShapeError(
                        f"operands differ along axis {axis}",
                        node=name,
                        got=f"shapes {[tuple(s) for s in shapes]}",
                        expected="equal lengths, or an axis declared to have length 1",
                    )

    return check
