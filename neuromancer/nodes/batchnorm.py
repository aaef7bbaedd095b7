"""Batch normalisation inside a layer (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, nearest_name
from neuromancer.nodes.layout import feature_vector
from neuromancer.nodes.node import Node

MODES = (False, "train", "fadeout", "predict")
KEEP = 0.9995
"""Share of the old value that running statistics keep per training step."""
EPSILON = 1e-6
"""Added to the standard deviation of a batch."""
TINY_VARIANCE = 1e-20
"""Below this the root's slope, which is infinite at 0, is cut off."""
ROUNDING = 4
"""Deviations of so many units of a feature's last place may be nothing but rounding."""


def check_mode(mode: Any, node: Node) -> bool | str:
    """The mode of batch normalisation with None as False, or ArgumentError."""
    if mode is None or (isinstance(mode, (bool, str)) and mode in MODES):
        return mode or False
    raise ArgumentError(
        "unknown mode of batch normalisation",
        node=node,
        got=mode,
        expected=f"one of {MODES}",
        nearest=repr(nearest_name(mode, MODES[1:]) or "train"),
    )


def centred(x: Any, axis: int) -> tuple[Any, Any, Any]:
    """Every feature without its mean over all other axes, the mean, and the standard deviation (plus 1e-6).

    All is computed from the distance to one element of the feature. The mean of equal numbers is rounded, but their
    distance is exactly 0, so a constant feature has the deviation 0 whatever its size; and a small deviation beside a
    large mean keeps its digits. The mean does not depend on which element it is, so nor do gradients.

    A feature that deviates from its mean by no more than rounding is constant, and no gradient goes through its
    deviations: in theory it is 0, in practice rounding divided by next to nothing, which would drown what is learnt
    elsewhere.

    Parameters
    ----------
    x : symbolic tensor
    axis : int
        Axis of the features.

    Returns
    -------
    tuple of symbolic tensor, like x; symbolic vector, (n_f,); symbolic vector, (n_f,)
    """
    others = [i for i in range(x.ndim) if i != axis]
    origin = E.disconnected_grad(x[tuple(slice(None) if i == axis else 0 for i in range(x.ndim))])
    # Fenced: (x - origin) - shift would become x - (origin + shift), whose digits are lost.
    distance = E.fence(x - feature_vector(origin, x.ndim, axis))
    shift = distance.mean(axis=others)
    deviations = distance - feature_vector(shift, x.ndim, axis)
    variance = (deviations**2).mean(axis=others)
    mean = origin + shift
    # False for a mean of 0, which does not round: weights that begin with 0 must be able to leave it.
    constant = E.T.lt(variance, (ROUNDING * float(np.finfo(x.dtype).eps) * mean) ** 2)
    variance = _held(variance, constant)
    deviations = _held(deviations, feature_vector(constant, x.ndim, axis))
    return deviations, mean, E.T.sqrt(E.T.maximum(variance, TINY_VARIANCE)) + EPSILON


def _held(x: Any, where: Any) -> Any:
    """x, constant to gradients where a condition holds."""
    return E.T.switch(where, E.disconnected_grad(x), x)


def normalise(x: Any, axis: int, mean: Any, std: Any, gamma: Any, rate: Any = None, deviations: Any = None) -> Any:
    """``gamma / std * (x - mean)`` per feature.

    Parameters
    ----------
    x : symbolic tensor
    axis : int
        Axis of the features.
    mean, std, gamma : symbolic vector, (n_f,)
    rate : symbolic scalar, optional
        1 normalises, 0 leaves x as it is; in between statistics and scale are interpolated, which fades the
        normalisation out during training (GradNets, Almeida & Sauder 2015, arXiv:1511.06827).
    deviations : symbolic tensor, optional
        x - mean, where it is known more exactly than its two parts.

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
    """Let training move a running statistic towards the batch's, unless it already follows one."""
    if param.updates is None:
        param.updates = (param, E.T.cast(KEEP * param + (1 - KEEP) * batch, param.dtype))
