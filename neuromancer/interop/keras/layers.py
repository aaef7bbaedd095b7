"""Translation of Keras layers, by the names of their classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from neuromancer.interop import elementwise, layers, spatial
from neuromancer.interop.keras.activations import LAYERS as ACTIVATIONS
from neuromancer.interop.keras.activations import activate, prelu
from neuromancer.interop.keras.call import Call, Handler, rearranged
from neuromancer.interop.keras.options import Ends, is_number
from neuromancer.interop.network import Value, Weight

LAYERS: dict[str, Handler] = {}
"""Layers that become nodes, by class."""
INSTANCE_EPS = 1e-5


def layer(*kinds: str, ndims: Sequence[int] = ()) -> Callable[[Handler], Handler]:
    """Register a handler for classes; with `ndims`, for those of these numbers of spatial axes."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            for name in [f"{kind}{n}D" for n in ndims] or [kind]:
                LAYERS[name] = handler
        return handler

    return register


def _same(call: Call, sizes: Sequence[int], stride: Sequence[int], extent: Sequence[int]) -> Ends:
    """Return the padding for as many outputs as strides fit into the image.

    It depends on the size. Unless that is fixed, it is taken for a multiple of the stride.
    """
    fixed = call.net.fixed
    if not fixed and any(s > 1 and e > 1 for s, e in zip(stride, extent, strict=True)):
        call.context.strided.append(call.name)
    ends = []
    for n, s, e in zip(sizes, stride, extent, strict=True):
        size = n if fixed else s
        total = max((-(-size // s) - 1) * s + e - size, 0)
        ends.append((total // 2, total - total // 2))
    return tuple(ends)


def _padding(call: Call, x: Value, stride: Sequence[int], extent: Sequence[int]) -> Ends:
    one = ("causal",) if call.options.kind in ("Conv1D", "SeparableConv1D") else ()
    kind = call.options.word("padding", "valid", ("valid", "same", *one))
    if kind == "same":
        return _same(call, x.sizes, stride, extent)
    return ((extent[0] - 1, 0),) if kind == "causal" else ((0, 0),) * len(x.sizes)


def _extent(kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]


def _finished(call: Call, out: Value) -> Value:
    """Apply what follows within a layer: instance normalisation that was asked for, and the activation function."""
    if call.context.is_normalised(call.name):
        out = layers.instance_norm(call.net, f"{call.name}.instance_norm", out, None, None, INSTANCE_EPS)
    spec = call.options.values.get("activation")
    name = spec if isinstance(spec, str) else "activation"
    return activate(call, f"{call.name}.{name.rpartition('>')[2]}", out, spec)


# ---- convolutions
@layer("Conv", "Convolution", ndims=(1, 2, 3))
def _conv(call: Call) -> Value:
    x, o = call.image(), call.options
    kernel, stride, dilation = o.ints("kernel_size"), o.ints("strides", 1), o.ints("dilation_rate", 1)
    n_f, groups = o.integer("filters"), o.integer("groups", 1)
    w = call.weight(["kernel"], (*kernel, x.features // groups, n_f))
    w = rearranged(w, lambda a: np.moveaxis(a, (-1, -2), (0, 1)))
    ends = _padding(call, x, stride, _extent(kernel, dilation))
    out = layers.conv(call.net, call.name, x, w, call.bias(n_f), stride, ends, dilation, groups)
    return _finished(call, out)


def _depthwise(call: Call, x: Value, name: str, biased: bool) -> Value:
    o = call.options
    kernel, stride, dilation = o.ints("kernel_size"), o.ints("strides", 1), o.ints("dilation_rate", 1)
    multiplier = o.integer("depth_multiplier", 1)
    w = call.weight(["depthwise_kernel", "kernel"], (*kernel, x.features, multiplier))
    n_f = x.features * multiplier
    w = rearranged(w, lambda a: np.moveaxis(a, (-2, -1), (0, 1)).reshape(n_f, 1, *kernel))
    ends = _padding(call, x, stride, _extent(kernel, dilation))
    bias = call.bias(n_f) if biased else None
    return layers.conv(call.net, name, x, w, bias, stride, ends, dilation, groups=x.features)


@layer("DepthwiseConv", ndims=(1, 2))
def _depthwise_conv(call: Call) -> Value:
    return _finished(call, _depthwise(call, call.image(), call.name, True))


@layer("SeparableConv", "SeparableConvolution", ndims=(1, 2))
def _separable_conv(call: Call) -> Value:
    x = _depthwise(call, call.image(), f"{call.name}.depthwise", False)
    n_f, ones = call.options.integer("filters"), (1,) * len(x.sizes)
    w = call.weight(["pointwise_kernel"], (*ones, x.features, n_f))
    w = rearranged(w, lambda a: np.moveaxis(a, (-1, -2), (0, 1)))
    return _finished(call, layers.conv(call.net, call.name, x, w, call.bias(n_f)))


@layer("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution2DTranspose", "Convolution3DTranspose")
def _conv_transpose(call: Call) -> Value:
    x, o = call.image(), call.options
    kernel, stride, dilation = o.ints("kernel_size"), o.ints("strides", 1), o.ints("dilation_rate", 1)
    n_f = o.integer("filters")
    w = call.weight(["kernel"], (*kernel, n_f, x.features))
    w = rearranged(w, lambda a: np.moveaxis(a, (-1, -2), (0, 1)))
    same = o.word("padding", "valid", ("valid", "same")) == "same"
    extra = None if o.values.get("output_padding") is None else o.ints("output_padding", 0, least=0)
    ends, more = [], []
    for k, (e, s) in enumerate(zip(_extent(kernel, dilation), stride, strict=True)):
        # The layer is the adjoint of a convolution with the same padding, of an image of the output's size.
        cut = e - s if same else min(e - s, 0)
        if extra is not None:
            cut = (2 * (e // 2) if same else 0) - extra[k]
        before = max(cut, 0) // 2
        ends.append((before, max(cut, 0) - before))
        more.append(max(-cut, 0))
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise o.refuse("adds too many voxels at the end", more, "fewer than the stride")
    out = layers.conv_transpose(call.net, call.name, x, w, call.bias(n_f), stride, ends, more, dilation)
    return _finished(call, out)


@layer("Dense")
def _dense(call: Call) -> Value:
    x, units = call.x, call.options.integer("units")
    if x.view == "flat":
        if not call.net.fixed:
            raise layers.SizesNeeded
        n = x.features * prod(x.sizes)
        w = call.weight(["kernel"], (n, units))
        if call.context.channels_last:
            # Keras flattens with the channels last, the nodes have them first.
            shape = (*x.sizes, x.features, units)
            w = rearranged(w, lambda a: np.moveaxis(a.reshape(shape), -2, 0).reshape(n, units))
        source = x
    else:
        call.require_features([-1], x)
        w = call.weight(["kernel"], (x.features, units))
        source = replace(x, view="last") if x.view == "image" else x
    out = layers.linear(call.net, call.name, source, rearranged(w, np.transpose), call.bias(units))
    return _finished(call, replace(out, view="image") if out.view == "last" else out)


# ---- normalisation
@layer("BatchNormalization", "SyncBatchNormalization")
def _batch_norm(call: Call) -> Value:
    x, o = call.x, call.options
    call.require_features(o.axes(), x)
    if o.flag("renorm", False):
        raise o.refuse("renormalisation has no counterpart", "renorm=True", "renorm=False")
    gamma, beta = call.gamma_beta(x.features)
    mean, var = (call.weight([key], [x.features], False) for key in ("moving_mean", "moving_variance"))
    momentum = 1 - o.number("momentum", 0.99)
    eps = o.number("epsilon", 1e-3)
    return layers.batch_norm(call.net, call.name, x, gamma, beta, mean, var, eps, momentum)


@layer("LayerNormalization")
def _layer_norm(call: Call) -> Value:
    x, o = call.x, call.options
    call.require_features(o.axes(), x)
    if o.flag("rms_scaling", False):
        raise o.refuse("scaling without subtraction of the mean has no counterpart", "rms_scaling=True")
    gamma, beta = call.gamma_beta(x.features)
    return layers.layer_norm(call.net, call.name, x, "f", gamma, beta, o.number("epsilon", 1e-3))


@layer("GroupNormalization", "Addons>GroupNormalization", "Addons>InstanceNormalization", "InstanceNormalization")
def _group_norm(call: Call) -> Value:
    x, o = call.x, call.options
    call.require_features(o.axes(), x)
    instance = o.kind.endswith("InstanceNormalization")
    if o.kind == "InstanceNormalization" and "groups" not in o.values:
        raise o.refuse(
            "the layer of keras_contrib adds epsilon to the standard deviation, which has no counterpart",
            expected="that of tensorflow_addons, or GroupNormalization(groups=-1) of Keras",
        )
    groups = -1 if instance else o.integer("groups", 32, least=-1)
    groups = x.features if groups == -1 else groups
    gamma, beta = call.gamma_beta(x.features)
    eps = o.number("epsilon", 1e-3)
    if groups == x.features:
        return layers.instance_norm(call.net, call.name, x, gamma, beta, eps)
    return layers.group_norm(call.net, call.name, x, groups, gamma, beta, eps)


@layer("Normalization")
def _normalization(call: Call) -> Value:
    x, o = call.x, call.options
    single = o.values.get("axis", -1) in (None, [])
    if not single:
        call.require_features(o.axes(), x)
    given = [o.values.get(key) for key in ("mean", "variance")]
    if any(g is None for g in given):
        shape = [] if single else [x.features]
        mean, var = (call.weight([key], shape, False).array for key in ("mean", "variance"))
    else:
        mean, var = (_per_feature(call, key, x) for key in ("mean", "variance"))
    deviation = np.maximum(np.sqrt(np.maximum(np.asarray(var, "float64"), 0)), 1e-7)
    scale, shift = 1 / deviation, -mean / deviation
    if o.flag("invert", False):
        scale, shift = deviation, np.asarray(mean, "float64")
    return _affine(call, x, scale, shift)


@layer("Rescaling")
def _rescaling(call: Call) -> Value:
    x = call.x
    scale, shift = _per_feature(call, "scale", x, 1.0), _per_feature(call, "offset", x, 0.0)
    return _affine(call, x, scale, shift)


def _per_feature(call: Call, key: str, x: Value, default: float | None = None) -> np.ndarray:
    """Return an option that is a number, or holds one per channel."""
    value = call.options.values.get(key, default)
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value = value["config"].get("value")
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    numbers = value if isinstance(value, list) else [value]
    if not all(map(is_number, numbers)) or len(numbers) not in (1, x.features):
        raise call.options.refuse(f"{key} must be a number, or one for every channel", value)
    return np.asarray(numbers if isinstance(value, list) else value, "float64")


def _affine(call: Call, x: Value, scale: np.ndarray, shift: np.ndarray) -> Value:
    if scale.ndim or shift.ndim or x.view == "flat":
        if x.view != "image":
            raise call.options.refuse("takes an image", f"shape {x.shape}", "channels and space")
        arrays = (Weight(np.asarray(a, "float32"), None, False) for a in (scale, shift))
        return layers.affine(call.net, call.name, x, *arrays)
    out = x if scale == 1 else elementwise.apply(call.net, f"{call.name}.scale", x, "mul", float(scale))
    return out if shift == 0 else elementwise.apply(call.net, call.name, out, "add", float(shift))


# ---- activations
@layer("Activation")
def _activation(call: Call) -> Value:
    return activate(call, call.name, call.x, call.options.values.get("activation"))


@layer(*ACTIVATIONS)
def _activation_layer(call: Call) -> Value:
    return ACTIVATIONS[call.options.kind](call, call.name, call.x, call.options)


layer("PReLU")(prelu)


# ---- space
def _pooling(mode: str) -> Handler:
    def handler(call: Call) -> Value:
        x, o = call.image(), call.options
        size = o.ints("pool_size", 2)
        stride = size if o.values.get("strides") is None else o.ints("strides")
        ends = _padding(call, x, stride, size)
        return spatial.pool(call.net, call.name, x, mode, size, stride, ends, count_include_pad=False)

    return handler


def _global_pooling(mode: str) -> Handler:
    def handler(call: Call) -> Value:
        return spatial.global_pool(call.net, call.name, call.image(), mode, call.options.flag("keepdims", False))

    return handler


for _mode, _names in {"max": ("Max", "MaxPool"), "average": ("Average", "AvgPool")}.items():
    _long, _short = f"{_names[0]}Pooling", _names[1]
    layer(_long, _short, ndims=(1, 2, 3))(_pooling(_mode))
    layer(f"Global{_long}", f"Global{_short}", ndims=(1, 2, 3))(_global_pooling(_mode))


@layer("UpSampling", ndims=(1, 2, 3))
def _upsampling(call: Call) -> Value:
    x, o = call.image(), call.options
    mode = o.word("interpolation", "nearest", ("nearest", "bilinear"))
    mode = "linear" if mode == "bilinear" else "nearest"
    return spatial.upsample(call.net, call.name, x, mode, o.ints("size", 2))


@layer("ZeroPadding", ndims=(1, 2, 3))
def _zero_padding(call: Call) -> Value:
    return spatial.pad(call.net, call.name, call.image(), call.options.ends("padding"))


@layer("Cropping", ndims=(1, 2, 3))
def _cropping(call: Call) -> Value:
    return spatial.crop(call.net, call.name, call.image(), call.options.ends("cropping"))


# ---- joining
@layer("Concatenate")
def _concatenate(call: Call) -> Value:
    call.require_features(call.options.axes(), call.values[0])
    return elementwise.concat(call.net, call.name, call.values)


@layer("Add")
def _add(call: Call) -> Value:
    return elementwise.add(call.net, call.name, call.values)


@layer("Multiply")
def _multiply(call: Call) -> Value:
    return elementwise.multiply(call.net, call.name, call.values)


@layer("Subtract")
def _subtract(call: Call) -> Value:
    if len(call.values) != 2:
        raise call.options.refuse("takes two tensors", f"{len(call.values)} tensors")
    negative = elementwise.apply(call.net, f"{call.name}.negative", call.values[1], "neg")
    return elementwise.add(call.net, call.name, [call.values[0], negative])


@layer("Average")
def _average(call: Call) -> Value:
    total = elementwise.add(call.net, f"{call.name}.sum", call.values)
    return elementwise.apply(call.net, call.name, total, "mul", 1 / len(call.values))


# ---- form
@layer("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
       "AlphaDropout", "ActivityRegularization", "Identity")  # fmt: skip
def _identity(call: Call) -> Value:
    return call.x


@layer("Flatten")
def _flatten(call: Call) -> Value:
    x = call.x
    if x.view != "image" or not x.sizes:
        return x
    call.check_format()
    return replace(x, view="vector" if _is_point(x) else "flat")


def _is_point(x: Value) -> bool:
    """Return whether an image is one voxel, whatever the size of the input."""
    return all(n == 1 for n in x.node.shape.spatial_shape)


@layer("Reshape")
def _reshape(call: Call) -> Value:
    x, target = call.x, call.options.values.get("target_shape")
    last = call.context.channels_last
    if isinstance(target, list) and x.view in ("image", "vector"):
        if x.view == "image" and not _is_point(x) and not call.net.fixed:
            raise layers.SizesNeeded
        size = prod(x.sizes) * x.features
        known = prod(n for n in target if type(n) is int and n > 0)
        shape = [size // known if n == -1 and known else n for n in target]
        if shape == ([*x.sizes, x.features] if last else [x.features, *x.sizes]):
            return replace(x, view="image")
        if shape == [x.features] and _is_point(x):
            return replace(x, view="vector")
    raise call.options.refuse("changes the axes, which has no counterpart", f"{x.shape} to {target}")


@layer("Permute")
def _permute(call: Call) -> Value:
    dims = call.options.values.get("dims")
    if dims != list(range(1, len(call.x.shape))):
        raise call.options.refuse("the order of the axes cannot be changed", dims)
    return call.x
