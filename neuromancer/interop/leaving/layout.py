"""Axis orders: between that of a node and images (b, f, *spatial)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.config import config
from neuromancer.graph.tagged_shape import SPATIAL_TAGS, TaggedShape
from neuromancer.interop.leaving.target import Target
from neuromancer.interop.leaving.weights import Weight
from neuromancer.nodes.node import Node


def sources_of(nodes: Sequence[Node]) -> list[Node]:
    """Return the sources of some nodes in calling order, each once."""
    return list(dict.fromkeys(source for node in nodes for source in node.input_nodes))


def dtype_of(node: Node) -> str:
    return str(node.output.dtype)


def as_float(t: Target, x: Any, parent: Node) -> Any:
    """Return a value, cast to floats if the node that has it holds integers or bools."""
    return x if np.dtype(dtype_of(parent)).kind == "f" else t.cast(x, config.floatX)


def like_weights(t: Target, x: Any, parent: Node, weights: Weight | None) -> Any:
    """Return a value in the dtype of the parameters with which it is combined; floats if there are none."""
    if weights is None:
        return as_float(t, x, parent)
    dtype = str(weights.values.dtype)
    return x if dtype_of(parent) == dtype else t.cast(x, dtype)


def alike(t: Target, node: Node, values: Sequence[Any]) -> list[Any]:
    """Cast the values of the parents to the dtype of a node."""
    dtype = dtype_of(node)
    return [v if dtype_of(p) == dtype else t.cast(v, dtype) for p, v in zip(node.parents, values, strict=True)]


def swapped(shape: TaggedShape) -> bool:
    """Whether the layout is b,z,f,y,x."""
    return bool(shape.ndim == 3 and shape.hastag("f") and shape.tag2index("f") == 2)


def swap(t: Target, x: Any, shape: TaggedShape) -> Any:
    """Swap f and z in layout b,z,f,y,x, which also reverts the swap."""
    return t.permute(x, (0, 2, 1, 3, 4)) if swapped(shape) else x


class Image:
    """A value of any layout as an image, (b, f, *spatial): axes without place in it become a part of the batch.

    Parameters
    ----------
    t : Target
    x : value
    shape : TaggedShape
        With an axis f.

    Attributes
    ----------
    value : value
    ndim : int
        Number of axes.
    """

    def __init__(self, t: Target, x: Any, shape: TaggedShape) -> None:
        tags = list(shape.tags)
        space = [i for i, tag in enumerate(tags) if tag in SPATIAL_TAGS]
        rest = [i for i, tag in enumerate(tags) if tag not in (*SPATIAL_TAGS, "f")]
        self._t, self._order = t, [*rest, tags.index("f"), *space]
        self._rest, self.ndim = len(rest), 2 + len(space)
        x = x if self._order == sorted(self._order) else t.permute(x, self._order)
        self._before = x
        if self._rest != 1:
            tail = [t.size(x, self._rest + k) for k in range(1, 1 + len(space))]
            x = t.reshape(x, [-1 if rest else 1, shape["f"], *tail])
        self.value = x

    def back(self, y: Any, features: int) -> Any:
        """Return an image of the same sizes, with some features, in the original layout."""
        t = self._t
        if self._rest != 1:
            sizes = [t.size(self._before, k) for k in range(self._rest)]
            tail = [t.size(self._before, self._rest + k) for k in range(1, self.ndim - 1)]
            y = t.reshape(y, [*sizes, features, *tail])
        return y if self._order == sorted(self._order) else t.permute(y, np.argsort(self._order).tolist())
