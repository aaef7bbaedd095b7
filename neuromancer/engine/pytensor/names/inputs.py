"""Symbolic inputs, whose dtype may be given without its name, as in Theano."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.type import TensorType, all_dtypes


def _positional(make: Callable[..., Variable]) -> Callable[..., Variable]:
    """Return a function of PyTensor that makes an input, which also takes (name, dtype)."""

    @wraps(make)
    def made(name: str | None = None, dtype: str | None = None, **options: Any) -> Variable:
        return make(name, dtype=dtype, **options)

    return made


scalar, vector, matrix, row, col = (_positional(f) for f in (pt.scalar, pt.vector, pt.matrix, pt.row, pt.col))
tensor3, tensor4, tensor5 = (_positional(f) for f in (pt.tensor3, pt.tensor4, pt.tensor5))
tensor6, tensor7 = (_positional(f) for f in (pt.tensor6, pt.tensor7))
wmatrix = TensorType("int16", (None, None))


def tensor(*arguments: Any, broadcastable: Sequence[bool] | None = None, **options: Any) -> Variable:
    """Return an input of a dtype, and per axis whether it is broadcast.

    Parameters
    ----------
    *arguments
        dtype and broadcastable; or, as in PyTensor, the name alone.
    broadcastable : sequence of bool, optional
    **options
        ``dtype``, ``name``, and PyTensor's ``shape``.

    Examples
    --------
    >>> from neuromancer import T
    >>> x = T.tensor("float32", (False, True), name="x")
    >>> x.dtype, x.broadcastable, x.name
    ('float32', (False, True), 'x')
    """
    if arguments and (len(arguments) > 1 or broadcastable is not None or arguments[0] in all_dtypes):
        options.update(zip(("dtype", "broadcastable"), arguments, strict=False))
    elif arguments:
        (options["name"],) = arguments
    broadcastable = options.pop("broadcastable", broadcastable)
    if broadcastable is not None:
        options["shape"] = tuple(1 if one else None for one in broadcastable)
    return pt.tensor(**options)
