"""Translation of the operations of ONNX on every voxel: activations, arithmetic, channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer.interop import elementwise, layers
from neuromancer.interop.network import Network, Value, Weight, require_axis
from neuromancer.interop.onnx.arguments import PLAIN, Arguments, as_image, operation, seen_as
from neuromancer.interop.onnx.layers import as_vector

SELU = (1.67326, 1.0507)
"""Numbers of Klambauer et al. 2017, which are the defaults of ONNX."""


# ---- activations
def _named(function: str) -> Callable[[Network, str, Arguments], Value]:
    return lambda net, place, a: elementwise.activation(net, place, a.x, function)


for _name, _function in {
    "Relu": "relu", "Sigmoid": "sig", "Tanh": "tanh", "HardSwish": "hardswish", "Mish": "mish", "Softplus": "soft+",
    "Softsign": "softsign",
}.items():  # fmt: skip
    operation(_name)(_named(_function))


@operation("LeakyRelu")
def _leaky_relu(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.activation(net, place, a.x, f"leaky_relu {float(a['alpha'])!r}")


@operation("Elu")
def _elu(net: Network, place: str, a: Arguments) -> Value:
    alpha = float(a["alpha"])
    return elementwise.activation(net, place, a.x, "elu" if alpha == 1 else f"elu {alpha!r}")


@operation("Celu")
def _celu(net: Network, place: str, a: Arguments) -> Value:
    # alpha * elu(x / alpha) is x above 0, and alpha * (exp(x / alpha) - 1) below.
    alpha = float(a["alpha"])
    if not alpha > 0:
        raise a.refuse("alpha must be positive", alpha, "e.g. 1.0")
    inner = elementwise.operate(net, f"{place}.inner", a.x, 1 / alpha, "mul")
    out = elementwise.activation(net, place if alpha == 1 else f"{place}.elu", inner, "elu")
    return elementwise.operate(net, place, out, alpha, "mul")


@operation("Selu")
def _selu(net: Network, place: str, a: Arguments) -> Value:
    given = float(a["alpha"]), float(a["gamma"])
    if not np.allclose(given, SELU, rtol=1e-4):
        raise a.refuse("SELU with other numbers has no counterpart", given, f"alpha, gamma = {SELU}")
    return elementwise.activation(net, place, a.x, "selu")


@operation("Gelu")
def _gelu(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.activation(net, place, a.x, "gelu tanh" if a["approximate"] == "tanh" else "gelu")


@operation("HardSigmoid")
def _hard_sigmoid(net: Network, place: str, a: Arguments) -> Value:
    alpha, beta = float(a["alpha"]), float(a["beta"])
    if np.allclose((alpha, beta), (1 / 6, 1 / 2)):
        return elementwise.activation(net, place, a.x, "hardsigmoid")
    out = elementwise.operate(net, f"{place}.scaled", a.x, alpha, "mul")
    out = elementwise.operate(net, f"{place}.shifted", out, beta, "add")
    return elementwise.activation(net, place, out, "hardtanh 0 1")


@operation("Swish")
def _swish(net: Network, place: str, a: Arguments) -> Value:
    alpha = float(a["alpha"])
    if alpha == 1:
        return elementwise.activation(net, place, a.x, "silu")
    scaled = elementwise.operate(net, f"{place}.scaled", a.x, alpha, "mul")
    gate = elementwise.activation(net, f"{place}.gate", scaled, "sig")
    return elementwise.multiply(net, place, [a.x, gate])


@operation("PRelu")
def _prelu(net: Network, place: str, a: Arguments) -> Value:
    x, slope = a.x, a.needed(1)
    shape = (1,) * (len(x.shape) - slope.array.ndim) + slope.array.shape
    others = [n for axis, n in enumerate(shape) if axis != x.feature_axis]
    if len(shape) != len(x.shape) or set(others) - {1} or shape[x.feature_axis] not in (1, x.features):
        raise a.refuse("slopes must be one, or one per channel", f"{slope.array.shape} on {x.shape}", "e.g. (c, 1, 1)")
    return elementwise.activation(net, place, x, "prelu", slope)


@operation("Clip")
def _clip(net: Network, place: str, a: Arguments) -> Value:
    low, high = (a[key] if key in a.attributes else a.number(k) for k, key in ((1, "min"), (2, "max")))
    limit = float(np.finfo("float32").max)
    low = None if low is None or low <= -limit else float(low)
    high = None if high is None or high >= limit else float(high)
    if (low, high) == (0, 6):
        return elementwise.activation(net, place, a.x, "relu6")
    out = a.x
    if low is not None:
        out = elementwise.apply(net, place if high is None else f"{place}.low", out, "maximum", low)
    return out if high is None else elementwise.apply(net, place, out, "minimum", high)


@operation("Softmax", "LogSoftmax")
def _softmax(net: Network, place: str, a: Arguments) -> Value:
    x = as_vector(a.x)
    axis = a.axes([int(a["axis"])], len(x.shape))[0]
    if a.opset < 13 and prod(x.shape[axis + 1 :]) > 1:
        raise a.refuse(
            "before opset 13, this is a softmax over all axes from here on, which has no counterpart",
            f"axis={axis} of {x.shape}",
            "the last axis, or opset 13",
        )
    require_axis(x, axis, f"{place} ({a.op})")
    if a.op == "Softmax":
        return elementwise.softmax(net, place, x)
    return elementwise.activation(net, place, x, "log_softmax")


for _name, _function in {
    "Abs": "abs", "Ceil": "ceil", "Cos": "cos", "Erf": "erf", "Exp": "exp", "Floor": "floor", "Log": "log",
    "Neg": "neg", "Reciprocal": "reciprocal", "Sign": "sign", "Sin": "sin", "Sqrt": "sqrt",
}.items():  # fmt: skip

    @operation(_name)
    def _unary(net: Network, place: str, a: Arguments, function: str = _function) -> Value:
        return elementwise.apply(net, place, a.x, function)


# ---- arithmetic
def _operand(net: Network, a: Arguments, index: int, rank: int) -> Any:
    """Return an operand: a value, a weight, or a number."""
    found = a.given(index)
    if isinstance(found, Value):
        if len(found.shape) != rank:
            raise a.refuse("the operands have different numbers of axes", found.shape, f"{rank} axes")
        return found
    weight = a.needed(index)
    # Single numbers are part of formulas rather than weights.
    return weight if weight.array.size > 1 else float(weight.array.reshape(-1)[0])


def _operands(net: Network, a: Arguments) -> list[Any]:
    """Return the operands, a value first."""
    rank = max(len(v.shape) for v in a.inputs if isinstance(v, Value))
    found = [_operand(net, a, k, rank) for k in range(len(a.inputs))]
    return sorted(found, key=lambda operand: not isinstance(operand, Value))


def _total(net: Network, place: str, operands: Sequence[Any], kind: str) -> Value:
    """Add or multiply several operands, of which the first is a value."""
    values = [v for v in operands if isinstance(v, Value)]
    rest = operands[len(values) :]
    out = values[0]
    if len(values) > 1:
        combine = elementwise.add if kind == "add" else elementwise.multiply
        out = combine(net, place if not rest else f"{place}.values", values)
    for k, other in enumerate(rest, 1):
        out = elementwise.operate(net, place if k == len(rest) else f"{place}.{k}", out, other, kind)
    return out


@operation("Add", "Sum")
def _add(net: Network, place: str, a: Arguments) -> Value:
    return _total(net, place, _operands(net, a), "add")


@operation("Mul")
def _mul(net: Network, place: str, a: Arguments) -> Value:
    operands = _operands(net, a)
    if operands[0] is operands[1]:
        return elementwise.apply(net, place, operands[0], "sqr")
    return _total(net, place, operands, "mul")


@operation("Mean")
def _mean(net: Network, place: str, a: Arguments) -> Value:
    out = _total(net, f"{place}.sum" if len(a.inputs) > 1 else place, _operands(net, a), "add")
    return elementwise.operate(net, place, out, 1 / len(a.inputs), "mul")


def _inverted(net: Network, place: str, operand: Any, kind: str) -> Any:
    """Return the negative or the reciprocal of an operand."""
    if isinstance(operand, Value):
        return elementwise.apply(net, f"{place}.{kind}", operand, kind)
    with np.errstate(all="ignore"):
        if isinstance(operand, Weight):
            return Weight(-operand.array if kind == "neg" else 1 / operand.array, None, False)
        return -operand if kind == "neg" else float(1 / np.float64(operand))


@operation("Sub", "Div")
def _difference(net: Network, place: str, a: Arguments) -> Value:
    rank = max(len(v.shape) for v in a.inputs if isinstance(v, Value))
    first, second = (_operand(net, a, k, rank) for k in range(2))
    kind, total = ("neg", "add") if a.op == "Sub" else ("reciprocal", "mul")
    operands = [first, _inverted(net, place, second, kind)]
    return _total(net, place, sorted(operands, key=lambda o: not isinstance(o, Value)), total)


@operation("Pow")
def _pow(net: Network, place: str, a: Arguments) -> Value:
    x, exponent = a.x, a.number(1)
    if exponent is None:
        raise a.refuse("the exponent is missing", "none", "a number")
    if exponent in (2.0, 0.5):
        return elementwise.apply(net, place, x, "sqr" if exponent == 2 else "sqrt")
    return elementwise.apply(net, place, x, "pow", exponent)


@operation("Max", "Min")
def _extreme(net: Network, place: str, a: Arguments) -> Value:
    values = [v for v in a.inputs if isinstance(v, Value)]
    function, out = "maximum" if a.op == "Max" else "minimum", values[0]
    if len(values) > 1:
        raise a.refuse(f"the {function} of several values has no counterpart", f"{len(values)} values", "one value")
    numbers = [a.number(k) for k, v in enumerate(a.inputs) if not isinstance(v, Value)]
    for k, number in enumerate(numbers, 1):
        if number is None:
            raise a.refuse("an operand is empty", "no number", "a number")
        out = elementwise.apply(net, place if k == len(numbers) else f"{place}.{k}", out, function, number)
    return out


# ---- channels
@operation("Concat")
def _concat(net: Network, place: str, a: Arguments) -> Value:
    if not all(isinstance(v, Value) for v in a.inputs):
        raise a.refuse("a constant cannot be concatenated", "constants among the inputs", "computed values")
    require_axis(a.x, int(a["axis"]), f"{place} ({a.op})")
    return elementwise.concat(net, place, a.inputs)


@operation("Split")
def _split(net: Network, place: str, a: Arguments) -> list[Value]:
    x = a.x
    require_axis(x, int(a["axis"]), f"{place} ({a.op})")
    sizes = a.listed("split", 1)
    if sizes is None:
        count = int(a["num_outputs"] or len(a.outputs))
        if not 1 <= count <= x.features:
            raise a.refuse("the channels cannot be split so", f"{count} parts of {x.features}", "fewer parts")
        each = -(-x.features // count)
        sizes = [each] * (count - 1) + [x.features - each * (count - 1)]
    if any(n < 1 for n in sizes):
        raise a.refuse("empty parts have no counterpart", sizes, "positive sizes")
    return elementwise.parts(net, place, x, [int(n) for n in sizes])


def chosen(net: Network, place: str, x: Value, indices: Sequence[int]) -> Value:
    """Take channels in some order."""
    first, count = indices[0], len(indices)
    if list(indices) == list(range(first, first + count)):
        return x if count == x.features else elementwise.features(net, place, x, first, first + count)
    kernel = np.zeros((count, x.features, *(1,) * len(x.sizes)), "float32")
    kernel[np.arange(count), list(indices)] = 1
    return seen_as(layers.conv(net, place, as_image(x), Weight(kernel, None, False)), x)


@operation("Gather")
def _gather(net: Network, place: str, a: Arguments) -> Value:
    x, indices = a.x, a.constant(1)
    require_axis(x, int(a["axis"]), f"{place} ({a.op})")
    if indices is None or indices.ndim != 1 or not indices.size or indices.dtype.kind not in "iu":
        raise a.refuse(
            "only channels can be taken, and the axis must stay",
            "no indices" if indices is None else f"indices of shape {indices.shape}",
            "a list of channels",
        )
    numbers = [int(i) + x.features if i < 0 else int(i) for i in indices]
    if not all(0 <= i < x.features for i in numbers):
        raise a.refuse("channels that do not exist", numbers, f"below {x.features}")
    if len(numbers) * x.features > MAX_CHOICE:
        raise a.refuse("too many channels are taken in another order", len(numbers), f"{MAX_CHOICE // x.features}")
    return chosen(net, place, x, numbers)


MAX_CHOICE = 1 << 22
"""Largest kernel that puts channels into another order."""


@operation("Tile", "Expand")
def _repeat(net: Network, place: str, a: Arguments) -> Value:
    x, counts = a.x, [int(n) for n in a.listed("", 1) or []]
    shape = x.shape
    if a.op == "Expand":
        counts = [1] * (len(shape) - len(counts)) + counts
        if len(counts) != len(shape) or any(n not in (1, m) and m != 1 for n, m in zip(counts, shape, strict=True)):
            raise a.refuse("cannot be expanded to this shape", f"{shape} to {counts}", "sizes of 1 are expanded")
        counts = [max(n // m, 1) for n, m in zip(counts, shape, strict=True)]
    if len(counts) != len(shape) or any(n < 1 for n in counts):
        raise a.refuse("the numbers of repeats do not fit", counts, f"{len(shape)} positive integers")
    others = [n for axis, n in enumerate(counts) if axis != x.feature_axis]
    if a.op == "Expand" and counts[0] == 1:
        # Sums and products repeat along axes of size 1 by themselves.
        return x
    if set(others) - {1}:
        raise a.refuse("only channels can be repeated", counts, "1 on all other axes")
    return elementwise.repeat(net, place, x, counts[x.feature_axis])


# ---- what changes nothing
@operation("Identity", "Dropout", "Cast", table=PLAIN)
def _same(net: Network, place: str, a: Arguments) -> Any:
    floats = (1, 10, 11, 16)  # float32, float16, float64, bfloat16 in onnx.TensorProto
    if a.op == "Cast" and a["to"] not in floats:
        raise a.refuse("values of the network must stay floats", f"to={a['to']}", "a cast to floats")
    training = a.number(2) if a.op == "Dropout" else None
    if training:
        raise a.refuse("dropout at inference has no counterpart", "training_mode", "evaluation mode")
    return a.given(0)
