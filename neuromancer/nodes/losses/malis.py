"""Maximin affinity learning (MALIS): a loss of affinity graphs that measures the resulting segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.affinities import check_neighbourhood
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.demand import Demand
from neuromancer.graph.tagged_shape import require_tag
from neuromancer.nodes.layout import flag
from neuromancer.nodes.losses.classification import softmax_of
from neuromancer.nodes.losses.common import EPS, align, finite_vector, require_fit, require_tensor
from neuromancer.nodes.losses.parts import require_whole_labels
from neuromancer.nodes.losses.targets import Check, check_finite, check_fractions, check_objects
from neuromancer.nodes.node import Node


class MalisNLL(Node):
    r"""Negative log-likelihood of affinities, weighted by the voxel pairs that each edge decides (MALIS).

    Two voxels are connected as strongly as the weakest edge on their best path, the maximin edge. The loss weights each
    edge by the number of pairs of which it is the maximin edge (Turaga, Briggman, Helmstaedter, Denk & Seung 2009,
    arXiv:0911.5372), and so concentrates on the few edges that split or merge objects.

    Parameters
    ----------
    pred : Softmax
        Two classes for each of n edges, as 2 n features: edge 0 disconnected, edge 0 connected, edge 1 disconnected,
        ...; ``Softmax(scores, n_class=2, n_indep=n)``. Axes b, f and the spatial axes of `nhood`; batch size 1.
    aff_gt : Node
        Ground-truth affinities in [0, 1], n features, any numeric dtype.
    seg_gt : Node
        Ground-truth segmentation: integer object ids, of any numeric dtype, without axis f or with f = 1. Voxels with
        ids below 1 belong to no object and to no pair.
    nhood : (n, n_spatial) integers
        Edge k of voxel v leads to v + nhood[k]; see :func:`neuromancer.affinities.neighbourhood`.
    unrestrict_neg : bool
        Find the maximin edges of pairs of different objects by the predicted affinities alone. Otherwise edges that are
        connected in `aff_gt` count as connected, so that only edges between objects are weighted by these pairs.
    class_weights : sequence of float, optional
        Weights of the classes: [disconnected, connected], or 2 n weights in the order of the features of `pred`.
    example_weights : Node, optional
        Weight of every voxel: the axes of `pred` without f, or with f = 1.
    name : str
    print_repr : bool

    Attributes
    ----------
    n_pos, n_neg : symbolic scalar
        Numbers of pairs within objects, and of pairs of different objects.
    false_splits, false_merges : symbolic scalar
        Numbers of these pairs that are wrong when affinities are thresholded at 0.5.
    rand_index : symbolic scalar
        Fraction of correct pairs. These five are the debug outputs, in this order.

    Raises
    ------
    ArgumentError
        If `pred` is not a Softmax of two classes, or `nhood` or `class_weights` are invalid.
    ShapeError
        If targets or weights do not match `pred`, or the batch size is not 1.
    InputTypeError
        If one of them is not a node with a tensor output.

    Notes
    -----
    With, per edge, the numbers of pairs of the same object c+ and of different objects c-, affinity a = p(connected),
    and size N of the output:

    .. math:: l = -\frac{N}{\sum c_+ + \sum c_- + \epsilon}
              [c_+ \log(a + \epsilon) + c_- \log(1 - a + \epsilon)]

    with :math:`\epsilon = 10^{-5}`. c+ counts only pairs connected by edges of `aff_gt`, so that parts of an object
    which are connected only outside of the patch are not pulled together. The counts are constants in the gradient and
    are computed on the host, in O(N log N).

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((1, 2, 4), "b,f,x", name="raw", print_repr=False), 2, 1, print_repr=False)
    >>> aff = Input((1, 1, 4), "b,f,x", name="aff", print_repr=False)
    >>> seg = Input((1, 1, 4), "b,f,x", dtype="int32", name="seg", print_repr=False)
    >>> nll = MalisNLL(probs, aff, seg, [[-1]], print_repr=False)
    >>> raw = np.zeros((1, 2, 4), "float32"); raw[0, 1] = [0, 2, 1, 2]  # the third edge merges two objects
    >>> print(nll(raw, [[[0, 1, 0, 1]]], [[[1, 1, 2, 2]]]).round(2))
    [[[0.   0.08 3.5  0.08]]]
    """

    def __init__(
        self,
        pred: Node,
        aff_gt: Node,
        seg_gt: Node,
        nhood: Any,
        unrestrict_neg: bool = True,
        class_weights: Any = None,
        example_weights: Node | None = None,
        name: str = "nll",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        for what, node in (("the prediction", pred), ("the affinities", aff_gt), ("the segmentation", seg_gt)):
            require_tensor(node, self, what)
        self.nhood = check_neighbourhood(nhood, pred.shape.ndim or None, self)
        n_edges = len(self.nhood)
        softmax = softmax_of(pred)
        if softmax is None or softmax.n_class != 2:
            raise ArgumentError(
                "the prediction must be a Softmax of two classes",
                node=self,
                got=f"{type(pred).__name__} {pred.name!r}"
                + ("" if softmax is None else f" of {softmax.n_class} classes"),
                nearest=f"Softmax({pred.name}, n_class=2, n_indep={n_edges})",
            )
        require_whole_labels(self, pred, 2)
        if pred.shape["f"] != 2 * n_edges:
            raise ShapeError(
                "the prediction needs two features per edge",
                node=self,
                got=f"f={pred.shape['f']} for {n_edges} edges",
                expected=f"f={2 * n_edges}",
            )
        batch = require_tag(pred.shape, "b", self)
        if len(pred.shape) != 2 + self.nhood.shape[1]:
            raise ShapeError(
                "the prediction has other axes than b, f and those of the neighbourhood",
                node=self,
                got=f"{pred.shape!r}, offsets of {self.nhood.shape[1]} axes",
            )
        self.axis = pred.shape.tag2index("f")
        if pred.shape[batch] not in (1, None):
            raise ShapeError(
                "only one volume at a time is supported", node=self, got=f"batch size {pred.shape[batch]}", expected="1"
            )
        require_fit(self, "target affinities", aff_gt, pred, n_edges, optional=())
        require_fit(self, "segmentation", seg_gt, pred, 1, optional=("f",))
        self.pred, self.aff_gt, self.seg_gt = pred, aff_gt, seg_gt
        self.unrestrict_neg = flag(unrestrict_neg, "unrestrict_neg", self)
        self.class_weights = np.ones((n_edges, 2))
        if class_weights is not None:
            n = 2 if np.size(class_weights) == 2 else 2 * n_edges
            weights = finite_vector(self, "class weights", class_weights, n, pred.output.dtype)
            self.class_weights = self.class_weights * weights.reshape(-1, 2)
        self.example_weights = example_weights
        if example_weights is not None:
            require_tensor(example_weights, self, "example weights")
            require_fit(self, "example weights", example_weights, pred, 1, optional=("f",), repeat=True)
        self.parent = [pred, aff_gt, seg_gt, *([] if example_weights is None else [example_weights])]

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the checks: affinities in [0, 1], object ids distinct integers in their dtype, weights finite."""
        checks: list[tuple[Node, Check]] = [
            (self.aff_gt, partial(check_fractions, self, "the true affinities")),
            (self.seg_gt, partial(check_objects, self, dtype=str(self.seg_gt.output.dtype))),
        ]
        if self.example_weights is not None:
            checks.append((self.example_weights, partial(check_finite, self, "the example weights")))
        return checks

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        nhood = arguments.get("nhood")
        edges = len(nhood) if isinstance(nhood, (list, tuple, np.ndarray)) else 0
        return Demand(128, 16 * edges)

    def _make_output(self) -> None:
        shape, axis = self.pred.shape, self.axis
        channels = tuple(slice(None) for _ in range(axis))
        apart, affinity = (self.pred.output[(*channels, slice(k, None, 2))] for k in range(2))
        dtype = affinity.dtype
        order = [shape.tag2index("b"), axis, *shape.spatial_axes]
        back = [order.index(i) for i in range(len(order))]
        labels = align(self.seg_gt, shape)
        if labels.dtype[:3] not in ("int", "uin"):
            labels = E.T.cast(E.T.round(labels), "int64")
        target = E.T.cast(align(self.aff_gt, shape), dtype)
        volumes = [v.dimshuffle(*order) for v in (affinity, target, labels)]
        pairs = E.maximin_pairs(volumes[0], volumes[1], volumes[2], self.nhood.tolist(), self.unrestrict_neg)
        same, different = (E.T.cast(p.dimshuffle(*back), dtype) for p in pairs)
        self.n_pos, self.n_neg = E.T.sum(same), E.T.sum(different)
        wrong = E.T.cast(E.T.gt(affinity, 0.5), dtype)
        self.false_splits, self.false_merges = E.T.sum(same * (1 - wrong)), E.T.sum(different * wrong)
        total = self.n_pos + self.n_neg
        self.rand_index = 1 - (self.false_splits + self.false_merges) / E.T.maximum(total, 1)
        self._debug_outputs = [self.n_pos, self.n_neg, self.false_splits, self.false_merges, self.rand_index]
        place = ["x"] * len(order)
        place[axis] = 0  # type: ignore[call-overload]
        low, high = (E.constant(w.astype(dtype)).dimshuffle(*place) for w in self.class_weights.T)
        penalty = -(same * high * E.T.log(affinity + EPS) + different * low * E.T.log(apart + EPS))
        if self.example_weights is not None:
            penalty = penalty * align(self.example_weights, shape)
        self.output = E.T.cast(penalty * (E.T.cast(same.size, dtype) / (total + EPS)), dtype)

    def _calc_shape(self) -> None:
        self.shape = self.pred.shape.updateshape("f", len(self.nhood))
