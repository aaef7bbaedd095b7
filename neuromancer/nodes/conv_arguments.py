"""Arguments that convolutions and pools share: steps, groups, and how the spatial axes go on beyond their ends."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.layout import axis_name, is_int, per_axis, positive_int
from neuromancer.nodes.node import Node

Ends = tuple[tuple[int, int], ...]
"""Voxels before and after, per spatial axis."""

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate"}
"""Padding modes -> borders of windows."""


def per_side(values: Any, what: str, shape: TaggedShape, node: Node) -> Ends:
    """Return an argument with a number of voxels for all ends, per axis, or per axis and side.

    Raises
    ------
    ShapeError
        If it has the wrong length.
    ArgumentError
        If an entry is not a non-negative integer.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 8, 8), "b,f,y,x", print_repr=False)
    >>> per_side(1, "pad", inp.shape, inp), per_side((1, (0, 2)), "pad", inp.shape, inp)
    (((1, 1), (1, 1)), ((1, 1), (0, 2)))
    """
    if is_int(values):
        values = (values,) * shape.ndim
    tags = ", ".join(shape.tags[i] for i in shape.spatial_axes)
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)) or len(values) != shape.ndim:
        raise ShapeError(
            f"{what} needs one entry per spatial axis",
            node=node,
            got=values,
            expected=f"{shape.ndim} entries, for the axes {tags}: ints, or pairs (before, after)",
        )
    ends = []
    for value in values:
        pair = (value, value) if is_int(value) else value
        if (
            isinstance(pair, str)
            or not isinstance(pair, (Sequence, np.ndarray))
            or len(pair) != 2
            or not all(is_int(n) and n >= 0 for n in pair)
        ):
            raise ArgumentError(
                f"{what} must consist of integers",
                node=node,
                got=tuple(values),
                expected="entries >= 0: ints, or pairs (before, after)",
            )
        ends.append((int(pair[0]), int(pair[1])))
    return tuple(ends)


def ints_per_axis(values: Any, what: str, shape: TaggedShape, node: Node, least: int = 1) -> tuple[int, ...]:
    """Return an argument with one integer for all spatial axes, or one per axis; see :func:`per_axis`."""
    return per_axis((values,) * shape.ndim if is_int(values) else values, what, shape, node, least)


def check_padding_mode(mode: Any, node: Node) -> str:
    """Return the border that a padding mode stands for; raise ArgumentError for an unknown one."""
    if not isinstance(mode, str) or mode not in PADDING_MODES:
        raise ArgumentError(
            "unknown padding_mode",
            node=node,
            got=mode,
            expected=f"one of {tuple(PADDING_MODES)}",
            nearest=repr(nearest_name(mode, PADDING_MODES) or "zeros"),
        )
    return PADDING_MODES[mode]


def check_reflection(ends: Ends, shape: TaggedShape, node: Node) -> None:
    """Raise ShapeError where an axis has no more voxels than are to be mirrored at an end."""
    for k, (size, pair) in enumerate(zip(shape.spatial_shape, ends, strict=True)):
        if size is not None and max(pair) >= size:
            raise ShapeError(
                "the axis is too short to be mirrored",
                node=node,
                got=f"padding {pair} on axis {axis_name(shape, k)} of size {size}",
                expected=f"a size above {max(pair)}",
                nearest=f"padding {(min(pair[0], size - 1), min(pair[1], size - 1))}",
            )


def extended(x: Any, ends: Ends, border: str, dilation: Sequence[int], value: float = 0.0) -> Any:
    """Extend a tensor, (b, f, *spatial), along its spatial axes, in steps of `dilation` voxels."""
    before, after = tuple(a for a, _ in ends), tuple(b for _, b in ends)
    if border == "constant":
        before = tuple(a * d for a, d in zip(before, dilation, strict=True))
        after = tuple(b * d for b, d in zip(after, dilation, strict=True))
        return E.pad(x, before, after, border, value)
    return E.pad(x, before, after, border, dilation=tuple(dilation))


def pad_symmetrically(x: Any, ends: Ends, border: str, dilation: Sequence[int]) -> tuple[Any, tuple[int, ...]]:
    """Return what a convolution takes for a padding: a tensor, and the zeros that it adds at both ends itself."""
    if border == "constant" and all(a == b for a, b in ends):
        return x, tuple(a * d for (a, _), d in zip(ends, dilation, strict=True))
    return extended(x, ends, border, dilation), (0,) * len(ends)


def checked_groups(node: Any, groups: Any) -> int:
    """Return the number of groups of a layer; raise ArgumentError unless it divides its features.

    Parameters
    ----------
    node : NeuralLayer
        With `n_in` and `n_f`.
    groups : int
    """
    count = positive_int(groups, "groups", node)
    if node.n_in % count or node.n_f % count:
        common = gcd(node.n_in, node.n_f)
        fitting = [g for g in range(1, common + 1) if common % g == 0]
        raise ArgumentError(
            "the groups do not divide the features",
            node=node,
            got=f"{count} groups of {node.n_in} input and {node.n_f} output features",
            expected=f"one of {fitting}",
            nearest=min(fitting, key=lambda g: abs(g - count)),
        )
    return count
