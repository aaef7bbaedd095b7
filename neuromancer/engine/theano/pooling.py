"""N-d pooling with Theano's own operation; dilated pooling with shifted slices."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from theano.gof import Variable
from theano.tensor import add, as_tensor_variable, ge, maximum
from theano.tensor.opt import Assert
from theano.tensor.signal.pool import pool_2d, pool_3d

from neuromancer.engine.common.arguments import (
    Ints,
    axes_tuple,
    check_floats,
    check_window,
    static_shape,
    window_length,
)
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.theano.library import require_compiler
from neuromancer.engine.theano.tensors import known_shape, with_ones
from neuromancer.errors import ArgumentError

_POOL = {2: pool_2d, 3: pool_3d}
_MODES = {"max": "max", "average": "average_exc_pad", "sum": "sum"}


@implements(Engine.pool)
def pool(x: Variable, size: Any, stride: Any = None, dilation: Any = 1, mode: str = "max") -> Variable:
    x = as_tensor_variable(x)
    ndim = x.ndim - 2
    name = "AveragePool" if mode in ("average", "sum") else "MaxPool"
    size = axes_tuple(size, ndim, "size", "pool")
    if mode not in _MODES:
        raise ArgumentError("unknown mode", where="pool", got=mode, expected="'max', 'average' or 'sum'")
    stride = size if stride is None else axes_tuple(stride, ndim, "stride", name)
    dilation = axes_tuple(dilation, ndim, "dilation", name)
    check_floats(name, ndim, x=x)
    extents = static_shape(lambda k, d: d * (k - 1) + 1, size, dilation)
    require_compiler(name)
    lengths = (known_shape(x) or ())[2:]
    check_window(name, lengths, extents)
    # Unknown sizes are checked at run time: Theano would return an empty result.
    open_axes = [i for i, extent in enumerate(extents) if extent != 1 and lengths[i] is None]
    if open_axes:
        x = Assert("window larger than the input")(x, *(ge(x.shape[i + 2], extents[i]) for i in open_axes))
    sizes = static_shape(window_length, lengths, size, stride, dilation)
    return with_ones(_pooled(x, size, stride, dilation, mode), sizes)


def _pooled(x: Variable, size: Ints, stride: Ints, dilation: Ints, mode: str) -> Variable:
    ndim = len(size)
    if any(d != 1 for d in dilation):
        return _sliding(x, size, stride, dilation, mode)
    if ndim == 1:
        wide = x.dimshuffle(0, 1, "x", 2)
        return pool_2d(wide, (1, *size), True, (1, *stride), mode=_MODES[mode])[:, :, 0]
    return _POOL[ndim](x, size, True, stride, mode=_MODES[mode])


def _sliding(x: Variable, size: Ints, stride: Ints, dilation: Ints, mode: str) -> Variable:
    """Combine shifted slices, axis by axis: Theano's pooling has no dilation."""
    combine: Callable[..., Variable] = maximum if mode == "max" else add
    count = 1
    for axis, (k, s, d) in enumerate(zip(size, stride, dilation, strict=True)):
        span = x.shape[axis + 2] - d * (k - 1)
        lead = (slice(None),) * (axis + 2)
        x = reduce(combine, [x[(*lead, slice(i * d, i * d + span, s))] for i in range(k)])
        count *= k
    return x / count if mode == "average" else x
