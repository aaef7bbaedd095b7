"""Activation functions of Keras, as names and as layers."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np

from neuromancer.interop import elementwise
from neuromancer.interop.keras.call import Call
from neuromancer.interop.keras.options import Options
from neuromancer.interop.network import Value, Weight

FUNCTIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu 0.2",
    "elu": "elu",
    "celu": "elu",
    "selu": "selu",
    "gelu": "gelu",
    "gelu_new": "gelu tanh",
    "sigmoid": "sig",
    "log_sigmoid": "logsigmoid",
    "hard_silu": "hardswish",
    "hard_swish": "hardswish",
    "silu": "silu",
    "swish": "silu",
    "mish": "mish",
    "tanh": "tanh",
    "softplus": "soft+",
    "softsign": "softsign",
}
"""Functions of every voxel by itself. The ELUs are those with alpha = 1, GELU is exact."""
LINEAR = ("linear", "identity")
OTHERS = ("softmax", "log_softmax", "exponential", "hard_sigmoid", *LINEAR)


def function_name(spec: Any, options: Options) -> str | Options:
    """Return the name of a function, or the options of a layer that is used as one."""
    if spec is None:
        return "linear"
    if isinstance(spec, dict):
        kind, config = spec.get("class_name"), spec.get("config")
        if kind == "function" and isinstance(config, str):
            spec = config
        elif isinstance(kind, str) and kind.rpartition(">")[2] in LAYERS and isinstance(config, dict):
            return Options(options.layer, kind.rpartition(">")[2], config)
        elif isinstance(kind, str) and kind in (*FUNCTIONS, *OTHERS):
            spec = kind
    if not isinstance(spec, str):
        raise options.refuse("the activation function is given by code, which is not executed", spec)
    package, _, name = spec.rpartition(">")
    if name not in (*FUNCTIONS, *OTHERS) or package.partition(".")[0] not in ("", "keras"):
        nearest = get_close_matches(name[:100], [*FUNCTIONS, *OTHERS], 1)
        raise options.refuse(
            "the activation function has no counterpart", spec, nearest=nearest[0] if nearest else None
        )
    return name


def activate(call: Call, name: str, x: Value, spec: Any) -> Value:
    """Apply an activation function, given as in the options of a layer."""
    found = function_name(spec, call.options)
    if isinstance(found, Options):
        return LAYERS[found.kind](call, name, x, found)
    return apply_function(call, name, x, found)


def apply_function(call: Call, name: str, x: Value, function: str) -> Value:
    """Apply an activation function by its name in Keras."""
    net = call.net
    if function in LINEAR:
        return x
    if function == "exponential":
        return elementwise.apply(net, name, x, "exp")
    if function in ("softmax", "log_softmax"):
        call.require_features([-1], x)
        if function == "softmax":
            return elementwise.softmax(net, name, x)
        return elementwise.activation(net, name, x, "log_softmax")
    if function == "hard_sigmoid":
        if call.context.major >= 3:
            return elementwise.activation(net, name, x, "hardsigmoid")
        # Up to Keras 2, its slope is 0.2 instead of 1/6.
        scaled = elementwise.apply(net, f"{name}.scaled", x, "mul", 0.2)
        moved = elementwise.apply(net, f"{name}.moved", scaled, "add", 0.5)
        return elementwise.apply(net, name, moved, "clip", 0.0, 1.0)
    return elementwise.activation(net, name, x, FUNCTIONS[function])


# ---- layers
def _relu(call: Call, name: str, x: Value, options: Options) -> Value:
    slope, threshold = options.number("negative_slope", 0.0), options.number("threshold", 0.0)
    largest = None if options.values.get("max_value") is None else options.number("max_value")
    if threshold != 0:
        raise options.refuse("a threshold has no counterpart", threshold, "threshold 0")
    if largest == 6 and slope == 0:
        return elementwise.activation(call.net, name, x, "relu6")
    first = name if largest is None else f"{name}.low"
    out = elementwise.activation(call.net, first, x, "relu" if slope == 0 else f"leaky_relu {slope!r}")
    return out if largest is None else elementwise.apply(call.net, name, out, "minimum", largest)


def _leaky_relu(call: Call, name: str, x: Value, options: Options) -> Value:
    key = "negative_slope" if "negative_slope" in options.values else "alpha"
    return elementwise.activation(call.net, name, x, f"leaky_relu {options.number(key, 0.3)!r}")


def _elu(call: Call, name: str, x: Value, options: Options) -> Value:
    alpha = options.number("alpha", 1.0)
    return elementwise.activation(call.net, name, x, "elu" if alpha == 1 else f"elu {alpha!r}")


def _softmax(call: Call, name: str, x: Value, options: Options) -> Value:
    call.require_features(options.axes(), x)
    return elementwise.softmax(call.net, name, x)


LAYERS = {"ReLU": _relu, "LeakyReLU": _leaky_relu, "ELU": _elu, "Softmax": _softmax}
"""Layers that are activation functions."""


def prelu(call: Call) -> Value:
    """PReLU with one slope, or one per channel."""
    x, shared = call.x, call.options.values.get("shared_axes") or []
    shared = shared if isinstance(shared, list) else [shared]
    sizes = [n for axis, n in enumerate(x.shape) if axis != x.feature_axis][1:]
    sizes.insert(call.context.feature_axis(x) - 1, x.features)
    expected = [1 if axis in shared else n for axis, n in enumerate(sizes, start=1)]
    place = call.context.feature_axis(x) - 1
    if any(n != 1 for axis, n in enumerate(expected) if axis != place):
        raise call.options.refuse("has a slope for every voxel", f"shared_axes={shared}", "all axes of space shared")
    alpha = call.weight(["alpha"], expected)
    slope = Weight(np.reshape(alpha.array, -1), alpha.key, alpha.trainable)
    return elementwise.activation(call.net, call.name, x, "prelu", slope)
