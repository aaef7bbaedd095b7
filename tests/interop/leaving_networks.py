"""Networks that leave for other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

import neuromancer as nm
from tests.interop.leaving_checks import QUIET


def image(sizes=(1, 2, 9, 8), tags="b,f,y,x", **kwargs):
    return nm.Input(sizes, tags, name="raw", **QUIET, **kwargs)


def layer(make: Any, *args: Any, sizes: Any = (2, 2, 9, 8), tags: str = "b,f,y,x", **kwargs: Any) -> Any:
    """A network of one node on an image."""
    return make(image(sizes, tags), *args, name="node", **QUIET, **kwargs)


SWAPPED = {"sizes": (2, 3, 2, 6, 7), "tags": "b,z,f,y,x"}
LINE = {"sizes": (2, 4, 11), "tags": "b,f,x"}
SPACE = {"sizes": (1, 2, 5, 6, 7), "tags": "b,f,z,y,x"}
PLAIN = {"activation_func": "tanh"}
CASES: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "conv": (nm.Conv, (3, (3, 2)), {}),
    "conv same": (nm.Conv, (3, (3, 1)), {"conv_mode": "same", **PLAIN}),
    "conv full": (nm.Conv, (3, (2, 3)), {"conv_mode": "full", **PLAIN}),
    "conv pool": (nm.Conv, (3, (2, 3), (2, 3)), PLAIN),
    "conv stride": (nm.Conv, (4, (3, 3)),
     {"stride": 2, "dilation": (1, 2), "groups": 2, "padding": (1, (2, 1)), **PLAIN}),
    "conv reflect": (nm.Conv, (3, (3, 3)), {"padding": 1, "padding_mode": "reflect", **PLAIN}),
    "conv replicate": (nm.Conv, (3, (3, 3)), {"padding": ((0, 2), 1), "padding_mode": "replicate", **PLAIN}),
    "conv line": (nm.Conv, (3, (3,)), {**LINE, **PLAIN}),
    "conv space": (nm.Conv, (3, (1, 3, 2), (1, 2, 3)), {**SPACE, **PLAIN}),
    "conv swapped": (nm.Conv, (3, (2, 3, 2), (1, 2, 2)), {**SWAPPED, **PLAIN}),
    "conv mfp": (nm.Conv, (3, (2, 3), (2, 2)), {"mfp": True, "sizes": (1, 2, 8, 9), **PLAIN}),
    "upconv": (nm.UpConv, (3, (2, 3)), PLAIN),
    "upconv swapped": (nm.UpConv, (3, (1, 2, 2)), {**SWAPPED, **PLAIN}),
    "transposed": (nm.ConvTranspose, (4, (3, 4), 2), {"padding": 1, "output_padding": 1, "groups": 2, **PLAIN}),
    "transposed uneven": (nm.ConvTranspose, (3, (3, 4), 2), {"padding": ((1, 0), (0, 2)), "dilation": (1, 2), **PLAIN}),
    "perceptron": (nm.Perceptron, (3,), {"sizes": (4, 5), "tags": "b,f", **PLAIN}),
    "perceptron image": (nm.Perceptron, (3,), PLAIN),
    "perceptron flat": (nm.Perceptron, (3,), {"flatten": True, **PLAIN}),
    "perceptron middle": (nm.Perceptron, (3,), {"sizes": (2, 3, 4, 5), "tags": "b,y,f,x", **PLAIN}),
    "perceptron last": (nm.Perceptron, (3,), {"sizes": (3, 2, 4), "tags": "r,b,f", **PLAIN}),
    "max": (nm.Pool, ((3, 2), (2, 2)), {"padding": 1, "ceil_mode": True}),
    "max uneven": (nm.Pool, ((3, 3), (2, 1)), {"padding": ((2, 0), (0, 1)), "dilation": (1, 2), "ceil_mode": False}),
    "average": (nm.Pool, ((3, 2), (2, 2)), {"padding": 1, "mode": "average", "ceil_mode": True}),
    "average exclusive": (nm.Pool, ((3, 3), (2, 2)), {"padding": 1, "mode": "average_exc_pad", "ceil_mode": True}),
    "average uneven": (nm.Pool, ((3, 3), (2, 2)), {"padding": ((2, 0), 1), "mode": "average", "ceil_mode": True}),
    "average dilated": (nm.Pool, ((2, 2), (2, 1)),
     {"dilation": 2, "mode": "average_exc_pad", "padding": 1, "ceil_mode": True}),
    "average counted": (nm.Pool, ((2, 2), (2, 1)), {"dilation": 2, "mode": "average", "padding": 1, "ceil_mode": True}),
    "sum": (nm.Pool, ((2, 2), (1, 2)), {"mode": "sum", "padding": (1, 0)}),
    "sum covering": (nm.Pool, ((3, 2), (2, 2)), {"mode": "sum", "ceil_mode": True}),
    "mfp average": (nm.Pool, ((2, 2),), {"mfp": True, "mode": "average", "sizes": (1, 2, 9, 7)}),
    "pool swapped": (nm.Pool, ((1, 2, 1),), SWAPPED),
    "nearest": (nm.Upsample, ((2, 3),), {}),
    "linear": (nm.Upsample, (2,), {"mode": "linear"}),
    "linear line": (nm.Upsample, (3,), {"mode": "linear", **LINE}),
    "linear space": (nm.Upsample, ((1, 2, 2),), {"mode": "linear", **SPACE}),
    "corners": (nm.Upsample, (2,), {"mode": "linear", "align_corners": True}),
    "size": (nm.Upsample, (None, (12, 5)), {"mode": "linear"}),
    "size nearest": (nm.Upsample, (None, (2, 12)), {"sizes": (1, 2, 14, 8)}),
    "size corners": (nm.Upsample, (None, (5, 1)), {"mode": "linear", "align_corners": True}),
    "shuffle": (nm.PixelShuffle, (2,), {"sizes": (2, 8, 3, 4)}),
    "shuffle uneven": (nm.PixelShuffle, ((2, 1),), {"sizes": (2, 4, 3, 4)}),
    "shuffle swapped": (nm.PixelShuffle, ((1, 2, 1),), SWAPPED),
    "crop": (nm.Crop, (((1, 0), 2),), {}),
    "pad": (nm.Pad, ((1, (0, 2)), 0.5), {}),
    "pad reflect": (nm.Pad, ((1, (0, 2)),), {"padding_mode": "reflect"}),
    "pad elsewhere": (nm.Pad, ((1, (0, 2)),), {"padding_mode": "replicate", "sizes": (2, 4, 5, 3), "tags": "b,y,x,f"}),
    "pad reflect elsewhere": (nm.Pad, ((1, (0, 2)),),
     {"padding_mode": "reflect", "sizes": (2, 4, 5, 3), "tags": "b,y,x,f"}),
    "repeat": (nm.Repeat, (3,), {}),
    "lrn": (nm.LRN, ((3, 1),), {"alpha": 0.5}),
    "lrn channel": (nm.LRN, (3, "channel"), {"alpha": 0.5, "sizes": (2, 5, 3, 3)}),
    "global": (nm.GlobalPool, (), {}),
    "global max": (nm.GlobalPool, ("max", False), SWAPPED),
    "adaptive": (nm.AdaptivePool, ((2, 3),), {}),
    "adaptive max": (nm.AdaptivePool, ((2, 1, 3), "max"), SWAPPED),
    "softmax": (nm.Softmax, (), {"sizes": (2, 4, 3, 3)}),
    "softmax groups": (nm.Softmax, (2, 2), {"sizes": (2, 4, 3, 3)}),
    "batch": (nm.BatchNorm, (), {"var": np.array([0.5, 2.0]), "mean": np.array([1.0, -1.0])}),
    "batch swapped": (nm.BatchNorm, (), SWAPPED),
    "batch rank 2": (nm.BatchNorm, (), {"sizes": (5, 3), "tags": "b,f"}),
    "batch rank 6": (nm.BatchNorm, (), {"sizes": (2, 2, 3, 2, 3, 2), "tags": "r,b,f,z,y,x"}),
    "batch without": (nm.BatchNorm, (), {"track_running_stats": False, "affine": False}),
    "batch fixed": (nm.BatchNorm, (), {"var": [np.array([0.5, 2.0]), "const"]}),
    "instance": (nm.InstanceNorm, (True,), {}),
    "instance plain": (nm.InstanceNorm, (), SWAPPED),
    "instance running": (nm.InstanceNorm, (True,), {"track_running_stats": True, "momentum": 0.5}),
    "group": (nm.GroupNorm, (2,), {"sizes": (2, 4, 3, 5)}),
    "group swapped": (nm.GroupNorm, (2,), {"sizes": (2, 3, 4, 3, 5), "tags": "b,z,f,y,x"}),
    "group flat": (nm.GroupNorm, (2,), {"sizes": (3, 10), "tags": "b,f"}),
    "layer": (nm.LayerNorm, (), {"sizes": (2, 5, 3, 3)}),
    "layer image": (nm.LayerNorm, ("f,y,x",), {}),
    "layer space": (nm.LayerNorm, ("y,x", False), {}),
    **{
        f"act {f}": (nm.Activation, (f,), {"sizes": (2, 4, 3, 3)})
        for f in "relu,leaky_relu,leaky_relu 0.2,prelu,prelu shared,relu6,elu,elu 0.5,selu,gelu,gelu tanh,silu,mish,"
        "hardswish,tanh,hardtanh,hardtanh 0 2,softsign,abs,sig,hardsigmoid,logsigmoid,soft+,soft+ 2,log_softmax,lin,"
        "concentration,radius,maxout 2".split(",")
    },
    "conv prelu": (nm.Conv, (3, (2, 2)), {"activation_func": "prelu"}),
    "conv shared prelu": (nm.Conv, (3, (2, 2)), {"activation_func": "prelu shared"}),
    "conv maxout": (nm.Conv, (4, (2, 2)), {"activation_func": "maxout 2"}),
    "norm train": (nm.Conv, (3, (2, 2), (2, 1)), {"batch_normalisation": "train", **PLAIN}),
    "norm fadeout": (nm.Conv, (3, (2, 2)), {"batch_normalisation": "fadeout", **PLAIN}),
    "norm predict": (nm.Conv, (3, (2, 2)), {"batch_normalisation": "predict", "std": np.array([0.5, 1, 2]), **PLAIN}),
    "norm perceptron": (nm.Perceptron, (3,),
     {"batch_normalisation": "train", "sizes": (2, 3, 4, 5), "tags": "b,y,f,x"}),
    "norm upconv": (nm.UpConv, (3, (2, 1)), {"batch_normalisation": "train", **PLAIN}),
}  # fmt: skip


def recurrent(cell, features, **options):
    sequence = nm.Input((4, 2, 3), "r,b,f", name="raw", **QUIET)
    first, _ = nm.split(sequence, "r", index=1, strip_singleton_dims=True, name="step")
    memory = nm.InitialState_like(first, features, init_kwargs={"mode": "const", "scale": 0.3}, name="memory", **QUIET)
    step = cell(first, memory, 2, name="cell", **QUIET)
    return nm.Scan(step, memory, in_iterate=sequence, in_iterate_0=first, name="scan", **{**QUIET, **options})


def shared():
    one = nm.Conv(image(), 2, (3, 3), activation_func="tanh", name="one", **QUIET)
    two = nm.Conv(one, 2, (3, 3), activation_func="tanh", name="two", w=one.w, b=one.b, **QUIET)
    encoder = nm.Perceptron(two, 3, "tanh", name="encoder", **QUIET)
    return encoder.make_dual(encoder, share_w=True, activation_func="tanh", print_repr=False)


def unet():
    inp = nm.Input((None, 1, None, None), "b,f,y,x", name="raw", **QUIET)
    high = nm.Conv(inp, 3, (3, 3), conv_mode="same", name="high", **QUIET)
    low = nm.Conv(nm.Pool(high, (2, 2), **QUIET), 4, (3, 3), padding=1, padding_mode="reflect", name="low", **QUIET)
    up = nm.Upsample(low, size=high, mode="linear", **QUIET)
    norm = nm.GroupNorm(nm.Concat([high, up], **QUIET), 7, **QUIET)
    return nm.Softmax(nm.Conv(norm, 2, (1, 1), activation_func="lin", name="last", **QUIET), name="probs", **QUIET)


def two_inputs():
    a, b = (nm.Input((None, n, None), "b,f,x", name=name, **QUIET) for name, n in (("b in", 2), ("a", 3)))
    late = nm.Conv(b, 2, (1,), activation_func="tanh", name="late", **QUIET)
    return [nm.Add(late, a, name="sum", **QUIET), nm.Concat([a, late], name="both", **QUIET)]


FUNCTORS = [
    ("tanh", ()), ("exp", ()), ("log1p", ()), ("sqr", ()), ("sqrt", ()), ("clip", (-0.5, 0.5)), ("maximum", (0.1,)),
    ("add", (2,)), ("true_div", (2.5,)), ("pow", (2,)), ("expm1", ()), ("sgn", ()), ("erf", ()), ("neg", ()),
    ("log2", ()), ("exp2", ()), ("softplus", ()), ("sigmoid", ()), ("reciprocal", ()), ("round", ()), ("arctan", ()),
]  # fmt: skip


def functors():
    x = nm.Activation(image(), "soft+", **QUIET)
    return [nm.ApplyFunc(x, getattr(nm.T, name), args, name=f"f {name}") for name, args in FUNCTORS]
