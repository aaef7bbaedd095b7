"""Standardisation by moments, precise and with few passes over memory, and the base of nodes that normalise by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import is_number, vanishes
from neuromancer.config import config
from neuromancer.errors import ArgumentError
from neuromancer.graph.demand import Demand
from neuromancer.graph.statistics import FeatureStatistics
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.elementwise import is_finite
from neuromancer.nodes.parameters import ParameterNode

OPERATIONS = 80
"""Symbolic operations of a normalisation."""
ONE, ZERO = {"mode": "const", "scale": 1.0}, {"mode": "const", "scale": 0.0}


class Moments(NamedTuple):
    """A tensor relative to about its mean, and its moments along some axes, which have size 1.

    Parameters
    ----------
    deviations : symbolic tensor
        ``x - origin``, of the shape of x.
    origin, shift : symbolic tensor
        The mean is ``origin + shift``; `shift` corrects the rounding error of `origin`.
    variance : symbolic tensor
        Mean of the squared deviations from the mean.
    """

    deviations: Any
    origin: Any
    shift: Any
    variance: Any


def moments(x: Any, axes: Sequence[int], pooled: Callable[[Any], Any] | None = None) -> Moments:
    """Compute the moments of x along some axes.

    Parameters
    ----------
    x : symbolic tensor
    axes : sequence of int
    pooled : callable, optional
        Averages means along the axes further, over equally many values each: `over_groups` for groups of features. Its
        result has the shape of its argument.

    Notes
    -----
    The corrected two-pass algorithm (Chan, Golub & LeVeque 1983, doi:10.1080/00031305.1983.10483115): however large the
    mean, deviations keep the precision of x. The result does not depend on the origin, so neither do gradients.
    """
    along = list(axes)

    def mean(v: Any) -> Any:
        v = v.mean(axis=along, keepdims=True) if along else v
        return v if pooled is None else pooled(v)

    origin = E.disconnected_grad(mean(x))
    # Fenced: the rewriter would turn (x - origin) - shift into x - (origin + shift), which loses precision.
    deviations = E.fence(x - origin)
    shift = mean(deviations)
    variance = mean(deviations**2) - shift**2
    return Moments(deviations, origin, shift, E.T.maximum(variance, 0))


def over_groups(values: Any, axis: int, n_groups: int, n_features: int) -> Any:
    """Return the means of groups of neighbouring features, once for every feature.

    Parameters
    ----------
    values : symbolic tensor
    axis : int
        Of the features.
    n_groups, n_features : int
    """
    if n_groups == n_features:
        return values
    sizes = [1 if one else values.shape[i] for i, one in enumerate(values.type.broadcastable)]
    before, after = sizes[:axis], sizes[axis + 1 :]
    cells = [*before, n_groups, n_features // n_groups, *after]
    means = values.reshape(cells, ndim=len(cells)).mean(axis=axis + 1, keepdims=True)
    return E.T.alloc(means, *cells).reshape([*before, n_features, *after], ndim=values.ndim)


def given_moments(x: Any, shape: TaggedShape, rows: Any) -> Moments:
    """Return the moments of x by statistics of the whole image, as from :func:`moment_rows`, (3, b, f)."""
    origin, shift, variance = (per_image(rows[i], shape) for i in range(3))
    return Moments(E.fence(x - origin), origin, shift, variance)


def per_image(values: Any, shape: TaggedShape) -> Any:
    """Return values per image and feature, (b, f), such that they broadcast against a tensor of this shape."""
    places: dict[str, int | str] = {"b": 0, "f": 1}
    return values.dimshuffle(*(places.get(tag, "x") for tag in shape.tags))


def moment_rows(of: FeatureStatistics) -> np.ndarray:
    """Return mean, rounding error of the mean in float32, and variance per feature, (3, f)."""
    origin = of.mean.astype(np.float32)
    return np.stack([origin, of.mean - origin, of.variance])


def standardised(m: Moments, eps: float, gamma: Any = None, beta: Any = None) -> Any:
    """Compute ``gamma * (x - mean) / sqrt(variance + eps) + beta``, with one product and one sum per element.

    Parameters
    ----------
    m : Moments
        Of x.
    eps : float
    gamma, beta : symbolic tensor, optional
        Such that they broadcast against x.
    """
    scale, offset = folded(m.shift, m.variance, eps, gamma, beta)
    return m.deviations * scale + offset


def folded(mean: Any, variance: Any, eps: float, gamma: Any, beta: Any) -> tuple[Any, Any]:
    """Return a and b such that ``gamma * (x - mean) / sqrt(variance + eps) + beta`` is ``x * a + b``."""
    scale = 1 / E.T.sqrt(variance + eps)
    if gamma is not None:
        scale = scale * gamma
    # Fenced: merged into one expression, everything would be computed per element of x.
    scale = E.fence(scale)
    offset = -mean * scale if beta is None else beta - mean * scale
    return scale, E.fence(offset)


class _Normalisation(ParameterNode):
    """Base of nodes that standardise, then scale by `gamma` and add `beta`."""

    gamma: Any = None
    beta: Any = None
    passes = 1.5

    def statistics_from(self, parent: FeatureStatistics) -> np.ndarray:
        """Return origin, shift and variance of ``Moments`` per feature."""
        return moment_rows(parent)

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        shape = getattr(arguments.get("parent"), "shape", None)
        features = shape["f"] if shape is not None and shape.hastag("f") else None
        return Demand(OPERATIONS, 8 * (features or 0))

    def _setup(self, affine: Any, eps: Any, gamma: Any, beta: Any) -> None:
        """Check and store the options that all normalisations share; create no parameters yet."""
        self.affine = self._flag("affine", affine)
        if not is_number(eps) or not (eps > 0 and is_finite(eps)) or vanishes(config.floatX, eps):
            raise ArgumentError(
                "eps must be a positive number",
                node=self,
                got=repr(eps)[:100],
                expected=f"more than 0 and finite in {config.floatX}",
            )
        self.eps = float(eps)
        self._refuse_unused("affine", self.affine, gamma=gamma, beta=beta)

    def _flag(self, key: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ArgumentError(f"{key} must be a bool", node=self, got=value, expected="True or False")
        return value

    def _refuse_unused(self, option: str, on: bool, **given: Any) -> None:
        unused = [key for key, value in given.items() if value is not None]
        if unused and not on:
            raise ArgumentError(
                "parameters that are not used", node=self, got=f"{', '.join(unused)} with {option}=False",
                nearest=f"{option}=True",
            )  # fmt: skip

    def _make_affine(self, shape: tuple[int, ...], gamma: Any, beta: Any) -> None:
        if self.affine:
            self.gamma = self._param("gamma", gamma, shape, ONE, reg=False)
            self.beta = self._param("beta", beta, shape, ZERO, reg=False)

    def _options(self) -> str:
        return f"eps={self.eps:g}, " + ("" if self.affine else "not affine, ")
