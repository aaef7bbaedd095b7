"""Negative log-likelihood of discrete classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import log
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from neuromancer.graph.demand import Demand
from neuromancer.nodes.layout import flag
from neuromancer.nodes.losses.classification import one_hot, softmax_of
from neuromancer.nodes.losses.common import (
    EPS,
    align,
    finite_vector,
    require_fit,
    require_tensor,
)
from neuromancer.nodes.losses.logits import Logs, check_eps, logarithms, penalties
from neuromancer.nodes.losses.parts import require_whole_labels
from neuromancer.nodes.losses.targets import (
    Check,
    check_finite,
    check_fractions,
    check_ignored,
    check_labels,
    ignoring,
)
from neuromancer.nodes.node import Node
from neuromancer.variables import VariableParam


class _ClassNLL(Node):
    """Base of the class likelihoods: arguments, penalty and normalisation."""

    pred: Node
    target: Node
    target_is_sparse: bool
    weakness: float = 0.0
    ignore_label: int | None = None
    eps: float | None = None

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        # Class numbers and foreground mask.
        shape = getattr(arguments.get("pred"), "shape", None)
        n_f = shape["f"] if shape is not None and shape.hastag("f") else None
        return Demand(192, 4 * (n_f or 0))

    def _connect(
        self,
        pred: Node,
        target: Node,
        target_is_sparse: bool,
        class_weights: Any,
        example_weights: Node | None,
        mask_class_labeled: Node | None,
        mask_class_not_present: Node | None,
        ignore_label: int | None,
        eps: float | None,
    ) -> None:
        """Check and store the arguments."""
        require_tensor(pred, self, "the prediction")
        require_tensor(target, self, "the target")
        softmax = softmax_of(pred)
        if softmax is None or not pred.shape.hastag("f"):
            raise ArgumentError(
                "the prediction must be a Softmax or a part of one",
                node=self,
                got=f"{type(pred).__name__} {pred.name!r}",
                expected="Softmax(...) of linear class scores",
                nearest=f"Softmax({pred.name})",
            )
        n_f = pred.shape["f"]
        self.n_class = softmax.n_class
        require_whole_labels(self, pred, self.n_class)
        self.n_indep = n_f // self.n_class
        self.axis = pred.shape.tag2index("f")
        self.pred, self.target, self.target_is_sparse = pred, target, flag(target_is_sparse, "target_is_sparse", self)
        self.ignore_label = check_ignored(self, ignore_label, self.target_is_sparse)
        self.eps = check_eps(eps, pred, self)
        require_fit(self, "target", target, pred, self.n_indep if self.target_is_sparse else None, optional=())
        self.class_weights = self._class_weights(class_weights)
        self.example_weights = example_weights
        self.mask_class_labeled = mask_class_labeled
        self.mask_class_not_present = mask_class_not_present
        space = [t for t in pred.shape.tags if t != "b"]
        for role, extra, n, optional in (
            ("example weights", example_weights, 1, ["f"]),
            ("mask_class_labeled", mask_class_labeled, None, [t for t in space if t != "f"]),
            ("mask_class_not_present", mask_class_not_present, None, [t for t in space if t != "f"]),
        ):
            if extra is not None:
                require_tensor(extra, self, role)
                require_fit(self, role, extra, pred, n, optional, repeat=True)
        extras = (self.class_weights, example_weights, mask_class_labeled, mask_class_not_present)
        self.parent = [pred, target, *(n for n in extras if isinstance(n, Node))]

    def _class_weights(self, weights: Any) -> Node | VariableParam | None:
        """Return weights of classes as a node or a variable, checked."""
        if weights is None:
            return None
        if isinstance(weights, Node):
            others = [t for t in self.pred.shape.tags if t != "f"]
            require_fit(self, "class weights node", weights, self.pred, optional=others, repeat=True)
            return weights
        n_f = self.n_class * self.n_indep
        values = finite_vector(self, "class weights", weights, n_f, self.pred.output.dtype)
        # An argument of the loss rather than a parameter of the network, so not in `params`.
        return VariableParam(values, name="class_weights", apply_train=False, apply_reg=False)

    def check_labels(self, labels: np.ndarray) -> None:
        """Raise ArgumentError if sparse labels are not classes, or a dense target is not in [0, 1].

        Parameters
        ----------
        labels : array
            Values of the target.
        """
        if self.target_is_sparse:
            check_labels(self, labels, self.n_class, self.ignore_label)
        else:
            check_fractions(self, "the target", labels)

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the checks: labels of the target, finite weights, masks in [0, 1]."""
        weights = [("the class weights", self.class_weights), ("the example weights", self.example_weights)]
        masks = [
            ("mask_class_labeled", self.mask_class_labeled),
            ("mask_class_not_present", self.mask_class_not_present),
        ]
        return [
            (self.target, self.check_labels),
            *((n, partial(check_finite, self, what)) for what, n in weights if isinstance(n, Node)),
            *((n, partial(check_fractions, self, what)) for what, n in masks if isinstance(n, Node)),
        ]

    def _probabilities(self) -> tuple[Any, Logs | None]:
        """Return the probabilities, and their logarithms unless `eps` is added to them."""
        return self.pred.output, None if self.eps else logarithms(self.pred)

    def _weights(self) -> Any | int:
        weights: Any = 1
        for factor in (self.class_weights, self.example_weights):
            if isinstance(factor, Node):
                weights = weights * align(factor, self.pred.shape)
            elif factor is not None:
                order = [0 if i == self.axis else "x" for i in range(len(self.pred.shape))]
                weights = weights * factor.dimshuffle(*order)
        return weights

    def _make_output(self) -> None:
        p, logs = self._probabilities()
        if self.target_is_sparse:
            labels = ignoring(self.target.output, self.ignore_label)
            t = one_hot(labels, self.axis, self.n_class, p.dtype)
        else:
            t = E.T.cast(self.target.output, p.dtype)
        if self.mask_class_labeled is not None:
            t = t * align(self.mask_class_labeled, self.pred.shape)
        if self.weakness:
            t = (1 - self.weakness) * t + self.weakness * p
        weights = self._weights()
        present, not_present = penalties(p, logs, self.eps)
        penalty = t * weights * present
        n_labelled = E.T.sum(t)
        if self.mask_class_not_present is not None:
            absent = align(self.mask_class_not_present, self.pred.shape) + E.T.zeros_like(t)
            penalty = penalty + absent * weights * not_present
            n_labelled = n_labelled + E.T.sum(absent)
        size = E.T.cast(p.size, p.dtype)
        scale = size / ((n_labelled + EPS) * float(self.n_indep * self.n_class))
        self.output = E.T.cast(E.T.sum(penalty, axis=self.axis, keepdims=True) * scale, p.dtype)

    def _calc_shape(self) -> None:
        self.shape = self.pred.shape.updateshape("f", 1)


class MultinoulliNLL(_ClassNLL):
    r"""Negative log-likelihood of classes (cross-entropy), scaled so that its mean is over labelled pixels.

    Parameters
    ----------
    pred : Softmax
        Probabilities, `n_class * n_indep` features, in any layout; or part of a Softmax by :func:`neuromancer.split`.
    target : Node
        Sparse: integer labels, `n_indep` features, any numeric dtype; negative labels are ignored. Dense: probability
        of every class in the shape of `pred`; all zeros mean unlabelled.
    target_is_sparse : bool
        Whether the target holds labels.
    class_weights : sequence of float or Node, optional
        Weight of every class: `n_class * n_indep` numbers, which can be changed by ``node.class_weights.set_value``; or
        a node with an axis f.
    example_weights : Node, optional
        Weight of every pixel: the axes of `pred` without f, or with f = 1.
    weakness : float
        Fraction w of the target that is replaced by the prediction, ``t <- (1 - w) t + w p``, in [0, 1].
    mask_class_labeled : Node, optional
        (b, f): 1 for classes that are labelled in an image, 0 for classes without information.
    mask_class_not_present : Node, optional
        (b, f): 1 for classes known to be absent from an image; their probabilities are pushed down everywhere.
    name : str
    print_repr : bool
    ignore_label : int, optional
        Sparse label that is ignored, in addition to negative ones.
    eps : float, optional
        None: penalties come from the class scores, so that a gradient remains however wrong the prediction is. 0: the
        exact logarithm, as ``torch.nn.functional.cross_entropy``. Other numbers: ``-log(p + eps)``; 1e-5 is the
        original library's, whose gradient vanishes where p does.

    Raises
    ------
    ArgumentError
        If `pred` is not a Softmax, `class_weights` have the wrong length or are not finite, `weakness` or `eps` is not
        in [0, 1], or `ignore_label` is not an integer.
    ShapeError
        If target, weights or masks do not match the prediction; the message lists sizes and offsets of both.
    InputTypeError
        If one of them is not a node with a tensor output.

    Notes
    -----
    With one-hot target t (times mask_class_labeled), mask_class_not_present m, class weights c and example weights e:

    .. math:: l = \frac{N}{n + 10^{-5}} \sum_f c\,e\,[t\,\phi(p) + m\,\phi(1 - p)]

    where N is the number of pixels and n = sum(t) + sum(m). The penalty is :math:`\phi(p) = -\ln(p + \epsilon)`; with
    ``eps=None``, it is this with :math:`\epsilon = 10^{-5}` for :math:`p \ge 10^{-4}`, and tends to :math:`-\ln p`
    below. Axis f has size 1. Arrays are passed in the order: sources of the prediction, target, class_weights (if a
    node), example_weights, mask_class_labeled, mask_class_not_present.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 3), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> nll = MultinoulliNLL(probs, labels, target_is_sparse=True, print_repr=False)
    >>> print(abs(nll([[0, 0, 0], [5, 0, 0]], [[1], [-1]])).round(3))
    [[2.197]
     [0.   ]]
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        target_is_sparse: bool = False,
        class_weights: Any = None,
        example_weights: Node | None = None,
        weakness: float = 0,
        mask_class_labeled: Node | None = None,
        mask_class_not_present: Node | None = None,
        name: str = "nll",
        print_repr: bool = True,
        ignore_label: int | None = None,
        eps: float | None = None,
    ) -> None:
        super().__init__(None, name, print_repr)
        self.weakness = _fraction(weakness, "weakness", self)
        self._connect(
            pred,
            target,
            target_is_sparse,
            class_weights,
            example_weights,
            mask_class_labeled,
            mask_class_not_present,
            ignore_label,
            eps,
        )


class BlockedMultinoulliNLL(_ClassNLL):
    """Class likelihood that ignores foreground labels which the prediction strongly contradicts.

    Where a foreground class (any but class 0) is less probable than `blocking_factor` times the most probable class of
    its label, its probability is replaced by this bound: its penalty is bounded and has no gradient, so that the
    network does not fit wrong foreground labels.

    Parameters
    ----------
    pred, target : Node
        See :class:`MultinoulliNLL`.
    blocking_factor : float
        Between 0 (no blocking) and 1.
    target_is_sparse, class_weights, example_weights, mask_class_labeled, mask_class_not_present, ignore_label, eps
        See :class:`MultinoulliNLL`.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        See :class:`MultinoulliNLL`; also if `blocking_factor` is not in [0, 1].

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((1, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((1, 1), "b,f", name="labels", print_repr=False)
    >>> nll = BlockedMultinoulliNLL(probs, labels, 0.5, target_is_sparse=True, print_repr=False)
    >>> print(nll([[9, 0]], [[1]]).round(3))  # -log(0.5) instead of 9
    [[0.693]]
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        blocking_factor: float = 0.5,
        target_is_sparse: bool = False,
        class_weights: Any = None,
        example_weights: Node | None = None,
        mask_class_labeled: Node | None = None,
        mask_class_not_present: Node | None = None,
        name: str = "nll",
        print_repr: bool = True,
        ignore_label: int | None = None,
        eps: float | None = None,
    ) -> None:
        super().__init__(None, name, print_repr)
        self.blocking_factor = _fraction(blocking_factor, "blocking_factor", self)
        self._connect(
            pred,
            target,
            target_is_sparse,
            class_weights,
            example_weights,
            mask_class_labeled,
            mask_class_not_present,
            ignore_label,
            eps,
        )

    def _probabilities(self) -> tuple[Any, Logs | None]:
        p, logs = super()._probabilities()
        groups = self._groups(p)
        # With a gradient, the bound would pull up the most probable class.
        bound = E.disconnected_grad(self.blocking_factor * self._greatest(groups))
        foreground = np.ones(self.n_class, dtype="bool")
        foreground[0] = False
        foreground = foreground.reshape([self.n_class] + [1] * (p.ndim - self.axis - 1))
        blocked = E.T.and_(E.constant(foreground), E.T.lt(groups, bound))
        if logs is not None and self.blocking_factor:
            log_p, complement = (self._groups(x) for x in logs)
            log_bound = log(self.blocking_factor) + self._greatest(log_p)
            # 1 - bound as a sum of two positive numbers, without cancellation.
            least = -self._greatest(-complement)
            left = 1 - self.blocking_factor
            log_left = E.T.log(left + self.blocking_factor * E.T.exp(least)) if left else least
            logs = Logs(self._blocked(blocked, log_bound, log_p), self._blocked(blocked, log_left, complement))
        return self._blocked(blocked, bound, groups), logs

    def _groups(self, x: Any) -> Any:
        sizes = [x.shape[i] for i in range(x.ndim)]
        return x.reshape([*sizes[: self.axis], self.n_indep, self.n_class, *sizes[self.axis + 1 :]])

    def _greatest(self, groups: Any) -> Any:
        return E.T.max(groups, axis=self.axis + 1, keepdims=True)

    def _blocked(self, blocked: Any, bound: Any, groups: Any) -> Any:
        result = E.T.switch(blocked, E.disconnected_grad(bound), groups)
        sizes = [result.shape[i] for i in range(result.ndim)]
        return result.reshape([*sizes[: self.axis], self.n_indep * self.n_class, *sizes[self.axis + 2 :]])


def _fraction(value: Any, what: str, node: Node) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise ArgumentError(f"{what} must lie between 0 and 1", node=node, got=value)
    return float(value)
