"""Nodes that combine several inputs: concatenation, sum, product."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import InputTypeError, ShapeError
from neuromancer.graph.geometry import merged_geometry, require_same_spatial_rank
from neuromancer.graph.node import is_shaped, require_node
from neuromancer.graph.tagged_shape import SPATIAL_TAGS
from neuromancer.nodes.node import Node


def require_list(parents: Any, node: Node) -> list[Node]:
    """Return nodes given as a list or tuple as a list; raise InputTypeError for anything else."""
    if not isinstance(parents, (list, tuple)) or not parents:
        raise InputTypeError("needs a list of nodes", node=node, got=repr(parents)[:200], expected="[node, node, ...]")
    require_tensors(parents, node)
    return list(parents)


def require_tensors(parents: Sequence[Any], node: Node) -> None:
    for p in parents:
        require_node(p, node, "every input")
        if not is_shaped(p):
            raise InputTypeError("an input has no shape", node=node, got=repr(p), expected="nodes with a tensor output")


def require_equal_sizes(node: Node, parents: Sequence[Node], except_axis: int | None = None) -> None:
    """Raise ShapeError unless all sizes are equal (None equals any size), except on one axis."""
    require_same_spatial_rank(node, parents)
    for axis, tag in enumerate(parents[0].shape.tags):
        known = {p.shape[axis] for p in parents} - {None}
        if axis != except_axis and len(known) > 1:
            smallest = min(known)
            raise ShapeError(
                f"sizes differ on axis {tag!r}",
                node=node,
                got="; ".join(f"{p.name}: {p.shape!r}" for p in parents),
                expected=f"equal sizes on axis {tag!r}",
                nearest=f"crop to {smallest}" if tag in SPATIAL_TAGS else None,
            )


def _common_shape(parents: Sequence[Node]) -> list[int | None]:
    """Return the sizes of the parents, preferring known sizes to unknown ones."""
    columns = zip(*(p.shape.shape for p in parents), strict=True)
    return [next((s for s in column if s is not None), None) for column in columns]


class Concat(Node):
    """Concatenation along an axis.

    Parameters
    ----------
    parent_nodes : list of Node
        Nodes with the same tags and, except on `axis`, the same sizes.
    axis : str or int
        Tag or position of the axis along which to concatenate.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If `parent_nodes` is not a list or tuple of nodes with tensor outputs.
    ShapeError
        If tags differ, or sizes on other axes than `axis`.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a = Input((2, 3), "b,f", print_repr=False)
    >>> Concat([a, a], print_repr=False).shape
    [(2,b), (6,f)]
    """

    broadcasts = False

    def __init__(
        self,
        parent_nodes: Sequence[Node],
        axis: str | int = "f",
        name: str = "concat",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self.parent = require_list(parent_nodes, self)
        self.axis = parent_nodes[0].shape.axis(axis)
        require_equal_sizes(self, parent_nodes, except_axis=self.axis)
        self.equivariant = parent_nodes[0].shape.tags[self.axis] not in SPATIAL_TAGS
        self.joins_features = self.axis == 1 and parent_nodes[0].shape.tags[1] == "f"

    def _make_output(self) -> None:
        self.output = E.T.concatenate([p.output for p in self.parent], axis=self.axis)

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return the concatenated arrays; None if their sizes differ, which the compiled function reports."""
        with suppress(ValueError):
            return np.concatenate(arrays, axis=self.axis)
        return None

    def _calc_shape(self) -> None:
        shape = _common_shape(self.parent)
        sizes = [p.shape[self.axis] for p in self.parent]
        shape[self.axis] = None if None in sizes else sum(sizes)
        merged = self.parent[0].shape.copy()
        for axis, size in enumerate(shape):
            merged = merged.updateshape(axis, size)
        self.shape = merged_geometry(self, merged) if self.equivariant else merged

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0


class _Elementwise(Node):
    """Base of nodes that combine two nodes of equal shape elementwise."""

    broadcasts = False

    def __init__(self, n1: Node, n2: Node, name: str, print_repr: bool) -> None:
        super().__init__(None, name, print_repr)
        require_tensors([n1, n2], self)
        require_equal_sizes(self, [n1, n2])
        self.parent = [n1, n2]

    def _calc_shape(self) -> None:
        merged = self.parent[0].shape.copy()
        for axis, size in enumerate(_common_shape(self.parent)):
            merged = merged.updateshape(axis, size)
        self.shape = merged_geometry(self, merged)


class Add(_Elementwise):
    """Elementwise sum of two nodes of equal shape.

    Parameters
    ----------
    n1, n2 : Node
        Summands, with the same tags and sizes.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If an input is not a node with a tensor output.
    ShapeError
        If tags or sizes differ.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a = Input((1, 2), "b,f", print_repr=False)
    >>> Add(a, a, print_repr=False)([[1, 2]]).tolist()
    [[2.0, 4.0]]
    """

    def __init__(self, n1: Node, n2: Node, name: str = "add", print_repr: bool = True) -> None:
        super().__init__(n1, n2, name, print_repr)

    def _make_output(self) -> None:
        self.output = self.parent[0].output + self.parent[1].output

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0


class MultMerge(_Elementwise):
    """Elementwise product of two nodes of equal shape.

    Parameters
    ----------
    n1, n2 : Node
        Factors, with the same tags and sizes.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If an input is not a node with a tensor output.
    ShapeError
        If tags or sizes differ.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a = Input((1, 2), "b,f", print_repr=False)
    >>> MultMerge(a, a, print_repr=False)([[2, 3]]).tolist()
    [[4.0, 9.0]]
    """

    def __init__(self, n1: Node, n2: Node, name: str = "multmerge", print_repr: bool = True) -> None:
        super().__init__(n1, n2, name, print_repr)

    def _make_output(self) -> None:
        self.output = self.parent[0].output * self.parent[1].output

    def _calc_comp_cost(self) -> None:
        self.computational_cost = int(np.prod(self.shape.stripnone))
