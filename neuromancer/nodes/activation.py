"""Activation functions, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.nodes.layout import feature_vector, is_int
from neuromancer.nodes.node import Node

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _elu(x: Any) -> Any:
    # Clipped at 0, so that the exponential cannot overflow in the branch that is not taken.
    return E.T.switch(x > 0, x, E.T.expm1(E.T.minimum(x, 0)))


def _selu(x: Any) -> Any:
    return SELU_SCALE * E.T.switch(x > 0, x, SELU_ALPHA * E.T.expm1(E.T.minimum(x, 0)))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: E.relu(x),
    "tanh": lambda x: E.T.tanh(x),
    "elu": _elu,
    "selu": _selu,
    "abs": lambda x: abs(x),
    "sig": lambda x: E.T.sigmoid(x),
    "logistic": lambda x: E.T.sigmoid(x),
    "sigmoid": lambda x: E.T.sigmoid(x),
    "soft+": lambda x: E.T.softplus(x),
    "lin": lambda x: x,
    "linear": lambda x: x,
    "concentration": lambda x: 7 * E.T.softplus(x) + 2,
    "radius": lambda x: 3 + 15 * E.T.exp(0.15 * x),
}
NAMES = (*FUNCTIONS, "prelu", "maxout <r>")


@dataclass(frozen=True)
class Activation:
    """Activation function, with the parameters that it needs from its layer.

    For a linear response x:

    ============================  =============================================================
    relu                          max(x, 0)
    tanh                          tanh(x)
    prelu                         max(x, 0) + a min(x, 0), a learned per feature
                                  (He et al. 2015, arXiv:1502.01852)
    elu                           x if x > 0, else exp(x) - 1 (Clevert et al. 2015, arXiv:1511.07289)
    selu                          1.0507 x if x > 0, else 1.0507 * 1.67326 (exp(x) - 1)
                                  (Klambauer et al. 2017, arXiv:1706.02515)
    abs                           absolute value
    sig, logistic, sigmoid        1 / (1 + exp(-x))
    soft+                         log(1 + exp(x))
    lin, linear                   x
    concentration                 7 log(1 + exp(x)) + 2
    radius                        3 + 15 exp(0.15 x)
    maxout r                      maximum over groups of r neighbouring features
                                  (Goodfellow et al. 2013, arXiv:1302.4389)
    ============================  =============================================================

    ``maxout r`` reduces `n_f` linear responses to ``n_f // r`` output features; output feature k is the maximum of
    responses ``k r`` to ``k r + r - 1``. Weights and bias have `n_f` features.

    Parameters
    ----------
    name : str
        Name, without the group size of maxout.
    group : int
        Group size r of maxout, 1 for all others.

    Examples
    --------
    >>> Activation("maxout", 3).outputs(12)
    4
    """

    name: str
    group: int = 1

    @property
    def columns(self) -> int:
        """Number of columns of the bias; prelu stores its slope in a second one."""
        return 2 if self.name == "prelu" else 1

    def outputs(self, n_f: int) -> int:
        """Return the number of output features for `n_f` linear responses."""
        return n_f // self.group

    def bias_init(self, kernel_size: int) -> dict[str, Any]:
        """Return the arguments of ``initweights`` for the bias of a layer with `kernel_size` spatial taps."""
        if self.name in ("relu", "maxout"):
            return {"mode": "const", "scale": 1.0 / kernel_size}
        if self.name == "sigmoid":
            return {"mode": "const", "scale": 0.5}
        if self.name == "prelu":
            return {"mode": "prelu", "scale": 1.0 / kernel_size}
        return {"mode": "fix-uni", "scale": 1e-6}

    def __call__(self, x: Any, axis: int = 1, slope: Any = None) -> Any:
        """Apply the function.

        Parameters
        ----------
        x : symbolic tensor
            Linear responses.
        axis : int
            Feature axis.
        slope : symbolic vector, (n_f,), optional
            Slope of prelu for negative x.

        Returns
        -------
        symbolic tensor
            Shape of x; for maxout, axis `axis` is divided by the group size.
        """
        if self.name == "prelu":
            return E.T.maximum(x, 0) + feature_vector(slope, x.ndim, axis) * E.T.minimum(x, 0)
        if self.name == "maxout":
            sizes = [x.shape[i] for i in range(x.ndim)]
            groups = x.reshape([*sizes[:axis], sizes[axis] // self.group, self.group, *sizes[axis + 1 :]])
            return groups.max(axis=axis + 1)
        return FUNCTIONS[self.name](x)


def find_activation(name: Any, n_f: int, node: Node) -> Activation:
    """Return the activation function of a name.

    Parameters
    ----------
    name : str
        One of the names of :class:`Activation`.
    n_f : int
        Number of linear responses; maxout must divide it.
    node : Node
        Layer, for messages.

    Returns
    -------
    Activation

    Raises
    ------
    ArgumentError
        If the name is unknown.
    ShapeError
        If the group size of maxout does not divide `n_f`.
    """
    if isinstance(name, str) and name in (*FUNCTIONS, "prelu"):
        return Activation(name)
    words = name.split() if isinstance(name, str) else []
    if words[:1] != ["maxout"]:
        raise ArgumentError(
            "unknown activation function",
            node=node,
            got=name,
            expected=f"one of {NAMES}",
            nearest=nearest_name(name, NAMES),
        )
    if len(words) != 2 or not words[1].isdigit() or int(words[1]) < 1:
        raise ArgumentError("maxout needs a group size", node=node, got=name, nearest="'maxout 2'")
    group = int(words[1])
    if is_int(n_f) and n_f % group:
        below = n_f // group * group
        raise ShapeError(
            f"the features cannot be divided into groups of {group}",
            node=node,
            got=f"n_f={n_f}, activation_func={name!r}",
            expected=f"n_f a multiple of {group}",
            nearest=" or ".join(str(n) for n in (below, below + group) if n),
        )
    return Activation("maxout", group)
