"""Checks and output sizes of convolution and pooling, shared by the engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neuromancer.arrays import as_array
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.printable import described

Ints = tuple[int, ...]
Shape = Sequence[Any]
"""Sizes: numbers, None where unknown, or symbolic."""
FLOATS = ("float32", "float64", "float16")


def axes_tuple(value: Any, ndim: int, name: str, node: str, least: int = 1) -> Ints:
    """Return `value`, an int or one int per spatial axis, as a tuple.

    Raises
    ------
    ArgumentError
        If it is neither, or if a value is smaller than `least`.
    """
    values = (value,) * ndim if isinstance(value, int | np.integer) else value
    try:
        result = tuple(int(v) for v in values)
        fits = all(v == w for v, w in zip(result, values, strict=True))
    except (TypeError, ValueError):
        result, fits = (), False
    if not fits or len(result) != ndim or any(v < least for v in result):
        raise ArgumentError(
            f"{name} does not fit {ndim} spatial axes",
            node=node,
            got=value,
            expected=f"an int or {ndim} ints, each at least {least}",
        )
    return result


def array_argument(value: Any, name: str, node: Any) -> np.ndarray:
    """Return an argument of a function as an array.

    Raises
    ------
    InputTypeError
        If it is not an array of numbers.

    Examples
    --------
    >>> array_argument([[1, 2], [3, 4]], "raw", "conv").shape
    (2, 2)
    """
    try:
        return as_array(value)
    except ValueError as error:
        raise InputTypeError(
            f"{name} is not an array", node=node, got=f"{described(value)}: {error}", expected="an array of numbers"
        ) from None


def check_floats(node: str, ndim: int, **operands: Any) -> str:
    """Return the common dtype of symbolic operands of ``ndim + 2`` axes each.

    Raises
    ------
    InputTypeError
        If one is not floating point.
    ShapeError
        If one has another number of axes.
    """
    for name, variable in operands.items():
        if variable.dtype not in FLOATS:
            raise InputTypeError(
                f"{name} must be floating point", node=node, got=variable.dtype, expected="float32 or float64"
            )
        if variable.ndim != ndim + 2:
            raise ShapeError(
                f"{name} has the wrong number of axes",
                node=node,
                got=f"{variable.ndim} axes",
                expected=f"{ndim + 2} axes: batch (or outputs), channels and {ndim} spatial",
            )
    return np.result_type(*(v.dtype for v in operands.values())).name


def window_length(n: int, size: int, stride: int, dilation: int, pad: int = 0) -> int:
    """Return the number of windows of `size` taps on an axis of length `n`."""
    shift = 2 * pad - dilation * (size - 1)
    # Sizes may be symbolic: every operation avoided here is one fewer in the graph.
    if stride == 1:
        return n if isinstance(shift, int) and shift == 0 else n + shift
    return (n + (shift - 1)) // stride + 1


def full_length(n: int, size: int, stride: int, dilation: int, pad: int = 0) -> int:
    """Return the length of the shortest axis that has `n` windows of `size` taps."""
    return (n - 1) * stride - 2 * pad + dilation * (size - 1) + 1


def static_shape(rule: Callable[..., int], *per_axis: Sequence[Any]) -> tuple[int | None, ...]:
    """Apply `rule` axis by axis; None where any of its arguments is None."""
    return tuple(None if any(v is None for v in values) else rule(*values) for values in zip(*per_axis, strict=True))


def check_filled(node: str, sizes: Sequence[int | None]) -> None:
    """Raise ShapeError if padding leaves an empty output."""
    if any(n is not None and n < 1 for n in sizes):
        raise ShapeError("output would be empty", node=node, got=tuple(sizes), expected="less padding")


def check_window(node: str, lengths: Sequence[int | None], extents: Sequence[int | None]) -> None:
    """Raise ShapeError if a window (its extent minus the padding) is longer than its axis, where both are known."""
    for n, extent in zip(lengths, extents, strict=True):
        if n is not None and extent is not None and extent > n:
            raise ShapeError(
                "window larger than the input",
                node=node,
                got=f"input {tuple(lengths)}, window {tuple(extents)}",
                expected="a window that fits on every spatial axis",
            )
