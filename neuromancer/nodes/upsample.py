"""Nodes that make the grid of their parent finer without weights: interpolation, and features spread over space."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, nearest_name
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.node import is_shaped
from neuromancer.graph.tagged_shape import TaggedShape, exact
from neuromancer.graph.window import IDENTITY, FineWindow, Window
from neuromancer.nodes.conv_arguments import ints_per_axis
from neuromancer.nodes.layout import as_float, flag, require_layout, swap_layout
from neuromancer.nodes.node import Node

MODES = ("nearest", "linear")


class Upsample(Node):
    """Interpolate the spatial axes to a finer grid, or to a size.

    Parameters
    ----------
    parent : Node
        Input with axes b,f and one to three spatial axes, or b,z,f,y,x.
    factor : int or sequence of int, optional
        By how much every spatial axis grows.
    size : Node or sequence of int, optional
        Instead of `factor`: the spatial sizes of the output, or the node whose spatial sizes it gets.
    mode : {'nearest', 'linear'}
        Repeat voxels, or interpolate between their centres along all axes; beyond the outermost centres, values are
        repeated.
    align_corners : bool
        For 'linear': let the centres of the outermost voxels coincide with those of the parent, instead of their outer
        borders.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        For an unknown mode, entries that are not positive integers, both or none of `factor` and `size`, or
        `align_corners` with 'nearest'.
    ShapeError
        For an unsupported layout, or a wrong number of entries.
    InputTypeError
        If the parent or `size` is not a node with a tensor output.

    Notes
    -----
    Along an axis of n voxels, voxel j of m lies at ``(j + 1/2) n / m - 1/2`` of the parent, or at
    ``j (n - 1) / (m - 1)`` with `align_corners`; 'nearest' takes voxel ``floor(j n / m)``. That is what
    ``torch.nn.functional.interpolate`` computes. Strides in raw voxels are divided by the factor.

    The positions do not depend on the size of the image if the size is a whole multiple of the parent's, without
    `align_corners`. With a node as `size`, that holds for the images for which it is one; dense prediction takes only
    those. A parent of a single voxel, such as a pooled image, is repeated at all voxels of the node. Otherwise the
    output depends on the whole image.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 3), "b,f,x", print_repr=False)
    >>> Upsample(inp, 2, print_repr=False)([[[0, 4, 8]]]).tolist()
    [[[0.0, 0.0, 4.0, 4.0, 8.0, 8.0]]]
    >>> Upsample(inp, 2, mode="linear", print_repr=False)([[[0, 4, 8]]]).tolist()
    [[[0.0, 1.0, 3.0, 5.0, 7.0, 8.0]]]
    """

    def __init__(
        self,
        parent: Node,
        factor: int | Sequence[int] | None = None,
        size: Node | Sequence[int] | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
        name: str = "upsample",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_layout(parent, self)
        if not isinstance(mode, str) or mode not in MODES:
            raise ArgumentError(
                "unknown mode of interpolation",
                node=self,
                got=mode,
                expected=f"one of {MODES}",
                nearest=repr(nearest_name(mode, MODES) or "nearest"),
            )
        self.mode, self.align_corners = mode, flag(align_corners, "align_corners", self)
        if self.align_corners and mode == "nearest":
            raise ArgumentError(
                "align_corners is for linear interpolation", node=self, got="mode='nearest'", nearest="mode='linear'"
            )
        if (factor is None) == (size is None):
            raise ArgumentError(
                "needs either a factor or a size", node=self, got=f"factor={factor}, size={size!r}"[:200]
            )
        self.reference: Node | None = None
        self.repeats = False
        self.size: tuple[int, ...] | None = None
        if factor is not None:
            factors: tuple[int, ...] | None = ints_per_axis(factor, "factor", shape, self)
        else:
            factors = self._factors_to(size, shape)
        self.factor = factors
        fixed = self.align_corners and factors is not None and set(factors) != {1}
        self.equivariant = self.repeats or (factors is not None and not fixed)
        if fixed and not self.repeats:
            self.whole_image = "interpolates at positions that depend on the size of the image"

    def _factors_to(self, size: Any, shape: TaggedShape) -> tuple[int, ...] | None:
        """Whole factors by which the parent grows to a size; None if they are not whole, or not known."""
        if isinstance(size, Node):
            if not is_shaped(size) or size.shape.ndim != shape.ndim:
                raise ShapeError(
                    "the node that gives the size has other axes",
                    node=self,
                    got=f"{size.name}: {size.shape!r}",
                    expected=f"spatial axes {[shape.tags[i] for i in shape.spatial_axes]}",
                )
            self.reference, self.parent = size, [self.parent, size]
            self.repeats = set(shape.spatial_shape) == {1}
            ratios = [exact(a) / exact(b) for a, b in zip(shape.strides, size.shape.strides, strict=True)]
            known = zip(shape.spatial_shape, size.shape.spatial_shape, ratios, strict=True)
            whole = all(r.denominator == 1 for r in ratios)
            fits = all(a is None or b is None or a * r == b for a, b, r in known)
            return tuple(int(r) for r in ratios) if whole and fits else None
        if not isinstance(size, (list, tuple, int)):
            raise InputTypeError(
                "size must be a node or a sequence of int", node=self, got=f"{type(size).__name__} {size!r}"[:200]
            )
        self.size = ints_per_axis(size, "size", shape, self)
        # Another size of the image is interpolated by another factor.
        return (1,) * shape.ndim if list(self.size) == shape.spatial_shape else None

    @property
    def spatial_parents(self) -> tuple[Node, ...]:
        return self.parents[1:] if self.repeats else self.parents[:1]

    @property
    def same_size(self) -> tuple[Node, ...]:
        return () if self.reference is None else (self.parents[1],)

    def _make_output(self) -> None:
        parent = self.parents[0]
        shape = parent.shape
        x = swap_layout(as_float(parent.output), shape)
        if self.reference is not None:
            other = self.parents[1]
            sizes = [other.output.shape[axis] for axis in other.shape.spatial_axes]
        elif self.size is not None:
            sizes = list(self.size)
        else:
            known = E.known_shape(x) or (None,) * x.ndim
            now = [x.shape[k] if size is None else size for k, size in enumerate(known)]
            sizes = [n * u for n, u in zip(now[2:], self.factor or (), strict=True)]
        self.output = swap_layout(E.resize(x, sizes, self.mode, self.align_corners), shape)

    def _calc_shape(self) -> None:
        parent = self.parents[0].shape
        if self.repeats:
            self.windows = (IDENTITY,) * parent.ndim
            self.shape = self._on_grid_of(self.parents[1].shape, parent)
            return
        if self.factor is None:
            self.shape = self._of_unknown_place(parent)
            return
        reach = [u // 2 if self.mode == "linear" else 0 for u in self.factor]
        windows: list[Window] = [
            FineWindow(up=u, first=r, last=r, border="replicate") if u > 1 else Window()
            for u, r in zip(self.factor, reach, strict=True)
        ]
        self.shape = window_shape(self, windows)

    @staticmethod
    def _on_grid_of(other: TaggedShape, parent: TaggedShape) -> TaggedShape:
        """The parent's shape on the grid of another node."""
        shape = parent.copy()
        for axis, size in zip(parent.spatial_axes, other.spatial_shape, strict=True):
            shape = shape.updateshape(axis, size)
        strides = other.strides.tolist()
        return TaggedShape(shape.shape, shape.tags, strides, other.mfp_offsets, other.fov, other.centre)

    def _of_unknown_place(self, parent: TaggedShape) -> TaggedShape:
        """The shape where positions depend on the size of the image."""
        sizes: list[int | None]
        if self.reference is not None:
            other = self.parents[1].shape
            sizes, strides = other.spatial_shape, other.strides.tolist()
        else:
            sizes = list(self.size or ())
            strides = [
                s if n is None or not m else exact(s) * n / m
                for s, n, m in zip(parent.strides, parent.spatial_shape, sizes, strict=True)
            ]
        shape = parent.copy()
        for axis, size in zip(parent.spatial_axes, sizes, strict=True):
            shape = shape.updateshape(axis, size)
        return TaggedShape(shape.shape, shape.tags, strides, None, [-1] * parent.ndim)

    def _calc_comp_cost(self) -> None:
        self.computational_cost = self.shape.stripnone_prod

    def _repr_extra(self) -> str:
        target = f"factor={self.factor}" if self.factor is not None else f"size={self.size or self.reference}"
        return f"{self.mode}, {target}, " + ("align_corners, " if self.align_corners else "")


class PixelShuffle(Node):
    """Spread groups of features over a finer grid (Shi et al. 2016, arXiv:1609.05158).

    Parameters
    ----------
    parent : Node
        Input with axes b,f and one to three spatial axes, or b,z,f,y,x; f must be a multiple of the product of the
        factors.
    factor : int or sequence of int
        By how much every spatial axis grows.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If a factor is not a positive integer.
    ShapeError
        For an unsupported layout, a wrong number of entries, or features that the factors do not divide.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    Feature ``c * prod(factor) + k`` of the parent becomes feature c at the k-th position of every cell of
    ``prod(factor)`` voxels, the last axis fastest, as in ``torch.nn.PixelShuffle``.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 2, 2), "b,f,x", print_repr=False)
    >>> PixelShuffle(inp, 2, print_repr=False)([[[1, 2], [3, 4]]]).tolist()
    [[[1.0, 3.0, 2.0, 4.0]]]
    """

    def __init__(
        self, parent: Node, factor: int | Sequence[int], name: str = "pixelshuffle", print_repr: bool = True
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_layout(parent, self)
        self.factor = ints_per_axis(factor, "factor", shape, self)
        n_f, cell = shape["f"], prod(self.factor)
        if n_f is None or n_f % cell:
            raise ShapeError(
                "the factors do not divide the features",
                node=self,
                got=f"f={n_f}, factor {self.factor}",
                expected=f"a multiple of {cell} features",
                nearest=None if n_f is None else f"f={max(1, round(n_f / cell)) * cell}",
            )

    def _make_output(self) -> None:
        shape, n = self.parent.shape, self.parent.shape.ndim
        x = swap_layout(self.parent.output, shape)
        features = shape["f"] // prod(self.factor)
        sizes = [x.shape[k] for k in range(2, 2 + n)]
        cells = x.reshape((x.shape[0], features, *self.factor, *sizes), ndim=2 + 2 * n)
        order = [0, 1, *(axis for k in range(n) for axis in (2 + n + k, 2 + k))]
        fine = [size * u for size, u in zip(sizes, self.factor, strict=True)]
        self.output = swap_layout(cells.dimshuffle(*order).reshape((x.shape[0], features, *fine), ndim=2 + n), shape)

    def _calc_shape(self) -> None:
        shape = window_shape(self, [Window(up=u) for u in self.factor])
        self.shape = shape.updateshape("f", self.parent.shape["f"] // prod(self.factor))

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def _repr_extra(self) -> str:
        return f"factor={self.factor}, "
