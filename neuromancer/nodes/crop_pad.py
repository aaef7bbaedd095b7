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
from neuromancer.nodes.layout import axis_name, per_axis, require_tensor
from neuromancer.nodes.node import Node


def _require_spatial(parent: Node, node: Node) -> TaggedShape:
    shape = require_tensor(parent, node)
    if not shape.ndim:
        raise ShapeError("needs spatial axes", node=node, got=",".join(shape.tags), expected="tags out of z, y, x")
    return shape


class Crop(Node):
    """Remove voxels from both ends of the spatial axes.

    Parameters
    ----------
    parent : Node
        Input with spatial axes, in any layout.
    crop : sequence of int
        Number of voxels to remove from *each* end, per spatial axis.
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
        self.crop = per_axis(crop, "crop", shape, self, least=0)
        for k, (size, c) in enumerate(zip(shape.spatial_shape, self.crop, strict=True)):
            if size is not None and size <= 2 * c:
                raise ShapeError(
                    "cropping leaves nothing",
                    node=self,
                    got=f"crop {c} from each end of {size} voxels on axis {axis_name(shape, k)} of {parent.name!r}",
                    expected="2 * crop below the size",
                    nearest=f"crop {(size - 1) // 2}",
                )

    def _make_output(self) -> None:
        self.output = self._cut(self.parent.output) if any(self.crop) else self.parent.output

    def _cut(self, x: Any) -> Any:
        shape, index = self.parent.shape, [slice(None)] * len(self.parent.shape)
        for axis, c, d in zip(shape.spatial_axes, self.crop, self.dilation, strict=True):
            index[axis] = slice(c * d, -c * d or None)
        return x[tuple(index)]

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the cropped array."""
        cut: np.ndarray = self._cut(arrays[0])
        return cut

    def _calc_shape(self) -> None:
        self.shape = window_shape(self, [Window(before=-c, after=-c) for c in self.crop])

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def _repr_extra(self) -> str:
        return f"crop={self.crop}, "


class Pad(Node):
    """Pad both ends of the spatial axes with a constant value.

    Parameters
    ----------
    parent : Node
        Input with spatial axes, in any layout.
    pad : sequence of int
        Number of voxels to add to *each* end, per spatial axis.
    value : float
        Value of the added voxels.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError
        If there are no spatial axes or the number of entries is wrong.
    ArgumentError
        If an entry is negative or not an integer, or `value` is not finite or not representable in the parent's dtype.

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
        self, parent: Node, pad: Sequence[int], value: float = 0.0, name: str = "pad", print_repr: bool = True
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = _require_spatial(parent, self)
        self.pad = per_axis(pad, "pad", shape, self, least=0)
        dtype = np.dtype(parent.output.dtype)
        if not is_number(value) or not np.isfinite(value) or not holds(dtype, value):
            raise ArgumentError(
                "the value cannot be used for padding", node=self, got=value, expected=f"a finite number of {dtype}"
            )
        self.value = float(value) if dtype.kind == "f" else int(value)

    def _make_output(self) -> None:
        x, shape = self.parent.output, self.parent.shape
        index, sizes = [slice(None)] * x.ndim, [x.shape[i] for i in range(x.ndim)]
        for axis, p, d in zip(shape.spatial_axes, self.pad, self.dilation, strict=True):
            index[axis] = slice(p * d, -p * d or None)
            sizes[axis] = sizes[axis] + 2 * p * d
        canvas = E.T.alloc(np.asarray(self.value, dtype=x.dtype), *sizes)
        self.output = E.T.set_subtensor(canvas[tuple(index)], x) if any(self.pad) else x

    def rearranged(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the padded array."""
        width = dict(zip(self.parent.shape.spatial_axes, self.pad, strict=True))
        return np.pad(arrays[0], [(width.get(i, 0),) * 2 for i in range(arrays[0].ndim)], constant_values=self.value)

    def _calc_shape(self) -> None:
        self.shape = window_shape(self, [Window(before=p, after=p) for p in self.pad])

    def _calc_comp_cost(self) -> None:
        self.computational_cost = 0

    def _repr_extra(self) -> str:
        return f"pad={self.pad}, value={self.value:g}, "
