"""Elementwise functions in PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F


def concentration(x: Any) -> Any:
    """Return ``7 log(1 + exp(x)) + 2``."""
    return 7 * F.softplus(x) + 2


def radius(x: Any) -> Any:
    """Return ``3 + 15 exp(0.15 x)``."""
    return 3 + 15 * torch.exp(0.15 * x)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relu": F.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "selu": F.selu, "silu": F.silu, "mish": F.mish,
    "hardswish": F.hardswish, "tanh": torch.tanh, "hardtanh": torch.clamp, "softsign": F.softsign, "abs": torch.abs,
    "gelu": F.gelu, "sigmoid": torch.sigmoid, "hardsigmoid": F.hardsigmoid, "logsigmoid": F.logsigmoid,
    "softplus": F.softplus, "concentration": concentration, "radius": radius, "arccos": torch.arccos,
    "arcsin": torch.arcsin, "arctan": torch.arctan, "arccosh": torch.arccosh,
    "arcsinh": torch.arcsinh, "arctanh": torch.arctanh, "ceil": torch.ceil, "cos": torch.cos, "cosh": torch.cosh,
    "erf": torch.erf, "exp": torch.exp, "expm1": torch.expm1, "floor": torch.floor, "log": torch.log,
    "log1p": torch.log1p, "neg": torch.neg, "reciprocal": torch.reciprocal, "sgn": torch.sign, "sin": torch.sin,
    "sinh": torch.sinh, "sqrt": torch.sqrt, "square": torch.square, "tan": torch.tan, "exp2": torch.exp2,
    "log2": torch.log2, "log10": torch.log10, "round_half_to_even": torch.round,
}  # fmt: skip
"""Functions of a tensor and numbers; gelu_tanh is gelu with an option."""

BINARY: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": torch.pow,
    "maximum": torch.maximum, "minimum": torch.minimum,
}  # fmt: skip
CLAMPS = {"maximum": "min", "minimum": "max"}
"""The argument of clamp that stands for a bound by a number."""

REDUCTIONS: dict[str, Callable[..., Any]] = {"average": torch.mean, "max": torch.amax, "sum": torch.sum}
