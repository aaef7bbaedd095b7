"""OpenVINO forms of elementwise operations, with PyTensor's dtypes and broadcasting rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from openvino import Output, opset13
from pytensor.graph.basic import Apply, Variable
from pytensor.scalar import basic as ps
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import Elemwise

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import COUNTED, TYPES, Missing, Unsupported, convert

ov: Any = opset13
FLOAT = ("float32",)
NUMBER = (*FLOAT, *COUNTED)
ANY = tuple(TYPES)
NEAR = 2e-2
"""Below this, the first omitted term of the series of log1p and expm1 is under the precision of float32."""


def _number(value: float) -> Any:
    return np.float32(value)


def _fold(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *args: reduce(function, args)


def _log1p(x: Any) -> Any:
    """log(1 + x), from its series where 1 + x would lose the digits of x."""
    series = _polynomial(x, 1, -1 / 2, 1 / 3, -1 / 4)
    return ov.select(ov.less(ov.abs(x), _number(NEAR)), series, ov.log(ov.add(x, _number(1))))


def _expm1(x: Any) -> Any:
    """exp(x) - 1, from its series where exp(x) is close to 1."""
    series = _polynomial(x, 1, 1 / 2, 1 / 6, 1 / 24)
    return ov.select(ov.less(ov.abs(x), _number(NEAR)), series, ov.subtract(ov.exp(x), _number(1)))


def _polynomial(x: Any, *coefficients: float) -> Any:
    """c1 x + c2 x^2 + ..."""
    *lower, result = map(_number, coefficients)
    for c in reversed(lower):
        result = ov.add(c, ov.multiply(x, result))
    return ov.multiply(x, result)


def _softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return ov.add(ov.relu(x), _log1p(ov.exp(ov.negative(ov.abs(x)))))


def _clip(x: Any, low: Any, high: Any) -> Any:
    return ov.minimum(ov.maximum(x, low), high)


TABLE: dict[type, tuple[Callable[..., Any], tuple[str, ...]]] = {
    ps.Add: (_fold(ov.add), NUMBER),
    ps.Mul: (_fold(ov.multiply), NUMBER),
    ps.Sub: (ov.subtract, NUMBER),
    ps.TrueDiv: (ov.divide, FLOAT),
    ps.Pow: (ov.power, FLOAT),
    ps.Maximum: (ov.maximum, NUMBER),
    ps.Minimum: (ov.minimum, NUMBER),
    ps.Clip: (_clip, FLOAT),
    ps.Abs: (ov.abs, NUMBER),
    ps.Neg: (ov.negative, NUMBER),
    ps.Sign: (ov.sign, FLOAT),
    ps.Ceil: (ov.ceiling, FLOAT),
    ps.Floor: (ov.floor, FLOAT),
    ps.RoundHalfToEven: (lambda x: ov.round(x, "half_to_even"), FLOAT),
    ps.Reciprocal: (lambda x: ov.divide(_number(1), x), FLOAT),
    ps.Log: (ov.log, FLOAT),
    ps.Log1p: (_log1p, FLOAT),
    ps.Exp: (ov.exp, FLOAT),
    ps.Expm1: (_expm1, FLOAT),
    ps.Sqr: (lambda x: ov.multiply(x, x), FLOAT),
    ps.Sqrt: (ov.sqrt, FLOAT),
    ps.Cos: (ov.cos, FLOAT),
    ps.Sin: (ov.sin, FLOAT),
    ps.ArcTan: (ov.atan, FLOAT),
    ps.Tanh: (ov.tanh, FLOAT),
    psm.Sigmoid: (ov.sigmoid, FLOAT),
    psm.Softplus: (_softplus, FLOAT),
    psm.Erf: (ov.erf, FLOAT),
    ps.LT: (ov.less, NUMBER),
    ps.GT: (ov.greater, NUMBER),
    ps.LE: (ov.less_equal, NUMBER),
    ps.GE: (ov.greater_equal, NUMBER),
    ps.EQ: (ov.equal, (*NUMBER, "bool")),
    ps.NEQ: (ov.not_equal, (*NUMBER, "bool")),
    ps.IsNan: (ov.is_nan, FLOAT),
    ps.IsInf: (ov.is_inf, FLOAT),
    ps.OR: (_fold(ov.logical_or), ("bool",)),
    ps.XOR: (ov.logical_xor, ("bool",)),
    ps.AND: (_fold(ov.logical_and), ("bool",)),
    ps.Invert: (ov.logical_not, ("bool",)),
    ps.Identity: (lambda x: x, ANY),
}
"""Scalar operation -> (function of nodes of the model, supported dtypes of inputs and common dtype)."""


@convert.register(Elemwise)
def _elemwise(op: Elemwise, node: Apply, build: Builder) -> list[Output]:
    if len(node.outputs) != 1 or any(v.dtype not in TYPES for v in (*node.inputs, *node.outputs)):
        raise Missing(f"operation {op} on {', '.join(v.dtype for v in node.inputs)}")
    _check_broadcast(node, build)
    scalar, out = type(op.scalar_op), node.outputs[0].dtype
    if scalar is ps.Cast:
        return [_cast(node, build)]
    if scalar is ps.Switch:
        condition, *branches = node.inputs
        return [ov.select(_as(condition, "bool", build), *(_as(v, out, build) for v in branches)).output(0)]
    if scalar is ps.Second:
        shape = np.broadcast_shapes(*(build.shape(v) for v in node.inputs))
        return [ov.broadcast(_as(node.inputs[1], out, build), np.array(shape, np.int64)).output(0)]
    if scalar not in TABLE:
        raise Missing(f"operation {op}")
    function, dtypes = TABLE[scalar]
    # comparisons are computed in the common dtype of their operands, everything else in the dtype of the result
    dtype = np.result_type(*(np.dtype(v.dtype) for v in node.inputs)).name if out == "bool" else out
    if dtype not in dtypes:
        raise Missing(f"operation {op} on {dtype}")
    result = function(*(_as(v, dtype, build) for v in node.inputs))
    return [result if isinstance(result, Output) else result.output(0)]


def _as(variable: Variable, dtype: str, build: Builder) -> Output:
    """Return `variable` in a dtype; as bool, all but 0 is True."""
    tensor = build.tensor(variable)
    if variable.dtype == dtype:
        return tensor
    if dtype == "bool":
        return ov.not_equal(tensor, np.zeros((), variable.dtype)).output(0)
    return ov.convert(tensor, TYPES[dtype]).output(0)


def _cast(node: Apply, build: Builder) -> Output:
    """Only casts from integers and to masks are supported; narrowing would not wrap around."""
    source, target = node.inputs[0].dtype, node.outputs[0].dtype
    if target not in (*NUMBER, "bool") or (source == "float32" and target in COUNTED):
        raise Missing(f"a cast from {source} to {target}")
    return _as(node.inputs[0], target, build)


def _check_broadcast(node: Apply, build: Builder) -> None:
    """Raise Unsupported if an axis not known to have length 1 would be broadcast; torch raises the error."""
    shapes = [build.shape(v) for v in node.inputs]
    for axis in range(node.outputs[0].ndim):
        lengths = {s[axis] for s, v in zip(shapes, node.inputs, strict=True) if v.type.shape[axis] != 1}
        if len(lengths) > 1:
            raise Unsupported("operands of different lengths")
