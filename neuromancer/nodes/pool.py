"""Pooling over windows of voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.graph.demand import Demand
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import Window
from neuromancer.nodes.fragments import (
    fragment_demand,
    fragment_pool,
    fragment_shape,
    fragment_sizes,
    require_fragments,
)
from neuromancer.nodes.layout import as_float, axis_name, nearest_sizes, per_axis, require_layout, swap_layout
from neuromancer.nodes.node import Node

# Windows never extend beyond the image, so it makes no difference whether padded voxels count.
POOL_MODES = {
    "max": "max",
    "average": "average",
    "average_inc_pad": "average",
    "average_exc_pad": "average",
    "sum": "sum",
}


class Pool(Node):
    """Pooling: maximum, average or sum over windows.

    Parameters
    ----------
    parent : Node
        Input with axes b,f and one to three spatial axes, or b,z,f,y,x.
    pool_shape : sequence of int
        Window size per spatial axis.
    stride : sequence of int, optional
        Stride of the window per spatial axis. Default: `pool_shape`.
    mfp : bool
        Max-fragment pooling: keep all phases, as items of the batch. The input must have batch size 1; `stride` must
        equal `pool_shape`.
    mode : {'max', 'average', 'average_inc_pad', 'average_exc_pad', 'sum'}
        Reduction; the three averages are equivalent, as windows never extend beyond the image.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        For an unknown mode, an entry that is not a positive integer, or `mfp` with a stride other than `pool_shape`.
    ShapeError
        For an unsupported layout, a wrong number of entries, a size that the windows do not cover exactly, or `mfp`
        with a batch size other than 1.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    Output sizes are ``(size - pool) / stride + 1``, or ``(size - pool + 1) / pool`` with `mfp`. The cost is the number
    of elements of the parent.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 4), "b,f,x", print_repr=False)
    >>> Pool(inp, (2,), print_repr=False)([[[1, 2, 4, 3]]]).tolist()
    [[[2.0, 4.0]]]
    """

    def __init__(
        self,
        parent: Node,
        pool_shape: Sequence[int],
        stride: Sequence[int] | None = None,
        mfp: bool = False,
        mode: str = "max",
        name: str = "pool",
        print_repr: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_layout(parent, self)
        if mode not in POOL_MODES:
            raise ArgumentError(
                "unknown pooling mode",
                node=self,
                got=mode,
                expected=f"one of {tuple(POOL_MODES)}",
                nearest=nearest_name(mode, POOL_MODES),
            )
        self.mode = mode
        self.pool_shape = per_axis(pool_shape, "pool_shape", shape, self)
        self.stride = self.pool_shape if stride is None else per_axis(stride, "stride", shape, self)
        self.mfp = bool(mfp)
        if self.mfp and self.stride != self.pool_shape:
            raise ArgumentError(
                "max-fragment pooling needs a stride equal to pool_shape",
                node=self,
                got=f"stride {self.stride}",
                expected="stride=None",
                nearest=self.pool_shape,
            )
        self._check_sizes(shape)
        if self.mfp:
            require_fragments(self, shape, self.pool_shape)

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        plain = super().demand(arguments)
        if not arguments.get("mfp"):
            return plain
        return plain + fragment_demand(arguments.get("parent"), arguments.get("pool_shape"))

    def _check_sizes(self, shape: TaggedShape) -> None:
        for k, size in enumerate(shape.spatial_shape):
            if size is None:
                continue
            p, step = self.pool_shape[k], self.stride[k]
            least = 2 * p - 1 if self.mfp else p

            def fits(n: int, least: int = least, step: int = step) -> bool:
                return n >= least and (n - least) % step == 0

            if not fits(size):
                raise ShapeError(
                    "the windows do not cover the input exactly" + (" (with max-fragment pooling)" if self.mfp else ""),
                    node=self,
                    got=f"size {size} on axis {axis_name(shape, k)} of {self.parent.name!r}, pool {p}, stride {step}",
                    expected=f"size {least} plus a multiple of {step}",
                    nearest=f"size {nearest_sizes(size, fits)}",
                )

    def _make_output(self) -> None:
        shape, mode = self.parent.shape, POOL_MODES[self.mode]
        x = swap_layout(as_float(self.parent.output), shape)
        if self.mfp and not self.build_mode.dense:
            x = fragment_pool(x, self.pool_shape, mode)
        else:
            stride: Any = 1 if self.build_mode.dense else self.stride
            x = E.pool(x, self.pool_shape, stride=stride, dilation=self.dilation, mode=mode)
        self.output = swap_layout(x, shape)

    def _calc_shape(self) -> None:
        parent, fragments = self.parent.shape, self.mfp and not self.build_mode.dense
        windows = [Window(size=p, down=s) for p, s in zip(self.pool_shape, self.stride, strict=True)]
        one = (1,) * parent.ndim
        sizes = fragment_sizes(parent.spatial_shape, one, self.pool_shape) if fragments else None
        shape = window_shape(self, windows, sizes)
        self.shape = fragment_shape(shape, parent, self.pool_shape) if fragments else shape

    def _repr_extra(self) -> str:
        text = f"{self.mode} pool={self.pool_shape}, stride={self.stride}, "
        return text + ("MFP active, " if self.mfp else "")
