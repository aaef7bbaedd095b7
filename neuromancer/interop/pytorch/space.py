"""Translation of operations of PyTorch on space: pools, padding, interpolation."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from neuromancer.interop import elementwise, layers, spatial
from neuromancer.interop.network import Network, Value, Weight
from neuromancer.interop.pytorch.table import Arguments, Handler, operation, refuse


@operation("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
           "max_pool1d_with_indices")  # fmt: skip
def _max_pool(net: Network, place: str, a: Arguments) -> Any:
    ndim = len(a.x.sizes)
    size = a.ints("kernel_size", ndim)
    stride = a.ints("stride", ndim) if a["stride"] not in (None, []) else size
    if not a.layer and size == a.x.sizes and prod(size) > 1 and "indices" not in net.place:
        return spatial.global_pool(net, place, a.x, "max")
    ends, dilation = a.pairs("padding", ndim), a.ints("dilation", ndim, 1)
    out = spatial.pool(net, place, a.x, "max", size, stride, ends, dilation, bool(a["ceil_mode"]))
    return (out, None) if "indices" in net.place else out


@operation("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(net: Network, place: str, a: Arguments) -> Value:
    ndim = len(a.x.sizes)
    size = a.ints("kernel_size", ndim)
    stride = a.ints("stride", ndim) if a["stride"] not in (None, []) else size
    if not a.layer and size == a.x.sizes and prod(size) > 1 and a["divisor_override"] is None:
        # A window of the size of the image was given as such: x.shape[2:].
        return spatial.global_pool(net, place, a.x, "average")
    included = a["count_include_pad"] is not False
    out = spatial.pool(
        net, place, a.x, "average", size, stride, a.pairs("padding", ndim), (), bool(a["ceil_mode"]), included
    )
    divisor = a["divisor_override"]
    if divisor is None:
        return out
    if any(map(any, a.pairs("padding", ndim))) or a["ceil_mode"]:
        raise refuse(place, "divisor_override with padding has no counterpart", divisor, "no padding")
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
    if x.view == "image" and axes == space and space:
        mode = {"mean": "average", "amax": "max", "sum": "sum"}[kind]
        return spatial.global_pool(net, place, x, mode, bool(a["keepdim"]))
    if axes == [x.feature_axis]:
        return _over_features(net, place, x, kind, bool(a["keepdim"]))
    raise refuse(place, "cannot be reduced over these axes", f"{kind} over {axes}", f"all of space, {space}")


@operation("max", "min")
def _max_over(net: Network, place: str, a: Arguments) -> Any:
    if isinstance(a["other"], Value) or not isinstance(a["dim"], int) or "min" in net.place.rpartition("(")[2]:
        raise refuse(place, "has no counterpart", "the maximum of two tensors, or a minimum", "max over the channels")
    if a["dim"] % len(a.x.shape) != a.x.feature_axis:
        raise refuse(place, "cannot be reduced over this axis", f"dim={a['dim']}", "the channels")
    return _over_features(net, place, a.x, "amax", bool(a["keepdim"])), None


@operation("linalg_vector_norm")
def _norm(net: Network, place: str, a: Arguments) -> Value:
    dims = [a["dim"]] if isinstance(a["dim"], int) else list(a["dim"] or [])
    if a["ord"] != 2 or len(dims) != 1 or dims[0] % len(a.x.shape) != a.x.feature_axis:
        raise refuse(
            place, "this norm has no counterpart", f"order {a['ord']} over {dims}", "order 2 over the channels"
        )
    squares = elementwise.apply(net, f"{place}.squares", a.x, "sqr")
    total = _over_features(net, f"{place}.sum", squares, "sum", bool(a["keepdim"]))
    return elementwise.apply(net, place, total, "sqrt")


def _over_features(net: Network, place: str, x: Value, kind: str, keepdim: bool) -> Value:
    if x.view not in ("image", "last", "vector"):
        raise refuse(place, "cannot be reduced over the channels", f"axes of {x.view!r} order", "a channel axis")
    mode = {"mean": "average", "amax": "max", "sum": "sum"}[kind]
    out = elementwise.over_features(net, place, Value(x.node, x.sizes), mode)
    return replace(out, view=x.view if keepdim else "scalar" if x.view == "vector" else "bare")


@operation("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
           "replication_pad1d", "replication_pad2d", "replication_pad3d")  # fmt: skip
def _pad(net: Network, place: str, a: Arguments) -> Value:
    x, kind = a.x, net.place.rpartition("(")[2].rstrip(")")
    flat = list(a["pad"] if a["pad"] is not None else a["padding"])
    pairs = [(int(flat[k]), int(flat[k + 1])) for k in range(0, len(flat), 2)][::-1]
    while len(pairs) > len(x.sizes) and not any(pairs[0]):  # batch and channels
        pairs = pairs[1:]
    if not any(map(any, pairs)):
        return x
    mode = a["mode"] or {"ref": "reflect", "rep": "replicate"}.get(kind[:3], "constant")
    if x.view == "image" and len(pairs) == len(x.sizes) + 1 and mode == "constant" and not any(map(any, pairs[1:])):
        return _pad_features(net, place, x, pairs[0], float(a["value"] or 0))
    if x.view != "image" or len(pairs) > len(x.sizes):
        raise refuse(place, "only space can be padded", flat, f"{2 * len(x.sizes)} numbers at most")
    ends = [(0, 0)] * (len(x.sizes) - len(pairs)) + pairs
    if mode not in ("constant", "reflect", "replicate"):
        raise refuse(place, "this padding has no counterpart", mode, "constant, reflect or replicate")
    return spatial.pad(net, place, x, ends, "zeros" if mode == "constant" else mode, float(a["value"] or 0))


def _pad_features(net: Network, place: str, x: Value, ends: tuple[int, int], value: float) -> Value:
    if min(ends) < 0:
        raise refuse(place, "channels cannot be cut by padding", ends, "numbers from 0 on")
    first, last = (Weight(np.full((1, n, *(1,) * len(x.sizes)), value, "float32"), None, False) for n in ends)
    return elementwise.concat(net, place, [first, x, last])


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
        if a.layer and not net.fixed:
            raise layers.SizesNeeded
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
