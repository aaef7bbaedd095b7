"""Convolutional layer with optional max-pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
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
from neuromancer.nodes.layout import (
    as_float,
    axis_name,
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
        :class:`neuromancer.nodes.activation.Activation`.
    filter_shape : sequence of int
        Kernel size per spatial axis.
    pool_shape : sequence of int, optional
        Max-pooling factor (window and stride) per spatial axis. Default: no pooling.
    conv_mode : {'valid', 'same', 'full'}
        Zero padding at both ends of every axis: 0, ``kernel // 2`` (odd kernels only), or ``kernel - 1`` voxels.
    activation_func : str
        Name of the activation function, see :class:`neuromancer.nodes.activation.Activation`.
    mfp : bool
        Max-fragment pooling: keep all phases of the pooling, as items of the batch. The input must have batch size 1.
    batch_normalisation, gradnet_mode
        See :class:`Perceptron`.
    dropout_rate : float
        Probability of dropping an element (not a whole feature); otherwise as in :class:`Perceptron`.
    name : str
    print_repr : bool
    w : see NeuralLayer, optional
        Kernels, (n_f, n_in, *filter_shape); for layout b,z,f,y,x (n_f, kernel_z, n_in, kernel_y, kernel_x).
    b, gamma, mean, std : see NeuralLayer, optional
        As in :class:`Perceptron`.
    invalidate_fov : bool
        Declare the field of view unknown (-1).

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
    ``(size + k - pool + 1) // pool`` with `mfp`, where k is ``1 - kernel`` for conv_mode 'valid', 0 for 'same' and
    ``kernel - 1`` for 'full'.

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
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_layout(parent, self)
        self._setup(n_f, activation_func, batch_normalisation, dropout_rate, gradnet_mode)
        self.n_in = require_features(parent, self)
        self.filter_shape = per_axis(filter_shape, "filter_shape", shape, self)
        pool = (1,) * shape.ndim if pool_shape is None else pool_shape
        self.pool_shape = per_axis(pool, "pool_shape", shape, self)
        self.conv_mode = conv_mode
        self.mfp = bool(mfp)
        self.invalidate_fov = bool(invalidate_fov)
        self._pad = self._padding(shape)
        self._check_sizes(shape)
        if self.mfp:
            require_fragments(self, shape, self.pool_shape)
        self._swapped = shape.tag2index("f") == 2
        fz, *fyx = self.filter_shape
        w_shape = (self.n_f, fz, self.n_in, *fyx) if self._swapped else (self.n_f, self.n_in, *self.filter_shape)
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
    def _padding(self, shape: TaggedShape) -> tuple[int, ...]:
        """Zero padding at both ends, per spatial axis."""
        if self.conv_mode not in CONV_MODES:
            raise ArgumentError(
                "unknown conv_mode",
                node=self,
                got=self.conv_mode,
                expected=f"one of {CONV_MODES}",
                nearest=repr(nearest_name(self.conv_mode, CONV_MODES) or "valid"),
            )
        if self.conv_mode == "same":
            for k, f in enumerate(self.filter_shape):
                if f % 2 == 0:
                    raise ArgumentError(
                        "conv_mode 'same' needs odd kernels",
                        node=self,
                        got=f"kernel {f} on axis {axis_name(shape, k)}",
                        nearest=f"{f - 1} or {f + 1}",
                    )
            return tuple(f // 2 for f in self.filter_shape)
        return tuple(f - 1 if self.conv_mode == "full" else 0 for f in self.filter_shape)

    def _check_sizes(self, shape: TaggedShape) -> None:
        for k, size in enumerate(shape.spatial_shape):
            if size is None:
                continue
            f, p = self.filter_shape[k], self.pool_shape[k]
            lost = f - 1 - 2 * self._pad[k] + (p - 1 if self.mfp else 0)

            def fits(n: int, lost: int = lost, p: int = p) -> bool:
                return n - lost >= p and (n - lost) % p == 0

            if fits(size):
                continue
            where = f"size {size} on axis {axis_name(shape, k)} of {self.parent.name!r}"
            if size - lost < 1:
                problem, expected = "the kernel is larger than its input", f"at least size {lost + p}"
            else:
                problem = "the pooling does not divide the convolved size"
                expected = f"a size of {lost} plus a multiple of {p}"
            raise ShapeError(
                problem + (" (with max-fragment pooling)" if self.mfp else ""),
                node=self,
                got=f"{where}, kernel {f}, pool {p}, conv_mode {self.conv_mode!r}",
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
        pad = tuple(p * d for p, d in zip(self._pad, dilation, strict=True))
        linear = E.conv(x, w, dilation=dilation, pad=pad)
        if self.mfp and not self.build_mode.dense:
            linear = fragment_pool(linear, self.pool_shape)
        elif prod(self.pool_shape) > 1:
            stride = 1 if self.build_mode.dense else self.pool_shape
            linear = E.pool(linear, self.pool_shape, stride=stride, dilation=dilation)
        self.output = swap_layout(self._respond(linear, 1), shape)

    def _calc_shape(self) -> None:
        parent, fragments = self.parent.shape, self.mfp and not self.build_mode.dense
        windows = [
            Window(size=f + p - 1, down=p, before=pad, after=pad)
            for f, p, pad in zip(self.filter_shape, self.pool_shape, self._pad, strict=True)
        ]
        sizes = None
        if fragments:
            effective = [f - 2 * pad for f, pad in zip(self.filter_shape, self._pad, strict=True)]
            sizes = fragment_sizes(parent.spatial_shape, effective, self.pool_shape)
        shape = window_shape(self, windows, sizes).updateshape("f", self.activation.outputs(self.n_f))
        if fragments:
            shape = fragment_shape(shape, parent, self.pool_shape)
        if self.invalidate_fov:
            unknown = [-1] * shape.ndim
            shape = TaggedShape(shape.shape, shape.tags, shape.strides.tolist(), shape.mfp_offsets, unknown)
        self.shape = shape

    def _calc_comp_cost(self) -> None:
        shape = self.parent.shape
        positions = shape["b"] or 1
        for size, f, pad in zip(shape.spatial_shape, self.filter_shape, self._pad, strict=True):
            positions *= 1 if size is None else size + 2 * pad - f + 1
        self.computational_cost = self._macs(positions)

    def _repr_extra(self) -> str:
        kind = f"{len(self.filter_shape)}d conv, kernel={self.filter_shape}, pool={self.pool_shape}"
        return f"n_f={self.n_f}, {kind}, {self._repr_options()}" + ("MFP active, " if self.mfp else "")

    def make_dual(self, parent: Node, share_w: bool = False, mfp: bool = False, **kwargs: Any) -> UpConv:
        """Create the dual of this layer: an up-convolution by the pooling factors back to `n_in` features.

        Parameters
        ----------
        parent : Node
            Input of the dual, with as many features as this layer's output.
        share_w : bool
            Share this layer's kernels, with input and output features swapped and flipped back, so that the
            up-convolution is the adjoint of this layer's convolution at every pool-th position. `filter_shape` and
            `pool_shape` must be equal.
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
        if share_w:
            check_shared_dual(self, kwargs)
            if self.filter_shape != self.pool_shape:
                raise ArgumentError(
                    "weights can only be shared if kernel and pool have the same size",
                    node=self,
                    got=f"filter_shape {self.filter_shape}, pool_shape {self.pool_shape}",
                )
            n = len(self.filter_shape)
            w = self.w.dimshuffle(2, 0, 1, 3, 4) if self._swapped else self.w.dimshuffle(1, 0, *range(2, n + 2))
            kwargs["w"] = w[(slice(None), slice(None), *(slice(None, None, -1),) * n)]
        kwargs.setdefault("name", f"{self.name}.T")
        return UpConv(parent, self.n_in, self.pool_shape, **kwargs)
