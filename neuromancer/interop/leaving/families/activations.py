"""Activation functions, by themselves and of layers."""

from __future__ import annotations

from typing import Any

from neuromancer.interop.leaving.layout import as_float, like_weights
from neuromancer.interop.leaving.registry import leaves
from neuromancer.interop.leaving.target import Target
from neuromancer.interop.leaving.weights import Weight, maybe
from neuromancer.nodes.activate import Activation
from neuromancer.nodes.activation import ActivationFunction
from neuromancer.nodes.softmax import Softmax

ALIASES = {
    "swish": "silu",
    "sig": "sigmoid",
    "logistic": "sigmoid",
    "soft+": "softplus",
    "linear": "lin",
    "gelu tanh": "gelu_tanh",
}
NUMBERS = {
    "relu6": ("hardtanh", (0.0, 6.0)),
    "hardtanh": ("hardtanh", (-1.0, 1.0)),
    "leaky_relu": ("leaky_relu", (0.01,)),
    "elu": ("elu", (1.0,)),
    "softplus": ("softplus", (1.0,)),
}
"""Functions with numbers, and those that stand for them if none follow the name."""


@leaves(Activation)
def _activation(t: Target, node: Activation, x: Any) -> Any:
    shape, slope = node.parent.shape, maybe(node, "slope")
    x = like_weights(t, x, node.parent, slope)
    features = node.shape["f"] if node.activation.group > 1 else 0
    return activate(t, node.activation, x, node.axis, len(shape), features, slope)


def activate(
    t: Target, function: ActivationFunction, x: Any, axis: int, ndim: int, features: int, slope: Weight | None
) -> Any:
    """Apply an activation function.

    Parameters
    ----------
    t : Target
    function : ActivationFunction
    x : value
    axis, ndim : int
        Axis of the features, and number of axes.
    features : int
        Number of features of the result, for maxout.
    slope : Weight or None
        Slope of prelu.
    """
    name = ALIASES.get(function.name, function.name)
    if name == "lin":
        return x
    if slope is not None and name in ("prelu", "prelu shared"):
        return t.prelu(x, axis, ndim, slope)
    if name == "log_softmax":
        return t.softmax(x, axis, log=True)
    if name == "maxout":
        sizes = [t.size(x, k) for k in range(ndim)]
        groups = t.reshape(x, [*sizes[:axis], features, function.group, *sizes[axis + 1 :]])
        return t.reduce(groups, "max", [axis + 1], keepdims=False)
    name, numbers = NUMBERS.get(name, (name, ()))
    return t.function(name, x, *(function.numbers or numbers))


@leaves(Softmax)
def _softmax(t: Target, node: Softmax, x: Any) -> Any:
    shape, axis = node.parent.shape, node.axis
    x = as_float(t, x, node.parent)
    if node.n_indep == 1:
        return t.softmax(x, axis)
    sizes = [t.size(x, k) for k in range(len(shape))]
    groups = t.reshape(x, [*sizes[:axis], node.n_indep, node.n_class, *sizes[axis + 1 :]])
    done = t.softmax(groups, axis + 1)
    return t.reshape(done, [*sizes[:axis], node.n_indep * node.n_class, *sizes[axis + 1 :]])
