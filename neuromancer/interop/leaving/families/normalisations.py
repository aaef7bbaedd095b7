"""Normalisations as nodes of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.interop.leaving.layout import Image, like_weights
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Standardisation, Target
from neuromancer.interop.leaving.weights import Weight, maybe
from neuromancer.nodes.group_norm import GroupNorm, LayerNorm
from neuromancer.nodes.normalisation import BatchNorm, InstanceNorm


def _first(node: Any) -> Weight | None:
    return maybe(node, "gamma") or maybe(node, "mean")


def _options(node: Any) -> Standardisation:
    features = int(node.parent.shape["f"] or 0) if node.parent.shape.hastag("f") else 0
    gamma, beta, mean, var = (maybe(node, key) for key in ("gamma", "beta", "mean", "var"))
    frozen = any(getattr(getattr(node, key, None), "constant", False) for key in ("mean", "var"))
    # Statistics are updated by the node that owns them, unless they are trained.
    own = all(node.params.get(key) is getattr(node, key, None) for key in ("mean", "var"))
    tracked = own and not any(w.trained for w in (mean, var) if w is not None)
    momentum = float(node.momentum) if tracked and hasattr(node, "momentum") else 0.0
    return Standardisation(features, node.eps, gamma, beta, mean, var, momentum, frozen)


@leaves(BatchNorm)
def _batch_norm(t: Target, node: BatchNorm, x: Any) -> Any:
    shape = node.parent.shape
    axis, ndim, x = shape.tag2index("f"), len(shape), like_weights(t, x, node.parent, _first(node))
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
def _instance_norm(t: Target, node: InstanceNorm, x: Any) -> Any:
    image = Image(t, like_weights(t, x, node.parent, _first(node)), node.parent.shape)
    return image.back(t.instance_norm(image.value, image.ndim, _options(node)), node.parent.shape["f"])


@leaves(GroupNorm)
def _group_norm(t: Target, node: GroupNorm, x: Any) -> Any:
    image, n_f = Image(t, like_weights(t, x, node.parent, _first(node)), node.parent.shape), node.parent.shape["f"]
    return image.back(t.group_norm(image.value, image.ndim, node.n_groups, n_f, _options(node)), n_f)


@leaves(LayerNorm)
def _layer_norm(t: Target, node: LayerNorm, x: Any) -> Any:
    shape = node.parent.shape
    x = like_weights(t, x, node.parent, _first(node))
    order = [*(k for k in range(len(shape)) if k not in node.axes), *node.axes]
    moved = x if order == sorted(order) else t.permute(x, order)
    y = t.layer_norm(moved, len(node.axes), [shape[k] for k in node.axes], _options(node))
    return y if order == sorted(order) else t.permute(y, np.argsort(order).tolist())
