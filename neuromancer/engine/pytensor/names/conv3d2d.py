"""Theano's ``theano.tensor.nnet.conv3d2d``: the 3-d convolution whose channels follow the first spatial axis."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Variable
from pytensor.tensor import as_tensor_variable

from neuromancer.engine.pytensor.names import convolution
from neuromancer.engine.pytensor.names.convolution import Sizes


def conv3d(
    signals: Any,
    filters: Any,
    signals_shape: Sizes = None,
    filters_shape: Sizes = None,
    border_mode: Any = "valid",
) -> Variable:
    """Convolve images (b, z, n_in, y, x) with filters (n_out, z, n_in, y, x).

    Parameters
    ----------
    signals, filters : tensor
    signals_shape, filters_shape : sequence of int, optional
        Sizes, in the same order.
    border_mode : {'valid', 'full', 'half'}, or one of them per spatial axis

    Returns
    -------
    Variable
        (b, z, n_out, y, x)
    """
    x, w = (as_tensor_variable(v).dimshuffle(0, 2, 1, 3, 4) for v in (signals, filters))
    image, taps = (None if s is None else [s[k] for k in (0, 2, 1, 3, 4)] for s in (signals_shape, filters_shape))
    return convolution.conv3d(x, w, image, taps, border_mode).dimshuffle(0, 2, 1, 3, 4)
