"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, nearest_name
from neuromancer.nodes.layout import feature_vector
from neuromancer.nodes.node import Node

MODES = (False, "train", "fadeout", "predict")
KEEP = 0.9995
"""Momentum: weight of the old value in the running statistics, per training step."""
EPSILON = 1e-6
"""Added to the standard deviation of a batch."""
TINY_VARIANCE = 1e-20
"""Lower bound of the variance under the square root, whose slope is infinite at 0."""
ROUNDING = 4
"""Deviations up to this many units in the last place of the mean are taken for rounding errors."""


def check_mode(mode: Any, node: Node) -> bool | str:
    """Return the mode of batch normalisation, False for None; raise ArgumentError if it is unknown."""
    if mode is None or (isinstance(mode, (bool, str)) and mode in MODES):
        return mode or False
    raise ArgumentError(
        "unknown batch_normalisation mode",
        node=node,
        got=mode,
        expected=f"one of {MODES}",
        nearest=repr(nearest_name(mode, MODES[1:]) or "train"),
    )


def centred(x: Any, axis: int) -> tuple[Any, Any, Any]:
    """Centre every feature on its mean over all other axes, and compute its mean and standard deviation (plus 1e-6).

    Statistics are computed relative to one element of the feature: the mean of equal numbers is rounded, but their
    difference is exactly 0, so a constant feature has deviation 0 whatever its value, and a small deviation beside a
    large mean keeps its precision. The result does not depend on the choice of the element, so neither do gradients.

    A feature that deviates from its mean by no more than rounding errors is treated as constant, without gradient
    through its deviations: the exact gradient is 0, but the computed one is a rounding error divided by almost 0, large
    enough to swamp all others.

    Parameters
    ----------
    x : symbolic tensor
    axis : int
        Feature axis.

    Returns
    -------
    deviations : symbolic tensor, shape of x
    mean : symbolic vector, (n_f,)
    std : symbolic vector, (n_f,)
    """
    others = [i for i in range(x.ndim) if i != axis]
    origin = E.disconnected_grad(x[tuple(slice(None) if i == axis else 0 for i in range(x.ndim))])
    # Fenced: the rewriter would turn (x - origin) - shift into x - (origin + shift), which loses precision.
    distance = E.fence(x - feature_vector(origin, x.ndim, axis))
    shift = distance.mean(axis=others)
    deviations = distance - feature_vector(shift, x.ndim, axis)
    variance = (deviations**2).mean(axis=others)
    mean = origin + shift
    # False for a mean of 0, which is exact: weights initialised with 0 must get a gradient.
    constant = E.T.lt(variance, (ROUNDING * float(np.finfo(x.dtype).eps) * mean) ** 2)
    variance = _stop_gradient(variance, constant)
    deviations = _stop_gradient(deviations, feature_vector(constant, x.ndim, axis))
    return deviations, mean, E.T.sqrt(E.T.maximum(variance, TINY_VARIANCE)) + EPSILON


def _stop_gradient(x: Any, where: Any) -> Any:
    """Return x, with its gradient stopped where a condition holds."""
    return E.T.switch(where, E.disconnected_grad(x), x)


def normalise(x: Any, axis: int, mean: Any, std: Any, gamma: Any, rate: Any = None, deviations: Any = None) -> Any:
    """Compute ``gamma / std * (x - mean)`` per feature.

    Parameters
    ----------
    x : symbolic tensor
    axis : int
        Feature axis.
    mean, std, gamma : symbolic vector, (n_f,)
    rate : symbolic scalar, optional
        1 normalises, 0 leaves x unchanged; in between, statistics and scale are interpolated, which fades the
        normalisation out during training (GradNets, Almeida & Sauder 2015, arXiv:1511.06827).
    deviations : symbolic tensor, optional
        ``x - mean``, if known to higher precision than by subtraction.

    Returns
    -------
    symbolic tensor
    """
    if deviations is None:
        deviations = x - feature_vector(mean, x.ndim, axis)
    if rate is not None:
        deviations = rate * deviations + (1 - rate) * x
        std, gamma = rate * std + (1 - rate), rate * gamma + (1 - rate)
    return deviations * feature_vector(gamma / std, x.ndim, axis)


def track(param: Any, batch: Any) -> None:
    """Update a running statistic towards the batch's at every training step, unless it is already updated."""
    if param.updates is None:
        param.updates = (param, E.T.cast(KEEP * param + (1 - KEEP) * batch, param.dtype))
