"""Batch normalisation inside a layer (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

from __future__ import annotations

from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, nearest_name
from neuromancer.graph.node import Node
from neuromancer.nodes.layout import feature_vector

MODES = (False, "train", "fadeout", "predict")
KEEP = 0.9995
"""Share of the old value that running statistics keep per training step."""
EPSILON = 1e-6
"""Added to the standard deviation of a batch."""
TINY_VARIANCE = 1e-20
"""Below this the root's slope, which is infinite at 0, is cut off."""


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


def batch_statistics(x: Any, axis: int) -> tuple[Any, Any]:
    """Mean and standard deviation (plus 1e-6) of every feature over all other axes.

    Parameters
    ----------
    x : symbolic tensor
    axis : int
        Axis of the features.

    Returns
    -------
    tuple of symbolic vector, (n_f,)
    """
    others = [i for i in range(x.ndim) if i != axis]
    mean = x.mean(axis=others)
    variance = ((x - feature_vector(mean, x.ndim, axis)) ** 2).mean(axis=others)
    return mean, E.T.sqrt(E.T.maximum(variance, TINY_VARIANCE)) + EPSILON


def normalise(x: Any, axis: int, mean: Any, std: Any, gamma: Any, rate: Any = None) -> Any:
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

    Returns
    -------
    symbolic tensor
    """
    if rate is not None:
        mean, std, gamma = rate * mean, rate * std + (1 - rate), rate * gamma + (1 - rate)
    return (x - feature_vector(mean, x.ndim, axis)) * feature_vector(gamma / std, x.ndim, axis)


def track(param: Any, batch: Any) -> None:
    """Let training move a running statistic towards the batch's, unless it already follows one."""
    if param.updates is None:
        param.updates = (param, E.T.cast(KEEP * param + (1 - KEEP) * batch, param.dtype))
