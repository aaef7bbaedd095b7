"""Volumes whose values encode their positions, and networks to sample them for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import neuromancer as nm


def positions(sizes: Sequence[int], start: Sequence[int] = (0, 0, 0), base: int = 64) -> np.ndarray:
    """Integers (*sizes) that encode each voxel's raw coordinates."""
    grids = np.meshgrid(*(a + np.arange(n) for a, n in zip(start, sizes, strict=False)), indexing="ij")
    code = np.zeros(tuple(sizes), np.int64)
    for grid in grids:
        code = code * base + grid
    return code


def decode(code: np.ndarray, ndim: int, base: int = 64) -> np.ndarray:
    """Coordinates (ndim, ...) of encoded positions."""
    code = np.asarray(code).astype(np.int64)
    return np.stack([(code // base**k) % base for k in reversed(range(ndim))])


def chain(layers: Sequence[tuple], sizes: Sequence[int], tags: str = "b,f,z,y,x", batch: int | None = 2) -> nm.Node:
    """A row of convolutions (kernel, pool, mode) and up-convolutions ("up", pool)."""
    node: nm.Node = nm.Input((batch, 1, *sizes), tags, name="raw", print_repr=False)
    for layer in layers:
        if layer[0] == "up":
            node = nm.UpConv(node, 1, layer[1], print_repr=False)
        else:
            kernel, pool, mode = layer
            node = nm.Conv(node, 1, kernel, pool, conv_mode=mode, print_repr=False)
    return node


def classifier(prediction_parent: nm.Node, n_class: int = 2, dtype: str = "int16", name: str = "m") -> nm.Model:
    """Roles for a graph that ends in `prediction_parent`: softmax, sparse target, loss."""
    model = nm.model_manager.current
    ones = (1,) * prediction_parent.shape.ndim
    scores = nm.Conv(prediction_parent, n_class, ones, activation_func="lin", print_repr=False)
    probs = nm.Softmax(scores, name="probs", print_repr=False)
    target = nm.Input_like(probs, dtype, override_f=1, name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    model.designate_nodes("raw", target, loss, probs)
    return model
