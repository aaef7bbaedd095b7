"""Activation functions, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import ArgumentError, ShapeError, nearest_name
from neuromancer.nodes.elementwise import FAMILIES, FUNCTIONS, is_finite, rectified
from neuromancer.nodes.layout import feature_vector
from neuromancer.nodes.node import Node

SIGMOID = ("sig", "sigmoid", "logistic")
"""Names of the sigmoid."""
ALGEBRAIC = (
    "lin", "linear", "relu", "leaky_relu", "relu6", "prelu shared", "prelu", "maxout", "abs", "hardswish",
    "hardsigmoid", "hardtanh", "softsign",
)  # fmt: skip
"""Functions without exp, tanh and the like."""
OVER_FEATURES = ("log_softmax", "prelu shared", "prelu")
RECTIFIERS = (
    "relu", "leaky_relu", "relu6", "prelu shared", "gelu", "gelu tanh", "silu", "swish", "mish", "hardswish", "maxout",
)  # fmt: skip
"""Functions that are close to 0 for negative responses, and whose initial bias is therefore positive."""
NAMES = (
    *FUNCTIONS,
    *(" ".join([name, *(f"<{key}>" for key in family.numbers)]) for name, family in FAMILIES.items()),
    *OVER_FEATURES,
    "maxout <r>",
)
MAX_DIGITS = 18
"""Digits of the largest group size of maxout."""
SLOPE = 0.25
"""Initial slope of prelu where it is a parameter of its own, of He et al. 2015."""


@dataclass(frozen=True)
class ActivationFunction:
    """Activation function, with the parameters that it needs from its layer.

    For a linear response x:

    ============================  =============================================================
    relu                          max(x, 0)
    leaky_relu a                  x if x > 0, else a x; a = 0.01 if not given
                                  (Maas, Hannun & Ng 2013)
    prelu                         max(x, 0) + a min(x, 0), a learned per feature
                                  (He et al. 2015, arXiv:1502.01852)
    prelu shared                  the same, with one a for all features
    relu6                         x, clipped to [0, 6] (Howard et al. 2017, arXiv:1704.04861)
    elu a                         x if x > 0, else a (exp(x) - 1); a = 1 if not given
                                  (Clevert et al. 2015, arXiv:1511.07289)
    selu                          1.0507 x if x > 0, else 1.0507 * 1.67326 (exp(x) - 1)
                                  (Klambauer et al. 2017, arXiv:1706.02515)
    gelu                          x (1 + erf(x / sqrt(2))) / 2
                                  (Hendrycks & Gimpel 2016, arXiv:1606.08415)
    gelu tanh                     x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, an
                                  approximation of gelu (the same paper)
    silu, swish                   x / (1 + exp(-x)) (Elfwing et al. 2017, arXiv:1702.03118)
    mish                          x tanh(log(1 + exp(x))) (Misra 2019, arXiv:1908.08681)
    hardswish                     x hardsigmoid(x) (Howard et al. 2019, arXiv:1905.02244)
    tanh                          tanh(x)
    hardtanh low high             x, clipped to [low, high]; -1 and 1 if not given
    softsign                      x / (1 + abs(x))
    abs                           absolute value
    sig, logistic, sigmoid        1 / (1 + exp(-x))
    hardsigmoid                   x / 6 + 1 / 2, clipped to [0, 1], as in torch and Keras 3
    logsigmoid                    log(1 / (1 + exp(-x)))
    soft+, softplus               log(1 + exp(x))
    soft+ b, softplus b           log(1 + exp(b x)) / b
    log_softmax                   x - log(sum(exp(x))), summed over the features
    lin, linear                   x
    concentration                 7 log(1 + exp(x)) + 2
    radius                        3 + 15 exp(0.15 x)
    maxout r                      maximum over groups of r neighbouring features
                                  (Goodfellow et al. 2013, arXiv:1302.4389)
    ============================  =============================================================

    Numbers follow the name: ``"leaky_relu 0.2"``, ``"hardtanh 0 4"``. They must be finite.

    ``maxout r`` reduces `n_f` linear responses to ``n_f // r`` output features; output feature k is the maximum of
    responses ``k r`` to ``k r + r - 1``. Weights and bias have `n_f` features.

    In layers, the slopes of prelu are the second column of the bias and start at 1; the slope of ``prelu shared`` is
    the parameter ``slope``, (1,), and starts at 0.25.

    Parameters
    ----------
    name : str
        Name, without the numbers that follow it.
    group : int
        Group size r of maxout, 1 for all others.
    numbers : tuple of float
        Numbers after the name of all others.

    Examples
    --------
    >>> ActivationFunction("maxout", 3).outputs(12)
    4
    """

    name: str
    group: int = 1
    numbers: tuple[float, ...] = ()

    @property
    def columns(self) -> int:
        """Number of columns of the bias; prelu stores its slope in a second one."""
        return 2 if self.name == "prelu" else 1

    @property
    def is_elementwise(self) -> bool:
        """Whether it is a fixed function of single numbers."""
        return self.name in FUNCTIONS

    @property
    def functions(self) -> float:
        """Evaluations of functions like exp and tanh per value."""
        return 0.0 if self.name in ALGEBRAIC else 1.0

    def outputs(self, n_f: int) -> int:
        """Return the number of output features for `n_f` linear responses."""
        return n_f // self.group

    def slope_shape(self, n_f: int) -> tuple[int] | None:
        """Return the shape of the learned slope for `n_f` linear responses, None if there is none."""
        return {"prelu": (n_f,), "prelu shared": (1,)}.get(self.name)

    def bias_init(self, kernel_size: int) -> dict[str, Any]:
        """Return the arguments of ``initweights`` for the bias of a layer with `kernel_size` spatial taps."""
        if self.name in RECTIFIERS:
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
        slope : symbolic vector, (n_f,) or (1,), optional
            Slope of prelu for negative x.

        Returns
        -------
        symbolic tensor
            Shape of x; for maxout, axis `axis` is divided by the group size.
        """
        if self.name == "prelu":
            return rectified(x, feature_vector(slope, x.ndim, axis))
        if self.name == "prelu shared":
            return rectified(x, slope[0])
        if self.name == "log_softmax":
            return E.log_softmax(x, axis)
        if self.name == "maxout":
            sizes = [x.shape[i] for i in range(x.ndim)]
            groups = x.reshape([*sizes[:axis], sizes[axis] // self.group, self.group, *sizes[axis + 1 :]])
            return groups.max(axis=axis + 1)
        if self.numbers:
            return FAMILIES[self.name].function(x, *self.numbers)
        return FUNCTIONS[self.name](x)


def find_activation(name: Any, n_f: int | None, node: Node) -> ActivationFunction:
    """Return the activation function of a name.

    Parameters
    ----------
    name : str
        One of the names of :class:`ActivationFunction`.
    n_f : int or None
        Number of linear responses, if known; maxout must divide it.
    node : Node
        Layer, for messages.

    Returns
    -------
    ActivationFunction

    Raises
    ------
    ArgumentError
        If the name is unknown, or the numbers after it do not fit.
    ShapeError
        If the group size of maxout does not divide `n_f`.
    """
    if isinstance(name, str) and name in (*FUNCTIONS, *OVER_FEATURES):
        return ActivationFunction(name)
    head, *words = name.split() if isinstance(name, str) and name.strip() else [""]
    if head == "maxout":
        return _maxout(name, words, n_f, node)
    if head not in FAMILIES or not words:
        raise ArgumentError(
            "unknown activation function",
            node=node,
            got=name,
            expected=f"one of {NAMES}",
            nearest=nearest_name(name, NAMES),
        )
    return ActivationFunction(head, numbers=_numbers(name, head, words, node))


def _numbers(name: str, head: str, words: list[str], node: Node) -> tuple[float, ...]:
    """Return the numbers after the name of a family."""
    family = FAMILIES[head]
    try:
        numbers = tuple(map(float, words))
    except ValueError:
        numbers = ()
    finite = len(numbers) == len(family.numbers) and all(map(is_finite, numbers))
    if not finite or not family.fits(*numbers):
        keys = " ".join(f"<{key}>" for key in family.numbers)
        raise ArgumentError(
            f"the numbers after {head} do not fit",
            node=node,
            got=name,
            expected=f"'{head} {keys}', finite in {config.floatX}" + (f", with {family.rule}" if family.rule else ""),
            nearest=repr(" ".join([head, *(f"{v:g}" for v in family.numbers.values())])),
        )
    return numbers


def _maxout(name: str, words: list[str], n_f: int | None, node: Node) -> ActivationFunction:
    word = words[0] if len(words) == 1 else ""
    if not (word.isascii() and word.isdigit() and len(word) <= MAX_DIGITS) or int(word) < 1:
        raise ArgumentError("maxout needs a group size", node=node, got=name, nearest="'maxout 2'")
    group = int(word)
    if n_f is not None and n_f % group:
        below = n_f // group * group
        raise ShapeError(
            f"the features cannot be divided into groups of {group}",
            node=node,
            got=f"n_f={n_f}, activation_func={name!r}",
            expected=f"n_f a multiple of {group}",
            nearest=" or ".join(str(n) for n in (below, below + group) if n),
        )
    return ActivationFunction("maxout", group)
