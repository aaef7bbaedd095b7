"""Max-fragment pooling: all phases of a pooling as items of the batch, and their reassembly into a dense image.

Giusti, Ciresan, Masci, Gambardella & Schmidhuber 2013, arXiv:1302.1700.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.demand import Demand
from neuromancer.graph.demand import product as size_of_all
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import IDENTITY
from neuromancer.nodes.layout import require_layout, swap_layout
from neuromancer.nodes.node import Node


def fragment_pool(x: Any, pool: Sequence[int], mode: str = "max") -> Any:
    """Pool every phase of x and concatenate the results along the batch axis.

    Parameters
    ----------
    x : symbolic tensor, (b, f, *spatial)
    pool : sequence of int
        Pooling factor per spatial axis.
    mode : {'max', 'average', 'sum'}

    Returns
    -------
    symbolic tensor, (prod(pool) * b, f, *((size - p + 1) // p))
        Item ``phase * b + i`` is phase `phase` of item i; phases in lexicographic order, the last axis fastest.
    """
    if prod(pool) == 1:
        return x
    phases = []
    for phase in product(*(range(p) for p in pool)):
        window = tuple(slice(i, i - (p - 1) or None) for i, p in zip(phase, pool, strict=True))
        phases.append(E.pool(x[(slice(None), slice(None), *window)], tuple(pool), mode=mode))
    return E.T.concatenate(phases, axis=0)


def fragment_demand(parent: Any, pool: Any) -> Demand:
    """Bound what pooling every phase takes: a slice and a pool each, and the offsets of the fragments.

    Parameters
    ----------
    parent, pool : any
        Arguments of a node, unchecked.
    """
    phases, shape = size_of_all(pool), getattr(parent, "shape", None)
    offsets = 1 if shape is None else shape.mfp_offsets.size
    return Demand(4 * phases, phases * (16 + 4 * offsets))


def fragment_offsets(shape: TaggedShape, pool: Sequence[int]) -> np.ndarray:
    """Return the raw-data offsets of the fragments after pooling all phases.

    Parameters
    ----------
    shape : TaggedShape
        Shape of the node that is pooled, with the offsets of its fragments.
    pool : sequence of int
        Pooling factor per spatial axis.

    Returns
    -------
    numpy.ndarray of int, (n_fragments, n_spatial)
        In raw voxels.

    Examples
    --------
    >>> fragment_offsets(TaggedShape((1, 1, 9), "b,f,x"), [3]).tolist()
    [[0], [1], [2]]
    """
    phases = np.array(list(product(*(range(p) for p in pool)))) * shape.strides
    offsets: np.ndarray = phases[:, None] + shape.mfp_offsets[None]
    return offsets.reshape(-1, shape.ndim).astype(int)


def fragment_shape(shape: TaggedShape, parent: TaggedShape, pool: Sequence[int]) -> TaggedShape:
    """Return `shape` with the batch size and fragment offsets of a node that pools all phases of `parent`."""
    factor = prod(pool)
    return shape.updateshape("b", factor, "mult").updatemfp_offsets(fragment_offsets(parent, pool))


def fragment_sizes(sizes: Sequence[int | None], kernel: Sequence[int], pool: Sequence[int]) -> list[int | None]:
    """Return the spatial sizes after a valid convolution with `kernel` and fragment pooling."""
    return [None if s is None else (s - k + 1 - p + 1) // p for s, k, p in zip(sizes, kernel, pool, strict=True)]


def require_fragments(node: Node, shape: TaggedShape, pool: Sequence[int]) -> None:
    """Raise ShapeError unless the batch consists of the fragments of a single item."""
    if prod(pool) > 1 and shape["b"] != len(shape.mfp_offsets):
        raise ShapeError(
            "max-fragment pooling needs raw data of batch size 1",
            node=node,
            got=f"{node.parents[0].name}: batch size {shape['b']}, {len(shape.mfp_offsets)} fragments",
            expected=f"batch size {len(shape.mfp_offsets)}",
            nearest="an input of batch size 1",
        )


def fragments_to_dense(x: Any, offsets: np.ndarray, strides: Sequence[int]) -> Any:
    """Interleave fragments into one dense image.

    Parameters
    ----------
    x : symbolic tensor, (prod(strides), f, *spatial)
    offsets : array of int, (prod(strides), n_spatial)
        Phase of each fragment.
    strides : sequence of int
        Number of phases per spatial axis.

    Returns
    -------
    symbolic tensor, (1, f, *(size * stride))
    """
    n = len(strides)
    order = np.lexsort(offsets.T[::-1])
    if not np.array_equal(order, np.arange(len(order))):
        x = x[order]
    sizes = [x.shape[i] for i in range(1, n + 2)]
    phases = x.reshape([*strides, *sizes])
    # Axes are (phase_1 .. phase_n, f, size_1 .. size_n); every size is moved in front of its phase.
    pairs = [axis for k in range(n) for axis in (n + 1 + k, k)]
    dense = phases.dimshuffle(n, *pairs)
    return dense.reshape([1, sizes[0], *(s * t for s, t in zip(sizes[1:], strides, strict=True))])


class FragmentsToDense(Node):
    """Assemble the fragments of max-fragment pooling into one dense image.

    Parameters
    ----------
    parent : Node
        Output of layers with ``mfp=True``, layout b,f,... or b,z,f,y,x; batch size equal to the product of its strides.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError
        If the batch does not hold exactly one fragment per phase.
    ArgumentError
        If a stride is not an integer.

    Notes
    -----
    The output has batch size 1, strides 1 and the parent's sizes multiplied by its strides. The cost is 0. In the dense
    form of a network, which has no fragments, the node returns its input.

    Examples
    --------
    >>> from neuromancer import Conv, Input
    >>> inp = Input((1, 1, 10, 10), "b,f,y,x", print_repr=False)
    >>> fragments = Conv(inp, 3, (4, 4), (2, 2), mfp=True, print_repr=False)
    >>> fragments.shape
    [(4,b), (3,f), (3,y), (3,x)]
    >>> FragmentsToDense(fragments, print_repr=False).shape
    [(1,b), (3,f), (6,y), (6,x)]
    """

    def __init__(self, parent: Node, name: str = "to_dense", print_repr: bool = True) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_layout(parent, self)
        if any(s != int(s) for s in shape.strides):
            raise ArgumentError(
                "fragments on a grid finer than the raw data cannot be assembled",
                node=self,
                got=f"strides {shape.strides.tolist()}",
                expected="integers",
            )
        needed, n = prod(int(s) for s in shape.strides), len(shape.mfp_offsets)
        if not shape["b"] == n == needed:
            raise ShapeError(
                "the batch must hold one fragment per phase",
                node=self,
                got=f"batch size {shape['b']}, {n} fragments",
                expected=f"{needed} for strides {shape.strides.tolist()}",
                nearest="mfp=True in all pooling layers and an input of batch size 1",
            )

    def _make_output(self) -> None:
        shape, x = self.parent.shape, self.parent.output
        if not self.build_mode.dense:
            strides = [int(s) for s in shape.strides]
            x = swap_layout(fragments_to_dense(swap_layout(x, shape), shape.mfp_offsets, strides), shape)
        self.output = x

    def _calc_shape(self) -> None:
        parent = self.parent.shape
        self.windows = (IDENTITY,) * parent.ndim
        shape = parent.updatemfp_offsets(np.zeros((1, parent.ndim))).updatestrides([1] * parent.ndim)
        if not self.build_mode.dense:
            shape = shape.updateshape("b", 1)
        for axis, stride in zip(parent.spatial_axes, parent.strides, strict=True):
            shape = shape.updateshape(axis, int(stride), "mult")
        self.shape = shape

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0
