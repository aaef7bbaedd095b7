"""Theano's ``theano.tensor.signal.conv``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.engine.pytensor.names import convolution
from neuromancer.errors import ShapeError


def conv2d(
    input: Any,
    filters: Any,
    image_shape: Sequence[int] | None = None,
    filter_shape: Sequence[int] | None = None,
    border_mode: str = "valid",
    subsample: Sequence[int] = (1, 1),
) -> Variable:
    """Convolve the last two axes of every image with every filter.

    Parameters
    ----------
    input : tensor, ([b,] y, x)
    filters : tensor, ([n,] y, x)
    image_shape, filter_shape : tuple of int, optional
    border_mode : {'valid', 'full'}
    subsample : tuple of int

    Returns
    -------
    Variable
        ([b,] [n,] y, x), with the axes that the operands have.

    Raises
    ------
    ShapeError
        If an operand has another number of axes.
    """
    x, w = (pt.as_tensor_variable(v) for v in (input, filters))
    for name, v in (("input", x), ("filters", w)):
        if v.ndim not in (2, 3):
            raise ShapeError("wrong number of axes", where=f"{name} of conv2d", got=v.ndim, expected="2 or 3")
    x, w = _sized(x, image_shape), _sized(w, filter_shape)
    images, kernels = (v.dimshuffle("x", *range(2)) if v.ndim == 2 else v for v in (x, w))
    result = convolution.conv2d(
        images.dimshuffle(0, "x", 1, 2), kernels.dimshuffle(0, "x", 1, 2), border_mode=border_mode, subsample=subsample
    )
    return result[tuple(0 if v.ndim == 2 else slice(None) for v in (x, w))]


def _sized(x: Variable, sizes: Sequence[int] | None) -> Variable:
    return x if sizes is None else pt.specify_shape(x, list(sizes))
