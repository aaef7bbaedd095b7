"""Pair counts of the maximin affinity loss as a symbolic operation, computed on the host."""

from __future__ import annotations

from typing import Any

import pytensor.tensor as pt
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.tensor.type import TensorType

from neuromancer.engine.common.maximin import MaximinBase


class MaximinPairs(MaximinBase, Op):
    """`MaximinBase` as an operation."""

    def make_node(self, affinity: Any, target: Any, labels: Any) -> Apply:
        """Type the operands: affinity and target (b, n_edges, *spatial) floats, labels (b, 1, *spatial) integers."""
        operands = [pt.as_tensor_variable(v) for v in (affinity, target, labels)]
        self.check_operands(*operands)
        result = TensorType("int64", shape=operands[0].type.shape)
        return Apply(self, operands, [result(), result()])

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
