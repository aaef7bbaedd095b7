"""Elementwise functions in the operations of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

from neuromancer.interop.onnx.leaving.graph import GraphBuilder

Emit = Callable[..., str]

PLAIN = {
    "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign", "mish": "Mish",
    "hardswish": "HardSwish", "abs": "Abs", "arccos": "Acos", "arccosh": "Acosh", "arcsin": "Asin",
    "arcsinh": "Asinh", "arctan": "Atan", "arctanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh",
    "erf": "Erf", "exp": "Exp", "floor": "Floor", "log": "Log", "neg": "Neg", "reciprocal": "Reciprocal",
    "round_half_to_even": "Round", "sgn": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan",
}  # fmt: skip


def emit_function(g: GraphBuilder, name: str, x: str, numbers: Sequence[float]) -> str:
    """Emit an elementwise function by its name."""
    if name in PLAIN:
        return g.add(PLAIN[name], [x])
    return COMPOSED[name](g, x, *numbers)


def _softplus(g: GraphBuilder, x: str, beta: float) -> str:
    if beta == 1:
        return g.add("Softplus", [x])
    scaled = g.add("Softplus", [g.add("Mul", [x, g.number(beta)])])
    return g.add("Div", [scaled, g.number(beta)])


def _affine(g: GraphBuilder, x: str, scale: float, offset: float) -> str:
    return g.add("Add", [g.add("Mul", [x, g.number(scale)]), g.number(offset)])


def _logarithm(base: float) -> Emit:
    return lambda g, x: g.add("Mul", [g.add("Log", [x]), g.number(1 / log(base))])


COMPOSED: dict[str, Emit] = {
    "selu": lambda g, x: g.add("Selu", [x]),
    "leaky_relu": lambda g, x, slope: g.add("LeakyRelu", [x], alpha=slope),
    "elu": lambda g, x, alpha: g.add("Elu", [x], alpha=alpha),
    "gelu": lambda g, x: g.add("Gelu", [x]),
    "gelu_tanh": lambda g, x: g.add("Gelu", [x], approximate="tanh"),
    "silu": lambda g, x: g.add("Mul", [x, g.add("Sigmoid", [x])]),
    "hardsigmoid": lambda g, x: g.add("HardSigmoid", [x], alpha=1 / 6, beta=0.5),
    "hardtanh": lambda g, x, low, high: g.add("Clip", [x, g.number(low), g.number(high)]),
    "softplus": _softplus,
    "logsigmoid": lambda g, x: g.add("Neg", [g.add("Softplus", [g.add("Neg", [x])])]),
    "concentration": lambda g, x: _affine(g, g.add("Softplus", [x]), 7, 2),
    "radius": lambda g, x: _affine(g, g.add("Exp", [g.add("Mul", [x, g.number(0.15)])]), 15, 3),
    "square": lambda g, x: g.add("Mul", [x, x]),
    "expm1": lambda g, x: g.add("Sub", [g.add("Exp", [x]), g.number(1)]),
    "log1p": lambda g, x: g.add("Log", [g.add("Add", [x, g.number(1)])]),
    "exp2": lambda g, x: g.add("Pow", [g.number(2), x]),
    "log2": _logarithm(2),
    "log10": _logarithm(10),
}
"""Functions that are not one operation without attributes."""
