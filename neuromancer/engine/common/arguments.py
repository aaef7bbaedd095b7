"""Checks and output sizes of convolution and pooling, shared by the engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neuromancer.arrays import as_array
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, nearest_name
from neuromancer.printable import described

Ints = tuple[int, ...]
Shape = Sequence[Any]
"""Sizes: numbers, None where unknown, or symbolic."""
FLOATS = ("float32", "float64", "float16")
BORDERS = ("constant", "reflect", "replicate")
"""How an axis goes on beyond its ends: a value, mirrored about the outermost element, or the outermost element."""
INTERPOLATIONS = ("nearest", "linear")


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


def positive(value: Any, name: str, node: str) -> int:
    """Return `value` as an int; ArgumentError unless it is a whole number of at least 1."""
    return axes_tuple(value, 1, name, node)[0]


def check_channels(node: str, x: Shape, w: Shape, w_axis: int, groups: int) -> None:
    """Raise ShapeError unless the channels of the input are those that the kernel takes, in groups of equal size.

    Parameters
    ----------
    node : str
    x, w : sequence of int or None
        Shapes of input and kernel.
    w_axis : int
        1 where the kernel is (n_out, n_in / groups, *kernel), 0 where it is (n_in, n_out / groups, *kernel).
    groups : int
    """
    have, want = x[1], w[w_axis]
    if have is None or want is None:
        return
    want = want * groups if w_axis else want
    if have != want:
        raise ShapeError(
            "channels of input and kernel differ",
            where=node,
            got=f"input {tuple(x)}, kernel {tuple(w)}" + (f", {groups} groups" if groups > 1 else ""),
            expected=f"{want} input channels",
        )
    if w[0] is not None and w[0] % groups:
        raise ShapeError(
            "the groups do not divide the channels",
            where=node,
            got=f"kernel {tuple(w)}, {groups} groups",
            expected="a number of groups that divides the first axis of the kernel",
        )


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


def full_length(n: int, size: int, stride: int, dilation: int, pad: int = 0, extra: int = 0) -> int:
    """Return the length of the shortest axis that has `n` windows of `size` taps, plus `extra`."""
    return (n - 1) * stride - 2 * pad + dilation * (size - 1) + 1 + extra


def static_shape(rule: Callable[..., int], *per_axis: Sequence[Any]) -> tuple[int | None, ...]:
    """Apply `rule` axis by axis; None where any of its arguments is None."""
    return tuple(None if any(v is None for v in values) else rule(*values) for values in zip(*per_axis, strict=True))


def check_choice(value: Any, choices: Sequence[str], name: str, node: str) -> None:
    """Raise ArgumentError unless `value` is one of `choices`."""
    if value not in choices:
        raise ArgumentError(
            f"unknown {name}",
            where=node,
            got=value,
            expected=f"one of {tuple(choices)}",
            nearest=repr(nearest_name(value, choices) or choices[0]),
        )


def check_reflected(node: str, lengths: Shape, dilation: Ints, *ends: Ints) -> None:
    """Raise ShapeError where more elements are to be reflected at an end of an axis than the axis has beside it."""
    for axis, (n, d, *widths) in enumerate(zip(lengths, dilation, *ends, strict=True)):
        # The shortest of the d interleaved axes has n // d elements.
        if n is not None and max(widths) >= max(1, n // d):
            raise ShapeError(
                "the axis is too short to be reflected",
                where=node,
                got=f"{max(widths)} elements on spatial axis {axis} of length {n}"
                + (f", dilation {d}" if d > 1 else ""),
                expected=f"a length of at least {(max(widths) + 1) * d}",
            )


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
