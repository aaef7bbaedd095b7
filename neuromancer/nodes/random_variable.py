"""Random variables, differentiable with respect to their parameters."""

from __future__ import annotations

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from neuromancer.graph.node import require_node
from neuromancer.graph.tagged_shape import require_tag
from neuromancer.nodes.losses.common import align, require_fit, require_tensor
from neuromancer.nodes.node import Node
from neuromancer.utils import new_seed


class GaussianRV(Node):
    r"""Sample from a normal distribution, given by mean and log of the standard deviation.

    The sample is :math:`\mu + e^{\ln\sigma}\,z` with :math:`z \sim N(0, 1)`. Gradients flow to mean and
    standard deviation (reparametrisation trick, Kingma & Welling 2014, arXiv:1312.6114).

    Parameters
    ----------
    mu : Node
        Mean, of any shape with an axis b.
    log_sig : Node
        Natural logarithm of the standard deviation; same shape.
    n_samples : int
        Number of samples, on a new axis s after b; 0 for one sample in mu's shape, without axis s.
    name : str
    print_repr : bool
    seed : int, optional
        Seed of this node's random numbers. Default: drawn from the package's generator (``neuromancer.seed``).

    Raises
    ------
    ShapeError
        If the shapes of `mu` and `log_sig` do not match.
    InputTypeError
        If one of them is not a node with a tensor output.
    ArgumentError
        If `n_samples` is not an int >= 0.

    Examples
    --------
    >>> from neuromancer import Input
    >>> mu = Input((2, 3), "b,f", name="mu", print_repr=False)
    >>> log_sig = Input((2, 3), "b,f", name="log_sig", print_repr=False)
    >>> GaussianRV(mu, log_sig, n_samples=5, print_repr=False).shape
    [(2,b), (5,s), (3,f)]
    """

    def __init__(
        self,
        mu: Node,
        log_sig: Node,
        n_samples: int = 0,
        name: str = "state",
        print_repr: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(None, name, print_repr)
        _require_pair(self, mu, log_sig, n_samples)
        self.axis = require_tag(mu.shape, "b", self) + 1
        self.mu, self.log_sig, self.n_samples = mu, log_sig, int(n_samples)
        self.parent = [mu, log_sig]
        self._stream = E.RandomStream(new_seed() if seed is None else seed)

    def _make_output(self) -> None:
        mu, log_sig = self.mu.output, align(self.log_sig, self.mu.shape)
        sizes = [mu.shape[i] for i in range(mu.ndim)]
        if self.n_samples:
            order = [*range(self.axis), "x", *range(self.axis, mu.ndim)]
            mu, log_sig = mu.dimshuffle(*order), log_sig.dimshuffle(*order)
            sizes.insert(self.axis, self.n_samples)
        self.output = mu + E.T.exp(log_sig) * self._stream.normal(tuple(sizes), dtype=mu.dtype)

    def _calc_shape(self) -> None:
        shape = self.mu.shape
        self.shape = shape.addaxis("b", self.n_samples, "s") if self.n_samples else shape.copy()

    def _calc_comp_cost(self) -> None:
        self.computational_cost = self.mu.shape.stripnone_prod * max(1, self.n_samples)

    def make_priorlayer(self, name: str = "prior", print_repr: bool = True) -> GaussianAEVBPrior:
        """Create the loss that pulls the distribution towards N(0, 1).

        Parameters
        ----------
        name : str
        print_repr : bool

        Returns
        -------
        GaussianAEVBPrior
            With the shape of this node.
        """
        return GaussianAEVBPrior(self.mu, self.log_sig, self.n_samples, name=name, print_repr=print_repr)


class GaussianAEVBPrior(Node):
    r"""Elementwise Kullback-Leibler divergence of a normal distribution from N(0, 1).

    Parameters
    ----------
    mu, log_sig, n_samples
        See :class:`GaussianRV`; with `n_samples` > 0, values are repeated along axis s.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError, InputTypeError, ArgumentError
        See :class:`GaussianRV`.

    Notes
    -----
    :math:`\tfrac12 (\mu^2 + \sigma^2 - 1 - 2 \ln\sigma)` (Kingma & Welling 2014, appendix B).

    Examples
    --------
    >>> from neuromancer import Input
    >>> mu = Input((1, 2), "b,f", name="mu", print_repr=False)
    >>> log_sig = Input((1, 2), "b,f", name="log_sig", print_repr=False)
    >>> GaussianAEVBPrior(mu, log_sig, print_repr=False)([[0, 2]], [[0, 0]]).tolist()
    [[0.0, 2.0]]
    """

    def __init__(
        self, mu: Node, log_sig: Node, n_samples: int = 0, name: str = "prior", print_repr: bool = True
    ) -> None:
        super().__init__(None, name, print_repr)
        _require_pair(self, mu, log_sig, n_samples)
        self.axis = require_tag(mu.shape, "b", self) + 1
        self.mu, self.log_sig, self.n_samples = mu, log_sig, int(n_samples)
        self.parent = [mu, log_sig]

    def _make_output(self) -> None:
        mu, log_sig = self.mu.output, align(self.log_sig, self.mu.shape)
        value = 0.5 * (mu**2 + E.T.exp(2 * log_sig) - 1 - 2 * log_sig)
        if self.n_samples:
            wide = value.dimshuffle(*range(self.axis), "x", *range(self.axis, value.ndim))
            sizes = [value.shape[i] for i in range(value.ndim)]
            sizes.insert(self.axis, self.n_samples)
            value = E.T.alloc(wide, *sizes)
        self.output = value

    def _calc_shape(self) -> None:
        shape = self.mu.shape
        self.shape = shape.addaxis("b", self.n_samples, "s") if self.n_samples else shape.copy()


def _require_pair(node: Node, mu: Node, log_sig: Node, n_samples: int) -> None:
    for role, parent in (("mu", mu), ("log_sig", log_sig)):
        require_node(parent, node, role)
        require_tensor(parent, node, role)
    require_fit(node, "log_sig", log_sig, mu)
    if isinstance(n_samples, bool) or not isinstance(n_samples, (int, np.integer)) or n_samples < 0:
        raise ArgumentError("n_samples must be a number of samples", node=node, got=n_samples, expected="an int >= 0")
