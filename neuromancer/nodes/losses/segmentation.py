"""Base of the losses that segmentation shares: labels of a Softmax or of sigmoids, ignored ones, class weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import is_number, vanishes
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.demand import Demand
from neuromancer.nodes.layout import feature_vector, flag
from neuromancer.nodes.losses.classification import one_hot, softmax_of
from neuromancer.nodes.losses.common import finite_vector, require_fit, require_tensor
from neuromancer.nodes.losses.logits import is_sigmoid
from neuromancer.nodes.losses.parts import require_whole_labels
from neuromancer.nodes.losses.targets import (
    IGNORED_NUMBERS,
    Check,
    check_fractions,
    check_ignored,
    check_labels,
    ignoring,
)
from neuromancer.nodes.node import Node
from neuromancer.nodes.softmax import grouped
from neuromancer.variables import VariableParam

GRAPH = 256
"""Upper bound on the symbolic operations of a loss, that of the logarithms included."""


class SegmentationLoss(Node):
    """Base of losses between class probabilities and labels.

    Attributes
    ----------
    n_class : int
        Classes of a label; 1 for a sigmoid, whose features are labels on their own.
    n_indep : int
        Independent labels per pixel.
    class_weights : VariableParam or None
        One weight per feature of the prediction; changed by ``node.class_weights.set_value``.
    """

    pred: Node
    target: Node

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        shape = getattr(arguments.get("pred"), "shape", None)
        n_f = shape["f"] if shape is not None and shape.hastag("f") else None
        return Demand(GRAPH, 4 * (n_f or 0))

    def _connect(
        self, pred: Node, target: Node, target_is_sparse: bool, class_weights: Any, ignore_label: int | None
    ) -> None:
        """Check and store the arguments that all losses share."""
        require_tensor(pred, self, "the prediction")
        require_tensor(target, self, "the target")
        softmax = softmax_of(pred)
        self.binary = softmax is None
        if (self.binary and not is_sigmoid(pred)) or not pred.shape.hastag("f"):
            raise ArgumentError(
                "the prediction must be a Softmax, a sigmoid, or a part of one",
                node=self,
                got=f"{type(pred).__name__} {pred.name!r}",
                expected="Softmax(...) of linear class scores, or a layer with activation_func='sigmoid'",
                nearest=f"Softmax({pred.name})",
            )
        n_f = pred.shape["f"]
        self.n_class = 1 if softmax is None else softmax.n_class
        if n_f is None:
            raise ShapeError("the number of features must be known", node=self, got=repr(pred.shape))
        if not self.binary:
            require_whole_labels(self, pred, self.n_class)
        self.n_indep = n_f // self.n_class
        self.axis = pred.shape.tag2index("f")
        self.pred, self.target, self.target_is_sparse = pred, target, flag(target_is_sparse, "target_is_sparse", self)
        self.ignore_label = check_ignored(self, ignore_label, self.target_is_sparse)
        require_fit(self, "target", target, pred, self.n_indep if self.target_is_sparse else None, optional=())
        self.class_weights: VariableParam | None = None
        if class_weights is not None:
            weights = finite_vector(self, "class weights", class_weights, n_f, pred.output.dtype)
            # An argument of the loss rather than a parameter of the network, so not in `params`.
            self.class_weights = VariableParam(weights, name="class_weights", apply_train=False, apply_reg=False)
        self.parent = [pred, target]

    def check_labels(self, labels: np.ndarray) -> None:
        """Raise ArgumentError if sparse labels are not classes, or a dense target is not in [0, 1]."""
        if self.target_is_sparse:
            check_labels(self, labels, 2 if self.binary else self.n_class, self.ignore_label)
        else:
            check_fractions(self, "the target", labels, IGNORED_NUMBERS if self.binary else None)

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the target's labels."""
        return [(self.target, self.check_labels)]

    def _coded(self) -> tuple[Any, Any]:
        """Return the target as one number per feature of the prediction, and a mask of the labelled features."""
        dtype = self.pred.output.dtype
        target = self.target.output
        if self.target_is_sparse:
            target = ignoring(target, self.ignore_label)
        if self.binary:
            known = E.T.ge(target, 0)  # False for NaN
            value = E.T.eq(target, 1) if self.target_is_sparse else E.T.switch(known, target, 0)
            return E.T.cast(value, dtype), E.T.cast(known, dtype)
        if self.target_is_sparse:
            t = one_hot(target, self.axis, self.n_class, dtype)
        else:
            t = E.T.cast(target, dtype)
        return t, grouped(t, self.axis, self.n_indep, self.n_class, partial(_labelled, dtype=dtype))

    def _per_class(self, x: Any) -> Any:
        """Multiply numbers per feature by the class weights."""
        if self.class_weights is None:
            return x
        return x * feature_vector(self.class_weights, len(self.pred.shape), self.axis)


def _labelled(groups: Any, axis: int, dtype: str) -> Any:
    """Return 1 for all classes of a label of which any is present, else 0."""
    known = E.T.cast(E.T.gt(E.T.sum(groups, axis=axis, keepdims=True), 0), dtype)
    return known + E.T.zeros_like(groups)


def number(node: SegmentationLoss, key: str, value: Any, least: float = 0.0, above: bool = False) -> float:
    """Return an argument as a float; raise ArgumentError unless it is >= `least` (> if `above`) and fits the dtype."""
    dtype = node.pred.output.dtype
    fits = is_number(value) and least <= value <= float(np.finfo(dtype).max)
    if not fits or (above and (value == least or vanishes(dtype, value))):
        sign = ">" if above else ">="
        expected = f"{sign} {least:g}, finite in {dtype}"
        raise ArgumentError(f"{key} must be a number", node=node, got=value, expected=expected)
    return float(value)
