"""Functions of Keras that networks use like layers, such as ``x + y`` and ``keras.ops.relu``."""

from __future__ import annotations

from collections.abc import Callable

from neuromancer.interop import elementwise
from neuromancer.interop.keras.activations import apply_function
from neuromancer.interop.keras.call import Call, Handler
from neuromancer.interop.network import Value

ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "log_sigmoid",
    "Silu": "silu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Selu": "selu",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Exp": "exponential",
}
ELEMENTWISE = {"Absolute": "abs", "Abs": "abs", "Log": "log", "Sqrt": "sqrt", "Square": "sqr", "Negative": "neg"}


def _activation(function: str) -> Handler:
    return lambda call: apply_function(call, call.name, call.x, function)


def _elementwise(function: str) -> Handler:
    return lambda call: elementwise.apply(call.net, call.name, call.x, function)


def _arithmetic(kind: str, opposite: str = "") -> Handler:
    """Return the handler of a sum or product; with `opposite`, that of a difference or quotient."""

    def handler(call: Call) -> Value:
        if len(call.arguments) != 2 or any(a is None or isinstance(a, bool) for a in call.arguments):
            raise call.options.refuse("takes two tensors or numbers", call.arguments)
        first, second = call.arguments
        if opposite and isinstance(second, Value):
            second = elementwise.apply(call.net, f"{call.name}.{opposite}", second, opposite)
        elif opposite:
            second = -second if kind == "add" else 1 / _nonzero(call, second)
        x, other = (first, second) if isinstance(first, Value) else (second, first)
        if not isinstance(x, Value):
            raise call.options.refuse("takes a tensor", call.arguments)
        return elementwise.operate(call.net, call.name, x, other, kind)

    return handler


def _nonzero(call: Call, number: float) -> float:
    if number == 0:
        raise call.options.refuse("divides by zero", number)
    return number


OPERATIONS: dict[str, Callable[[Call], Value]] = {
    "Add": _arithmetic("add"),
    "Multiply": _arithmetic("mul"),
    "Subtract": _arithmetic("add", "neg"),
    "Divide": _arithmetic("mul", "reciprocal"),
    "TrueDivide": _arithmetic("mul", "reciprocal"),
    **{name: _activation(function) for name, function in ACTIVATIONS.items()},
    **{name: _elementwise(function) for name, function in ELEMENTWISE.items()},
}
"""Handlers by the class of the function."""
