"""Theano's ``theano.tensor.nnet.neighbours``: windows of images as the rows of a matrix, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.engine.pytensor.ops.borders import pad
from neuromancer.errors import ArgumentError

MODES = ("valid", "ignore_borders", "half", "full", "wrap_centered")


def images2neibs(
    ten4: Any, neib_shape: Sequence[int], neib_step: Sequence[int] | None = None, mode: str = "valid"
) -> Variable:
    """Return every window of images as a row.

    Parameters
    ----------
    ten4 : tensor, (b, channels, y, x)
    neib_shape : (y, x)
        Size of the windows.
    neib_step : (y, x), optional
        From one window to the next; default: `neib_shape`.
    mode : {'valid', 'ignore_borders', 'half', 'full', 'wrap_centered'}
        'valid' and 'ignore_borders': windows inside the image. 'half' and 'full': with ``size // 2`` and ``size - 1``
        zeros around it. 'wrap_centered': around every step-th element, where the image continues at its other end.

    Returns
    -------
    Variable
        Matrix: images, channels and windows from the first to the last; elements of the window.

    Raises
    ------
    ArgumentError
        If the mode is unknown.
    """
    if mode not in MODES:
        raise ArgumentError("unknown mode", where="images2neibs", got=mode, expected=f"one of {MODES}")
    x = pt.as_tensor_variable(ten4)
    steps = neib_shape if neib_step is None else neib_step
    if mode in ("half", "full"):
        zeros = tuple(n // 2 if mode == "half" else n - 1 for n in neib_shape)
        x = pad(x, zeros, zeros)
    rows, columns = (
        _places(x.shape[k + 2], int(neib_shape[k]), int(steps[k]), mode == "wrap_centered") for k in range(2)
    )
    # (b, channels, window, y, window, x)
    windows = pt.take(pt.take(x, rows, axis=2), columns, axis=4).dimshuffle(0, 1, 2, 4, 3, 5)
    return windows.reshape((-1, int(neib_shape[0]) * int(neib_shape[1])))


def _places(length: Any, size: int, step: int, wrap: bool) -> Variable:
    """Return the positions along an axis, (windows, size)."""
    if wrap:
        return (pt.arange(0, length, step).dimshuffle(0, "x") + pt.arange(size) - size // 2) % length
    return pt.arange(0, length - size + 1, step).dimshuffle(0, "x") + pt.arange(size)


def neibs2images(neibs: Any, neib_shape: Sequence[int], original_shape: Sequence[Any], mode: str = "valid") -> Variable:
    """Return the images whose windows, side by side, `images2neibs` gave.

    Parameters
    ----------
    neibs : matrix
    neib_shape : (y, x)
    original_shape : (b, channels, y, x)
    mode : {'valid', 'ignore_borders'}
        'ignore_borders': what no window covers becomes 0.

    Raises
    ------
    ArgumentError
        If the mode is another one.
    """
    if mode not in ("valid", "ignore_borders"):
        raise ArgumentError(
            "unknown mode", where="neibs2images", got=mode, expected="'valid' or 'ignore_borders'"
        )  # fmt: skip
    neibs = pt.as_tensor_variable(neibs)
    batch, channels, height, width = (original_shape[k] for k in range(4))
    down, across = height // neib_shape[0], width // neib_shape[1]
    windows = neibs.reshape((batch, channels, down, across, *neib_shape)).dimshuffle(0, 1, 2, 4, 3, 5)
    inner = windows.reshape((batch, channels, down * neib_shape[0], across * neib_shape[1]))
    if mode == "valid":
        return inner
    zeros = pt.zeros((batch, channels, height, width), neibs.dtype)
    return pt.set_subtensor(zeros[:, :, : down * neib_shape[0], : across * neib_shape[1]], inner)
