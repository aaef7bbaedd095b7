"""Functions of Theano's ``theano.tensor`` that PyTensor has renamed, changed or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.engine.pytensor.ops.unbroadcast import Unbroadcast
from neuromancer.errors import ArgumentError

abs_, inv, isinf_, isnan_ = pt.abs, pt.reciprocal, pt.isinf, pt.isnan


def addbroadcast(x: Any, *axes: int) -> Variable:
    """Return x with axes that must have length 1, and are broadcast.

    Raises
    ------
    ArgumentError
        If there is no such axis.

    Examples
    --------
    >>> from neuromancer import T
    >>> T.addbroadcast(T.matrix("x"), 0).broadcastable
    (True, False)
    """
    x = pt.as_tensor_variable(x)
    chosen = _axes(x, axes, "addbroadcast")
    return patternbroadcast(x, [one or axis in chosen for axis, one in enumerate(x.broadcastable)])


def unbroadcast(x: Any, *axes: int) -> Variable:
    """Return x with axes that are not broadcast, whatever their length.

    Raises
    ------
    ArgumentError
        If there is no such axis.

    Examples
    --------
    >>> from neuromancer import T
    >>> T.unbroadcast(T.row("x"), 0).broadcastable
    (False, False)
    """
    x = pt.as_tensor_variable(x)
    chosen = _axes(x, axes, "unbroadcast")
    return patternbroadcast(x, [one and axis not in chosen for axis, one in enumerate(x.broadcastable)])


def patternbroadcast(x: Any, broadcastable: Sequence[bool]) -> Variable:
    """Return x with exactly these axes broadcast; they must have length 1.

    Raises
    ------
    ArgumentError
        If there is not one value per axis.
    """
    x = pt.as_tensor_variable(x)
    if len(broadcastable) != x.ndim:
        raise ArgumentError(
            "not one value per axis", where="patternbroadcast", got=list(broadcastable), expected=f"{x.ndim} values"
        )
    pairs = list(enumerate(zip(x.broadcastable, broadcastable, strict=True)))
    dropped = [axis for axis, (known, one) in pairs if known and not one]
    added = [axis for axis, (known, one) in pairs if one and not known]
    if dropped:
        x = Unbroadcast(dropped)(x)
    return pt.specify_broadcastable(x, *added) if added else x


def _axes(x: Variable, axes: Sequence[int], where: str) -> set[int]:
    """Return axes counted from 0; raise ArgumentError for one that x does not have."""
    for axis in axes:
        if not -x.ndim <= axis < x.ndim:
            expected = f"{-x.ndim} to {x.ndim - 1}" if x.ndim else "no axis: x is a scalar"
            raise ArgumentError("no such axis", where=where, got=axis, expected=expected)
    return {axis % x.ndim for axis in axes}


def default(x: Any, otherwise: Any) -> Variable:
    """Return x, or another value if x is None."""
    return pt.as_tensor_variable(otherwise if x is None else x)


setdefault = default


def split(x: Any, splits_size: Any, n_splits: int, axis: Any = 0) -> Any:
    """Divide x along an axis into `n_splits` parts of the lengths `splits_size`."""
    return pt.split(x, splits_size, n_splits=n_splits, axis=axis)


def tile(x: Any, reps: Any, ndim: int | None = None) -> Variable:
    """Repeat x along its axes; the result has `ndim` axes, if that is more."""
    x = pt.as_tensor_variable(x)
    return pt.tile(pt.atleast_Nd(x, n=ndim) if ndim is not None else x, reps)


def stack(*tensors: Any, axis: int = 0) -> Variable:
    """Stack tensors along a new axis, given one by one or as a list, followed by the axis.

    Examples
    --------
    >>> from neuromancer import T
    >>> a, b = T.vectors("a", "b")
    >>> T.stack([a, b], 1).ndim, T.stack(a, b).ndim
    (2, 2)
    """
    if tensors and isinstance(tensors[0], list | tuple):
        if len(tensors) > 2:
            raise ArgumentError("too many arguments", where="stack", got=len(tensors), expected="a list and an axis")
        return pt.stack(list(tensors[0]), axis=tensors[1] if len(tensors) == 2 else axis)
    return pt.stack(list(tensors), axis=axis)


def flatten(x: Any, ndim: int | None = None, outdim: int | None = None) -> Variable:
    """Join the last axes, so that `ndim` (formerly called `outdim`) are left; 1 by default."""
    if ndim is not None and outdim is not None:
        raise ArgumentError("given twice", where="flatten", got=f"ndim={ndim}, outdim={outdim}", expected="ndim")
    chosen = ndim if ndim is not None else outdim
    return pt.flatten(x, 1 if chosen is None else chosen)


def to_one_hot(y: Any, nb_class: Any, dtype: str | None = None) -> Variable:
    """Return a matrix with 1 at column y[i] of row i, and 0 elsewhere.

    Parameters
    ----------
    y : vector of integers
    nb_class : int
        Number of columns.
    dtype : str, optional
        Default: `config.floatX`.
    """
    zeros = pt.zeros((y.shape[0], nb_class), dtype=dtype)
    return pt.set_subtensor(zeros[pt.arange(y.shape[0]), y], 1)


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

    Raises
    ------
    ArgumentError
        If `kth` is 0, or there is no such axis.
    """
    x = pt.as_tensor_variable(x)
    if axis is None:
        x, axis = x.flatten(), 0
    (axis,) = _axes(x, [axis], "topk")
    if isinstance(kth, int) and kth == 0:
        raise ArgumentError("no elements", where="topk", got=0, expected="a positive or negative number")
    kth = pt.as_tensor_variable(kth)
    count = pt.abs(kth)
    ascending = pt.argsort(x, axis=axis)
    lead = (slice(None),) * axis
    chosen = pt.switch(kth > 0, ascending[(*lead, slice(None, None, -1))], ascending)[(*lead, slice(None, count))]
    return pt.take_along_axis(x, chosen, axis), pt.cast(chosen, idx_dtype)


def topk(x: Any, kth: Any, axis: int | None = -1, sorted: bool = True, idx_dtype: str = "int64") -> Variable:
    """Return the largest elements along an axis; see `topk_and_argtopk`.

    Examples
    --------
    >>> from neuromancer import T
    >>> T.topk(T.as_tensor_variable([3, 1, 2]), 2).eval().tolist()
    [3, 2]
    """
    return topk_and_argtopk(x, kth, axis, sorted, idx_dtype)[0]


def argtopk(x: Any, kth: Any, axis: int | None = -1, sorted: bool = True, idx_dtype: str = "int64") -> Variable:
    """Return the positions of the largest elements along an axis; see `topk_and_argtopk`."""
    return topk_and_argtopk(x, kth, axis, sorted, idx_dtype)[1]
