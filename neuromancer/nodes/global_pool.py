"""Pooling over the whole image: to one voxel, or to a fixed number of voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.graph.demand import Demand, product
from neuromancer.graph.node import GraphNode
from neuromancer.graph.statistics import FeatureStatistics
from neuromancer.graph.tagged_shape import TaggedShape, exact
from neuromancer.graph.window import WholeWindow
from neuromancer.nodes.conv_arguments import ints_per_axis
from neuromancer.nodes.layout import as_float, require_tensor
from neuromancer.nodes.node import Node
from neuromancer.nodes.standardise import per_image

GLOBAL_MODES, ADAPTIVE_MODES = ("average", "max", "sum"), ("average", "max")
OPERATIONS = 96
"""Symbolic operations of adaptive pooling along three axes."""
LARGEST = 1 << 16
"""Limit on the size of an adaptive pool per axis."""


class _WholeImagePool(Node):
    """Base of nodes that pool the whole image, of any size."""

    equivariant = False

    mode: str

    @property
    def spatial_parents(self) -> tuple[GraphNode, ...]:
        """The parent; none if the statistics of the whole image are given."""
        return self.parents if self.given_statistics is None else ()

    def statistics_from(self, parent: FeatureStatistics) -> np.ndarray:
        """Return the pooled values."""
        return {"average": parent.mean, "max": parent.maxima, "sum": parent.sums}[self.mode][None]

    def _check(self, mode: Any, modes: tuple[str, ...]) -> TaggedShape:
        shape = require_tensor(self.parent, self)
        if not isinstance(mode, str) or mode not in modes:
            raise ArgumentError(
                "unknown pooling mode",
                node=self,
                got=mode,
                expected=f"one of {modes}",
                nearest=nearest_name(mode, modes) if isinstance(mode, str) else None,
            )
        if not shape.ndim:
            raise ShapeError(
                "there are no spatial axes to pool", node=self, got=repr(shape), expected="axes tagged z, y or x"
            )
        return shape

    def _fixed_shape(self, sizes: Sequence[int]) -> TaggedShape:
        """The parent's shape with other spatial sizes, at no known place of the raw data."""
        parent = self.parent.shape
        shape = list(parent.shape)
        for axis, size in zip(parent.spatial_axes, sizes, strict=True):
            shape[axis] = size
        self.windows = tuple(WholeWindow(voxels=size) for size in sizes)
        # A single voxel has no neighbours, so it keeps the strides of its parent.
        strides = [
            s if n is None or m == 1 else exact(s) * n / m
            for s, n, m in zip(parent.strides, parent.spatial_shape, sizes, strict=True)
        ]
        return TaggedShape(shape, parent.tags, strides, None, [-1] * parent.ndim)


class GlobalPool(_WholeImagePool):
    """Average, maximum or sum over all spatial axes.

    Parameters
    ----------
    parent : Node
        Input with spatial axes, of known or unknown sizes, in any layout.
    mode : {'average', 'max', 'sum'}
        Reduction. If several voxels equal the maximum, the gradient goes to all of them.
    keepdims : bool
        Keep the spatial axes, with size 1, so that the output can be combined with images by :class:`Product` or
        :class:`Sum`; else drop them.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        For an unknown mode, or `keepdims` that is not a bool.
    ShapeError
        If there are no spatial axes.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    The output depends on the whole image (dense prediction: ``statistics="volume"``). Its field of view and offsets are
    unknown (-1).

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 2, None), "b,f,x", print_repr=False)
    >>> GlobalPool(inp, keepdims=False, print_repr=False)([[[1, 2, 3], [4, 4, 7]]]).tolist()
    [[2.0, 5.0]]
    """

    def __init__(
        self,
        parent: Node,
        mode: str = "average",
        keepdims: bool = True,
        name: str = "globalpool",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        self._check(mode, GLOBAL_MODES)
        if not isinstance(keepdims, bool):
            raise ArgumentError("keepdims must be a bool", node=self, got=keepdims, expected="True or False")
        self.mode, self.keepdims = mode, keepdims
        self.whole_image, self.statistic_rows = f"takes the {mode} over the whole image", 1

    def _make_output(self) -> None:
        x, axes = as_float(self.parent.output), self.parent.shape.spatial_axes
        if self.given_statistics is None:
            self.output = _reduced(x, self.mode, axes, self.keepdims)
        else:
            pooled = E.T.cast(per_image(self.given_statistics[0], self.parent.shape), x.dtype)
            self.output = pooled if self.keepdims else pooled.dimshuffle(*(i for i in range(x.ndim) if i not in axes))

    def _calc_shape(self) -> None:
        shape = self._fixed_shape((1,) * self.parent.shape.ndim)
        if not self.keepdims:
            for axis in reversed(shape.spatial_axes):
                shape = shape.delaxis(axis)
        self.shape = shape

    def _repr_extra(self) -> str:
        return f"{self.mode}, "


class AdaptivePool(_WholeImagePool):
    """Average or maximum over equal parts of the image: the output has a fixed size, whatever that of the image.

    Parameters
    ----------
    parent : Node
        Input with spatial axes, of known or unknown sizes, in any layout.
    output_size : int or sequence of int
        Size of the output, for all spatial axes or for each.
    mode : {'average', 'max'}
        Reduction. If several voxels equal the maximum, the gradient goes to all of them.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        For an unknown mode, or a size that is not a positive integer.
    ShapeError
        If there are no spatial axes, or a wrong number of sizes.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    Voxel i of m covers the voxels from ``floor(i n / m)`` to before ``ceil((i + 1) n / m)`` of n, as in
    ``torch.nn.AdaptiveAvgPool3d`` and ``AdaptiveMaxPool3d``. The output depends on the whole image (dense prediction:
    ``statistics="volume"``).

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 5), "b,f,x", print_repr=False)
    >>> AdaptivePool(inp, 2, print_repr=False)([[[1, 2, 3, 4, 5]]]).tolist()
    [[[2.0, 4.0]]]
    """

    def __init__(
        self,
        parent: Node,
        output_size: int | Sequence[int],
        mode: str = "average",
        name: str = "adaptivepool",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = self._check(mode, ADAPTIVE_MODES)
        self.mode, self.output_size = mode, ints_per_axis(output_size, "output_size", shape, self)
        if max(self.output_size) > LARGEST:
            raise ArgumentError(
                "an output of this size cannot be made",
                node=self,
                got=f"output_size {self.output_size}",
                expected=f"at most {LARGEST} voxels per axis",
                nearest=tuple(min(n, LARGEST) for n in self.output_size),
            )
        self.whole_image = f"takes the {mode} over parts of the whole image"
        self.statistic_rows = 1 if set(self.output_size) == {1} else 0

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        return Demand(OPERATIONS, 4 * product(arguments.get("output_size")))

    def _make_output(self) -> None:
        x, shape = as_float(self.parent.output), self.parent.shape
        if self.given_statistics is not None:
            self.output = E.T.cast(per_image(self.given_statistics[0], shape), x.dtype)
            return
        for axis, size in zip(shape.spatial_axes, self.output_size, strict=True):
            x = _reduced(x, self.mode, [axis]) if size == 1 else _pooled_parts(x, axis, size, self.mode)
        self.output = x

    def _calc_shape(self) -> None:
        self.shape = self._fixed_shape(self.output_size)

    def _repr_extra(self) -> str:
        return f"{self.mode}, output_size={self.output_size}, "


def _reduced(x: Any, mode: str, axes: list[int], keepdims: bool = True) -> Any:
    function = {"average": x.mean, "max": x.max, "sum": x.sum}[mode]
    return function(axis=axes, keepdims=keepdims)


def _pooled_parts(x: Any, axis: int, m: int, mode: str) -> Any:
    """Pool one axis to m voxels. Parts are boxes, so axes can be pooled one after the other."""
    n, i = x.shape[axis], np.arange(m)
    start, stop = i * n // m, ((i + 1) * n + m - 1) // m
    # Parts are one voxel more or less in size: all are taken from the axis with the larger size, and masked.
    place = start.dimshuffle(0, "x") + E.T.arange((stop - start).max()).dimshuffle("x", 0)
    inside = E.T.lt(place, stop.dimshuffle(0, "x"))
    rest = [k for k in range(x.ndim) if k != axis]
    first = x.dimshuffle(axis, *rest)
    taken = first[E.T.minimum(place, n - 1).flatten()]
    parts = taken.reshape([m, place.shape[1], *(x.shape[k] for k in rest)], ndim=x.ndim + 1)
    inside = inside.dimshuffle(0, 1, *["x"] * len(rest))
    if mode == "max":
        pooled = E.T.switch(inside, parts, -inf).max(axis=1)
    else:
        sizes = E.T.cast(stop - start, x.dtype).dimshuffle(0, *["x"] * len(rest))
        pooled = E.T.switch(inside, parts, 0).sum(axis=1) / sizes
    return pooled.dimshuffle(*(0 if k == axis else 1 + rest.index(k) for k in range(x.ndim)))
