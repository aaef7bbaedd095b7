"""Convolutional layer with optional max-pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.graph.demand import Demand
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import Window
from neuromancer.graph.work import Work
from neuromancer.nodes.conv_arguments import (
    Ends,
    check_padding_mode,
    check_reflection,
    checked_groups,
    ints_per_axis,
    pad_symmetrically,
    per_side,
)
from neuromancer.nodes.fragments import (
    fragment_demand,
    fragment_pool,
    fragment_shape,
    fragment_sizes,
    require_fragments,
)
from neuromancer.nodes.layout import (
    as_float,
    axis_name,
    flag,
    nearest_sizes,
    per_axis,
    require_features,
    require_layout,
    swap_layout,
)
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.node import Node
from neuromancer.nodes.perceptron import check_dual_parent, check_shared_dual
from neuromancer.nodes.upconv import UpConv

CONV_MODES = ("valid", "same", "full")


class Conv(NeuralLayer):
    """Convolutional layer over one to three spatial axes: convolution, max-pooling, bias, activation, dropout.

    Parameters
    ----------
    parent : Node
        Input with axes b,f and one to three spatial axes, or b,z,f,y,x; f must be known.
    n_f : int
        Number of output features; for maxout the number of linear responses, see
        :class:`neuromancer.nodes.activation.ActivationFunction`.
    filter_shape : sequence of int
        Kernel size per spatial axis.
    pool_shape : sequence of int, optional
        Max-pooling factor (window and stride) per spatial axis. Default: no pooling.
    conv_mode : {'valid', 'same', 'full'}
        Zero padding at both ends of every axis: 0, ``extent // 2`` (odd extents only), or ``extent - 1`` voxels, where
        the extent of a kernel is ``dilation * (kernel - 1) + 1``. See also `padding`.
    activation_func : str
        Name of the activation function, see :class:`neuromancer.nodes.activation.ActivationFunction`.
    mfp : bool
        Max-fragment pooling: keep all phases of the pooling, as items of the batch. The input must have batch size 1.
    batch_normalisation, gradnet_mode
        See :class:`Perceptron`.
    dropout_rate : float
        Probability of dropping an element (not a whole feature); otherwise as in :class:`Perceptron`.
    name : str
    print_repr : bool
    w : see NeuralLayer, optional
        Kernels, (n_f, n_in / groups, *filter_shape); for layout b,z,f,y,x (n_f, kernel_z, n_in / groups, kernel_y,
        kernel_x).
    b, gamma, mean, std : see NeuralLayer, optional
        As in :class:`Perceptron`.
    invalidate_fov : bool
        Declare the field of view unknown (-1).
    stride : int or sequence of int
        Step of the kernel per spatial axis. Voxels that it leaves over at the far end are ignored.
    dilation : int or sequence of int
        Distance between neighbouring taps of the kernel per spatial axis (à trous).
    groups : int
        Input and output features are split into as many groups, convolved one by one; ``groups=n_in`` convolves every
        feature by itself (depthwise).
    padding : int or sequence, optional
        Voxels added at both ends of every axis, or per axis; an entry may be a pair (before, after). Instead of
        `conv_mode`.
    padding_mode : {'zeros', 'reflect', 'replicate'}
        Values of the padding: 0, mirrored about the outermost voxel, or the outermost voxel.

    Raises
    ------
    ArgumentError
        For an unknown option or a value out of range.
    ShapeError
        For an unsupported layout, a wrong number of entries per axis, a kernel larger than its input, a size that the
        pooling does not divide, a parameter of the wrong shape, or `mfp` with a batch size other than 1.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    This is a true convolution: kernels are flipped along all spatial axes. Output sizes are ``(size + k) // pool``, or
    ``(size + k - pool + 1) // pool`` with `mfp`, where k is ``1 - extent`` for conv_mode 'valid', 0 for 'same' and
    ``extent - 1`` for 'full'; in general ``((size + before + after - extent) // stride + 1) // pool``.

    The cost is the number of multiply-accumulates: ``prod(w.shape)`` times the number of positions before pooling times
    the batch size (1 if unknown).

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((10, 3, 23, 183, 183), "b,f,z,x,y", print_repr=False)
    >>> conv = Conv(inp, 32, (1, 6, 6), (1, 2, 2), print_repr=False)
    >>> conv.shape, conv.shape.fov, conv.shape.strides.tolist()
    ([(10,b), (32,f), (23,z), (89,x), (89,y)], [1, 7, 7], [1, 2, 2])
    """

    def __init__(
        self,
        parent: Node,
        n_f: int,
        filter_shape: Sequence[int],
        pool_shape: Sequence[int] | None = None,
        conv_mode: str = "valid",
        activation_func: str = "relu",
        mfp: bool = False,
        batch_normalisation: bool | str | None = False,
        dropout_rate: float = 0,
        name: str = "conv",
        print_repr: bool = True,
        w: Any = None,
        b: Any = None,
        gamma: Any = None,
        mean: Any = None,
        std: Any = None,
        gradnet_mode: Any = None,
        invalidate_fov: bool = False,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        padding: int | Sequence[Any] | None = None,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_layout(parent, self)
        self._setup(n_f, activation_func, batch_normalisation, dropout_rate, gradnet_mode)
        self.n_in = require_features(parent, self)
        self.filter_shape = per_axis(filter_shape, "filter_shape", shape, self)
        pool = (1,) * shape.ndim if pool_shape is None else pool_shape
        self.pool_shape = per_axis(pool, "pool_shape", shape, self)
        self.stride = ints_per_axis(stride, "stride", shape, self)
        self.filter_dilation = ints_per_axis(dilation, "dilation", shape, self)
        self.groups = checked_groups(self, groups)
        self.conv_mode, self.padding_mode = conv_mode, padding_mode
        self.mfp = flag(mfp, "mfp", self)
        self.invalidate_fov = flag(invalidate_fov, "invalidate_fov", self)
        self._border = check_padding_mode(padding_mode, self)
        self.padding = self._padding(shape, padding)
        self._check_sizes(shape)
        if self.mfp:
            self._check_fragments(shape)
        self._swapped = shape.tag2index("f") == 2
        (fz, *fyx), n_in = self.filter_shape, self.n_in // self.groups
        w_shape = (self.n_f, fz, n_in, *fyx) if self._swapped else (self.n_f, n_in, *self.filter_shape)
        axes = (1, 3, 4) if self._swapped else tuple(range(2, len(w_shape)))
        init = {"pool": self.pool_shape, "spatial_axes": axes}
        given = {"w": w, "b": b, "gamma": gamma, "mean": mean, "std": std}
        self._make_params(w_shape, init, prod(self.filter_shape), given)

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        plain = super().demand(arguments)
        if not arguments.get("mfp"):
            return plain
        return plain + fragment_demand(arguments.get("parent"), arguments.get("pool_shape"))

    # ---- checks
    @property
    def _extents(self) -> tuple[int, ...]:
        """Distance between the first and the last tap of the kernel, plus one, per spatial axis."""
        return tuple(d * (f - 1) + 1 for f, d in zip(self.filter_shape, self.filter_dilation, strict=True))

    def _padding(self, shape: TaggedShape, padding: Any) -> Ends:
        """Voxels added before and after each axis."""
        if self.conv_mode not in CONV_MODES:
            raise ArgumentError(
                "unknown conv_mode",
                node=self,
                got=self.conv_mode,
                expected=f"one of {CONV_MODES}",
                nearest=repr(nearest_name(self.conv_mode, CONV_MODES) or "valid"),
            )
        if padding is not None and self.conv_mode != "valid":
            raise ArgumentError(
                "padding stands for conv_mode",
                node=self,
                got=f"padding={padding} and conv_mode={self.conv_mode!r}",
                expected="one of the two",
                nearest=f"padding={padding}",
            )
        if padding is not None:
            ends = per_side(padding, "padding", shape, self)
        elif self.conv_mode == "same":
            for k, (f, extent) in enumerate(zip(self.filter_shape, self._extents, strict=True)):
                if extent % 2 == 0:
                    raise ArgumentError(
                        "conv_mode 'same' needs odd kernels",
                        node=self,
                        got=f"kernel {f} on axis {axis_name(shape, k)}",
                        nearest=f"{f - 1} or {f + 1}",
                    )
            ends = tuple((extent // 2,) * 2 for extent in self._extents)
        else:
            ends = tuple((e - 1 if self.conv_mode == "full" else 0,) * 2 for e in self._extents)
        if self._border == "reflect":
            check_reflection(ends, shape, self)
        return ends

    def _check_fragments(self, shape: TaggedShape) -> None:
        if set(self.stride) != {1}:
            raise ArgumentError(
                "max-fragment pooling keeps the phases of the pooling, not of a stride",
                node=self,
                got=f"stride {self.stride}",
                expected="stride=1",
            )
        require_fragments(self, shape, self.pool_shape)

    def _check_sizes(self, shape: TaggedShape) -> None:
        for k, size in enumerate(shape.spatial_shape):
            if size is None:
                continue
            f, p, s, e = self.filter_shape[k], self.pool_shape[k], self.stride[k], self._extents[k]
            lost = e - s - sum(self.padding[k]) + (p - 1 if self.mfp else 0)

            def fits(n: int, lost: int = lost, p: int = p, s: int = s) -> bool:
                return n - lost >= s * p and ((n - lost) % (s * p) == 0 or p == 1)

            if fits(size):
                continue
            where = f"size {size} on axis {axis_name(shape, k)} of {self.parent.name!r}"
            if size - lost < s:
                problem, expected = "the kernel is larger than its input", f"at least size {lost + s * p}"
            else:
                problem = "the pooling does not divide the convolved size"
                expected = f"a size of {lost} plus a multiple of {s * p}"
            steps = (f", stride {s}" if s > 1 else "") + (f", dilation {self.filter_dilation[k]}" if e > f else "")
            mode = f"conv_mode {self.conv_mode!r}" if sum(self.padding[k]) == 0 else f"padding {self.padding[k]}"
            raise ShapeError(
                problem + (" (with max-fragment pooling)" if self.mfp else ""),
                node=self,
                got=f"{where}, kernel {f}{steps}, pool {p}, {mode}",
                expected=expected,
                nearest=f"size {nearest_sizes(size, fits)}",
            )

    # ---- hooks
    def _make_output(self) -> None:
        shape, dilation = self.parent.shape, self.dilation
        x = swap_layout(as_float(self.parent.output), shape)
        w = self.w.dimshuffle(0, 2, 1, 3, 4) if self._swapped else self.w
        if prod(self.filter_shape) > 1:
            w = w[(slice(None), slice(None), *(slice(None, None, -1),) * shape.ndim)]
        x, pad = pad_symmetrically(x, self.padding, self._border, dilation)
        taps = tuple(d * own for d, own in zip(dilation, self.filter_dilation, strict=True))
        stride: Any = 1 if self.build_mode.dense else self.stride
        linear = E.conv(x, w, stride=stride, dilation=taps, pad=pad, groups=self.groups)
        if self.mfp and not self.build_mode.dense:
            linear = fragment_pool(linear, self.pool_shape)
        elif prod(self.pool_shape) > 1:
            step: Any = 1 if self.build_mode.dense else self.pool_shape
            apart = tuple(d * s for d, s in zip(dilation, self.stride, strict=True)) if self.build_mode.dense else 1
            linear = E.pool(linear, self.pool_shape, stride=step, dilation=apart)
        self.output = self._respond(linear, 1, arrange=lambda response: swap_layout(response, shape))

    def _calc_shape(self) -> None:
        parent, fragments = self.parent.shape, self.mfp and not self.build_mode.dense
        windows = [
            Window(
                size=e + (p - 1) * s,
                down=p * s,
                before=before,
                after=after,
                leftover="ignored" if s > 1 and p == 1 else "refused",
                border=self._border,
            )
            for e, p, s, (before, after) in zip(self._extents, self.pool_shape, self.stride, self.padding, strict=True)
        ]
        sizes = None
        if fragments:
            effective = [e - sum(pair) for e, pair in zip(self._extents, self.padding, strict=True)]
            sizes = fragment_sizes(parent.spatial_shape, effective, self.pool_shape)
        shape = window_shape(self, windows, sizes).updateshape("f", self.activation.outputs(self.n_f))
        if fragments:
            shape = fragment_shape(shape, parent, self.pool_shape)
        if self.invalidate_fov:
            unknown = [-1] * shape.ndim
            shape = TaggedShape(shape.shape, shape.tags, shape.strides.tolist(), shape.mfp_offsets, unknown)
        self.shape = shape

    def _convolved(self, sizes: Sequence[int | None], dilation: Sequence[int], strides: Sequence[int]) -> list[int]:
        """Sizes of the convolution, before pooling; 1 for unknown ones."""
        return [
            1 if size is None else max(1, (size + d * (sum(pair) - e + 1) - 1) // s + 1)
            for size, d, s, e, pair in zip(sizes, dilation, strides, self._extents, self.padding, strict=True)
        ]

    def _calc_comp_cost(self) -> None:
        shape = self.parent.shape
        positions = prod(self._convolved(shape.spatial_shape, (1,) * shape.ndim, self.stride))
        self.computational_cost = self._macs((shape["b"] or 1) * positions)

    def work(self, before: Sequence[int], after: Sequence[int], images: int, dtype: str) -> Work:
        dilation, dense = self.dilation, self.build_mode.dense
        strides = (1,) * len(before) if dense else self.stride
        out = self._convolved(before, dilation, strides)
        taps = tuple(d * own for d, own in zip(dilation, self.filter_dilation, strict=True))
        windows = zip(out, strides, taps, self.filter_shape, strict=True)
        sizes = [s * (o - 1) + 1 + t * (f - 1) for o, s, t, f in windows]
        kernel = (self.n_f, self.n_in // self.groups, *self.filter_shape)
        products, result = images * prod(out) * prod(kernel), images * prod(out) * self.n_f * np.dtype(dtype).itemsize
        shape = (images, self.n_in, *sizes)
        layer = (shape, kernel, taps, dtype, self.groups, tuple(strides))
        by_engine = self._border == "constant" and all(a == b for a, b in self.padding)
        complete = E.reads_parts(*layer)
        in_parts = self.parent.joins_features and by_engine and complete
        pooled = sum(p > 1 for p in self.pool_shape)
        cost, planar = E.conv_cost(*layer, in_parts), E.is_planar(*layer, in_parts)
        return Work(products, *cost, result, pooled, in_parts, planar, complete)

    def _repr_extra(self) -> str:
        kind = f"{len(self.filter_shape)}d conv, kernel={self.filter_shape}, pool={self.pool_shape}"
        for name, value in (("stride", self.stride), ("dilation", self.filter_dilation)):
            kind += f", {name}={value}" if set(value) != {1} else ""
        kind += f", groups={self.groups}" if self.groups > 1 else ""
        return f"n_f={self.n_f}, {kind}, {self._repr_options()}" + ("MFP active, " if self.mfp else "")

    def make_dual(self, parent: Node, share_w: bool = False, mfp: bool = False, **kwargs: Any) -> UpConv:
        """Create the dual of this layer: an up-convolution by its stride and pooling factors back to `n_in` features.

        Parameters
        ----------
        parent : Node
            Input of the dual, with as many features as this layer's output.
        share_w : bool
            Share this layer's kernels, with input and output features swapped and flipped back, so that the
            up-convolution is the adjoint of this layer's convolution at every pool-th position. `filter_shape` must be
            `stride` times `pool_shape`, without dilation and groups.
        mfp : bool
            Must be False: an up-convolution has no fragments.
        **kwargs
            Further arguments of :class:`UpConv`; `name` defaults to ``<name>.T``.

        Returns
        -------
        UpConv

        Raises
        ------
        ArgumentError
            If `mfp` is true, or the weights cannot be shared.
        ShapeError
            If the parent has the wrong number of features.

        Examples
        --------
        >>> from neuromancer import Input
        >>> inp = Input((1, 2, 8, 8), "b,f,y,x", print_repr=False)
        >>> conv = Conv(inp, 5, (3, 3), (2, 2), print_repr=False)
        >>> conv.make_dual(conv, print_repr=False).shape
        [(1,b), (2,f), (6,y), (6,x)]
        """
        if mfp:
            raise ArgumentError("an up-convolution has no fragments", node=self, got="mfp=True", expected="mfp=False")
        check_dual_parent(self, parent)
        factors = tuple(p * s for p, s in zip(self.pool_shape, self.stride, strict=True))
        if share_w:
            check_shared_dual(self, kwargs)
            if self.filter_shape != factors or self.groups > 1 or set(self.filter_dilation) != {1}:
                raise ArgumentError(
                    "weights can only be shared if kernel and pool have the same size",
                    node=self,
                    got=f"filter_shape {self.filter_shape}, pool_shape {self.pool_shape}, stride {self.stride}, "
                    f"dilation {self.filter_dilation}, groups {self.groups}",
                    expected=f"filter_shape {factors}, without dilation and groups",
                )
            n = len(self.filter_shape)
            w = self.w.dimshuffle(2, 0, 1, 3, 4) if self._swapped else self.w.dimshuffle(1, 0, *range(2, n + 2))
            kwargs["w"] = w[(slice(None), slice(None), *(slice(None, None, -1),) * n)]
        kwargs.setdefault("name", f"{self.name}.T")
        return UpConv(parent, self.n_in, factors, **kwargs)
