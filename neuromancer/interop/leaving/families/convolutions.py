"""Convolutions and transposed convolutions, with all that belongs to these layers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from neuromancer.interop.leaving.families.activations import activate
from neuromancer.interop.leaving.families.fragments import fragment_pool
from neuromancer.interop.leaving.layout import like_weights, swap, swapped
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Convolution, Pooling, ResponseNorm, Target
from neuromancer.interop.leaving.weights import Weight, maybe, weight
from neuromancer.nodes.conv import Conv
from neuromancer.nodes.conv_arguments import PADDING_MODES
from neuromancer.nodes.conv_transpose import ConvTranspose
from neuromancer.nodes.neural_layer import NeuralLayer
from neuromancer.nodes.upconv import UpConv


def respond(
    t: Target,
    node: NeuralLayer,
    linear: Callable[[Weight | None], Any],
    axis: int,
    ndim: int,
    gate_per_feature: bool = False,
) -> Any:
    """Emit a layer: linear responses, normalisation, bias, activation, dropout.

    Parameters
    ----------
    t : Target
    node : NeuralLayer
    linear : callable
        Emits the linear responses with a bias, or without.
    axis, ndim : int
        Axis of the features, and number of axes.
    gate_per_feature : bool
        Whether dropout drops whole features.
    """
    b, slope = weight(node, "b"), maybe(node, "slope")
    if node.activation.columns > 1:
        whole = (None, None)
        b, slope = b.part(whole, 0), b.part(whole, 1).named(f"{node.name}_slope")
    if node.batch_normalisation:
        fading = node.batch_normalisation == "fadeout"
        rate = float(node.gradnet_rate.get_value()) if fading else 1.0
        gamma, mean, std = (weight(node, key) for key in ("gamma", "mean", "std"))
        norm = ResponseNorm(gamma, mean, std, b, str(node.batch_normalisation), rate)
        x = t.response_norm(linear(None), axis, ndim, norm)
    else:
        x = linear(None if not b.trained and not b.array.any() else b)
    x = activate(t, node.activation, x, axis, ndim, node.activation.outputs(node.n_f), slope)
    if node.dropout_rate is not None:
        x = t.dropout(x, float(node.dropout_rate.get_value()), axis if gate_per_feature else None)
    return x


@leaves(Conv)
def _conv(t: Target, node: Conv, x: Any) -> Any:
    shape = node.parent.shape
    w = weight(node, "w")
    x = swap(t, like_weights(t, x, node.parent, w), shape)
    if swapped(shape):
        w = w.transposed(0, 2, 1, 3, 4)
    # A convolution is a correlation with flipped kernels.
    w = w.flipped(range(2, 2 + shape.ndim))

    def linear(b: Weight | None) -> Any:
        border = PADDING_MODES[node.padding_mode]
        y = t.conv(x, Convolution(w, b, node.stride, node.filter_dilation, node.padding, border, node.groups))
        if prod(node.pool_shape) == 1:
            return y
        # The bias is the same for all voxels of a window, so it may be added before their maximum is taken.
        if node.mfp:
            return fragment_pool(t, y, node.pool_shape, "max")
        ones, none = (1,) * shape.ndim, ((0, 0),) * shape.ndim
        return t.max_pool(y, Pooling(node.pool_shape, node.pool_shape, ones, none, (0,) * shape.ndim))

    return swap(t, respond(t, node, linear, 1, len(shape)), shape)


@leaves(UpConv)
def _upconv(t: Target, node: UpConv, x: Any) -> Any:
    none = ((0, 0),) * node.parent.shape.ndim
    return _transposed(t, node, x, node.pool_shape, none, (0,) * len(none), (1,) * len(none), 1)


@leaves(ConvTranspose)
def _conv_transpose(t: Target, node: ConvTranspose, x: Any) -> Any:
    return _transposed(t, node, x, node.stride, node.padding, node.output_padding, node.filter_dilation, node.groups)


def _transposed(t: Target, node: Any, x: Any, stride: Any, ends: Any, extra: Any, dilation: Any, groups: int) -> Any:
    shape = node.parent.shape
    w = weight(node, "w").transposed(1, 0, *range(2, 2 + shape.ndim))
    x = swap(t, like_weights(t, x, node.parent, w), shape)

    def linear(b: Weight | None) -> Any:
        return t.conv_transpose(x, Convolution(w, b, stride, dilation, ends, "constant", groups, extra))

    return swap(t, respond(t, node, linear, 1, len(shape)), shape)
