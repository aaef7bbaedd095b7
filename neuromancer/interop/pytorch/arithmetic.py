"""Translation of arithmetic of PyTorch."""

from __future__ import annotations

from typing import Any

from neuromancer.interop import elementwise
from neuromancer.interop.network import Network, Value, Weight
from neuromancer.interop.pytorch.table import Arguments, operation, refuse


def _both(a: Arguments) -> tuple[Any, Any]:
    x = a.x
    return (x, a["other"]) if isinstance(x, Value) else (a["other"], x)


@operation("add")
def _add(net: Network, place: str, a: Arguments) -> Value:
    other = _scaled(net, place, a["other"], a["alpha"])
    x, other = _both(Arguments(a.bound | {"other": other}))
    return elementwise.operate(net, place, x, other, "add")


@operation("mul", "multiply")
def _mul(net: Network, place: str, a: Arguments) -> Value:
    x, other = _both(a)
    return elementwise.operate(net, place, x, other, "mul")


def _negative(net: Network, place: str, value: Any) -> Any:
    if isinstance(value, Value):
        return elementwise.apply(net, f"{place}.negative", value, "neg")
    return Weight(-value.array, None, value.trainable) if isinstance(value, Weight) else -value


def _inverse(net: Network, place: str, value: Any) -> Any:
    if isinstance(value, Value):
        return elementwise.apply(net, f"{place}.reciprocal", value, "reciprocal")
    return Weight(1 / value.array, None, value.trainable) if isinstance(value, Weight) else 1 / value


@operation("sub", "subtract", "rsub")
def _sub(net: Network, place: str, a: Arguments) -> Value:
    first, second = a.x, a["other"]
    if "rsub" in net.place:
        first, second = second, first
    second = _scaled(net, place, second, a["alpha"])
    second = _negative(net, place, second)
    x, other = (first, second) if isinstance(first, Value) else (second, first)
    return elementwise.operate(net, place, x, other, "add")


def _scaled(net: Network, place: str, value: Any, factor: Any) -> Any:
    if factor in (None, 1):
        return value
    if isinstance(value, Value):
        return elementwise.operate(net, f"{place}.scaled", value, factor, "mul")
    return Weight(value.array * factor, None, value.trainable) if isinstance(value, Weight) else value * factor


@operation("maximum", "minimum")
def _extreme(net: Network, place: str, a: Arguments) -> Value:
    """The larger of two is the first plus what the second has more; the smaller, minus what the first has more."""
    x, other = _both(a)
    greater = "maximum" in net.place.rpartition("(")[2]
    if not isinstance(other, Value):
        if not isinstance(other, Weight) or other.array.size != 1 or other.trainable:
            raise refuse(place, "a tensor and an array cannot be compared", type(other).__name__, "tensors")
        function = "maximum" if greater else "minimum"
        return elementwise.apply(net, place, x, function, float(other.array.reshape(-1)[0]))
    more = (other, x) if greater else (x, other)
    difference = elementwise.add(net, f"{place}.more", [more[0], _negative(net, place, more[1])])
    positive = elementwise.activation(net, f"{place}.positive", difference, "relu")
    return elementwise.add(net, place, [x, positive if greater else _negative(net, f"{place}.less", positive)])


@operation("div", "divide", "true_divide")
def _div(net: Network, place: str, a: Arguments) -> Value:
    if a["rounding_mode"] is not None:
        raise refuse(place, "division with rounding has no counterpart", a["rounding_mode"], "rounding_mode=None")
    second = _inverse(net, place, a["other"])
    x, other = (a.x, second) if isinstance(a.x, Value) else (second, a.x)
    return elementwise.operate(net, place, x, other, "mul")
