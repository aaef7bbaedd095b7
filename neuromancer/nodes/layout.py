"""Axis layouts and per-axis arguments of layers, and the checks that layers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.graph.node import is_shaped, require_node
from neuromancer.graph.tagged_shape import TaggedShape, require_tag
from neuromancer.nodes.node import Node

CHANNELS_FIRST = "b,f and one to three spatial axes, or b,z,f,y,x"
SEARCH = 1 << 12
"""Maximum distance at which a valid size is searched for."""


def is_int(value: Any) -> bool:
    """Return whether `value` is a Python or NumPy integer; bools are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def flag(value: Any, key: str, node: Node | str) -> bool:
    """Return an option as a bool; raise ArgumentError unless it is one, or 0 or 1."""
    if not isinstance(value, (bool, np.bool_)) and not (is_int(value) and value in (0, 1)):
        raise ArgumentError(f"{key} must be a bool", node=node, got=repr(value)[:100], expected="True or False")
    return bool(value)


def positive_int(value: Any, what: str, node: Node | str) -> int:
    """Return `value` as an int; raise ArgumentError unless it is at least 1."""
    if not is_int(value) or value < 1:
        raise ArgumentError(f"{what} must be a positive integer", node=node, got=value, expected="an int >= 1")
    return int(value)


def require_tensor(parent: Any, node: Node, what: str = "the parent") -> TaggedShape:
    """Return the shape of a parent; raise InputTypeError unless it is a node with a tensor output."""
    require_node(parent, node, what)
    if not is_shaped(parent):
        raise InputTypeError(f"{what} has no tensor output", node=node, got=parent.name, expected="a node with a shape")
    shape: TaggedShape = parent.shape
    return shape


def require_features(parent: Any, node: Node, what: str = "the parent") -> int:
    """Return the number of features of a parent; raise an error if it has no axis f or their number is unknown."""
    shape = require_tensor(parent, node, what)
    require_tag(shape, "f", node)
    features: int | None = shape["f"]
    if features is None:
        raise ShapeError(f"{what} must have a known number of features", node=node, got=repr(shape))
    return features


def require_layout(parent: Any, node: Node) -> TaggedShape:
    """Return the shape of a parent; raise ShapeError unless layers can convolve over its axes."""
    shape = require_tensor(parent, node)
    tags, axes = list(shape.tags), shape.spatial_axes
    plain = tags[:2] == ["b", "f"] and axes == list(range(2, len(tags))) and 1 <= len(axes) <= 3
    swapped = len(tags) == 5 and tags[0] == "b" and tags[2] == "f" and axes == [1, 3, 4]
    if not plain and not swapped:
        spatial = [tags[i] for i in axes]
        fixable = sorted(tags) == sorted(["b", "f", *spatial]) and spatial
        raise ShapeError(
            "unsupported axis layout",
            node=node,
            got=",".join(tags),
            expected=CHANNELS_FIRST,
            nearest=",".join(["b", "f", *spatial]) if fixable else None,
        )
    return shape


def swap_layout(x: Any, shape: TaggedShape) -> Any:
    """Swap f and z in layout b,z,f,y,x, which also reverts the swap; return x in layout b,f,... unchanged."""
    return x.dimshuffle(0, 2, 1, 3, 4) if shape.tag2index("f") == 2 and shape.ndim == 3 else x


def per_axis(values: Any, what: str, shape: TaggedShape, node: Node, least: int = 1) -> tuple[int, ...]:
    """Return an argument with one integer of at least `least` per spatial axis as a tuple.

    Raises
    ------
    ShapeError
        If it is not a sequence, or has the wrong length.
    ArgumentError
        If an entry is not an integer or is too small.
    """
    tags = ", ".join(shape.tags[i] for i in shape.spatial_axes)
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)) or len(values) != shape.ndim:
        raise ShapeError(
            f"{what} needs one entry per spatial axis",
            node=node,
            got=values,
            expected=f"{shape.ndim} entries, for the axes {tags}",
            nearest=(int(values),) * shape.ndim if is_int(values) and values >= least and shape.ndim else None,
        )
    for value in values:
        if not is_int(value) or value < least:
            raise ArgumentError(
                f"{what} must consist of integers", node=node, got=tuple(values), expected=f"entries >= {least}"
            )
    return tuple(int(v) for v in values)


def axis_name(shape: TaggedShape, k: int) -> str:
    """Return the tag of the k-th spatial axis, quoted."""
    return repr(shape.tags[shape.spatial_axes[k]])


def nearest_sizes(size: int, fits: Callable[[int], bool]) -> str:
    """Return the closest valid sizes below and above `size`, as text.

    Examples
    --------
    >>> nearest_sizes(10, lambda n: n % 4 == 0)
    '8 or 12'
    """
    below = next((n for n in range(size - 1, max(0, size - SEARCH), -1) if fits(n)), None)
    above = next((n for n in range(size + 1, size + SEARCH) if fits(n)), None)
    return " or ".join(str(n) for n in (below, above) if n is not None)


def as_float(x: Any) -> Any:
    """Return a variable, cast to ``config.floatX`` if it holds integers or bools."""
    return x if np.dtype(x.dtype).kind == "f" else E.T.cast(x, config.floatX)


def feature_vector(v: Any, ndim: int, axis: int) -> Any:
    """Reshape a vector, (n_f,), to broadcast against a tensor of rank `ndim` with features on `axis`."""
    return v.dimshuffle(*(0 if i == axis else "x" for i in range(ndim)))
