"""Elementwise negative log-likelihoods of continuous and binary targets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import log, pi
from typing import Any

from neuromancer import engine as E
from neuromancer.graph.demand import Demand
from neuromancer.nodes.losses.common import (
    EPS,
    align,
    labelled,
    missing_scale,
    require_fit,
    require_tensor,
)
from neuromancer.nodes.losses.logits import check_eps, logarithms, penalties
from neuromancer.nodes.losses.targets import MISSING_NUMBERS, Check, check_finite, check_fractions
from neuromancer.nodes.node import Node


class BinaryNLL(Node):
    r"""Negative log-likelihood of independent binary events (binary cross-entropy).

    Parameters
    ----------
    pred : Node
        Probabilities in [0, 1], of any shape.
    target : Node
        Outcomes or their probabilities in [0, 1], in the shape of `pred`; an axis s of samples may be missing. -666 and
        NaN mark missing values.
    subtract_label_entropy : bool
        Subtract the entropy of the target, so that the loss is 0 where prediction and target are equal.
    name : str
    print_repr : bool
    eps : float, optional
        None: penalties come from the scores below a sigmoid or Softmax, so that a gradient remains however wrong the
        prediction is; ``eps=1e-5`` for other predictions. 0: the exact logarithm. Other numbers: ``-log(p + eps)``;
        1e-5 is the original library's, whose gradient vanishes where p does.

    Raises
    ------
    ShapeError, InputTypeError
        If the target does not match the prediction.
    ArgumentError
        If `eps` is not in [0, 1], or is 0 for a prediction whose scores are unknown.

    Notes
    -----
    .. math:: l = s\,[t\,\phi(p) + (1 - t)\,\phi(1 - p)]

    with s = size / (number of labelled elements + 1); missing elements give 0. The penalty is :math:`\phi(p) = -\ln(p +
    \epsilon)`; with ``eps=None`` and known scores it is this for :math:`p \ge 10^{-4}` and tends to :math:`-\ln p`
    below. The output has the shape of `pred`.

    Examples
    --------
    >>> from neuromancer import Input
    >>> p = Input((1, 2), "b,f", name="p", print_repr=False)
    >>> t = Input((1, 2), "b,f", name="t", print_repr=False)
    >>> print(BinaryNLL(p, t, print_repr=False)([[0.5, 0.5]], [[1, -666]]).round(3))
    [[0.693 0.   ]]
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        subtract_label_entropy: bool = False,
        name: str = "binary_nll",
        print_repr: bool = True,
        eps: float | None = None,
    ) -> None:
        super().__init__(None, name, print_repr)
        require_tensor(pred, self, "the prediction")
        require_tensor(target, self, "the target")
        require_fit(self, "target", target, pred)
        self.target, self.subtract_label_entropy = target, subtract_label_entropy
        self.parent = [pred, target]
        self.eps = check_eps(eps, pred, self)

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the target: in [0, 1] or missing."""
        return [(self.target, partial(check_fractions, self, "the target", special=MISSING_NUMBERS))]

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        return Demand(192)

    def _make_output(self) -> None:
        p = self.parent[0].output
        t = E.T.cast(align(self.target, self.parent[0].shape), p.dtype) + E.T.zeros_like(p)
        known = labelled(t)
        t = E.T.switch(known, t, 0)
        event, no_event = penalties(p, None if self.eps else logarithms(self.parent[0]), self.eps)
        loss = t * event + (1 - t) * no_event
        if self.subtract_label_entropy:
            loss = loss + _xlogx(t) + _xlogx(1 - t)
        mask = E.T.cast(known, p.dtype)
        self.output = loss * mask * missing_scale(mask)


def _xlogx(x: Any) -> Any:
    """Compute x log x, with the value 0 at 0."""
    positive = E.T.gt(x, 0)
    return E.T.switch(positive, x * E.T.log(E.T.switch(positive, x, 1)), 0)


class GaussianNLL(Node):
    r"""Negative log-likelihood of a normal distribution.

    Parameters
    ----------
    mu : Node
        Mean, of any shape.
    sig : Node
        Standard deviation (> 0), or its natural logarithm, in the shape of `mu`; an axis s may be missing.
    target : Node
        Observed value, finite, in the shape of `mu`; an axis s of samples may be missing.
    sig_is_log : bool
        Whether `sig` is the logarithm, which is numerically safer.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError
        If the nodes do not match.

    Notes
    -----
    .. math:: l = \tfrac12 \ln 2\pi + \ln\sigma + \tfrac12 \left(\frac{t - \mu}{\sigma}\right)^2

    Examples
    --------
    >>> from neuromancer import Input
    >>> mu, sig, t = (Input((1, 1), "b,f", name=n, print_repr=False) for n in ("mu", "sig", "t"))
    >>> print(GaussianNLL(mu, sig, t, print_repr=False)([[1]], [[1]], [[1]]).round(3))
    [[0.919]]
    """

    def __init__(
        self,
        mu: Node,
        sig: Node,
        target: Node,
        sig_is_log: bool = False,
        name: str = "g_nll",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        for role, node in (("mu", mu), ("sig", sig), ("the target", target)):
            require_tensor(node, self, role)
        require_fit(self, "sig", sig, mu)
        require_fit(self, "target", target, mu)
        self.sig_is_log = sig_is_log
        self.parent = [mu, sig, target]

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the target: finite."""
        return [(self.parent[2], partial(check_finite, self, "the target"))]

    def _make_output(self) -> None:
        shape = self.parent[0].shape
        mu, sig, t = (align(p, shape) for p in self.parent)
        log_sig, deviation = (sig, (t - mu) * E.T.exp(-sig)) if self.sig_is_log else (E.T.log(sig), (t - mu) / sig)
        self.output = 0.5 * log(2 * pi) + log_sig + 0.5 * deviation**2


class BetaNLL(Node):
    r"""Negative log-likelihood of a beta distribution, parametrised by mode and concentration.

    Parameters
    ----------
    mode : Node
        Mode, in (0, 1), of any shape.
    concentration : Node
        Concentration, > 2 (activation function ``'concentration'``), in the shape of `mode`; an axis s may be missing.
    target : Node
        Observed value in [0, 1], in the shape of `mode`; an axis s of samples may be missing.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError
        If the nodes do not match.

    Notes
    -----
    With :math:`a = m (c - 2) + 1` and :math:`b = (1 - m)(c - 2) + 1`:

    .. math::
        l = -\left[\ln\Gamma(a + b) - \ln\Gamma(a) - \ln\Gamma(b) + (a - 1) \ln(t + \epsilon)
            + (b - 1) \ln(1 - t + \epsilon)\right] + \mathrm{softplus}(-c)

    where :math:`\epsilon = 10^{-5}`. The last term keeps the concentration positive.

    Examples
    --------
    >>> from neuromancer import Input
    >>> m, c, t = (Input((1, 1), "b,f", name=n, print_repr=False) for n in ("m", "c", "t"))
    >>> print(BetaNLL(m, c, t, print_repr=False)([[0.5]], [[4]], [[0.5]]).round(3))
    [[-0.387]]
    """

    def __init__(
        self, mode: Node, concentration: Node, target: Node, name: str = "beta_nll", print_repr: bool = True
    ) -> None:
        super().__init__(None, name, print_repr)
        for role, node in (("mode", mode), ("concentration", concentration), ("the target", target)):
            require_tensor(node, self, role)
        require_fit(self, "concentration", concentration, mode)
        require_fit(self, "target", target, mode)
        self.parent = [mode, concentration, target]

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the target: in [0, 1]."""
        return [(self.parent[2], partial(check_fractions, self, "the target"))]

    def _make_output(self) -> None:
        shape = self.parent[0].shape
        mode, c, t = (align(p, shape) for p in self.parent)
        a, b = mode * (c - 2) + 1, (1 - mode) * (c - 2) + 1
        normaliser = E.T.gammaln(a + b) - E.T.gammaln(a) - E.T.gammaln(b)
        likelihood = normaliser + (a - 1) * E.T.log(t + EPS) + (b - 1) * E.T.log(1 - t + EPS)
        self.output = -likelihood + E.T.softplus(-c)
