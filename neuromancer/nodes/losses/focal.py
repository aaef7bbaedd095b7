"""Focal loss."""

from __future__ import annotations

from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from neuromancer.nodes.layout import feature_vector
from neuromancer.nodes.losses.common import EPS
from neuromancer.nodes.losses.logits import Logs, logarithms
from neuromancer.nodes.losses.segmentation import SegmentationLoss, number
from neuromancer.nodes.node import Node


class Focal(SegmentationLoss):
    r"""Cross-entropy in which well classified pixels count less.

    Parameters
    ----------
    pred, target, target_is_sparse
        See :class:`SoftDice`.
    gamma : float
        Exponent, >= 0; 0 gives the cross-entropy.
    alpha : float, optional
        Balance, in [0, 1]. Softmax: weight of the classes above 0; class 0 gets ``1 - alpha``. Sigmoid: weight of label
        1; label 0 gets ``1 - alpha``.
    class_weights : sequence of float, optional
        Factor of the loss of every class, one per feature of `pred`; not normalised.
    ignore_label : int, optional
        Sparse label that is ignored, in addition to negative ones.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        See :class:`SoftDice`.

    Notes
    -----
    With one-hot target t, for a Softmax

    .. math:: l = -\sum_c \alpha_c\,t_c\,(1 - p_c)^\gamma \ln p_c

    and for a sigmoid the mean over features of

    .. math:: -\alpha\,t\,(1 - p)^\gamma \ln p - (1 - \alpha)\,(1 - t)\,p^\gamma \ln(1 - p)

    (Lin, Goyal, Girshick, He & Dollár 2017, arXiv:1708.02002). Logarithms come from the scores, so that no score is too
    large; if they are unknown (a sigmoid with dropout), 1e-5 is added to probabilities. The loss is scaled so that its
    mean is over labelled pixels. ``monai.losses.FocalLoss`` averages over the classes of a softmax instead of adding
    them: its values are lower by the number of classes. Axis f has size 1.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> loss = Focal(probs, labels, target_is_sparse=True, print_repr=False)
    >>> print(loss([[0, 0], [0, 100]], [[0], [0]]).round(3))  # a quarter of log 2
    [[  0.173]
     [100.   ]]
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        gamma: float = 2.0,
        alpha: float | None = None,
        target_is_sparse: bool = False,
        class_weights: Any = None,
        ignore_label: int | None = None,
        name: str = "focal",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self._connect(pred, target, target_is_sparse, class_weights, ignore_label)
        self.gamma = number(self, "gamma", gamma)
        self.alpha = None if alpha is None else number(self, "alpha", alpha)
        if self.alpha is not None and self.alpha > 1:
            raise ArgumentError("alpha must lie between 0 and 1", node=self, got=alpha, expected="0 to 1, or None")

    def _make_output(self) -> None:
        p = self.pred.output
        t, known = self._coded()
        logs = logarithms(self.pred) or Logs(E.T.log(p + EPS), E.T.log(1 - p + EPS))
        positive, negative = self._balance()
        losses = positive * t * self._focal(logs.p, logs.complement)
        if self.binary:
            losses = losses + negative * (1 - t) * self._focal(logs.complement, logs.p)
        losses = self._per_class(losses) * known
        # The number of labels, and of pixels, are counted by feature: n_class for each.
        scale = E.T.cast(p.size, p.dtype) / (E.T.maximum(E.T.sum(known), 1) * float(self.n_indep))
        self.output = E.T.cast(E.T.sum(losses, axis=self.axis, keepdims=True) * scale, p.dtype)

    def _balance(self) -> tuple[Any, Any]:
        """Return the weights of the presence and of the absence of a class."""
        if self.alpha is None:
            return 1, 1
        if self.binary:
            return self.alpha, 1 - self.alpha
        one = [1 - self.alpha] + [self.alpha] * (self.n_class - 1)
        return feature_vector(E.constant(one * self.n_indep), len(self.pred.shape), self.axis), 0

    def _focal(self, log_p: Any, log_complement: Any) -> Any:
        return -E.T.exp(self.gamma * log_complement) * log_p if self.gamma else -log_p

    def _calc_shape(self) -> None:
        self.shape = self.pred.shape.updateshape("f", 1)
