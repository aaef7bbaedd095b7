"""Sums and products of any number of nodes, which may be repeated along axes of size 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add, mul
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ShapeError
from neuromancer.graph.geometry import merged_geometry, require_same_spatial_rank
from neuromancer.nodes.merge import require_list
from neuromancer.nodes.node import Node


class _Combination(Node):
    """Base of nodes that combine any number of nodes elementwise, with broadcasting."""

    def __init__(self, parent_nodes: Sequence[Node], name: str, print_repr: bool) -> None:
        super().__init__(None, name, print_repr)
        parents = require_list(parent_nodes, self)
        require_same_spatial_rank(self, parents)
        for axis, tag in enumerate(parent_nodes[0].shape.tags):
            known = {p.shape[axis] for p in parent_nodes} - {None, 1}
            if len(known) > 1:
                raise ShapeError(
                    f"sizes differ on axis {tag!r}",
                    node=self,
                    got="; ".join(f"{p.name}: {p.shape!r}" for p in parent_nodes),
                    expected=f"equal sizes on axis {tag!r}, or 1",
                )
        self.parent = parents

    @property
    def spatial_parents(self) -> tuple[Node, ...]:
        """The parents that determine the geometry: not those pooled over the whole image, unless all of them are."""
        return tuple(p for p in self.parents if not _is_everywhere(p)) or self.parents

    def _operands(self) -> list[Any]:
        """The parents' tensors, with axes of size 1 marked as such."""
        operands = []
        for p in self.parents:
            ones = [axis for axis, size in enumerate(p.shape.shape) if size == 1]
            known = E.known_shape(p.output) or ()
            unmarked = [axis for axis in ones if known[axis] != 1]
            index = tuple(0 if axis in unmarked else slice(None) for axis in range(p.output.ndim))
            x = p.output[index] if unmarked else p.output
            rest = iter(range(x.ndim))
            order = ["x" if axis in unmarked else next(rest) for axis in range(p.output.ndim)]
            operands.append(x.dimshuffle(*order) if unmarked else x)
        return operands

    def _calc_shape(self) -> None:
        largest = max(self.spatial_parents, key=lambda p: sum(size != 1 for size in p.shape.shape))
        merged = largest.shape.copy()
        for axis in range(len(merged)):
            sizes = [p.shape[axis] for p in self.parents]
            known = [s for s in sizes if s not in (None, 1)]
            size = known[0] if known else None if None in sizes else 1
            merged = merged.updateshape(axis, size)
        self.shape = merged_geometry(self, merged)


def _is_everywhere(node: Node) -> bool:
    """Return whether the node is a single voxel that belongs to no place in the image."""
    shape = node.shape
    return shape.ndim > 0 and all(fov < 0 for fov in shape.fov) and all(size == 1 for size in shape.spatial_shape)


class Sum(_Combination):
    """Elementwise sum of any number of nodes; axes of size 1 are repeated.

    Parameters
    ----------
    parent_nodes : list of Node
        Summands with the same tags, whose sizes are equal or 1 on every axis.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If `parent_nodes` is not a list or tuple of nodes with tensor outputs.
    ShapeError
        If tags or sizes differ.

    See Also
    --------
    Add : sum of two nodes of equal shape.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a, b = (Input((1, n), "b,f", print_repr=False) for n in (2, 1))
    >>> Sum([a, b, a], print_repr=False)([[1, 2]], [[10]]).tolist()
    [[12.0, 14.0]]
    """

    def __init__(self, parent_nodes: Sequence[Node], name: str = "sum", print_repr: bool = True) -> None:
        super().__init__(parent_nodes, name, print_repr)

    def _make_output(self) -> None:
        self.output = reduce(add, self._operands())

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0


class Product(_Combination):
    """Elementwise product of any number of nodes; axes of size 1 are repeated.

    Parameters
    ----------
    parent_nodes : list of Node
        Factors with the same tags, whose sizes are equal or 1 on every axis.
    name : str
    print_repr : bool

    Raises
    ------
    InputTypeError
        If `parent_nodes` is not a list or tuple of nodes with tensor outputs.
    ShapeError
        If tags or sizes differ.

    See Also
    --------
    MultMerge : product of two nodes of equal shape.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a, b = (Input((1, n), "b,f", print_repr=False) for n in (2, 1))
    >>> Product([a, b], print_repr=False)([[1, 2]], [[10]]).tolist()
    [[10.0, 20.0]]
    """

    def __init__(self, parent_nodes: Sequence[Node], name: str = "product", print_repr: bool = True) -> None:
        super().__init__(parent_nodes, name, print_repr)

    def _make_output(self) -> None:
        self.output = reduce(mul, self._operands())

    def _calc_comp_cost(self) -> None:
        self.computational_cost = int(np.prod(self.shape.stripnone)) * (len(self.parents) - 1)
