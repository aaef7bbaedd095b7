"""Cropping and padding of the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import holds, is_number
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import Window
from neuromancer.nodes.conv_arguments import Ends, check_padding_mode, check_reflection, extended, per_side
from neuromancer.nodes.layout import axis_name, is_int, per_axis, require_tensor
from neuromancer.nodes.node import Node


def _require_spatial(parent: Node, node: Node) -> TaggedShape:
    shape = require_tensor(parent, node)
    if not shape.ndim:
        raise ShapeError("needs spatial axes", node=node, got=",".join(shape.tags), expected="tags out of z, y, x")
    return shape


def _ends(values: Any, what: str, shape: TaggedShape, node: Node) -> tuple[int | tuple[int, int], ...]:
    """Numbers of voxels per axis: an int where both ends have the same, else (before, after)."""
    if is_int(values):
        return per_axis(values, what, shape, node, least=0)
    pairs = per_side(values, what, shape, node)
    return tuple(a if a == b else (a, b) for a, b in pairs)


def _pairs(ends: Sequence[int | tuple[int, int]]) -> Ends:
    return tuple((n, n) if isinstance(n, int) else n for n in ends)


class Crop(Node):
    """Remove voxels from both ends of the spatial axes.

    Parameters
    ----------
    parent : Node
        Input with spatial axes, in any layout.
    crop : sequence of int
        Number of voxels to remove from *each* end, per spatial axis; an entry may be a pair (before, after).
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError
        If there are no spatial axes, the number of entries is wrong, or no voxel would be left.
    ArgumentError
        If an entry is negative or not an integer.

    Notes
    -----
    ``shape.offsets``, the position in the raw data, is updated. The cost is 0.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 5), "b,f,x", print_repr=False)
    >>> Crop(inp, (1,), print_repr=False)([[[1, 2, 3, 4, 5]]]).tolist()
    [[[2.0, 3.0, 4.0]]]
    """

    def __init__(self, parent: Node, crop: Sequence[int], name: str = "crop", print_repr: bool = True) -> None:
        super().__init__(parent, name, print_repr)
        shape = _require_spatial(parent, self)
        self.crop = _ends(crop, "crop", shape, self)
        for k, (size, c) in enumerate(zip(shape.spatial_shape, _pairs(self.crop), strict=True)):
            if size is not None and size <= sum(c):
                each = f"{c[0]} from each end" if c[0] == c[1] else f"{c[0]} from the start and {c[1]} from the end"
                raise ShapeError(
                    "cropping leaves nothing",
                    node=self,
                    got=f"crop {each} of {size} voxels on axis {axis_name(shape, k)} of {parent.name!r}",
                    expected="2 * crop below the size" if c[0] == c[1] else "fewer voxels together than the size",
                    nearest=f"crop {(size - 1) // 2}" if c[0] == c[1] else f"crop {(min(c[0], size - 1), 0)}",
                )

    def _make_output(self) -> None:
        self.output = self._cut(self.parent.output) if any(map(any, _pairs(self.crop))) else self.parent.output

    def _cut(self, x: Any) -> Any:
        shape, index = self.parent.shape, [slice(None)] * len(self.parent.shape)
        for axis, (a, b), d in zip(shape.spatial_axes, _pairs(self.crop), self.dilation, strict=True):
            index[axis] = slice(a * d, -b * d or None)
        return x[tuple(index)]

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the cropped array."""
        cut: np.ndarray = self._cut(arrays[0])
        return cut

    def _calc_shape(self) -> None:
        self.shape = window_shape(self, [Window(before=-a, after=-b) for a, b in _pairs(self.crop)])

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def _repr_extra(self) -> str:
        return f"crop={self.crop}, "


class Pad(Node):
    """Pad both ends of the spatial axes, with a constant value or with voxels of the image.

    Parameters
    ----------
    parent : Node
        Input with spatial axes, in any layout.
    pad : sequence of int
        Number of voxels to add to *each* end, per spatial axis; an entry may be a pair (before, after).
    value : float
        Value of the added voxels in mode 'zeros'.
    name : str
    print_repr : bool
    padding_mode : {'zeros', 'reflect', 'replicate'}
        `value` (0 by default), mirrored about the outermost voxel, or the outermost voxel.

    Raises
    ------
    ShapeError
        If there are no spatial axes, the number of entries is wrong, or an axis is too short to be mirrored.
    ArgumentError
        If an entry is negative or not an integer, the mode is unknown, or `value` is not finite or not representable in
        the parent's dtype.

    Notes
    -----
    ``shape.offsets``, the position in the raw data, is updated and may become negative. The cost is 0.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 2), "b,f,x", print_repr=False)
    >>> Pad(inp, (1,), value=0.5, print_repr=False)([[[1, 2]]]).tolist()
    [[[0.5, 1.0, 2.0, 0.5]]]
    """

    def __init__(
        self,
        parent: Node,
        pad: Sequence[int],
        value: float = 0.0,
        name: str = "pad",
        print_repr: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = _require_spatial(parent, self)
        self.pad = _ends(pad, "pad", shape, self)
        self.padding_mode, self._border = padding_mode, check_padding_mode(padding_mode, self)
        if self._border == "reflect":
            check_reflection(_pairs(self.pad), shape, self)
        dtype = np.dtype(parent.output.dtype)
        if not is_number(value) or not np.isfinite(value) or not holds(dtype, value):
            raise ArgumentError(
                "the value cannot be used for padding", node=self, got=value, expected=f"a finite number of {dtype}"
            )
        self.value = float(value) if dtype.kind == "f" else int(value)

    def _make_output(self) -> None:
        x, pairs = self.parent.output, _pairs(self.pad)
        if not any(map(any, pairs)):
            self.output = x
        elif list(self.parent.shape.tags[:2]) == ["b", "f"] and x.dtype in ("float32", "float64"):
            self.output = extended(x, pairs, self._border, self.dilation, self.value)
        elif self._border == "constant":
            self.output = self._surrounded(x, pairs)
        else:
            self.output = self._mirrored(x, pairs)

    def _surrounded(self, x: Any, pairs: Ends) -> Any:
        index, sizes = [slice(None)] * x.ndim, [x.shape[i] for i in range(x.ndim)]
        for axis, (a, b), d in zip(self.parent.shape.spatial_axes, pairs, self.dilation, strict=True):
            index[axis] = slice(a * d, -b * d or None)
            sizes[axis] = sizes[axis] + (a + b) * d
        canvas = E.T.alloc(np.asarray(self.value, dtype=x.dtype), *sizes)
        return E.T.set_subtensor(canvas[tuple(index)], x)

    def _mirrored(self, x: Any, pairs: Ends) -> Any:
        """Pad with voxels of x, seen as floats (1, all other axes, *spatial)."""
        space = self.parent.shape.spatial_axes
        rest = [i for i in range(x.ndim) if i not in space]
        last = x.dimshuffle(*rest, *space)
        sizes = [last.shape[i] for i in range(x.ndim)]
        flat = last.reshape((1, -1, *sizes[len(rest) :]), ndim=2 + len(space))
        floats = flat if flat.dtype in ("float32", "float64") else E.T.cast(flat, "float64")
        padded = extended(floats, pairs, self._border, self.dilation)
        whole = padded.reshape((*sizes[: len(rest)], *(padded.shape[i] for i in range(2, padded.ndim))), ndim=x.ndim)
        whole = whole if whole.dtype == x.dtype else E.T.cast(whole, x.dtype)
        return whole.dimshuffle(*np.argsort([*rest, *space]).tolist())

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the padded array."""
        width = dict(zip(self.parent.shape.spatial_axes, _pairs(self.pad), strict=True))
        widths = [width.get(i, (0, 0)) for i in range(arrays[0].ndim)]
        if self._border == "constant":
            return np.pad(arrays[0], widths, constant_values=self.value)
        mode: Any = {"reflect": "reflect", "replicate": "edge"}[self._border]
        padded: np.ndarray = np.pad(arrays[0], widths, mode=mode)
        return padded

    def _calc_shape(self) -> None:
        self.shape = window_shape(self, [Window(before=a, after=b, border=self._border) for a, b in _pairs(self.pad)])

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def _repr_extra(self) -> str:
        return f"pad={self.pad}, " + (
            f"value={self.value:g}, " if self._border == "constant" else f"{self.padding_mode}, "
        )
