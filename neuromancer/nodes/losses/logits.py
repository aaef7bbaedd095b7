"""Logarithms of probabilities, from the scores below a Softmax or a sigmoid."""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from neuromancer.nodes.activation import SIGMOID
from neuromancer.nodes.layout import as_float
from neuromancer.nodes.losses.common import EPS
from neuromancer.nodes.node import Node
from neuromancer.nodes.softmax import Softmax, grouped

FLOOR = 10 * EPS
"""Probability from which the default penalty is that of the original library, ``-log(p + 1e-5)``."""
HALF = log(0.5)
LOWEST = -3e38
"""Stands for the logarithm of 0 in a sum of exponentials; finite in float32."""


class Logs(NamedTuple):
    """Logarithms of a probability p and of its complement 1 - p, symbolic."""

    p: Any
    complement: Any


def origin_of(pred: Any) -> Any:
    """Return the node that a prediction is a part of (by :func:`neuromancer.split`), or the prediction itself."""
    while type(pred).__name__ == "FromTensor":
        pred = pred.parent
    return pred


def is_sigmoid(pred: Any) -> bool:
    """Return whether a prediction is (a part of) the output of a sigmoid."""
    return getattr(origin_of(pred), "activation_func", None) in SIGMOID


def knows_scores(pred: Any) -> bool:
    """Return whether the logarithms of a prediction's probabilities follow from scores, see :func:`logarithms`."""
    while type(pred).__name__ == "FromTensor":
        if pred.selection is None:
            return False
        pred = pred.parent
    if isinstance(pred, Softmax):
        return pred.n_class > 1
    return is_sigmoid(pred) and getattr(pred, "logits", None) is not None


def logarithms(pred: Any) -> Logs | None:
    """Compute the logarithms of a prediction's probabilities and of their complements, exact for scores of any size.

    Parameters
    ----------
    pred : Node
        Softmax, layer with a sigmoid, or a part of one by :func:`neuromancer.split`.

    Returns
    -------
    Logs or None
        None if the probabilities do not follow from scores: another node, or a layer with dropout.
    """
    if not knows_scores(pred):
        return None
    if isinstance(pred, Softmax):
        scores = as_float(pred.parent.output)
        log_p = grouped(scores, pred.axis, pred.n_indep, pred.n_class, lambda x, axis: E.log_softmax(x, axis))
        return Logs(log_p, grouped(log_p, pred.axis, pred.n_indep, pred.n_class, _log_complement))
    if type(pred).__name__ == "FromTensor":
        whole = logarithms(pred.parent)
        return None if whole is None else Logs(*map(pred.selection, whole))
    return Logs(-E.T.softplus(-pred.logits), -E.T.softplus(pred.logits))


def _log_complement(log_p: Any, axis: int) -> Any:
    """Return log(1 - p) of every class; for a class above 1/2 the sum of the others, as 1 - p would cancel."""
    top = E.T.gt(log_p, HALF)
    others = E.T.switch(top, LOWEST, log_p)
    greatest = E.disconnected_grad(E.T.max(others, axis=axis, keepdims=True))
    rest = greatest + E.T.log(E.T.sum(E.T.exp(others - greatest), axis=axis, keepdims=True))
    return E.T.switch(top, rest, E.T.log1p(-E.T.exp(E.T.minimum(log_p, HALF))))


def penalty(log_p: Any, eps: float | None) -> Any:
    r"""Return the penalty of a probability p, given its logarithm.

    Parameters
    ----------
    log_p : symbolic tensor
    eps : float or None
        0: the exact ``-log p``. None: see Notes.

    Notes
    -----
    The default is

    .. math:: -\ln p - \ln\left(1 + \frac{\epsilon\,p}{\max(p, 10\,\epsilon)^2}\right)

    For :math:`p \ge 10\,\epsilon` this is the original's :math:`-\ln(p + \epsilon)`. Below, the second term, at most
    0.095, vanishes in proportion to p, so that penalty and gradient become those of :math:`-\ln p`. The slope with
    respect to :math:`\ln p` stays within 10 % of -1, whereas that of :math:`-\ln(p + \epsilon)` vanishes.
    """
    if eps == 0:
        return -log_p
    p = E.T.exp(log_p)
    return -log_p - E.T.log1p(EPS * p / E.T.maximum(p, FLOOR) ** 2)


def penalties(p: Any, logs: Logs | None, eps: float | None) -> tuple[Any, Any]:
    """Return the penalties of p and 1 - p: from logarithms, or ``-log(p + eps)`` if there are none."""
    if logs is not None:
        return penalty(logs.p, eps), penalty(logs.complement, eps)
    offset = EPS if eps is None else eps
    return -E.T.log(p + offset), -E.T.log(1 - p + offset)


def check_eps(eps: Any, pred: Node, node: Node) -> float | None:
    """Return `eps` as a float or None; raise ArgumentError unless it is a number >= 0, and 0 only above scores."""
    if eps is None:
        return None
    number = not isinstance(eps, (bool, np.bool_)) and isinstance(eps, (int, float, np.number))
    if not number or not 0 <= eps <= 1:
        raise ArgumentError("eps must lie between 0 and 1, or be None", node=node, got=eps, nearest="None")
    if eps == 0 and not knows_scores(pred):
        raise ArgumentError(
            "eps=0 needs a prediction whose scores are known",
            node=node,
            got=f"{type(pred).__name__} {pred.name!r}",
            expected="a Softmax of two or more classes, or a layer with a sigmoid and without dropout",
            nearest="eps=None",
        )
    return float(eps)
