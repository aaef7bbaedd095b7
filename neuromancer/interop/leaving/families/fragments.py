"""Max-fragment pooling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from neuromancer.interop.leaving.layout import as_float, swap
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Pooling, Target
from neuromancer.nodes.fragments import FragmentsToDense


def fragment_pool(t: Target, x: Any, pool: Sequence[int], mode: str) -> Any:
    """Pool every phase of an image, and put the results into the batch; mode 'max' or 'average'."""
    ones, zeros, none = (1,) * len(pool), (0,) * len(pool), ((0, 0),) * len(pool)
    window = Pooling(tuple(pool), tuple(pool), ones, none, zeros)
    emit = t.max_pool if mode == "max" else t.average_pool
    phases = []
    for phase in product(*(range(p) for p in pool)):
        ranges = {2 + k: (i, i - (p - 1) or None) for k, (i, p) in enumerate(zip(phase, pool, strict=True)) if p > 1}
        phases.append(emit(t.cut(x, ranges), window))
    return t.concat(phases, 0)


@leaves(FragmentsToDense)
def _to_dense(t: Target, node: FragmentsToDense, x: Any) -> Any:
    shape = node.parent.shape
    strides, n = [int(s) for s in shape.strides], shape.ndim
    x = swap(t, as_float(t, x, node.parent), shape)
    order = np.lexsort(shape.mfp_offsets.T[::-1])
    if not np.array_equal(order, np.arange(len(order))):
        x = t.take(x, 0, order)
    sizes = [t.size(x, k) for k in range(2, 2 + n)]
    phases = t.reshape(x, [*strides, shape["f"], *sizes])
    pairs = [axis for k in range(n) for axis in (n + 1 + k, k)]
    dense = t.permute(phases, [n, *pairs])
    fine = [t.times(size, stride) for size, stride in zip(sizes, strides, strict=True)]
    return swap(t, t.reshape(dense, [1, shape["f"], *fine]), shape)
