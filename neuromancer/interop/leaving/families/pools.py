"""Pools over windows, over the whole image and over parts of it; local response normalisation."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from neuromancer.interop.leaving.families.fragments import fragment_pool
from neuromancer.interop.leaving.layout import as_float, dtype_of, swap
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Convolution, Pooling, Target
from neuromancer.interop.leaving.weights import constant
from neuromancer.nodes.global_pool import AdaptivePool, GlobalPool
from neuromancer.nodes.lrn import LRN
from neuromancer.nodes.pool import POOL_MODES, Pool


@leaves(Pool)
def _pool(t: Target, node: Pool, x: Any) -> Any:
    shape, mode = node.parent.shape, POOL_MODES[node.mode]
    x = swap(t, as_float(t, x, node.parent), shape)
    if node.mfp:
        y = fragment_pool(t, x, node.pool_shape, "max" if mode == "max" else "average")
    else:
        slack = tuple(w.slack for w in node.windows or ())
        p = Pooling(node.pool_shape, node.stride, node.window_dilation, node.padding, slack, node.count_include_pad)
        if mode == "max":
            y = t.max_pool(x, p)
        elif set(p.dilation) == {1} and (mode == "average" or not any(slack)):
            y = t.average_pool(x, p)
        else:
            return swap(t, _dilated(t, x, p, node, mode), shape)
    if mode == "sum":
        y = t.binary("mul", y, float(prod(node.pool_shape)))
    return swap(t, y, shape)


def _dilated(t: Target, x: Any, p: Pooling, node: Pool, mode: str) -> Any:
    """Sum or average over dilated windows, by convolutions of every feature by itself."""
    n = len(p.size)
    single = t.reshape(x, [-1, 1, *(t.size(x, 2 + k) for k in range(n))])
    beyond = [(a, b + s) for (a, b), s in zip(p.ends, p.slack, strict=True)]

    def summed(values: Any, ends: Any) -> Any:
        w = constant(np.ones((1, 1, *p.size), dtype_of(node)), f"{node.name}_ones")
        return t.conv(values, Convolution(w, None, p.stride, p.dilation, ends))

    y = summed(single, beyond)
    if mode == "average" and (any(p.slack) or (any(map(any, p.ends)) and not p.counted)):
        inside = t.ones_like(single)
        if p.counted:
            inside = t.pad(inside, 2 + n, {2 + k: pair for k, pair in enumerate(p.ends)}, "constant", 1.0)
            y = t.binary("div", y, summed(inside, [(0, s) for s in p.slack]))
        else:
            y = t.binary("div", y, summed(inside, beyond))
    elif mode == "average":
        y = t.binary("mul", y, 1 / prod(p.size))
    return t.reshape(y, [t.size(x, 0), node.parent.shape["f"] or -1, *(t.size(y, 2 + k) for k in range(n))])


@leaves(GlobalPool)
def _global_pool(t: Target, node: GlobalPool, x: Any) -> Any:
    return t.reduce(as_float(t, x, node.parent), node.mode, node.parent.shape.spatial_axes, node.keepdims)


@leaves(AdaptivePool)
def _adaptive_pool(t: Target, node: AdaptivePool, x: Any) -> Any:
    shape = node.parent.shape
    x = as_float(t, x, node.parent)
    if set(node.output_size) == {1}:
        return t.reduce(x, node.mode, shape.spatial_axes)
    if list(shape.tags[:2]) == ["b", "f"] and shape.spatial_axes == list(range(2, len(shape))):
        return t.adaptive_pool(x, node.mode, node.output_size)
    rest = [k for k in range(len(shape)) if k not in shape.spatial_axes]
    order = [*rest, *shape.spatial_axes]
    moved = t.permute(x, order)
    flat = t.reshape(moved, [1, -1, *(t.size(moved, len(rest) + k) for k in range(shape.ndim))])
    pooled = t.adaptive_pool(flat, node.mode, node.output_size)
    whole = t.reshape(pooled, [*(t.size(moved, k) for k in range(len(rest))), *node.output_size])
    return t.permute(whole, np.argsort(order).tolist())


@leaves(LRN)
def _lrn(t: Target, node: LRN, x: Any) -> Any:
    shape = node.parent.shape
    x = as_float(t, x, node.parent)
    alpha, beta, k = (float(node.params[key].get_value()) for key in ("alpha", "beta", "k"))
    square = t.binary("mul", x, x)
    if node.norm_mode == "spatial":
        image = swap(t, square, shape)
        ones = (1,) * shape.ndim
        ends = [(n // 2, n // 2) for n in node.extents]
        mean = swap(t, t.average_pool(image, Pooling(node.extents, ones, ones, ends, (0,) * shape.ndim)), shape)
    else:
        n, axis, last = node.extents[0], shape.tag2index("f"), shape["f"]
        # The first and the last feature are repeated: every neighbour is one of the features.
        neighbours = [np.clip(np.arange(last) + i - n // 2, 0, last - 1) for i in range(n)]
        total = None
        for indices in neighbours:
            part = t.take(square, axis, indices)
            total = part if total is None else t.binary("add", total, part)
        mean = t.binary("mul", total, 1 / n)
    base = t.binary("add", t.binary("mul", mean, alpha), k)
    return t.binary("div", x, t.binary("pow", base, beta))
