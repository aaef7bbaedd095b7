"""Functions of the engine, applied by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.casts import is_number
from neuromancer.errors import ArgumentError
from neuromancer.interop.leaving.layout import as_float, dtype_of
from neuromancer.interop.leaving.registry import Unsupported, leaves
from neuromancer.interop.leaving.target import Target
from neuromancer.nodes.apply import ApplyFunc
from neuromancer.nodes.functors import ALIASES

UNARY = {
    "abs", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "ceil", "cos", "cosh", "erf", "exp", "exp2",
    "expm1", "floor", "log", "log10", "log1p", "log2", "neg", "reciprocal", "relu", "round_half_to_even", "sgn",
    "sigmoid", "sin", "sinh", "softplus", "sqrt", "square", "tan", "tanh",
}  # fmt: skip
BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "true_div": "div", "pow": "pow", "power": "pow", "maximum": "maximum",
    "minimum": "minimum",
}  # fmt: skip
SAME = {
    "inv": "reciprocal", "log1pexp": "softplus", "sign": "sgn", "sqr": "square", "expit": "sigmoid",
    "round": "round_half_to_even", "nnet.relu": "relu",
    **{alias: name for name in ("abs", "sigmoid", "softplus") for alias in ALIASES[name]},
}  # fmt: skip
"""Other names of these functions."""


@leaves(ApplyFunc)
def _apply(t: Target, node: ApplyFunc, x: Any) -> Any:
    name, arguments = _name(node), list(node.args)
    x = as_float(t, x, node.parent)
    if np.dtype(dtype_of(node)).kind != "f":
        raise Unsupported(f"its function {name} returns {dtype_of(node)}")
    if name in ("identity", "tensor_copy") and not arguments:
        return x
    if name in UNARY and not arguments:
        return t.function(name, x, *((1.0,) if name == "softplus" else ()))
    numbers = [float(a) for a in arguments if is_number(a)]
    if len(numbers) == len(arguments):
        if name in BINARY and len(numbers) == 1:
            return t.binary(BINARY[name], x, numbers[0])
        if name == "clip" and len(numbers) == 2:
            return t.function("hardtanh", x, *numbers)
    raise Unsupported(f"no counterpart is known for its function {name}, with these arguments")


def _name(node: ApplyFunc) -> str:
    """Name of the function in the namespace of the engine."""
    try:
        module, _, name = node.functor_path.partition(":")
    except ArgumentError as error:
        raise Unsupported("its function is the user's own") from error
    if module != "T" or node.kwargs:
        raise Unsupported("its function is the user's own" if module != "T" else f"its function {name} has options")
    return SAME.get(name, name)
