"""Operations on every voxel, and on the features: activations, sums, concatenations, parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.errors import TranslationError
from neuromancer.interop.layers import affine, conv
from neuromancer.interop.network import Network, Value, Weight, image
from neuromancer.nodes.activate import Activation
from neuromancer.nodes.apply import ApplyFunc
from neuromancer.nodes.functors import tensor_functions
from neuromancer.nodes.merge import Add, Concat
from neuromancer.nodes.merge_many import Product, Sum
from neuromancer.nodes.repeat import Repeat
from neuromancer.nodes.softmax import Softmax
from neuromancer.nodes.split import split


def activation(net: Network, name: str, x: Value, function: str, slope: Weight | None = None) -> Value:
    """Apply an activation function by its name; `slope` is that of prelu, one or per feature."""
    if slope is None:
        return net.add(Activation, name, x.node, function, like=x)
    role = "prelu" if slope.array.size > 1 else "prelu shared"
    given = net.weight(slope, "slope", lambda array: array.reshape(-1))
    out = net.add(Activation, name, x.node, role, like=x, slope=given)
    net.share(slope, "slope", out.node.params.get("slope"))
    return out


def apply(net: Network, name: str, x: Value, function: str, *args: float) -> Value:
    """Apply an elementwise function of the engine, such as ``sqrt``, or ``mul`` with a number."""
    functor = tensor_functions()[function]
    return net.add(ApplyFunc, name, x.node, functor, like=x, args=tuple(args))


def softmax(net: Network, name: str, x: Value) -> Value:
    """Softmax over the features."""
    return net.add(Softmax, name, x.node, like=x)


def _combined(net: Network, name: str, values: Sequence[Value], sizes: Sequence[int], make: Any, *args: Any) -> Value:
    view = next((v.view for v in values if v.view != "vector"), values[0].view)
    others = {v.view for v in values} - {view, "vector"}
    if others or (view in ("bare", "scalar") and any(v.view != view for v in values)):
        raise TranslationError("the operands have different axes", where=name, got=[v.view for v in values])
    with net.at(name):
        node = make(*args, name=name, print_repr=False)
    return net.added(node, sizes, view)


def _common(values: Sequence[Value], name: str) -> list[int]:
    if len({len(v.sizes) for v in values}) > 1:
        raise TranslationError("the operands have different axes", where=name, got=[v.shape for v in values])
    return [max(sizes) for sizes in zip(*(v.sizes for v in values), strict=True)]


def add(net: Network, name: str, values: Sequence[Value]) -> Value:
    """Sum of values, which may be repeated along axes of size 1."""
    alike = len({(v.features, v.sizes) for v in values}) == 1
    nodes = [v.node for v in values]
    if alike and len(nodes) == 2:
        return _combined(net, name, values, values[0].sizes, Add, *nodes)
    return _combined(net, name, values, _common(values, name), Sum, nodes)


def multiply(net: Network, name: str, values: Sequence[Value]) -> Value:
    """Product of values, which may be repeated along axes of size 1."""
    return _combined(net, name, values, _common(values, name), Product, [v.node for v in values])


def concat(net: Network, name: str, operands: Sequence[Value | Weight]) -> Value:
    """Concatenate features; arrays must be constant per feature."""
    values = [v for v in operands if isinstance(v, Value)]
    joined = values[0]
    if len(values) > 1:
        joined = _combined(net, name, values, values[0].sizes, Concat, [v.node for v in values])
    return joined if len(values) == len(operands) else _with_constants(net, name, joined, operands)


def _with_constants(net: Network, name: str, x: Value, operands: Sequence[Value | Weight]) -> Value:
    """Put constant features between those of `x`, by a convolution with one voxel."""
    shift, taken = [np.zeros(0, "float32")], 0
    source: list[int] = []
    for operand in operands:
        if isinstance(operand, Value):
            source += range(taken, taken + operand.features)
            taken += operand.features
            shift.append(np.zeros(operand.features, "float32"))
            continue
        flat = operand.array.reshape(operand.array.shape[1], -1) if operand.array.ndim > 1 else operand.array[:, None]
        if (flat != flat[:, :1]).any():
            raise TranslationError(
                "an array that differs between voxels cannot be concatenated", where=name, got=operand.array.shape
            )
        source += [-1] * len(flat)
        shift.append(flat[:, 0])
    matrix = (np.asarray(source)[:, None] == np.arange(taken)).astype("float32")
    kernel = Weight(matrix.reshape((*matrix.shape, *(1,) * len(x.sizes))), None, False)
    return conv(net, f"{name}.constant", x, kernel, Weight(np.concatenate(shift), None, False))


def parts(net: Network, name: str, x: Value, sizes: Sequence[int]) -> list[Value]:
    """Cut the features into parts of some sizes."""
    if sum(sizes) != x.features:
        raise TranslationError("the parts are not all features", where=name, got=list(sizes), expected=x.features)
    if len(sizes) == 1:
        return [x]
    with net.at(name):
        nodes = split(x.node, "f", index=np.cumsum(sizes)[:-1].tolist(), name=name)
    return [net.added(node, x.sizes, x.view) for node in nodes]


def features(net: Network, name: str, x: Value, start: int, stop: int) -> Value:
    """Take a range of features."""
    total = x.features
    start, stop = (n + total if n < 0 else n for n in (start, stop))
    start, stop = max(start, 0), min(stop, total)
    if start >= stop:
        raise TranslationError("the range of features is empty", where=name, got=(start, stop))
    sizes = [n for n in (start, stop - start, total - stop) if n]
    return parts(net, name, x, sizes)[1 if start else 0]


def repeat(net: Network, name: str, x: Value, n: int, interleave: bool = False) -> Value:
    """Repeat the features."""
    return x if n == 1 else net.add(Repeat, name, x.node, n, like=x, interleave=interleave)


def over_features(net: Network, name: str, x: Value, mode: str) -> Value:
    """Maximum ('max'), mean ('average') or sum ('sum') of the features at every position, as one feature."""
    if mode == "max":
        return activation(net, name, x, f"maxout {x.features}")
    weight = 1 / x.features if mode == "average" else 1.0
    kernel = np.full((1, x.features, *(1,) * len(x.sizes)), weight, "float32")
    return conv(net, name, x, Weight(kernel, None, False))


def operate(net: Network, name: str, x: Value, other: Any, kind: str) -> Value:
    """Add ('add') or multiply ('mul') a value and a number, an array per feature, or another value."""
    if isinstance(other, Value):
        return add(net, name, [x, other]) if kind == "add" else multiply(net, name, [x, other])
    weight = other if isinstance(other, Weight) else Weight(np.asarray(other, "float32"), None, False)
    if weight.array.size == 1 and not weight.trainable:
        number = float(weight.array.reshape(-1)[0])
        return x if number == (0.0 if kind == "add" else 1.0) else apply(net, name, x, kind, number)
    return _per_feature(net, name, x, weight, kind)


def _collapsed(weight: Weight, x: Value) -> Weight:
    """Return an array of the size of the image whose values depend on the feature alone with one value per feature."""
    array, axis = weight.array, x.feature_axis
    if array.shape != x.shape or weight.trainable or axis < 0:
        return weight
    first = array[tuple(slice(None) if k == axis else slice(1) for k in range(array.ndim))]
    return Weight(first, None, False) if (array == first).all() else weight


def _per_feature(net: Network, name: str, x: Value, weight: Weight, kind: str) -> Value:
    rank = len(x.shape)
    weight = _collapsed(weight, x)
    sizes = (1,) * (rank - weight.array.ndim) + weight.array.shape
    rest = [n for axis, n in enumerate(sizes) if axis != x.feature_axis]
    if len(sizes) != rank or any(n != 1 for n in rest) or sizes[x.feature_axis] not in (1, x.features):
        raise TranslationError(
            "arrays can be added or multiplied only per channel",
            where=name,
            got=f"shape {weight.array.shape} on {x.shape}",
            expected="a number, or an array with the channels as its only axis longer than 1",
        )
    view, plain = x.view, image(x, name) if x.view != "last" else Value(x.node, x.sizes)
    scale, shift = (weight, None) if kind == "mul" else (None, weight)
    out = affine(net, name, plain, scale, shift)
    return Value(out.node, out.sizes, view)
