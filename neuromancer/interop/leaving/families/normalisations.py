"""Normalisations as nodes of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.interop.leaving.layout import Image, as_float
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Standardisation, Target
from neuromancer.interop.leaving.weights import maybe
from neuromancer.nodes.group_norm import GroupNorm, LayerNorm
from neuromancer.nodes.normalisation import BatchNorm, InstanceNorm


def _options(node: Any) -> Standardisation:
    gamma, beta, mean, var = (maybe(node, key) for key in ("gamma", "beta", "mean", "var"))
    frozen = any(getattr(getattr(node, key, None), "constant", False) for key in ("mean", "var"))
    return Standardisation(node.eps, gamma, beta, mean, var, getattr(node, "momentum", 0.0), frozen)


@leaves(BatchNorm)
def batch_norm(t: Target, node: BatchNorm, x: Any) -> Any:
    shape = node.parent.shape
    axis, ndim, x = shape.tag2index("f"), len(shape), as_float(t, x, node.parent)
    order = [*(k for k in range(ndim) if k != axis)]
    order.insert(1, axis)
    if ndim == 1:
        return t.squeeze(t.batch_norm(t.unsqueeze(x, [0]), 2, _options(node)), [0])
    moved = x if axis == 1 else t.permute(x, order)
    if ndim <= 5:
        y = t.batch_norm(moved, ndim, _options(node))
    else:
        sizes = [t.size(moved, k) for k in range(ndim)]
        y = t.reshape(t.batch_norm(t.reshape(moved, [sizes[0], shape["f"], -1]), 3, _options(node)), sizes)
    return y if axis == 1 else t.permute(y, np.argsort(order).tolist())


@leaves(InstanceNorm)
def instance_norm(t: Target, node: InstanceNorm, x: Any) -> Any:
    image = Image(t, as_float(t, x, node.parent), node.parent.shape)
    return image.back(t.instance_norm(image.value, image.ndim, _options(node)), node.parent.shape["f"])


@leaves(GroupNorm)
def group_norm(t: Target, node: GroupNorm, x: Any) -> Any:
    image, n_f = Image(t, as_float(t, x, node.parent), node.parent.shape), node.parent.shape["f"]
    return image.back(t.group_norm(image.value, image.ndim, node.n_groups, n_f, _options(node)), n_f)


@leaves(LayerNorm)
def layer_norm(t: Target, node: LayerNorm, x: Any) -> Any:
    shape = node.parent.shape
    x = as_float(t, x, node.parent)
    order = [*(k for k in range(len(shape)) if k not in node.axes), *node.axes]
    moved = x if order == sorted(order) else t.permute(x, order)
    y = t.layer_norm(moved, len(node.axes), [shape[k] for k in node.axes], _options(node))
    return y if order == sorted(order) else t.permute(y, np.argsort(order).tolist())
