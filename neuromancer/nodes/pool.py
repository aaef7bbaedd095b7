"""Pooling over windows of voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.graph.demand import Demand
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import Window
from neuromancer.nodes.conv_arguments import extended, ints_per_axis, per_side
from neuromancer.nodes.fragments import (
    fragment_demand,
    fragment_pool,
    fragment_shape,
    fragment_sizes,
    require_fragments,
)
from neuromancer.nodes.layout import as_float, axis_name, flag, nearest_sizes, per_axis, require_layout, swap_layout
from neuromancer.nodes.node import Node

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
        equal `pool_shape`, without padding and dilation.
    mode : {'max', 'average', 'average_inc_pad', 'average_exc_pad', 'sum'}
        Reduction. 'average' and 'average_inc_pad' count the voxels of the padding, 'average_exc_pad' does not.
    name : str
    print_repr : bool
    padding : int or sequence
        Voxels added at both ends of every axis, or per axis; an entry may be a pair (before, after). They are never the
        maximum, and 0 in averages and sums. Smaller than the window.
    dilation : int or sequence of int
        Distance between neighbouring voxels of a window per spatial axis.
    ceil_mode : bool, optional
        What happens with voxels at the far end that the last full window does not reach: ignore them (False), or add a
        window that reaches beyond the end (True). Default: refuse such sizes.
    count_include_pad : bool, optional
        Whether averages count the voxels of the padding. Default: as `mode` says.

    Raises
    ------
    ArgumentError
        For an unknown mode, an entry that is not a positive integer, padding as large as the window, or `mfp` with a
        stride other than `pool_shape`, padding or dilation.
    ShapeError
        For an unsupported layout, a wrong number of entries, a size that the windows do not cover exactly (unless
        `ceil_mode` is given), or `mfp` with a batch size other than 1.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    Output sizes are ``(size + before + after - extent) / stride + 1``, where the extent of a window is
    ``dilation * (pool - 1) + 1``; or ``(size - pool + 1) / pool`` with `mfp`. With ``ceil_mode=True``, no window starts
    beyond the end of the image, and its voxels beyond the padding are not counted. The cost is the number of elements
    of the parent.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 4), "b,f,x", print_repr=False)
    >>> Pool(inp, (2,), print_repr=False)([[[1, 2, 4, 3]]]).tolist()
    [[[2.0, 4.0]]]
    >>> Pool(inp, (3,), (2,), padding=1, ceil_mode=False, print_repr=False)([[[1, 2, 4, 3]]]).tolist()
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
        padding: int | Sequence[Any] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool | None = None,
        count_include_pad: bool | None = None,
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
        self.padding = per_side(padding, "padding", shape, self)
        self.window_dilation = ints_per_axis(dilation, "dilation", shape, self)
        self.ceil_mode = ceil_mode
        self.mfp = flag(mfp, "mfp", self)
        self._check_padding(shape)
        self.count_include_pad = self._counted(count_include_pad)
        if self.mfp:
            self._check_fragments(shape)
        self._check_sizes(shape)

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        plain = super().demand(arguments)
        if not arguments.get("mfp"):
            return plain
        return plain + fragment_demand(arguments.get("parent"), arguments.get("pool_shape"))

    @property
    def _extents(self) -> tuple[int, ...]:
        """Distance between the first and the last voxel of a window, plus one, per spatial axis."""
        return tuple(d * (p - 1) + 1 for p, d in zip(self.pool_shape, self.window_dilation, strict=True))

    @property
    def _windows(self) -> list[Window]:
        leftover = {None: "refused", False: "ignored", True: "covered"}[self.ceil_mode]
        ignored = self.mode == "max" or (self.mode.startswith("average") and not self.count_include_pad)
        border = "empty" if ignored else "constant"
        return [
            Window(size=e, down=s, before=a, after=b, leftover=leftover if s > 1 else "refused", border=border)
            for e, s, (a, b) in zip(self._extents, self.stride, self.padding, strict=True)
        ]

    # ---- checks
    def _check_padding(self, shape: TaggedShape) -> None:
        if self.ceil_mode is not None and not isinstance(self.ceil_mode, bool):
            raise ArgumentError("ceil_mode must be a bool or None", node=self, got=self.ceil_mode)
        for k, (extent, pair) in enumerate(zip(self._extents, self.padding, strict=True)):
            if max(pair) >= extent:
                raise ArgumentError(
                    "the padding must be smaller than the window",
                    node=self,
                    got=f"padding {pair} on axis {axis_name(shape, k)}, window of {extent} voxels",
                    nearest=f"padding {tuple(min(n, extent - 1) for n in pair)}",
                )

    def _counted(self, count_include_pad: bool | None) -> bool:
        by_mode = self.mode != "average_exc_pad"
        if count_include_pad is None or not self.mode.startswith("average"):
            return by_mode
        included = flag(count_include_pad, "count_include_pad", self)
        if self.mode != "average" and included != by_mode:
            raise ArgumentError(
                "mode and count_include_pad disagree",
                node=self,
                got=f"mode={self.mode!r}, count_include_pad={count_include_pad}",
                expected="mode='average', or one of the two",
            )
        return included

    def _check_fragments(self, shape: TaggedShape) -> None:
        plain = set(self.window_dilation) == {1} and not any(map(any, self.padding))
        if self.stride != self.pool_shape or not plain:
            raise ArgumentError(
                "max-fragment pooling needs a stride equal to pool_shape",
                node=self,
                got=f"stride {self.stride}" + ("" if plain else ", with padding or dilation"),
                expected="stride=None" + ("" if plain else ", padding=0 and dilation=1"),
                nearest=self.pool_shape,
            )
        require_fragments(self, shape, self.pool_shape)

    def _check_sizes(self, shape: TaggedShape) -> None:
        for k, (size, window) in enumerate(zip(shape.spatial_shape, self._windows, strict=True)):
            if size is None:
                continue
            p, step = self.pool_shape[k], self.stride[k]

            def fits(n: int, p: int = p, step: int = step, window: Window = window) -> bool:
                if self.mfp:
                    return n >= 2 * p - 1 and (n - 2 * p + 1) % step == 0
                return (window.output_size(n) or 0) > 0 and not window.remainder(n)

            if not fits(size):
                least = 2 * p - 1 if self.mfp else window.size - window.before - window.after
                raise ShapeError(
                    "the windows do not cover the input exactly" + (" (with max-fragment pooling)" if self.mfp else ""),
                    node=self,
                    got=f"size {size} on axis {axis_name(shape, k)} of {self.parent.name!r}, pool {p}, stride {step}"
                    + (f", padding {self.padding[k]}" if any(self.padding[k]) else ""),
                    expected=f"at least size {least}"
                    if self.ceil_mode is not None
                    else f"size {least} plus a multiple of {step}",
                    nearest=f"size {nearest_sizes(size, fits)}",
                )

    # ---- hooks
    def _make_output(self) -> None:
        shape, mode = self.parent.shape, POOL_MODES[self.mode]
        x = swap_layout(as_float(self.parent.output), shape)
        if self.mfp and not self.build_mode.dense:
            x = fragment_pool(x, self.pool_shape, mode)
        elif mode == "average" and self._is_counted:
            x = self._pooled(x, "sum") / self._counts(x)
        else:
            x = self._pooled(x, mode)
        self.output = swap_layout(x, shape)

    @property
    def _is_counted(self) -> bool:
        """Whether windows differ in the number of voxels over which they average."""
        beyond = any(w.slack for w in self._windows)
        return beyond or (any(map(any, self.padding)) and not self.count_include_pad)

    def _pooled(self, x: Any, mode: str, ends: Sequence[tuple[int, int]] | None = None) -> Any:
        """Pool x, padded by `ends`, by default by all that windows reach beyond the image."""
        dilation = self.dilation
        ends = [(w.before, w.after + w.slack) for w in self._windows] if ends is None else ends
        x = extended(x, tuple(ends), "constant", dilation, -inf if mode == "max" else 0.0)
        taps = tuple(d * own for d, own in zip(dilation, self.window_dilation, strict=True))
        stride: Any = 1 if self.build_mode.dense else self.stride
        return E.pool(x, self.pool_shape, stride=stride, dilation=taps, mode=mode)

    def _counts(self, x: Any) -> Any:
        """Number of voxels over which each window averages."""
        ones = E.T.alloc(np.ones((), x.dtype), 1, 1, *(x.shape[i] for i in range(2, x.ndim)))
        if not self.count_include_pad:
            return self._pooled(ones, "sum")
        inside = extended(ones, self.padding, "constant", self.dilation, 1.0)
        return self._pooled(inside, "sum", [(0, w.slack) for w in self._windows])

    def _calc_shape(self) -> None:
        parent, fragments = self.parent.shape, self.mfp and not self.build_mode.dense
        one = (1,) * parent.ndim
        sizes = fragment_sizes(parent.spatial_shape, one, self.pool_shape) if fragments else None
        shape = window_shape(self, self._windows, sizes)
        self.shape = fragment_shape(shape, parent, self.pool_shape) if fragments else shape

    def _repr_extra(self) -> str:
        text = f"{self.mode} pool={self.pool_shape}, stride={self.stride}, "
        return text + ("MFP active, " if self.mfp else "")
