"""Products of tensors, element by element of their first axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from neuromancer.errors import ShapeError


def batched_dot(a: Any, b: Any) -> Variable:
    """Return the dot products of a[i] and b[i], for every i.

    Examples
    --------
    >>> from neuromancer import T
    >>> T.batched_dot(T.tensor3("a"), T.matrix("b")).ndim
    2
    """
    a, b = pt.as_tensor_variable(a), pt.as_tensor_variable(b)
    if not a.ndim or not b.ndim:
        raise ShapeError(
            "no axis of a batch", where="batched_dot", got=f"{a.ndim} and {b.ndim} axes", expected="1 each"
        )
    if a.ndim == 1:
        return a.dimshuffle(0, *["x"] * (b.ndim - 1)) * b
    if b.ndim == 1:
        return a * b.dimshuffle(0, *["x"] * (a.ndim - 1))
    return batched_tensordot(a, b, [[a.ndim - 1], [max(1, b.ndim - 2)]])


def batched_tensordot(x: Any, y: Any, axes: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Variable:
    """Return the tensor products of x[i] and y[i], for every i, summed over axes.

    Parameters
    ----------
    x, y : tensor
        Their first axis counts the pairs.
    axes : int, or pair
        The number of last axes of x and of first axes of y[i]; or which of x and which of y, counted with the batch.
    """
    x, y = pt.as_tensor_variable(x), pt.as_tensor_variable(y)
    if isinstance(axes, int):
        axes = (range(x.ndim - axes, x.ndim), range(1, axes + 1))
    summed = [[part] if isinstance(part, int) else list(part) for part in axes]
    kept = [[k for k in range(1, v.ndim) if k not in part] for v, part in zip((x, y), summed, strict=True)]
    rows = _matrices(x, kept[0], summed[0], (-1, _size(x, summed[0])))
    columns = _matrices(y, summed[1], kept[1], (_size(y, summed[1]), -1))
    lengths = [v.shape[k] for v, part in zip((x, y), kept, strict=True) for k in part]
    return pt.matmul(rows, columns).reshape((x.shape[0], *lengths))


def _matrices(x: Variable, first: list[int], last: list[int], shape: tuple[Any, Any]) -> Variable:
    return x.dimshuffle(0, *first, *last).reshape((x.shape[0], *shape))


def _size(x: Variable, axes: list[int]) -> Any:
    return pt.prod(pt.stack([x.shape[k] for k in axes])) if axes else 1
