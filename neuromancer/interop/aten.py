"""Translation of the operations of PyTorch (ATen), by name without overload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from neuromancer.errors import TranslationError
from neuromancer.interop import elementwise, layers, spatial
from neuromancer.interop.network import Network, Value, Weight, image, require_axis

Handler = Callable[[Network, str, "Arguments"], Any]

OPERATIONS: dict[str, Handler] = {}
"""Operations that become nodes. In-place variants, with an underscore behind, are the same."""

PLAIN: dict[str, Handler] = {}
"""Operations that change nothing but how the source sees a tensor."""


class Arguments:
    """Arguments of an operation by name."""

    def __init__(self, bound: dict[str, Any]) -> None:
        self.bound = bound

    def __getitem__(self, name: str) -> Any:
        return self.bound.get(name)

    @property
    def x(self) -> Any:
        """The tensor that is operated on."""
        return self.bound.get("input", self.bound.get("self", self.bound.get("x")))

    def ints(self, name: str, ndim: int, default: int | None = None) -> tuple[int, ...]:
        """Return one integer per spatial axis; a single one stands for all."""
        value = self.bound.get(name)
        value = [default] if value in (None, []) and default is not None else value
        value = [value] if isinstance(value, int) else value
        return tuple(int(n) for n in value) * (ndim if len(value) == 1 else 1)

    def pairs(self, name: str, ndim: int) -> tuple[tuple[int, int], ...]:
        """Return a symmetrical padding as pairs."""
        return tuple((n, n) for n in self.ints(name, ndim, 0))


def operation(*names: str, table: dict[str, Handler] = OPERATIONS) -> Callable[[Handler], Handler]:
    """Register a handler for operations."""

    def register(handler: Handler) -> Handler:
        for name in names:
            table[name] = handler
        return handler

    return register


def _refuse(place: str, problem: str, got: Any, expected: str) -> TranslationError:
    return TranslationError(problem, where=place, got=got, expected=expected)


# ---- layers
def _weight(value: Any, place: str) -> Weight | None:
    if value is None or isinstance(value, Weight):
        return value
    raise _refuse(place, "the weights depend on the input", type(value).__name__, "constant weights")


@operation("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
def _conv(net: Network, place: str, a: Arguments) -> Value:
    w, b = _weight(a["weight"], place), _weight(a["bias"], place)
    assert w is not None
    ndim = w.array.ndim - 2
    stride, dilation = a.ints("stride", ndim, 1), a.ints("dilation", ndim, 1)
    if a["transposed"]:
        return _transposed(net, place, a)
    padding = a["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, w.array.shape[2:], strict=True)]
        ends = tuple((n // 2, n - n // 2) for n in total)
    else:
        ends = ((0, 0),) * ndim if padding == "valid" else a.pairs("padding", ndim)
    return layers.conv(net, place, a.x, w, b, stride, ends, dilation, int(a["groups"] or 1))


@operation("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(net: Network, place: str, a: Arguments) -> Value:
    w, b = _weight(a["weight"], place), _weight(a["bias"], place)
    assert w is not None
    ndim = w.array.ndim - 2
    return layers.conv_transpose(
        net,
        place,
        a.x,
        w,
        b,
        a.ints("stride", ndim, 1),
        a.pairs("padding", ndim),
        a.ints("output_padding", ndim, 0),
        a.ints("dilation", ndim, 1),
        int(a["groups"] or 1),
    )


@operation("linear")
def _linear(net: Network, place: str, a: Arguments) -> Value:
    w = _weight(a["weight"], place)
    assert w is not None
    return layers.linear(net, place, a.x, w, _weight(a["bias"], place))


@operation("addmm")
def _addmm(net: Network, place: str, a: Arguments) -> Value:
    w = _weight(a["mat2"], place)
    assert w is not None
    return layers.linear(net, place, a["mat1"], Weight(w.array.T, w.key, w.trainable), _weight(a["self"], place))


@operation("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def _batch_norm(net: Network, place: str, a: Arguments) -> Value:
    mean, var = _weight(a["running_mean"], place), _weight(a["running_var"], place)
    gamma, beta = _weight(a["weight"], place), _weight(a["bias"], place)
    if mean is None or var is None or a["training"]:
        x = image(a.x, place)
        out = net.add(
            layers.BatchNorm, place, x.node, like=x, eps=a["eps"], affine=gamma is not None, track_running_stats=False,
            **{key: net.weight(w, key) for key, w in (("gamma", gamma), ("beta", beta)) if w is not None},
        )  # fmt: skip
        return out
    return layers.batch_norm(net, place, a.x, gamma, beta, mean, var, a["eps"], a["momentum"] or 0.1)


@operation("instance_norm")
def _instance_norm(net: Network, place: str, a: Arguments) -> Value:
    gamma, beta = _weight(a["weight"], place), _weight(a["bias"], place)
    mean, var = _weight(a["running_mean"], place), _weight(a["running_var"], place)
    if not a["use_input_stats"] and mean is not None and var is not None:
        return layers.batch_norm(net, place, a.x, gamma, beta, mean, var, a["eps"], a["momentum"] or 0.1)
    return layers.instance_norm(net, place, a.x, gamma, beta, a["eps"])


@operation("group_norm")
def _group_norm(net: Network, place: str, a: Arguments) -> Value:
    gamma, beta = _weight(a["weight"], place), _weight(a["bias"], place)
    return layers.group_norm(net, place, a.x, a["num_groups"], gamma, beta, a["eps"])


@operation("layer_norm")
def _layer_norm(net: Network, place: str, a: Arguments) -> Value:
    x, count = a.x, len(a["normalized_shape"])
    tags = {"image": "bf" + _tags(x), "last": "b" + _tags(x) + "f", "vector": "bf"}.get(x.view)
    if tags is None or count >= len(tags):
        raise _refuse(place, "cannot be normalised over these axes", a["normalized_shape"], "axes without the batch")
    gamma, beta = _weight(a["weight"], place), _weight(a["bias"], place)
    axes = tags[-count:]
    if x.view == "last" and count > 1 and gamma is not None:
        order = [axes.index(t) for t in "bf" + _tags(x) if t in axes]
        gamma = Weight(gamma.array.transpose(order), gamma.key, gamma.trainable)
        beta = beta and Weight(beta.array.transpose(order), beta.key, beta.trainable)
    if axes != "f" and not net.fixed and gamma is not None:
        raise layers.SizesNeeded
    return layers.layer_norm(net, place, x, axes, gamma, beta, a["eps"])


def _tags(x: Value) -> str:
    return "".join(x.node.shape.tags[i] for i in x.node.shape.spatial_axes)


# ---- activations
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
        raise _refuse(place, "ELU with other scales has no counterpart", (alpha, scale, inner), "scale 1")
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


@operation("prelu")
def _prelu(net: Network, place: str, a: Arguments) -> Value:
    slope = _weight(a["weight"], place)
    return elementwise.activation(net, place, a.x, "prelu", slope)


@operation("softmax", "_softmax")
def _softmax(net: Network, place: str, a: Arguments) -> Value:
    require_axis(a.x, a["dim"], place)
    return elementwise.softmax(net, place, a.x)


@operation("log_softmax", "_log_softmax")
def _log_softmax(net: Network, place: str, a: Arguments) -> Value:
    require_axis(a.x, a["dim"], place)
    return elementwise.activation(net, place, a.x, "log_softmax")


for _name, _function in {"exp": "exp", "log": "log", "sqrt": "sqrt", "abs": "abs", "neg": "neg", "square": "sqr",
                         "sin": "sin", "cos": "cos", "erf": "erf", "reciprocal": "reciprocal",
                         "log1p": "log1p", "expm1": "expm1"}.items():  # fmt: skip

    @operation(_name)
    def _unary(net: Network, place: str, a: Arguments, function: str = _function) -> Value:
        return elementwise.apply(net, place, a.x, function)


@operation("rsqrt")
def _rsqrt(net: Network, place: str, a: Arguments) -> Value:
    return elementwise.apply(net, place, a.x, "pow", -0.5)


@operation("pow")
def _pow(net: Network, place: str, a: Arguments) -> Value:
    if not isinstance(a["exponent"], (int, float)) or not isinstance(a.x, Value):
        raise _refuse(place, "the exponent must be a number", type(a["exponent"]).__name__, "e.g. x ** 2")
    return elementwise.apply(net, place, a.x, "pow", float(a["exponent"]))


# ---- arithmetic
def _both(a: Arguments) -> tuple[Any, Any]:
    x = a.x
    return (x, a["other"]) if isinstance(x, Value) else (a["other"], x)


@operation("add")
def _add(net: Network, place: str, a: Arguments) -> Value:
    alpha = a["alpha"]
    if alpha not in (None, 1):
        other = a["other"]
        scaled = elementwise.operate(net, f"{place}.scaled", other, alpha, "mul") if isinstance(other, Value) else None
        if scaled is None:
            raise _refuse(place, "a scaled constant cannot be added", f"alpha={alpha}", "alpha=1")
        return elementwise.operate(net, place, scaled, a.x, "add")
    x, other = _both(a)
    return elementwise.operate(net, place, x, other, "add")


@operation("mul", "multiply")
def _mul(net: Network, place: str, a: Arguments) -> Value:
    x, other = _both(a)
    return elementwise.operate(net, place, x, other, "mul")


def _negative(net: Network, place: str, value: Any) -> Any:
    if isinstance(value, Value):
        return elementwise.apply(net, f"{place}.negative", value, "neg")
    return Weight(-value.array, None, False) if isinstance(value, Weight) else -value


def _inverse(net: Network, place: str, value: Any) -> Any:
    if isinstance(value, Value):
        return elementwise.apply(net, f"{place}.reciprocal", value, "reciprocal")
    return Weight(1 / value.array, None, False) if isinstance(value, Weight) else 1 / value


@operation("sub", "subtract", "rsub")
def _sub(net: Network, place: str, a: Arguments) -> Value:
    if a["alpha"] not in (None, 1):
        raise _refuse(place, "a scaled difference has no counterpart", f"alpha={a['alpha']}", "alpha=1")
    first, second = a.x, a["other"]
    if "rsub" in net.place:
        first, second = second, first
    second = _negative(net, place, second)
    x, other = (first, second) if isinstance(first, Value) else (second, first)
    return elementwise.operate(net, place, x, other, "add")


@operation("div", "divide", "true_divide")
def _div(net: Network, place: str, a: Arguments) -> Value:
    if a["rounding_mode"] is not None:
        raise _refuse(place, "division with rounding has no counterpart", a["rounding_mode"], "rounding_mode=None")
    second = _inverse(net, place, a["other"])
    x, other = (a.x, second) if isinstance(a.x, Value) else (second, a.x)
    return elementwise.operate(net, place, x, other, "mul")


# ---- joining and splitting
@operation("cat", "concat", "concatenate")
def _cat(net: Network, place: str, a: Arguments) -> Value:
    values = a["tensors"]
    require_axis(next(v for v in values if isinstance(v, Value)), a["dim"], place)
    return elementwise.concat(net, place, values)


@operation("chunk")
def _chunk(net: Network, place: str, a: Arguments) -> list[Value]:
    require_axis(a.x, a["dim"], place)
    size = -(-a.x.features // int(a["chunks"]))
    return _pieces(net, place, a.x, size)


@operation("split")
def _split(net: Network, place: str, a: Arguments) -> list[Value]:
    require_axis(a.x, a["dim"], place)
    size = a["split_size"]
    return _pieces(net, place, a.x, int(size)) if isinstance(size, int) else elementwise.parts(net, place, a.x, size)


def _pieces(net: Network, place: str, x: Value, size: int) -> list[Value]:
    sizes = [size] * (x.features // size) + ([x.features % size] if x.features % size else [])
    return elementwise.parts(net, place, x, sizes)


@operation("split_with_sizes")
def _split_with_sizes(net: Network, place: str, a: Arguments) -> list[Value]:
    require_axis(a.x, a["dim"], place)
    return elementwise.parts(net, place, a.x, a["split_sizes"])


@operation("slice", "narrow")
def _slice(net: Network, place: str, a: Arguments) -> Value:
    x, axis, step = a.x, int(a["dim"] or 0) % len(a.x.shape), int(a["step"] or 1)
    size = x.shape[axis]
    start = int(a["start"] or 0)
    stop = start + int(a["length"]) if a["length"] is not None else size if a["end"] is None else int(a["end"])
    if start == 0 and stop >= size and step == 1:
        return x
    if axis == x.feature_axis and step == 1:
        return elementwise.features(net, place, x, start, stop)
    if axis == 0 or x.view != "image":
        raise _refuse(place, "the batch cannot be sliced", (start, stop, step), "slices of channels or space")
    return spatial.window_slices(net, place, x, axis - 2, start, min(stop, size), step)


@operation("repeat", "tile", "expand")
def _repeat(net: Network, place: str, a: Arguments) -> Value:
    x = a.x
    counts = list(a["repeats"] or a["dims"] or a["size"])
    if "size" in a.bound and a["size"] is not None:
        counts = [1 if n == -1 else int(n) // m for n, m in zip(counts, x.shape, strict=True)]
    others = [n for axis, n in enumerate(counts) if axis != x.feature_axis]
    if len(counts) != len(x.shape) or set(others) - {1}:
        if "size" in a.bound:  # broadcasting, which sums and products do themselves
            return x
        raise _refuse(place, "only channels can be repeated", counts, "1 on all other axes")
    return elementwise.repeat(net, place, x, int(counts[x.feature_axis]))


@operation("repeat_interleave")
def _repeat_interleave(net: Network, place: str, a: Arguments) -> Value:
    x, axis = a.x, int(a["dim"] or 0)
    if axis % len(x.shape) == x.feature_axis:
        return elementwise.repeat(net, place, x, int(a["repeats"]), interleave=True)
    if x.view == "image" and axis % len(x.shape) > 1:
        factor = [int(a["repeats"]) if k == axis % len(x.shape) - 2 else 1 for k in range(len(x.sizes))]
        return spatial.upsample(net, place, x, "nearest", factor=factor)
    raise _refuse(place, "the batch cannot be repeated", f"dim={axis}", "an axis of channels or space")


# ---- space
@operation("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
           "max_pool1d_with_indices")  # fmt: skip
def _max_pool(net: Network, place: str, a: Arguments) -> Any:
    ndim = len(a.x.sizes)
    size = a.ints("kernel_size", ndim)
    stride = a.ints("stride", ndim) if a["stride"] not in (None, []) else size
    ends, dilation = a.pairs("padding", ndim), a.ints("dilation", ndim, 1)
    out = spatial.pool(net, place, a.x, "max", size, stride, ends, dilation, bool(a["ceil_mode"]))
    return (out, None) if "indices" in net.place else out


@operation("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(net: Network, place: str, a: Arguments) -> Value:
    ndim = len(a.x.sizes)
    size = a.ints("kernel_size", ndim)
    stride = a.ints("stride", ndim) if a["stride"] not in (None, []) else size
    included = a["count_include_pad"] is not False
    out = spatial.pool(
        net, place, a.x, "average", size, stride, a.pairs("padding", ndim), (), bool(a["ceil_mode"]), included
    )
    divisor = a["divisor_override"]
    if divisor is None:
        return out
    if any(map(any, a.pairs("padding", ndim))) or a["ceil_mode"]:
        raise _refuse(place, "divisor_override with padding has no counterpart", divisor, "no padding")
    return elementwise.apply(net, f"{place}.scaled", out, "mul", prod(size) / float(divisor))


@operation("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
           "adaptive_max_pool2d", "adaptive_max_pool3d")  # fmt: skip
def _adaptive(net: Network, place: str, a: Arguments) -> Any:
    maximum = "max" in net.place.rpartition("(")[2]
    size = a["output_size"]
    size = [size] * len(a.x.sizes) if isinstance(size, int) else list(size)
    size = size * len(a.x.sizes) if len(size) == 1 else size
    out = spatial.adaptive_pool(net, place, a.x, "max" if maximum else "average", size)
    return (out, None) if maximum else out


@operation("mean", "amax", "sum")
def _reduced(net: Network, place: str, a: Arguments) -> Value:
    x, kind = a.x, net.place.rpartition("(")[2].rstrip(")")
    dims = a["dim"]
    rank = len(x.shape)
    axes = sorted(d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank)))
    space = [axis for axis in range(rank) if axis not in (0, x.feature_axis)]
    mode = {"mean": "average", "amax": "max", "sum": "sum"}[kind]
    if x.view == "image" and axes == space and space:
        return spatial.global_pool(net, place, x, mode, bool(a["keepdim"]))
    if axes == [x.feature_axis] and a["keepdim"]:
        return elementwise.over_features(net, place, x, mode)
    raise _refuse(place, "cannot be reduced over these axes", f"{kind} over {axes}", f"all of space, {space}")


@operation("max", "min")
def _max_over(net: Network, place: str, a: Arguments) -> Any:
    if isinstance(a["other"], Value) or not isinstance(a["dim"], int) or "min" in net.place.rpartition("(")[2]:
        raise _refuse(place, "has no counterpart", "the maximum of two tensors, or a minimum", "max over the channels")
    if a["dim"] % len(a.x.shape) != a.x.feature_axis or not a["keepdim"]:
        raise _refuse(place, "cannot be reduced over this axis", f"dim={a['dim']}", "the channels, keepdim=True")
    return elementwise.over_features(net, place, a.x, "max"), None


@operation("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
           "replication_pad1d", "replication_pad2d", "replication_pad3d")  # fmt: skip
def _pad(net: Network, place: str, a: Arguments) -> Value:
    x, kind = a.x, net.place.rpartition("(")[2].rstrip(")")
    flat = list(a["pad"] if a["pad"] is not None else a["padding"])
    pairs = [(int(flat[k]), int(flat[k + 1])) for k in range(0, len(flat), 2)][::-1]
    if not any(map(any, pairs)):
        return x
    if x.view != "image" or len(pairs) > len(x.sizes):
        raise _refuse(place, "only space can be padded", flat, f"{2 * len(x.sizes)} numbers at most")
    ends = [(0, 0)] * (len(x.sizes) - len(pairs)) + pairs
    mode = a["mode"] or {"ref": "reflect", "rep": "replicate"}.get(kind[:3], "constant")
    if mode not in ("constant", "reflect", "replicate"):
        raise _refuse(place, "this padding has no counterpart", mode, "constant, reflect or replicate")
    return spatial.pad(net, place, x, ends, "zeros" if mode == "constant" else mode, float(a["value"] or 0))


def _upsampler(mode: str) -> Handler:
    def handler(net: Network, place: str, a: Arguments) -> Value:
        ndim, size = len(a.x.sizes), a["output_size"]
        factors = a["scale_factors"]
        if factors is None:
            own = [a[key] for key in ("scales_d", "scales_h", "scales_w", "scales")][-ndim - 1 :]
            factors = [s for s in own if s is not None] or None
        whole = factors is not None and len(factors) == ndim and all(float(f).is_integer() for f in factors)
        aligned = bool(a["align_corners"])
        if whole:
            return spatial.upsample(net, place, a.x, mode, factor=[int(f) for f in factors], align_corners=aligned)
        if size is None:
            size = [int(n * f) for n, f in zip(a.x.sizes, factors, strict=True)]
        return spatial.upsample(net, place, a.x, mode, size=size, align_corners=aligned)

    return handler


for _n in (1, 2, 3):
    operation(f"upsample_nearest{_n}d", f"_upsample_nearest_exact{_n}d")(_upsampler("nearest"))
operation("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")(_upsampler("linear"))


@operation("pixel_shuffle")
def _pixel_shuffle(net: Network, place: str, a: Arguments) -> Value:
    return spatial.pixel_shuffle(net, place, a.x, a["upscale_factor"])


# ---- what changes nothing but the view
def _same(net: Network, place: str, a: Arguments) -> Any:
    return a.x


operation(
    "dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_", "native_dropout",
    "feature_alpha_dropout", "identity", "contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy",
    "lift_fresh", "_to_copy", "to", "type_as", "requires_grad_", table=PLAIN,
)(_same)  # fmt: skip


@operation("_assert_tensor_metadata", "_assert_async", "_assert_scalar", table=PLAIN)
def _nothing(net: Network, place: str, a: Arguments) -> None:
    """Assertions of the traced code, which held for the example."""


@operation("getitem", table=PLAIN)
def _getitem(net: Network, place: str, a: Arguments) -> Any:
    return a["0"][a["1"]]


@operation("sym_size", table=PLAIN)
def _size(net: Network, place: str, a: Arguments) -> int:
    return int(a.x.shape[a["dim"]])


@operation("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", table=PLAIN)
def _reshape(net: Network, place: str, a: Arguments) -> Value:
    x: Value = a.x
    before, kind = list(x.shape), net.place.rpartition("(")[2].rstrip(")_")
    if kind == "flatten":
        start, end = int(a["start_dim"]) % len(before), int(a["end_dim"]) % len(before)
        after = [*before[:start], prod(before[start : end + 1]), *before[end + 1 :]]
    elif kind == "squeeze":
        dims = a["dim"]
        axes = range(1, len(before)) if dims is None else [d % len(before) for d in _several(dims)]
        after = [n for axis, n in enumerate(before) if axis not in axes or n != 1]
    elif kind == "unsqueeze":
        place_ = int(a["dim"]) % (len(before) + 1)
        after = [*before[:place_], 1, *before[place_:]]
    else:
        after = [int(n) for n in (a["size"] if a["size"] is not None else a["shape"])]
        known = prod(n for n in after if n != -1)
        after = [prod(before) // known if n == -1 else n for n in after]
    return viewed(x, after, place)


def _several(dims: Any) -> Sequence[int]:
    return [dims] if isinstance(dims, int) else dims


def viewed(x: Value, after: Sequence[int], place: str) -> Value:
    """Return a value seen in another shape; TranslationError if that is more than leaving out or adding axes."""
    after = list(after)
    if after == list(x.shape):
        return x
    ones = tuple(after[2:])
    single = x.view in ("image", "vector") and set(x.sizes + ones) <= {1}
    if single and after[:2] == [1, x.features] and len(ones) <= x.node.shape.ndim:
        return Value(x.node, ones, "image") if ones else Value(x.node, x.sizes, "vector")
    if x.features == 1 and x.view in ("image", "last") and after in ([1, 1, *x.sizes], [1, *x.sizes, 1]):
        # A single channel is at the end as well as in the second place.
        return Value(x.node, x.sizes, "image" if x.view == "last" else "last")
    if x.view == "image" and x.sizes and after == [1, prod(x.shape)]:
        return Value(x.node, x.sizes, "flat")
    raise _refuse(
        place,
        "the axes cannot be rearranged so",
        f"{tuple(x.shape)} -> {tuple(after)}",
        "leaving out or adding axes of size 1, or flattening before a linear layer",
    )


@operation("permute", "transpose", table=PLAIN)
def _permute(net: Network, place: str, a: Arguments) -> Value:
    x: Value = a.x
    rank = len(x.shape)
    order = list(range(rank))
    if a["dims"] is not None:
        order = [d % rank for d in a["dims"]]
    else:
        i, j = a["dim0"] % rank, a["dim1"] % rank
        order[i], order[j] = order[j], order[i]
    if order == list(range(rank)):
        return x
    if x.view == "image" and order == [0, *range(2, rank), 1]:
        return Value(x.node, x.sizes, "last")
    if x.view == "last" and order == [0, rank - 1, *range(1, rank - 1)]:
        return Value(x.node, x.sizes, "image")
    raise _refuse(place, "the axes cannot be permuted so", order, "moving the channels to the last axis and back")
