"""Normalisations in the operations of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.interop.leaving.target import Standardisation
from neuromancer.interop.leaving.weights import Weight, constant

INSTANCE_NORM = (3, 4, 5)
"""Numbers of axes that the operation takes everywhere."""


def batch_norm(t: Any, x: str, s: Standardisation) -> str:
    """Normalise axis 1 by running statistics."""
    n = 0 if s.mean is None else s.mean.array.size
    gamma, beta = (
        s.gamma or constant(np.ones(n, "float32"), "ones"),
        s.beta or constant(np.zeros(n, "float32"), "zeros"),
    )
    operands = [t.operand(w) for w in (gamma, beta, s.mean, s.var)]
    return str(t.graph.add("BatchNormalization", [x, *operands], epsilon=s.eps))


def standardised(t: Any, x: str, axes: Sequence[int], s: Standardisation, ndim: int) -> str:
    """Normalise by the statistics along some axes; the features are axis 1."""
    if list(axes) == list(range(2, ndim)) and ndim in INSTANCE_NORM and s.gamma is not None and s.beta is not None:
        operands = [t.operand(s.gamma), t.operand(s.beta)]
        return str(t.graph.add("InstanceNormalization", [x, *operands], epsilon=s.eps))
    y = _by_moments(t, x, axes, s.eps)
    return _scaled(t, y, *(None if w is None else w.transposed(0, *["x"] * (ndim - 2)) for w in (s.gamma, s.beta)))


def _by_moments(t: Any, x: str, axes: Sequence[int], eps: float) -> str:
    deviations = t.binary("sub", x, t.reduce(x, "average", axes))
    variance = t.reduce(t.binary("mul", deviations, deviations), "average", axes)
    return str(t.binary("div", deviations, t.function("sqrt", t.binary("add", variance, eps))))


def _scaled(t: Any, y: str, gamma: Weight | None, beta: Weight | None) -> str:
    y = y if gamma is None else t.binary("mul", y, t.operand(gamma))
    return y if beta is None else t.binary("add", y, t.operand(beta))


def grouped_norm(t: Any, x: str, ndim: int, n_groups: int, features: int, s: Standardisation) -> str:
    """Normalise groups of features: as instances of images with as many features."""
    groups = t.reshape(x, [t.size(x, 0), n_groups, -1])
    ones, zeros = (constant(np.full(n_groups, v, "float32"), n) for v, n in ((1, "ones"), (0, "zeros")))
    y = t.graph.add("InstanceNormalization", [groups, t.operand(ones), t.operand(zeros)], epsilon=s.eps)
    y = t.reshape(y, [t.size(x, 0), features, *(t.size(x, k) for k in range(2, ndim))])
    return _scaled(t, y, *(None if w is None else w.transposed(0, *["x"] * (ndim - 2)) for w in (s.gamma, s.beta)))


def layer_norm(t: Any, x: str, n_axes: int, s: Standardisation) -> str:
    """Normalise over the last axes."""
    if s.gamma is None or s.beta is None:
        return _scaled(t, _by_moments(t, x, list(range(-n_axes, 0)), s.eps), s.gamma, s.beta)
    operands = [t.operand(s.gamma), t.operand(s.beta)]
    return str(t.graph.add("LayerNormalization", [x, *operands], axis=-n_axes, epsilon=s.eps))
