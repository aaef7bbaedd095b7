"""Pair counts of the maximin affinity loss as a symbolic operation, computed on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.tensor.type import TensorType

from neuromancer.engine.pytensor.kernels.maximin import pair_counts
from neuromancer.errors import InputTypeError, ShapeError


class MaximinPairs(Op):
    """(affinity, target, labels) -> (pairs of the same label, pairs of different labels) per edge.

    Parameters
    ----------
    neighbourhood : tuple of tuple of int
        Offset of every edge.
    unrestricted : bool
        Look for wrong connections along all edges; else only along those that the target does not have.
    """

    __props__ = ("neighbourhood", "unrestricted")

    def __init__(self, neighbourhood: tuple[tuple[int, ...], ...], unrestricted: bool) -> None:
        self.neighbourhood, self.unrestricted = neighbourhood, bool(unrestricted)

    def make_node(self, affinity: Any, target: Any, labels: Any) -> Apply:
        """Type the operands: affinity and target (b, n_edges, *spatial) floats, labels (b, 1, *spatial) integers."""
        affinity, target, labels = (pt.as_tensor_variable(v) for v in (affinity, target, labels))
        ndim = 2 + len(self.neighbourhood[0])
        for name, v in (("affinity", affinity), ("target", target), ("labels", labels)):
            if v.ndim != ndim:
                raise ShapeError(
                    f"{name} has the wrong number of axes", node="maximin_pairs", got=v.ndim, expected=ndim
                )
        if labels.dtype[:3] not in ("int", "uin"):
            raise InputTypeError("labels must be integers", node="maximin_pairs", got=labels.dtype, expected="int64")
        result = TensorType("int64", shape=affinity.type.shape)
        return Apply(self, [affinity, target, labels], [result(), result()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Count on numpy arrays."""
        affinity, target, labels = (np.asarray(i) for i in inputs)
        wanted = (1, len(self.neighbourhood), *affinity.shape[2:])
        shapes = affinity.shape, target.shape, labels.shape
        if shapes != (wanted, wanted, (1, 1, *wanted[2:])):
            raise ShapeError(
                "affinities, their target and labels do not fit, or the batch size is not 1",
                node="maximin_pairs",
                got=shapes,
                expected=f"{wanted}, {wanted}, {(1, 1, *wanted[2:])}",
            )
        affinity, target, labels = affinity[0], target[0], labels[0, 0]
        same = pair_counts(np.minimum(affinity, target), labels, self.neighbourhood, True, target > 0)
        weakest = affinity if self.unrestricted else np.maximum(affinity, target)
        different = pair_counts(weakest, labels, self.neighbourhood, False)
        output_storage[0][0], output_storage[1][0] = same[None], different[None]

    def infer_shape(self, *args: Any) -> list[Any]:
        """Both have the affinity's shape."""
        return [args[-1][0]] * 2

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Counts change in jumps: nothing is differentiable."""
        return [[False, False] for _ in node.inputs]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """No gradient flows through counts."""
        return [disconnected_type() for _ in inputs]


def maximin_pairs(
    affinity: Variable, target: Variable, labels: Variable, neighbourhood: Any, unrestricted: bool = True
) -> list[Variable]:
    """Count, for every edge of an affinity graph, the pairs of voxels whose connection depends on it.

    Two voxels are connected as well as the weakest edge of their best path; that edge is the one that counts them
    (Turaga, Briggman, Helmstaedter, Denk & Seung 2009, arXiv:0911.5372).

    Parameters
    ----------
    affinity : Variable, (1, n_edges, *spatial)
        Edge k of voxel v leads to v + neighbourhood[k].
    target : Variable, (1, n_edges, *spatial)
        True affinities, 0 or 1.
    labels : Variable of integers, (1, 1, *spatial)
        True objects; voxels with labels below 1 belong to none.
    neighbourhood : (n_edges, n_spatial) integers
    unrestricted : bool
        Judge wrong connections by `affinity` alone; else true connections are taken for made, so that only the edges
        between objects matter.

    Returns
    -------
    list of two Variables, (1, n_edges, *spatial), int64
        Pairs of the same label, by the smaller of affinity and target along the edges of the target; pairs of different
        labels. Constant to gradients.

    Raises
    ------
    ShapeError, InputTypeError
        If the operands do not fit, or there is more than one volume.
    """
    offsets = tuple(tuple(int(o) for o in offset) for offset in neighbourhood)
    return MaximinPairs(offsets, unrestricted)(affinity, target, labels)
