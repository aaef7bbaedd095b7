"""Extension of the spatial axes beyond their ends, from Theano's own operations."""

from __future__ import annotations

from typing import Any

import numpy as np
from theano.gof import Variable
from theano.tensor import abs_, alloc, arange, as_tensor_variable, clip, gt, minimum, set_subtensor
from theano.tensor.opt import Assert

from neuromancer.engine.common.arguments import (
    BORDERS,
    axes_tuple,
    check_choice,
    check_floats,
    check_reflected,
    static_shape,
)
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.theano.tensors import known_shape, with_ones


@implements(Engine.pad)
def pad(
    x: Variable, before: Any, after: Any, mode: str = "constant", value: float = 0.0, dilation: Any = 1
) -> Variable:
    x = as_tensor_variable(x)
    ndim = x.ndim - 2
    check_floats("Pad", ndim, x=x)
    check_choice(mode, BORDERS, "mode", "Pad")
    before, after = (axes_tuple(v, ndim, "pad", "Pad", least=0) for v in (before, after))
    dilation = axes_tuple(dilation, ndim, "dilation", "Pad")
    lengths = (known_shape(x) or ())[2:]
    if mode == "reflect":
        check_reflected("Pad", lengths, dilation, before, after)
    sizes = static_shape(lambda n, a, b, d: n + (a + b) * d, lengths, before, after, dilation)
    if not any(before) and not any(after):
        return x
    if mode == "constant":
        return with_ones(_surrounded(x, before, after, value, dilation), sizes)
    for axis, (a, b, d) in enumerate(zip(before, after, dilation, strict=True), 2):
        if a or b:
            x = x.take(_sources(x.shape[axis], a, b, mode, d), axis=axis)
    return with_ones(x, sizes)


def _surrounded(x: Variable, before: Any, after: Any, value: float, dilation: Any) -> Variable:
    sizes, inside = [x.shape[0], x.shape[1]], [slice(None)] * 2
    for axis, (a, b, d) in enumerate(zip(before, after, dilation, strict=True), 2):
        sizes.append(x.shape[axis] + (a + b) * d)
        inside.append(slice(a * d, a * d + x.shape[axis]))
    canvas = alloc(np.asarray(value, dtype=x.dtype), *sizes)
    return set_subtensor(canvas[tuple(inside)], x)


def _sources(n: Variable, before: int, after: int, mode: str, dilation: int) -> Variable:
    """Positions, on an axis of length `n`, whose values the extended axis has."""
    place = arange(n + (before + after) * dilation) - before * dilation
    phase = place % dilation
    step, last = (place - phase) // dilation, (n - 1 - phase) // dilation
    if mode == "reflect":
        room = Assert("the axis is too short to be reflected")(last, gt(n // dilation, max(before, after)))
        last = room
        step = last - abs_(last - abs_(step))
    return minimum(clip(step, 0, n), last) * dilation + phase
