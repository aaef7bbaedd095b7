"""PyTorch as a target: layers become modules of torch.nn, the rest functions."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from neuromancer.interop.leaving.target import (
    Convolution,
    Pooling,
    ResponseNorm,
    Standardisation,
    Target,
)
from neuromancer.interop.leaving.weights import Weight
from neuromancer.interop.pytorch.leaving import modules, norms
from neuromancer.interop.pytorch.leaving.functions import BINARY, CLAMPS, FUNCTIONS, REDUCTIONS
from neuromancer.interop.pytorch.leaving.graph import ModuleBuilder
from neuromancer.nodes.node import Node

MODES = {"constant": "zeros", "reflect": "reflect", "replicate": "replicate"}
LINEAR = ("linear", "bilinear", "trilinear")


def by_rank(stem: str, rank: int) -> Any:
    """Return a class or function of PyTorch for a number of spatial axes."""
    found = getattr(nn, f"{stem}{rank}d", None)
    return getattr(F, f"{stem}{rank}d") if found is None else found


class TorchTarget(Target):
    """Builds a module. Values are nodes of its graph."""

    library = "PyTorch"

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.builder = ModuleBuilder()

    # ---- nodes
    def begin(self, node: Node) -> None:
        self.builder.begin(node.name)

    def end(self, node: Node, value: Any) -> Any:
        return value

    def nothing(self, node: Node) -> Any:
        return self.builder.graph.placeholder("nothing")

    def input(self, node: Node) -> Any:
        return self.builder.argument(node.name)

    def operand(self, weight: Weight) -> Any:
        return self.builder.value(weight)

    # ---- layers on images
    def conv(self, x: Any, c: Convolution) -> Any:
        rank, b = len(c.kernel), self.builder
        if any(a != z for a, z in c.ends):
            x = self.pad(x, 2 + rank, {2 + k: pair for k, pair in enumerate(c.ends)}, c.border)
            ends, mode = (0,) * rank, "zeros"
        else:
            ends, mode = tuple(a for a, _ in c.ends), MODES[c.border] if any(map(any, c.ends)) else "zeros"
        w, bias = b.owned(c.w), b.owned(c.b)
        options = {"stride": c.stride, "padding": ends, "dilation": c.dilation, "groups": c.groups}
        if w is not None and (c.b is None or bias is not None):
            sizes = (w.shape[1] * c.groups, w.shape[0], c.kernel)
            return self._layer("Conv", x, sizes, w, bias, {**options, "padding_mode": mode})
        if mode != "zeros":
            x = self.pad(x, 2 + rank, {2 + k: pair for k, pair in enumerate(c.ends)}, c.border)
            options["padding"] = (0,) * rank
        function = by_rank("conv", rank)
        return b.call(function, x, b.value(c.w), None if c.b is None else b.value(c.b), **options)

    def _layer(self, stem: str, x: Any, sizes: Any, w: Any, bias: Any, options: dict[str, Any]) -> Any:
        def make() -> nn.Module:
            kind = by_rank(stem, w.ndim - 2)
            layer: nn.Module = kind(*sizes, bias=bias is not None, device="meta", **options)
            layer.weight = w
            if bias is not None:
                layer.bias = bias
            return layer

        return self.builder.module(make, x)

    def conv_transpose(self, x: Any, c: Convolution) -> Any:
        rank, b = len(c.kernel), self.builder
        even = all(a == z for a, z in c.ends)
        ends = tuple(a for a, _ in c.ends) if even else (0,) * rank
        options = {"stride": c.stride, "padding": ends, "output_padding": c.output_padding, "groups": c.groups,
                   "dilation": c.dilation}  # fmt: skip
        w, bias = b.owned(c.w), b.owned(c.b)
        if w is not None and (c.b is None or bias is not None):
            sizes = (w.shape[0], w.shape[1] * c.groups, c.kernel)
            y = self._layer("ConvTranspose", x, sizes, w, bias, options)
        else:
            function = by_rank("conv_transpose", rank)
            y = b.call(function, x, b.value(c.w), None if c.b is None else b.value(c.b), **options)
        return y if even else self.cut(y, {2 + k: (a, -z or None) for k, (a, z) in enumerate(c.ends) if a or z})

    def linear(self, x: Any, w: Weight, b: Weight | None) -> Any:
        turned = w.transposed(1, 0)
        matrix, bias = self.builder.owned(turned), self.builder.owned(b)
        if matrix is None or (b is not None and bias is None):
            operands = [self.builder.value(turned), *([] if b is None else [self.builder.value(b)])]
            return self.builder.call(F.linear, x, *operands)

        def make() -> nn.Module:
            layer = nn.Linear(*w.array.shape, bias=b is not None, device="meta")
            layer.weight = matrix
            if bias is not None:
                layer.bias = bias
            return layer

        return self.builder.module(make, x)

    def max_pool(self, x: Any, p: Pooling) -> Any:
        rank = len(p.size)
        ends = [(a, z + s) for (a, z), s in zip(p.ends, p.slack, strict=True)]
        even = all(a == z and 2 * a <= size for (a, z), size in zip(p.ends, p.size, strict=True))
        if not even:
            x = self.pad(x, 2 + rank, {2 + k: pair for k, pair in enumerate(ends)}, "constant", -np.inf)
        padding = tuple(a for a, _ in p.ends) if even else (0,) * rank
        kind, ceil = by_rank("MaxPool", rank), even and any(p.slack)
        return self.builder.module(lambda: kind(p.size, p.stride, padding, p.dilation, ceil_mode=ceil), x)

    def average_pool(self, x: Any, p: Pooling) -> Any:
        uneven = any(a != z or 2 * a > size for (a, z), size in zip(p.ends, p.size, strict=True))
        # AvgPool3d refuses images that are smaller than a window, although padding makes them large enough
        if uneven or (len(p.size) == 3 and (any(map(any, p.ends)) or any(p.slack))):
            return self.builder.module(lambda: modules.AveragePool(p.size, p.stride, p.ends, p.slack, p.counted), x)
        kind, padding = by_rank("AvgPool", len(p.size)), tuple(a for a, _ in p.ends)
        return self.builder.module(lambda: kind(p.size, p.stride, padding, any(p.slack), p.counted), x)

    def adaptive_pool(self, x: Any, mode: str, sizes: Sequence[int]) -> Any:
        kind = by_rank("AdaptiveMaxPool" if mode == "max" else "AdaptiveAvgPool", len(sizes))
        return self.builder.module(lambda: kind(tuple(sizes)), x)

    def resize(self, x: Any, sizes: Sequence[Any] | None, factors: Sequence[int], mode: str, corners: bool) -> Any:
        rank = len(factors if sizes is None else sizes)
        name = LINEAR[rank - 1] if mode == "linear" else "nearest"
        align = corners if mode == "linear" else None
        if sizes is None:
            scale = tuple(map(float, factors))
            return self.builder.module(lambda: nn.Upsample(None, scale, name, align), x)
        return self.builder.call(F.interpolate, x, list(sizes), mode=name, align_corners=align)

    def pixel_shuffle(self, x: Any, factor: int) -> Any:
        return self.builder.module(lambda: nn.PixelShuffle(factor), x)

    # ---- normalisation and activation
    def response_norm(self, x: Any, axis: int, ndim: int, norm: ResponseNorm) -> Any:
        return norms.response_norm(self.builder, x, axis, ndim, norm)

    def batch_norm(self, x: Any, ndim: int, s: Standardisation) -> Any:
        return norms.batch_norm(self.builder, x, ndim, s)

    def instance_norm(self, x: Any, ndim: int, s: Standardisation) -> Any:
        return norms.instance_norm(self.builder, x, ndim, s)

    def group_norm(self, x: Any, ndim: int, n_groups: int, features: int, s: Standardisation) -> Any:
        return norms.group_norm(self.builder, x, n_groups, features, s)

    def layer_norm(self, x: Any, n_axes: int, sizes: Sequence[int | None], s: Standardisation) -> Any:
        return norms.layer_norm(self.builder, x, n_axes, sizes, s)

    def function(self, name: str, x: Any, *numbers: float) -> Any:
        if name == "gelu_tanh":
            return self.builder.call(F.gelu, x, approximate="tanh")
        return self.builder.call(FUNCTIONS[name], x, *numbers)

    def prelu(self, x: Any, axis: int, ndim: int, slope: Weight) -> Any:
        parameter, n = self.builder.require(slope), slope.array.size

        def make() -> nn.Module:
            layer = nn.PReLU(n, device="meta")
            layer.weight = parameter
            return layer

        if n == 1 or axis == 1:
            return self.builder.module(make, x)
        moved = self.builder.module(make, self.builder.method("movedim", x, axis, 1))
        return self.builder.method("movedim", moved, 1, axis)

    def softmax(self, x: Any, axis: int, log: bool = False) -> Any:
        return self.builder.call(F.log_softmax if log else F.softmax, x, dim=axis)

    def dropout(self, x: Any, rate: float, axis: int | None) -> Any:
        def make() -> nn.Module:
            return nn.Dropout(rate) if axis is None else modules.FeatureDropout(rate, axis)

        return self.builder.module(make, x)

    # ---- arithmetic
    def binary(self, name: str, x: Any, y: Any) -> Any:
        if name in CLAMPS and isinstance(y, float):
            return self.builder.call(torch.clamp, x, **{CLAMPS[name]: y})
        return self.builder.call(BINARY[name], x, y)

    def reduce(self, x: Any, mode: str, axes: Sequence[int], keepdims: bool = True) -> Any:
        return self.builder.call(REDUCTIONS[mode], x, list(axes), keepdims)

    def cast(self, x: Any, dtype: str) -> Any:
        return self.builder.method("to", x, getattr(torch, dtype))

    def ones_like(self, x: Any) -> Any:
        return self.builder.call(torch.ones_like, x)

    def constant_gradient(self, x: Any) -> Any:
        return self.builder.method("detach", x)

    # ---- arrangement
    def size(self, x: Any, axis: int) -> Any:
        return self.builder.method("size", x, axis)

    def times(self, size: Any, factor: int) -> Any:
        return self.builder.call(operator.mul, size, factor)

    def reshape(self, x: Any, sizes: Sequence[Any]) -> Any:
        return self.builder.method("reshape", x, tuple(sizes))

    def expand(self, x: Any, sizes: Sequence[Any]) -> Any:
        return self.builder.method("expand", x, *sizes)

    def permute(self, x: Any, order: Sequence[int]) -> Any:
        return self.builder.method("permute", x, *(int(k) for k in order))

    def unsqueeze(self, x: Any, axes: Sequence[int]) -> Any:
        for axis in sorted(axes):
            x = self.builder.method("unsqueeze", x, axis)
        return x

    def squeeze(self, x: Any, axes: Sequence[int]) -> Any:
        for axis in sorted(axes, reverse=True):
            x = self.builder.method("select", x, axis, 0)
        return x

    def cut(self, x: Any, ranges: Mapping[int, tuple[int, int | None]]) -> Any:
        if not ranges:
            return x
        index = tuple(slice(*ranges[k]) if k in ranges else slice(None) for k in range(max(ranges) + 1))
        return self.builder.call(operator.getitem, x, index)

    def pad(self, x: Any, ndim: int, ends: Mapping[int, tuple[int, int]], border: str, value: float = 0.0) -> Any:
        lowest = min(ends) if border == "constant" else 2
        widths = [n for axis in range(ndim - 1, lowest - 1, -1) for n in ends.get(axis, (0, 0))]
        if border == "constant":
            return self.builder.call(F.pad, x, widths, "constant", value)
        if min(ends) >= 2 and 3 <= ndim <= 5:
            return self.builder.call(F.pad, x, widths, border)
        return self.builder.module(lambda: modules.BorderPad(dict(ends), border), x)

    def take(self, x: Any, axis: int, indices: np.ndarray) -> Any:
        places = self.builder.attribute(lambda: torch.from_numpy(np.array(indices, "int64")))
        return self.builder.method("index_select", x, axis, places)

    def concat(self, values: Sequence[Any], axis: int) -> Any:
        return self.builder.call(torch.cat, list(values), axis) if len(values) > 1 else values[0]

    def faithless_concat(self, values: Sequence[Any], axis: int, failing: float, hard: float) -> Any:
        return self.builder.module(lambda: modules.FaithlessConcat(axis, failing, hard), *values)
