"""OpenVINO forms of pooling.

OpenVINO pools undilated windows fast, but uses slow reference code for dilated ones. These are reduced axis by axis, by
combining shifted slices, which runs at memory bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from openvino import Output, opset13
from pytensor.graph.basic import Apply

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Unsupported, convert
from neuromancer.engine.pytensor.ops.base import Ints, window_length
from neuromancer.engine.pytensor.ops.pool import AveragePool, MaxPool


@convert.register(MaxPool)
def _max_pool(op: MaxPool, node: Apply, build: Builder) -> list[Output | None]:
    if build.used(node.outputs[1]):
        raise Unsupported("positions of maxima")
    x = build.tensor(node.inputs[0])
    if max(op.dilation) > 1:
        return [_slide(x, *op.geometry, opset13.maximum), None]
    none = [0] * op.ndim
    return [opset13.max_pool(x, list(op.stride), [1] * op.ndim, none, none, list(op.size), "floor").output(0), None]


@convert.register(AveragePool)
def _average_pool(op: AveragePool, node: Apply, build: Builder) -> list[Output]:
    x = build.tensor(node.inputs[0])
    if max(op.dilation) > 1:
        y, factor = _slide(x, *op.geometry, opset13.add), 1 / op.divisor
    else:
        none = [0] * op.ndim
        y = opset13.avg_pool(x, list(op.stride), none, none, list(op.size), True, "floor").output(0)
        factor = prod(op.size) / op.divisor
    return [y if factor == 1 else opset13.multiply(y, build.constant(np.array(factor, np.float32))).output(0)]


def _slide(x: Output, size: Ints, stride: Ints, dilation: Ints, combine: Callable[..., Any]) -> Output:
    """Combine the elements of every window, axis by axis."""
    for k, (taps, step, apart) in enumerate(zip(size, stride, dilation, strict=True)):
        if taps == 1 and step == 1:
            continue
        n = window_length(x.get_shape()[k + 2], taps, step, apart)
        span = (n - 1) * step + 1
        parts = [opset13.slice(x, [i * apart], [i * apart + span], [step], [k + 2]) for i in range(taps)]
        x = reduce(combine, parts).output(0)
    return x
