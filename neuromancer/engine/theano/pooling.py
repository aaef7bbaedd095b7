"""N-d pooling by Theano's own operation; windows with gaps by shifted slices."""

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
from neuromancer.engine.theano.library import require_compiler
from neuromancer.engine.theano.tensors import known_shape, with_ones
from neuromancer.errors import ArgumentError

_POOL = {2: pool_2d, 3: pool_3d}
_MODES = {"max": "max", "average": "average_exc_pad", "sum": "sum"}


def pool(x: Variable, size: Any, stride: Any = None, dilation: Any = 1, mode: str = "max") -> Variable:
    """Pool x (b, f, *spatial) over valid windows.

    Parameters
    ----------
    size : int or tuple of int
        Taps of a window per spatial axis.
    stride : int or tuple of int, optional
        Default: `size`.
    dilation : int or tuple of int
        Distance between neighbouring taps.
    mode : {'max', 'average', 'sum'}
        The gradient of a maximum goes to every element that equals it; of windows with gaps, to the first.

    Returns
    -------
    Variable
        (b, f, *windows) with ``(n - dilation (size - 1) - 1) // stride + 1`` windows per axis.

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError

    Examples
    --------
    >>> from neuromancer.engine import function, tensor
    >>> x = tensor("x", (1, 1, None), "float32")
    >>> function([x], pool(x, 2, stride=1, dilation=2))([[[1, 5, 3, 2]]]).tolist()
    [[[3.0, 5.0]]]
    """
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
    # What is not known here is checked at run time: Theano would give an empty result.
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
    """Combine shifted slices of one axis after the other: Theano's pooling has no dilation."""
    combine: Callable[..., Variable] = maximum if mode == "max" else add
    count = 1
    for axis, (k, s, d) in enumerate(zip(size, stride, dilation, strict=True)):
        span = x.shape[axis + 2] - d * (k - 1)
        lead = (slice(None),) * (axis + 2)
        x = reduce(combine, [x[(*lead, slice(i * d, i * d + span, s))] for i in range(k)])
        count *= k
    return x / count if mode == "average" else x
