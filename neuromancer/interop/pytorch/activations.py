"""Translation of the activation functions of PyTorch."""

from __future__ import annotations

from neuromancer.interop import elementwise
from neuromancer.interop.network import Network, Value, require_axis
from neuromancer.interop.pytorch.table import Arguments, operation, refuse, weight_of

for _name, _function in {
    "relu": "relu",
    "relu6": "relu6",
    "tanh": "tanh",
    "sigmoid": "sig",
    "silu": "silu",
    "mish": "mish",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "selu": "selu",
    "softsign": "softsign",
    "log_sigmoid": "logsigmoid",
}.items():

    @operation(_name)
    def _plain(net: Network, place: str, a: Arguments, function: str = _function) -> Value:
        return elementwise.activation(net, place, a.x, function)


@operation("leaky_relu")
def _leaky_relu(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.activation(net, place, a.x, f"leaky_relu {float(a['negative_slope'])!r}")


@operation("rrelu")
def _rrelu(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.activation(net, place, a.x, f"leaky_relu {(float(a['lower']) + float(a['upper'])) / 2!r}")


@operation("elu", "celu")
def _elu(net: Network, place: str, a: Arguments) -> Value:
    alpha, scale, inner = (1.0 if a[key] is None else float(a[key]) for key in ("alpha", "scale", "input_scale"))
    if scale != 1 or inner != 1 or ("input_scale" not in a.bound and alpha != 1):
        raise refuse(place, "ELU with other scales has no counterpart", (alpha, scale, inner), "scale 1")
    return elementwise.activation(net, place, a.x, "elu" if alpha == 1 else f"elu {alpha!r}")


@operation("gelu")
def _gelu(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.activation(net, place, a.x, "gelu tanh" if a["approximate"] == "tanh" else "gelu")


@operation("softplus")
def _softplus(net: Network, place: str, a: Arguments) -> Value:
    beta = float(a["beta"])
    return elementwise.activation(net, place, a.x, "soft+" if beta == 1 else f"soft+ {beta!r}")


@operation("hardtanh", "clamp", "clip")
def _clamp(net: Network, place: str, a: Arguments) -> Value:
    low, high = (a[key] if key in a.bound else a[other] for key, other in (("min", "min_val"), ("max", "max_val")))
    if (low, high) == (0, 6):
        return elementwise.activation(net, place, a.x, "relu6")
    out = a.x
    if low is not None:
        out = elementwise.apply(net, f"{place}.low" if high is not None else place, out, "maximum", float(low))
    return out if high is None else elementwise.apply(net, place, out, "minimum", float(high))


@operation("clamp_min")
def _clamp_min(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.apply(net, place, a.x, "maximum", float(a["min"]))


@operation("clamp_max")
def _clamp_max(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.apply(net, place, a.x, "minimum", float(a["max"]))


@operation("prelu")
def _prelu(net: Network, place: str, a: Arguments) -> Value:
    slope = weight_of(a["weight"], place)
    return elementwise.activation(net, place, a.x, "prelu", slope)


@operation("threshold")
def _threshold(net: Network, place: str, a: Arguments) -> Value:
    bound, value = float(a["threshold"]), float(a["value"])
    if bound != value:
        raise refuse(place, "a threshold with a step has no counterpart", (bound, value), "value = threshold")
    return elementwise.apply(net, place, a.x, "maximum", bound)


@operation("glu")
def _glu(net: Network, place: str, a: Arguments) -> Value:
    require_axis(a.x, a["dim"], place)
    half = a.x.features // 2
    value, gate = elementwise.parts(net, f"{place}.halves", a.x, [half, half])
    gate = elementwise.activation(net, f"{place}.gate", gate, "sig")
    return elementwise.multiply(net, place, [value, gate])


@operation("softmax", "_softmax")
def _softmax(net: Network, place: str, a: Arguments) -> Value:
    require_axis(a.x, a["dim"], place)
    return elementwise.softmax(net, place, a.x)


@operation("log_softmax", "_log_softmax")
def _log_softmax(net: Network, place: str, a: Arguments) -> Value:
    require_axis(a.x, a["dim"], place)
    return elementwise.activation(net, place, a.x, "log_softmax")


for _name, _function in {"exp": "exp", "log": "log", "sqrt": "sqrt", "abs": "abs", "neg": "neg", "square": "sqr",
                         "sin": "sin", "cos": "cos", "tan": "tan", "atan": "arctan", "sinh": "sinh", "cosh": "cosh",
                         "erf": "erf", "reciprocal": "reciprocal", "log1p": "log1p", "expm1": "expm1", "log2": "log2",
                         "log10": "log10", "exp2": "exp2", "sign": "sgn", "sgn": "sgn"}.items():  # fmt: skip

    @operation(_name)
    def _unary(net: Network, place: str, a: Arguments, function: str = _function) -> Value:
        return elementwise.apply(net, place, a.x, function)


@operation("rsqrt")
def _rsqrt(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.apply(net, place, a.x, "pow", -0.5)


@operation("pow")
def _pow(net: Network, place: str, a: Arguments) -> Value:
    if not isinstance(a["exponent"], (int, float)) or not isinstance(a.x, Value):
        raise refuse(place, "the exponent must be a number", "a tensor as exponent", "e.g. x ** 2")
    return elementwise.apply(net, place, a.x, "pow", float(a["exponent"]))
