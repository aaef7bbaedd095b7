"""Elementwise activation functions, by name.

No branch that is not taken can overflow, so that values and gradients are finite for all finite x. Where x is a product
itself, a fence keeps simplification from merging it with that of the function, for which engines may have one kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
TANH_SCALE, TANH_CUBIC = (2 / np.pi) ** 0.5, 0.044715
"""Constants of the tanh approximation of GELU."""


def _like(value: float, x: Any) -> np.ndarray:
    """Return a number in the dtype of `x`; Python numbers would be rounded to floatX, also below a float64 input."""
    return np.asarray(value, x.dtype)


def rectified(x: Any, slope: Any) -> Any:
    """Return x where x > 0, else ``slope * x``, for a symbolic slope or a number.

    As a product with one factor per element, the gradient at 0 is the slope and not the sum of both sides.
    """
    x = E.fence(x)
    if not isinstance(slope, E.Variable):
        slope = _like(slope, x)
    return x * E.T.switch(x > 0, _like(1, x), slope)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where x > 0, else ``alpha * (exp(x) - 1)``."""
    negative = E.T.expm1(E.T.minimum(x, 0))
    return E.T.switch(x > 0, x, negative if alpha == 1 else negative * _like(alpha, x))


def selu(x: Any) -> Any:
    """Return the self-normalising ELU."""
    return SELU_SCALE * E.T.switch(x > 0, x, SELU_ALPHA * E.T.expm1(E.T.minimum(x, 0)))


def gelu(x: Any) -> Any:
    """Return ``x P(X <= x)`` for a standard normal X."""
    x = E.fence(x)
    return x * (E.T.erf(x * _like(0.5**0.5, x)) + _like(1, x)) * _like(0.5, x)


def gelu_tanh(x: Any) -> Any:
    """Return the approximation of GELU by tanh."""
    inner = x * (E.T.sqr(x) * _like(TANH_CUBIC, x) + _like(1, x)) * _like(TANH_SCALE, x)
    return x * (E.T.tanh(inner) + _like(1, x)) * _like(0.5, x)


def silu(x: Any) -> Any:
    """Return ``x sigmoid(x)``."""
    x = E.fence(x)
    return x * E.T.sigmoid(x)


def mish(x: Any) -> Any:
    """Return ``x tanh(log(1 + exp(x)))``."""
    return x * E.T.tanh(E.T.softplus(x))


def hardsigmoid(x: Any) -> Any:
    """Return x / 6 + 1 / 2, clipped to [0, 1]."""
    return E.T.clip(x * _like(1 / 6, x) + _like(0.5, x), _like(0, x), _like(1, x))


def hardswish(x: Any) -> Any:
    """Return ``x hardsigmoid(x)``."""
    return x * hardsigmoid(x)


def hardtanh(x: Any, low: float = -1.0, high: float = 1.0) -> Any:
    """Return x, clipped to [low, high]."""
    return E.T.clip(x, _like(low, x), _like(high, x))


def softsign(x: Any) -> Any:
    """Return ``x / (1 + |x|)``."""
    return x / (abs(x) + _like(1, x))


def softplus(x: Any, beta: float = 1.0) -> Any:
    """Return ``log(1 + exp(beta x)) / beta``."""
    return E.T.softplus(x) if beta == 1 else E.T.softplus(x * _like(beta, x)) / _like(beta, x)


def logsigmoid(x: Any) -> Any:
    """Return ``log(sigmoid(x))``."""
    return -E.T.softplus(-x)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: E.relu(x),
    "tanh": lambda x: E.T.tanh(x),
    "elu": elu,
    "selu": selu,
    "leaky_relu": lambda x: rectified(x, 0.01),
    "relu6": lambda x: hardtanh(x, 0, 6),
    "gelu": gelu,
    "gelu tanh": gelu_tanh,
    "silu": silu,
    "swish": silu,
    "mish": mish,
    "hardswish": hardswish,
    "abs": lambda x: abs(x),
    "sig": lambda x: E.T.sigmoid(x),
    "logistic": lambda x: E.T.sigmoid(x),
    "sigmoid": lambda x: E.T.sigmoid(x),
    "logsigmoid": logsigmoid,
    "hardsigmoid": hardsigmoid,
    "hardtanh": hardtanh,
    "softsign": softsign,
    "soft+": softplus,
    "softplus": softplus,
    "lin": lambda x: x,
    "linear": lambda x: x,
    "concentration": lambda x: 7 * E.T.softplus(x) + 2,
    "radius": lambda x: 3 + 15 * E.T.exp(0.15 * x),
}
"""Functions of single numbers."""


def is_finite(number: float) -> bool:
    """Return whether a number is finite in floatX, in which it is used."""
    return abs(number) <= float(np.finfo(config.floatX).max)


class Family(NamedTuple):
    """Functions of single numbers that differ in the numbers after their name."""

    function: Callable[..., Any]
    numbers: dict[str, float]
    """Names of the numbers, with the values of an example."""
    rule: str = ""
    """What must hold for them, besides being finite."""
    fits: Callable[..., bool] = lambda *_: True


_SOFTPLUS = Family(
    softplus,
    {"beta": 1.0},
    "beta > 0, and 1 / beta finite",
    # A smaller beta would be 0 in floatX.
    lambda beta: beta > 0 and is_finite(1 / beta),
)
FAMILIES = {
    "leaky_relu": Family(rectified, {"slope": 0.01}),
    "elu": Family(elu, {"alpha": 1.0}),
    "soft+": _SOFTPLUS,
    "softplus": _SOFTPLUS,
    "hardtanh": Family(hardtanh, {"low": -1.0, "high": 1.0}, "low < high", lambda low, high: low < high),
}
