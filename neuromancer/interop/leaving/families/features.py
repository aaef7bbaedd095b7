"""Fully connected layers, and nodes that select, repeat or reshape."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.interop.leaving.families.convolutions import respond
from neuromancer.interop.leaving.layout import like_weights
from neuromancer.interop.leaving.registry import Unsupported, leaves
from neuromancer.interop.leaving.target import Convolution, Target
from neuromancer.interop.leaving.weights import Weight, weight
from neuromancer.nodes.apply import FromTensor
from neuromancer.nodes.perceptron import Perceptron
from neuromancer.nodes.repeat import Repeat
from neuromancer.nodes.reshape import Reshape


@leaves(Perceptron)
def _perceptron(t: Target, node: Perceptron, x: Any) -> Any:
    w = weight(node, "w")
    x = like_weights(t, x, node.parent, w)
    ndim = 2 if node.flatten else len(node.parent.shape)
    if node.flatten:
        x = t.reshape(x, [t.size(x, 0), node.n_in])

    def linear(b: Weight | None) -> Any:
        return dense(t, x, w, b, node.axis, ndim)

    return respond(t, node, linear, node.axis, ndim, gate_per_feature=True)


def dense(t: Target, x: Any, w: Weight, b: Weight | None, axis: int, ndim: int) -> Any:
    """Multiply an axis by w, (n_in, n_out); on images by a convolution with kernels of one voxel."""
    if axis == ndim - 1:
        return t.linear(x, w, b)
    if axis == 1 and ndim <= 5:
        ones, none = (1,) * (ndim - 2), ((0, 0),) * (ndim - 2)
        return t.conv(x, Convolution(w.transposed(1, 0, *["x"] * (ndim - 2)), b, ones, ones, none))
    order = [*(k for k in range(ndim) if k != axis), axis]
    return t.permute(t.linear(t.permute(x, order), w, b), np.argsort(order).tolist())


@leaves(Repeat)
def _repeat(t: Target, node: Repeat, x: Any) -> Any:
    features = np.arange(node.parent.shape["f"])
    indices = np.repeat(features, node.n) if node.interleave else np.tile(features, node.n)
    return t.take(x, node.parent.shape.tag2index("f"), indices)


@leaves(Reshape)
def _reshape(t: Target, node: Reshape, x: Any) -> Any:
    return t.reshape(x, [t.size(x, int(s)) if isinstance(s, str) else s for s in node.runtime_sizes])


@leaves(FromTensor)
def _part(t: Target, node: FromTensor, x: Any) -> Any:
    if node.taken is None:
        raise Unsupported("it is an expression of the user's")
    axis, chosen = node.taken
    if isinstance(chosen, int):
        return t.squeeze(t.cut(x, {axis: (chosen, chosen + 1)}), [axis])
    return t.cut(x, {axis: (chosen.start, chosen.stop)})
