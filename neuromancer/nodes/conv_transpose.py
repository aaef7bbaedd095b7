"""Transposed convolution with any kernel, stride and padding."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.graph.window import FineWindow, Window
from neuromancer.graph.work import Work
from neuromancer.nodes.conv_arguments import checked_groups, ints_per_axis, per_side
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


class ConvTranspose(NeuralLayer):
    """Transposed convolution, whose kernels may overlap: the adjoint of a convolution with stride.

    Every voxel of the parent adds its kernel, weighted by its value, to the output: ``out[o, s i + d k - before] +=
    w[o, c, k] x[c, i]`` along every spatial axis (kernels are not flipped), with stride s and dilation d. Then
    normalisation, bias, activation and dropout follow as in :class:`Conv`. See :class:`UpConv` for kernels that do not
    overlap.

    Parameters
    ----------
    parent : Node
        Input with axes b,f and one to three spatial axes, or b,z,f,y,x; f must be known.
    n_f : int
        Number of output features.
    filter_shape : sequence of int
        Kernel size per spatial axis.
    stride : int or sequence of int
        Upsampling factor per spatial axis.
    padding : int or sequence
        Voxels removed from both ends of the output, or per axis; an entry may be a pair (before, after).
    output_padding : int or sequence of int
        Voxels added at the far end of the output per spatial axis, below the stride.
    dilation : int or sequence of int
        Distance between neighbouring taps of the kernel per spatial axis.
    groups : int
        Input and output features are split into as many groups, each with kernels of its own.
    activation_func : str
        Name of the activation function, see :class:`neuromancer.nodes.activation.ActivationFunction`.
    batch_normalisation, dropout_rate, gradnet_mode
        See :class:`Conv`.
    name : str
    print_repr : bool
    w : see NeuralLayer, optional
        Kernels, (n_f / groups, n_in, *filter_shape) for every layout; feature c of a group belongs to group
        ``c // (n_in / groups)``.
    b, gamma, mean, std : see NeuralLayer, optional
        As in :class:`Perceptron`.

    Raises
    ------
    ArgumentError
        For an unknown option or a value out of range.
    ShapeError
        For an unsupported layout, a wrong number of entries per axis, an output without voxels, or a parameter of the
        wrong shape.
    InputTypeError
        If the parent is not a node with a tensor output.

    Notes
    -----
    Output sizes are ``(size - 1) * stride + dilation * (kernel - 1) + 1 - before - after + output_padding``; strides in
    raw voxels are divided by `stride`. The cost is the number of multiply-accumulates, ``prod(w.shape) * prod(size)``
    times the batch size (1 if unknown).

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 4, 8, 8), "b,f,y,x", print_repr=False)
    >>> up = ConvTranspose(inp, 2, (3, 3), stride=2, padding=1, output_padding=1, print_repr=False)
    >>> up.shape, up.shape.strides.tolist()
    ([(1,b), (2,f), (16,y), (16,x)], [0.5, 0.5])
    """

    def __init__(
        self,
        parent: Node,
        n_f: int,
        filter_shape: Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[Any] = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        activation_func: str = "relu",
        batch_normalisation: bool | str | None = False,
        dropout_rate: float = 0,
        name: str = "convtranspose",
        print_repr: bool = True,
        w: Any = None,
        b: Any = None,
        gamma: Any = None,
        mean: Any = None,
        std: Any = None,
        gradnet_mode: Any = None,
    ) -> None:
        super().__init__(parent, name, print_repr)
        shape = require_layout(parent, self)
        self._setup(n_f, activation_func, batch_normalisation, dropout_rate, gradnet_mode)
        self.n_in = require_features(parent, self)
        self.filter_shape = per_axis(filter_shape, "filter_shape", shape, self)
        self.stride = ints_per_axis(stride, "stride", shape, self)
        self.padding = per_side(padding, "padding", shape, self)
        self.output_padding = ints_per_axis(output_padding, "output_padding", shape, self, least=0)
        self.filter_dilation = ints_per_axis(dilation, "dilation", shape, self)
        self.groups = checked_groups(self, groups)
        self._check_output_padding(shape)
        self._check_sizes(shape)
        w_shape = (self.n_f // self.groups, self.n_in, *self.filter_shape)
        init = {"spatial_axes": tuple(range(2, len(w_shape)))}
        given = {"w": w, "b": b, "gamma": gamma, "mean": mean, "std": std}
        self._make_params(w_shape, init, prod(self.filter_shape), given)

    # ---- checks
    def _check_output_padding(self, shape: TaggedShape) -> None:
        for k, (extra, step) in enumerate(zip(self.output_padding, self.stride, strict=True)):
            if extra >= step and extra:
                raise ArgumentError(
                    "the output padding must be smaller than the stride",
                    node=self,
                    got=f"output_padding {extra}, stride {step} on axis {axis_name(shape, k)}",
                    expected=f"an int below {step}",
                    nearest=f"{step - 1}",
                )

    def _check_sizes(self, shape: TaggedShape) -> None:
        for k, (size, window) in enumerate(zip(shape.spatial_shape, self._windows, strict=True)):
            out = window.output_size(size)

            def fits(n: int, window: Window = window) -> bool:
                return (window.output_size(n) or 0) > 0

            if size is not None and out is not None and out < 1:
                raise ShapeError(
                    "the padding leaves nothing of the output",
                    node=self,
                    got=f"size {size} on axis {axis_name(shape, k)} of {self.parent.name!r}, padding {self.padding[k]}",
                    expected=f"padding of less than {sum(self.padding[k]) + out} voxels at both ends together",
                    nearest=f"size {nearest_sizes(size, fits)}",
                )

    # ---- hooks
    @property
    def _windows(self) -> list[Window]:
        windows: list[Window] = []
        for f, s, d, (before, after), extra in zip(
            self.filter_shape, self.stride, self.filter_dilation, self.padding, self.output_padding, strict=True
        ):
            extent = d * (f - 1) + 1
            if s == 1:
                windows.append(Window(size=extent, before=extent - 1 - before, after=extent - 1 - after))
            else:
                growth = extent - s - before - after + extra
                windows.append(FineWindow(up=s, first=extent - s - before, last=before, growth=growth))
        return windows

    def _make_output(self) -> None:
        shape, dilation = self.parent.shape, self.dilation
        x = swap_layout(as_float(self.parent.output), shape)
        w = self.w.dimshuffle(1, 0, *range(2, 2 + shape.ndim))
        taps = tuple(d * own for d, own in zip(dilation, self.filter_dilation, strict=True))
        ends = [(a * d, b * d) for (a, b), d in zip(self.padding, dilation, strict=True)]
        options: dict[str, Any] = {"stride": self.stride, "dilation": taps, "groups": self.groups}
        if all(a == b for a, b in ends):
            pad = tuple(a for a, _ in ends)
            linear = E.conv_transpose(x, w, pad=pad, output_padding=self.output_padding, **options)
        else:
            # The larger padding of both ends at once, less what the far end keeps.
            whole = E.conv_transpose(x, w, output_padding=self.output_padding, **options)
            linear = whole[(slice(None), slice(None), *(slice(a, -b or None) for a, b in ends))]
        self.output = self._respond(linear, 1, arrange=lambda response: swap_layout(response, shape))

    def _calc_shape(self) -> None:
        shape = window_shape(self, self._windows)
        self.shape = shape.updateshape("f", self.activation.outputs(self.n_f))

    def _calc_comp_cost(self) -> None:
        shape = self.parent.shape
        self.computational_cost = self._macs((shape["b"] or 1) * prod(s for s in shape.spatial_shape if s is not None))

    def work(self, before: Sequence[int], after: Sequence[int], images: int, dtype: str) -> Work:
        products = float(images * prod(before) * prod(self.w_shape))
        seconds = products * E.unit_costs(dtype).transposed
        return Work(products, seconds, inside=images * prod(after) * self.n_f * np.dtype(dtype).itemsize)

    def _repr_extra(self) -> str:
        kind = f"{len(self.filter_shape)}d transposed conv, kernel={self.filter_shape}, stride={self.stride}"
        return f"n_f={self.n_f}, {kind}, {self._repr_options()}"
