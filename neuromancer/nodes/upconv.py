"""Up-convolution: a layer that increases the resolution of its parent."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import GraphError
from neuromancer.graph.geometry import window_shape
from neuromancer.graph.window import Window
from neuromancer.nodes.layout import as_float, flag, per_axis, require_features, require_layout, swap_layout
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.node import Node


class UpConv(NeuralLayer):
    """Transposed convolution with stride equal to the kernel size, so that kernels do not overlap.

    Computes ``out[o, p * i + k] = sum_c w[o, c, k] * x[c, i]`` along every spatial axis (kernels are not flipped), then
    applies normalisation, bias, activation and dropout as :class:`Conv` does.

    Parameters
    ----------
    parent : Node
        Input with axes b,f and one to three spatial axes, or b,z,f,y,x; f must be known.
    n_f : int
        Number of output features; for maxout the number of linear responses, see
        :class:`neuromancer.nodes.activation.ActivationFunction`.
    pool_shape : sequence of int
        Upsampling factor (kernel size and stride) per spatial axis.
    activation_func : str
        Name of the activation function, see :class:`neuromancer.nodes.activation.ActivationFunction`.
    identity_init : bool
        Initialise as nearest-neighbour upsampling: unless given, `w` is 0.1 times the usual random weights with
        ``w[i, i] = 1`` at all kernel positions, and `b` is 0. Given values are not changed.
    batch_normalisation, dropout_rate, gradnet_mode
        See :class:`Conv`.
    name : str
    print_repr : bool
    w : see NeuralLayer, optional
        Kernels, (n_f, n_in, *pool_shape) for every layout.
    b, gamma, mean, std : see NeuralLayer, optional
        As in :class:`Perceptron`.

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        As in :class:`Conv`.
    GraphError
        If the layer is rebuilt in the dense form: upsampling has no sliding-window equivalent.

    Notes
    -----
    Output sizes are ``size * pool``; strides are divided by the pool. The cost is the number of multiply-accumulates:
    each of the ``prod(size * pool)`` output positions uses ``n_f * n_in`` weights, so that the total is
    ``prod(w.shape) * prod(size)`` times the batch size (1 if unknown).

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 3), "b,f,x", print_repr=False)
    >>> up = UpConv(inp, 1, (2,), "lin", print_repr=False)
    >>> up([[[1, 2, 3]]]).tolist()
    [[[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]]]
    """

    def __init__(
        self,
        parent: Node,
        n_f: int,
        pool_shape: Sequence[int],
        activation_func: str = "relu",
        identity_init: bool = True,
        batch_normalisation: bool | str | None = False,
        dropout_rate: float = 0,
        name: str = "upconv",
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
        self.pool_shape = per_axis(pool_shape, "pool_shape", shape, self)
        self.identity_init = flag(identity_init, "identity_init", self)
        w_shape = (self.n_f, self.n_in, *self.pool_shape)
        init = {"spatial_axes": tuple(range(2, len(w_shape)))}
        given = {"w": w, "b": b, "gamma": gamma, "mean": mean, "std": std}
        self._make_params(w_shape, init, prod(self.pool_shape), given)
        if self.identity_init:
            self._start_as_identity(w is None, b is None)

    def _start_as_identity(self, w_is_new: bool, b_is_new: bool) -> None:
        if w_is_new:
            w = 0.1 * self.w.get_value()
            both = np.arange(min(self.n_f, self.n_in))
            w[both, both] = 1
            self.w.set_value(w)
        if b_is_new:
            b = self.b.get_value()
            # Prelu's second column, a slope of 1, stays: it belongs to the identity.
            b[(slice(None), 0) if b.ndim > 1 else slice(None)] = 0
            self.b.set_value(b)

    def _make_output(self) -> None:
        if self.build_mode.dense:
            raise GraphError(
                "an up-convolution cannot be evaluated densely by dilation",
                node=self,
                got=f"pool_shape {self.pool_shape}",
                expected="the plain form, on inputs aligned to the network's period",
            )
        shape = self.parent.shape
        x = swap_layout(as_float(self.parent.output), shape)
        w = self.w.dimshuffle(1, 0, *range(2, 2 + shape.ndim))
        linear = E.conv_transpose(x, w, stride=self.pool_shape)
        self.output = self._respond(linear, 1, arrange=lambda response: swap_layout(response, shape))

    def _calc_shape(self) -> None:
        shape = window_shape(self, [Window(up=p) for p in self.pool_shape])
        self.shape = shape.updateshape("f", self.activation.outputs(self.n_f))

    def _calc_comp_cost(self) -> None:
        shape = self.parent.shape
        self.computational_cost = self._macs((shape["b"] or 1) * prod(s for s in shape.spatial_shape if s is not None))

    def _repr_extra(self) -> str:
        return f"n_f={self.n_f}, {len(self.pool_shape)}d upconv, kernel={self.pool_shape}, {self._repr_options()}"
