"""Interpolation of the spatial axes to other sizes, from Theano's own operations, axis by axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from theano.gof import Variable
from theano.tensor import arange, as_tensor_variable, cast, clip, floor, maximum, minimum

from neuromancer.engine.common.arguments import INTERPOLATIONS, check_choice, check_floats
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.theano.tensors import with_ones


@implements(Engine.resize)
def resize(x: Variable, sizes: Sequence[Any], mode: str = "nearest", align_corners: bool = False) -> Variable:
    x = as_tensor_variable(x)
    check_floats("Resize", len(sizes), x=x)
    check_choice(mode, INTERPOLATIONS, "mode", "Resize")
    known = [size if isinstance(size, int) else None for size in sizes]
    for axis, size in enumerate(sizes, 2):
        n, places = x.shape[axis], arange(size)
        if mode == "nearest":
            x = x.take(places * n // size, axis=axis)
        else:
            x = _linear(x, axis, _sources(cast(places, x.dtype), n, size, align_corners))
    return with_ones(x, known)


def _sources(places: Variable, n: Variable, size: Any, align_corners: bool) -> Variable:
    """Positions along the input axis, fractions included, of the elements of the result."""
    if align_corners:
        return places * cast(n - 1, places.dtype) / maximum(size - 1, 1)
    return clip((places + 0.5) * cast(n, places.dtype) / size - 0.5, 0, n - 1)


def _linear(x: Variable, axis: int, source: Variable) -> Variable:
    first = cast(floor(source), "int64")
    last = x.shape[axis] - 1
    weight = (source - floor(source)).dimshuffle(*("x" if k != axis else 0 for k in range(x.ndim)))
    low, high = x.take(minimum(first, last), axis=axis), x.take(minimum(first + 1, last), axis=axis)
    return cast(low + (high - low) * weight, x.dtype)
