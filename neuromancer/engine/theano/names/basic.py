"""Functions of Theano that warn, or are not written for all arguments."""

from __future__ import annotations

from typing import Any

import theano.tensor as tt
from theano.gof import Variable
from theano.gradient import zero_grad

consider_constant = zero_grad


def flatten(x: Any, ndim: int | None = None, outdim: int | None = None) -> Variable:
    """Join the last axes, so that `ndim` (formerly called `outdim`) are left; 1 by default."""
    return tt.flatten(x, ndim if outdim is None else outdim)


def topk_and_argtopk(
    x: Any, kth: Any, axis: int | None = -1, sorted: bool = True, idx_dtype: str = "int64"
) -> tuple[Variable, Variable]:
    """Return the `kth` largest elements along an axis, in descending order, and their positions.

    Parameters
    ----------
    x : tensor
    kth : int or symbolic integer
        Not 0; if negative, the smallest elements, in ascending order.
    axis : int, optional
        None: of the flattened tensor.
    sorted : bool
        Without effect: the elements are in order.
    idx_dtype : str
        Integer dtype of the positions.
    """
    x = tt.as_tensor_variable(x)
    if axis is None:
        x, axis = x.flatten(), 0
    axis, kth = axis % x.ndim, tt.as_tensor_variable(kth)
    lead = (slice(None),) * axis
    values, places = (
        tt.switch(kth > 0, v[(*lead, slice(None, None, -1))], v)[(*lead, slice(None, abs(kth)))]
        for v in (tt.sort(x, axis), tt.argsort(x, axis))
    )
    return values, tt.cast(places, idx_dtype)


def topk(x: Any, kth: Any, axis: int | None = -1, sorted: bool = True, idx_dtype: str = "int64") -> Variable:
    """Return the largest elements along an axis; see `topk_and_argtopk`."""
    return topk_and_argtopk(x, kth, axis, sorted, idx_dtype)[0]


def argtopk(x: Any, kth: Any, axis: int | None = -1, sorted: bool = True, idx_dtype: str = "int64") -> Variable:
    """Return the positions of the largest elements along an axis; see `topk_and_argtopk`."""
    return topk_and_argtopk(x, kth, axis, sorted, idx_dtype)[1]
