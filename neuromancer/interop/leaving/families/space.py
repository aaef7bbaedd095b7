"""Cropping, padding, interpolation, and features spread over space."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from neuromancer.interop.leaving.layout import as_float, dtype_of, swap
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Target
from neuromancer.nodes.conv_arguments import PADDING_MODES
from neuromancer.nodes.crop_pad import Crop, Pad
from neuromancer.nodes.upsample import PixelShuffle, Upsample


def _per_axis(node: Any, ends: Any) -> dict[int, tuple[int, int]]:
    pairs = [(n, n) if isinstance(n, int) else n for n in ends]
    axes = zip(node.parent.shape.spatial_axes, pairs, strict=True)
    return {axis: pair for axis, pair in axes if any(pair)}


@leaves(Crop)
def _crop(t: Target, node: Crop, x: Any) -> Any:
    ranges = {axis: (a, -b or None) for axis, (a, b) in _per_axis(node, node.crop).items()}
    return t.cut(x, ranges) if ranges else x


@leaves(Pad)
def _pad(t: Target, node: Pad, x: Any) -> Any:
    ends = _per_axis(node, node.pad)
    if not ends:
        return x
    padded = t.pad(
        as_float(t, x, node.parent), len(node.parent.shape), ends, PADDING_MODES[node.padding_mode], node.value
    )
    dtype = dtype_of(node)
    return padded if np.dtype(dtype).kind == "f" else t.cast(padded, dtype)


@leaves(Upsample)
def _upsample(t: Target, node: Upsample, x: Any, *reference: Any) -> Any:
    parent = node.parents[0]
    x = swap(t, as_float(t, x, parent), parent.shape)
    sizes: list[Any] | None = None
    if node.reference is not None:
        sizes = [t.size(reference[0], axis) for axis in node.parents[1].shape.spatial_axes]
    elif node.size is not None:
        sizes = list(node.size)
    return swap(t, t.resize(x, sizes, node.factor or (), node.mode, node.align_corners), parent.shape)


@leaves(PixelShuffle)
def _pixel_shuffle(t: Target, node: PixelShuffle, x: Any) -> Any:
    shape, n = node.parent.shape, node.parent.shape.ndim
    x = swap(t, x, shape)
    if n == 2 and len(set(node.factor)) == 1 and np.dtype(dtype_of(node)).kind == "f":
        return swap(t, t.pixel_shuffle(x, node.factor[0]), shape)
    features, batch = shape["f"] // prod(node.factor), t.size(x, 0)
    sizes = [t.size(x, k) for k in range(2, 2 + n)]
    cells = t.reshape(x, [batch, features, *node.factor, *sizes])
    order = [0, 1, *(axis for k in range(n) for axis in (2 + n + k, 2 + k))]
    fine = [t.times(size, u) for size, u in zip(sizes, node.factor, strict=True)]
    return swap(t, t.reshape(t.permute(cells, order), [batch, features, *fine]), shape)
