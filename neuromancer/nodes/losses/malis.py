"""Maximin affinity learning: the loss of an affinity graph by the segmentation that follows from it."""

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
from neuromancer.nodes.losses.classification import softmax_of
from neuromancer.nodes.losses.common import EPS, align, finite_vector, require_fit, require_tensor
from neuromancer.nodes.losses.targets import Check, check_finite, check_fractions, check_objects
from neuromancer.nodes.node import Node


class MalisNLL(Node):
    r"""Negative log-likelihood of affinities, weighted by the pairs of voxels that each edge decides about.

    Two voxels are connected as well as the weakest edge of their best path. This loss counts, for every edge, the pairs
    for which it is that edge (Turaga, Briggman, Helmstaedter, Denk & Seung 2009, arXiv:0911.5372), and so spends its
    effort on the few edges by which objects fall apart or run together.

    Parameters
    ----------
    pred : Softmax
        Two classes for each of n edges, 2 n features: edge 0 disconnected, edge 0 connected, edge 1 disconnected, ...;
        ``Softmax(scores, n_class=2, n_indep=n)``. Batch size 1.
    aff_gt : Node
        True affinities, 0 or 1, n features, any numeric dtype.
    seg_gt : Node
        True objects: integers, of any numeric dtype, on axis f of size 1 or without it. Voxels with
        labels below 1 belong to no object and count in no pair.
    nhood : (n, n_spatial) integers
        Edge k of voxel v leads to v + nhood[k]; :func:`neuromancer.affinities.neighbourhood`.
    unrestrict_neg : bool
        Judge wrong connections by the prediction alone. Otherwise true connections are taken for made, so that only the
        edges between objects get weight for them.
    class_weights : sequence of float, optional
        Factors of the classes: [disconnected, connected], or 2 n of them in the order of pred's features.
    example_weights : Node, optional
        Factor of every voxel: pred's axes without f, or with f = 1.
    name : str
    print_repr : bool

    Attributes
    ----------
    n_pos, n_neg : symbolic scalar
        Pairs within objects and pairs of different objects.
    false_splits, false_merges : symbolic scalar
        How many of them the affinities get wrong, cut at 0.5.
    rand_index : symbolic scalar
        Share of the pairs that they get right. All five are debug outputs, in this order.

    Raises
    ------
    ArgumentError
        If `pred` is no Softmax of two classes, or the neighbourhood or weights cannot be.
    ShapeError
        If targets or weights do not fit, or the batch size is not 1.
    InputTypeError
        If one of them is no node.

    Notes
    -----
    With pairs of the same object c+ and of different objects c-, affinity a = p(connected) and size N of the output:

    .. math:: l = -\frac{N}{\sum c_+ + \sum c_- + \epsilon}
              [c_+ \log(a + \epsilon) + c_- \log(1 - a + \epsilon)]

    with :math:`\epsilon = 10^{-5}`. c+ is found along the edges of the target, so that parts of an object which the
    target does not connect (because they meet outside of the patch) are not drawn together. Counts are constants for
    the gradient. They are computed on the host, in O(N log N).

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((1, 2, 4), "b,f,x", name="raw", print_repr=False), 2, 1, print_repr=False)
    >>> aff = Input((1, 1, 4), "b,f,x", name="aff", print_repr=False)
    >>> seg = Input((1, 1, 4), "b,f,x", dtype="int32", name="seg", print_repr=False)
    >>> nll = MalisNLL(probs, aff, seg, [[-1]], print_repr=False)
    >>> raw = np.zeros((1, 2, 4), "float32"); raw[0, 1] = [0, 2, 1, 2]  # the third edge joins two objects
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
        if pred.shape["f"] != 2 * n_edges:
            raise ShapeError(
                "the prediction needs two features for every edge",
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
                "only one volume at a time can be used", node=self, got=f"batch size {pred.shape[batch]}", expected="1"
            )
        require_fit(self, "target affinities", aff_gt, pred, n_edges, optional=())
        require_fit(self, "segmentation", seg_gt, pred, 1, optional=("f",))
        self.pred, self.aff_gt, self.seg_gt = pred, aff_gt, seg_gt
        self.unrestrict_neg = bool(unrestrict_neg)
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
        """Affinities lie in [0, 1], objects are integers that stay apart, weights are finite."""
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
