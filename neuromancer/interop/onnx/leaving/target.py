"""ONNX as a target: the operations of operator set 20, in the inference form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from neuromancer.interop.leaving.registry import Unsupported
from neuromancer.interop.leaving.target import (
    Convolution,
    Pooling,
    ResponseNorm,
    Standardisation,
    Target,
)
from neuromancer.interop.leaving.weights import Weight
from neuromancer.interop.onnx.leaving.functions import emit_function
from neuromancer.interop.onnx.leaving.graph import GraphBuilder, Size, element_type
from neuromancer.interop.onnx.leaving.interpolation import interpolated
from neuromancer.interop.onnx.leaving.norms import batch_norm, grouped_norm, layer_norm, standardised
from neuromancer.nodes.node import Node

BORDERS = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min"}
REDUCTIONS = {"average": "ReduceMean", "max": "ReduceMax", "sum": "ReduceSum"}
MOST_PARTS = 64
"""Largest size of an adaptive pool per axis: every part is an operation."""


def pads(ends: Sequence[tuple[int, int]]) -> list[int]:
    """Return padding in the order of ONNX: all starts, then all ends."""
    return [a for a, _ in ends] + [b for _, b in ends]


class OnnxTarget(Target):
    """Builds an ONNX graph. Values are names of tensors.

    Parameters
    ----------
    label : str
    reserved : iterable of str
        Names of nodes, which only their own values get.
    """

    library = "ONNX"

    def __init__(self, label: str, reserved: Iterable[str] = ()) -> None:
        super().__init__(label)
        self.graph = GraphBuilder(reserved)
        self.inputs: dict[Node, str] = {}
        self._weights: dict[Any, str] = {}
        self._kept: list[Weight] = []  # as long as it is kept, its key stands for nothing else

    # ---- nodes
    def begin(self, node: Node) -> None:
        self.graph.begin(node.name)

    def end(self, node: Node, value: Any) -> Any:
        return value if isinstance(value, list) else self.graph.end(value, node.name)

    def nothing(self, node: Node) -> str:
        return ""

    def input(self, node: Node) -> str:
        self.inputs[node] = self.graph.unique(node.name, of_node=True)
        return self.inputs[node]

    def operand(self, weight: Weight) -> str:
        if weight.key not in self._weights:
            self._weights[weight.key] = self.graph.constant(weight.array, weight.name)
            self._kept.append(weight)
        return self._weights[weight.key]

    # ---- layers on images
    def conv(self, x: str, c: Convolution) -> str:
        ends = c.ends
        if c.border != "constant" and any(map(any, ends)):
            rank = 2 + len(ends)
            x = self.pad(x, rank, {2 + k: pair for k, pair in enumerate(ends)}, c.border)
            ends = [(0, 0)] * len(ends)
        return self.graph.add("Conv", self._operands(x, c), **self._windows(c, ends))

    def conv_transpose(self, x: str, c: Convolution) -> str:
        extra = list(c.output_padding) if any(c.output_padding) else None
        return self.graph.add("ConvTranspose", self._operands(x, c), **self._windows(c, c.ends), output_padding=extra)

    def _operands(self, x: str, c: Convolution) -> list[str]:
        return [x, self.operand(c.w), *([] if c.b is None else [self.operand(c.b)])]

    def _windows(self, c: Convolution, ends: Any) -> dict[str, Any]:
        return {
            "kernel_shape": list(c.kernel),
            "strides": list(c.stride),
            "dilations": list(c.dilation),
            "pads": pads(ends),
            "group": c.groups,
        }

    def linear(self, x: str, w: Weight, b: Weight | None) -> str:
        y = self.graph.add("MatMul", [x, self.operand(w)])
        return y if b is None else self.graph.add("Add", [y, self.operand(b)])

    def max_pool(self, x: str, p: Pooling) -> str:
        ends = [(a, b + s) for (a, b), s in zip(p.ends, p.slack, strict=True)]
        if any(max(pair) >= size for pair, size in zip(ends, p.size, strict=True)):
            x = self.pad(x, 2 + len(ends), {2 + k: pair for k, pair in enumerate(ends)}, "constant", -np.inf)
            ends = [(0, 0)] * len(ends)
        dilated = list(p.dilation) if set(p.dilation) != {1} else None
        return self.graph.add(
            "MaxPool", [x], kernel_shape=list(p.size), strides=list(p.stride), pads=pads(ends), dilations=dilated
        )

    def average_pool(self, x: str, p: Pooling) -> str:
        ends, counted = list(p.ends), p.counted
        if any(p.slack):
            # What lies beyond the padding never counts, so padding that does is a part of the image.
            if counted and any(map(any, ends)):
                x = self.pad(x, 2 + len(ends), {2 + k: pair for k, pair in enumerate(ends)}, "constant")
                ends = [(0, 0)] * len(ends)
            ends, counted = [(a, b + s) for (a, b), s in zip(ends, p.slack, strict=True)], False
        return self.graph.add(
            "AveragePool",
            [x],
            kernel_shape=list(p.size),
            strides=list(p.stride),
            pads=pads(ends),
            count_include_pad=int(counted and any(map(any, ends))),
        )

    def adaptive_pool(self, x: str, mode: str, sizes: Sequence[int]) -> str:
        if max(sizes) > MOST_PARTS:
            raise Unsupported(f"ONNX has no adaptive pool, and {max(sizes)} parts are too many to write them down")
        for axis, m in enumerate(sizes, 2):
            if m == 1:
                x = self.reduce(x, mode, [axis])
                continue
            n = self.graph.sizes([Size(x, axis)])
            parts, place = [], self.graph.ints([axis])
            for k in range(m):
                start = self.graph.add("Div", [self.graph.add("Mul", [n, self.graph.ints([k])]), self.graph.ints([m])])
                end = self.graph.add("Mul", [n, self.graph.ints([k + 1])])
                end = self.graph.add("Add", [end, self.graph.ints([m - 1])])
                stop = self.graph.add("Div", [end, self.graph.ints([m])])
                part = self.graph.add("Slice", [x, start, stop, place])
                parts.append(self.reduce(part, mode, [axis]))
            x = self.concat(parts, axis)
        return x

    def resize(self, x: str, sizes: Sequence[Any] | None, factors: Sequence[int], mode: str, corners: bool) -> str:
        if sizes is not None and not factors:
            return interpolated(self, x, sizes, mode, corners)
        where = "align_corners" if corners else "half_pixel" if mode == "linear" else "asymmetric"
        options = {"mode": mode, "coordinate_transformation_mode": where}
        if mode == "nearest":
            options["nearest_mode"] = "floor"
        if sizes is None:
            scales = self.graph.constant(np.asarray([1, 1, *factors], "float32"), "scales")
            return self.graph.add("Resize", [x, "", scales], **options)
        whole = self.graph.sizes([Size(x, 0), Size(x, 1), *sizes])
        return self.graph.add("Resize", [x, "", "", whole], **options)

    def pixel_shuffle(self, x: str, factor: int) -> str:
        return self.graph.add("DepthToSpace", [x], blocksize=factor, mode="CRD")

    # ---- normalisation and activation
    def response_norm(self, x: str, axis: int, ndim: int, norm: ResponseNorm) -> str:
        rate, gamma, mean, std = norm.rate, norm.gamma.array, norm.mean.array, norm.std.array
        std, gamma = rate * std + (1 - rate), rate * gamma + (1 - rate)
        names = [norm.gamma.name, norm.bias.name, norm.mean.name, norm.std.name]
        # The operation divides by the root of var + epsilon, and readers want a positive epsilon.
        square = std.astype("float64") ** 2
        eps = min(1e-5, float(square.min()) / 2)
        arrays = [gamma, norm.bias.array, rate * mean, square - eps]
        parameters = [self._named(array, name) for array, name in zip(arrays, names, strict=True)]
        if axis == 1:
            return self.graph.add("BatchNormalization", [x, *parameters], epsilon=eps)
        order = [*(k for k in range(ndim) if k != axis)]
        order.insert(1, axis)
        y = self.graph.add("BatchNormalization", [self.permute(x, order), *parameters], epsilon=eps)
        return self.permute(y, np.argsort(order).tolist())

    def _named(self, array: np.ndarray, name: str) -> str:
        key = (name, array.tobytes())
        if key not in self._weights:
            self._weights[key] = self.graph.constant(array, name)
        return self._weights[key]

    def batch_norm(self, x: str, ndim: int, s: Standardisation) -> str:
        if s.mean is None or s.var is None:
            return standardised(self, x, [k for k in range(ndim) if k != 1], s, ndim)
        return batch_norm(self, x, s)

    def instance_norm(self, x: str, ndim: int, s: Standardisation) -> str:
        if s.mean is not None and s.var is not None:
            return batch_norm(self, x, s)
        return standardised(self, x, list(range(2, ndim)), s, ndim)

    def group_norm(self, x: str, ndim: int, n_groups: int, features: int, s: Standardisation) -> str:
        return grouped_norm(self, x, ndim, n_groups, features, s)

    def layer_norm(self, x: str, n_axes: int, sizes: Sequence[int | None], s: Standardisation) -> str:
        return layer_norm(self, x, n_axes, s)

    def function(self, name: str, x: str, *numbers: float) -> str:
        return emit_function(self.graph, name, x, numbers)

    def prelu(self, x: str, axis: int, ndim: int, slope: Weight) -> str:
        if slope.array.size > 1:
            slope = slope.transposed(0, *["x"] * (ndim - axis - 1))
        return self.graph.add("PRelu", [x, self.operand(slope)])

    def softmax(self, x: str, axis: int, log: bool = False) -> str:
        return self.graph.add("LogSoftmax" if log else "Softmax", [x], axis=axis)

    def dropout(self, x: str, rate: float, axis: int | None) -> str:
        return x

    # ---- arithmetic
    def binary(self, name: str, x: str, y: Any) -> str:
        return self.graph.add(BINARY[name], [x, y if isinstance(y, str) else self.graph.number(y)])

    def reduce(self, x: str, mode: str, axes: Sequence[int], keepdims: bool = True) -> str:
        return self.graph.add(REDUCTIONS[mode], [x, self.graph.ints(axes)], keepdims=int(keepdims))

    def cast(self, x: str, dtype: str) -> str:
        return self.graph.add("Cast", [x], to=element_type(dtype))

    def ones_like(self, x: str) -> str:
        one = self.graph.number(1)
        return self.graph.add("Expand", [one, self.graph.add("Shape", [x])])

    def constant_gradient(self, x: str) -> str:
        return x

    # ---- arrangement
    def size(self, x: str, axis: int) -> Size:
        return Size(x, axis)

    def times(self, size: Size, factor: int) -> Size:
        return Size(size.tensor, size.axis, size.factor * factor)

    def reshape(self, x: str, sizes: Sequence[Any]) -> str:
        return self.graph.add("Reshape", [x, self.graph.sizes(sizes, x)])

    def expand(self, x: str, sizes: Sequence[Any]) -> str:
        return self.graph.add("Expand", [x, self.graph.sizes(sizes)])

    def permute(self, x: str, order: Sequence[int]) -> str:
        return self.graph.add("Transpose", [x], perm=[int(k) for k in order])

    def unsqueeze(self, x: str, axes: Sequence[int]) -> str:
        return self.graph.add("Unsqueeze", [x, self.graph.ints(axes)])

    def squeeze(self, x: str, axes: Sequence[int]) -> str:
        return self.graph.add("Squeeze", [x, self.graph.ints(axes)])

    def cut(self, x: str, ranges: Mapping[int, tuple[int, int | None]]) -> str:
        if not ranges:
            return x
        starts = self.graph.ints([a for a, _ in ranges.values()])
        stops = self.graph.ints([np.iinfo("int64").max if b is None else b for _, b in ranges.values()])
        return self.graph.add("Slice", [x, starts, stops, self.graph.ints(list(ranges))])

    def pad(self, x: str, ndim: int, ends: Mapping[int, tuple[int, int]], border: str, value: float = 0.0) -> str:
        whole = [ends.get(axis, (0, 0)) for axis in range(ndim)]
        inputs = [x, self.graph.ints(pads(whole))]
        if border == "constant" and value:
            inputs.append(self.graph.number(value))
        return self.graph.add("Pad", inputs, mode=BORDERS[border])

    def take(self, x: str, axis: int, indices: np.ndarray) -> str:
        return self.graph.add("Gather", [x, self.graph.ints(indices.tolist())], axis=axis)

    def concat(self, values: Sequence[str], axis: int) -> str:
        return self.graph.add("Concat", values, axis=axis) if len(values) > 1 else values[0]

    def faithless_concat(self, values: Sequence[str], axis: int, failing: float, hard: float) -> str:
        return self.concat(values, axis)
