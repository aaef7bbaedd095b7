"""Theano's ``theano.tensor.nnet``: activations, losses, convolutions and batch normalisation."""

from __future__ import annotations

from typing import Any

import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor import sigmoid, softplus
from pytensor.tensor.special import log_softmax as _log_softmax
from pytensor.tensor.special import softmax as _softmax

from neuromancer.engine.pytensor.names import abstract_conv, conv3d2d, neighbours
from neuromancer.engine.pytensor.names import abstract_conv as conv
from neuromancer.engine.pytensor.names import normalisation as bn
from neuromancer.engine.pytensor.names.convolution import (
    conv2d,
    conv2d_grad_wrt_inputs,
    conv2d_transpose,
    conv3d,
    separable_conv2d,
)
from neuromancer.engine.pytensor.names.normalisation import batch_normalization
from neuromancer.errors import ShapeError

__all__ = [
    "abstract_conv", "abstract_conv2d", "batch_normalization", "binary_crossentropy", "bn", "categorical_crossentropy",
    "confusion_matrix", "conv", "conv2d", "conv2d_grad_wrt_inputs", "conv2d_transpose", "conv3d", "conv3d2d",
    "crossentropy_categorical_1hot", "crossentropy_softmax_1hot", "crossentropy_softmax_1hot_with_bias",
    "crossentropy_softmax_argmax_1hot_with_bias", "crossentropy_softmax_max_and_argmax_1hot",
    "crossentropy_softmax_max_and_argmax_1hot_with_bias", "elu", "h_softmax", "hard_sigmoid", "logsoftmax",
    "neighbours", "relu", "selu", "separable_conv2d", "sigmoid", "sigmoid_binary_crossentropy", "softmax",
    "softmax_graph", "softmax_with_bias", "softplus", "softsign", "ultra_fast_sigmoid",
]  # fmt: skip

abstract_conv2d = conv2d

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
"""Klambauer, Unterthiner, Mayr & Hochreiter 2017, arXiv:1706.02515: the fixed point has mean 0 and variance 1."""


def relu(x: Any, alpha: Any = 0) -> Variable:
    """Return x where it is positive, else alpha x; the gradient at 0 is (1 + alpha) / 2.

    Parameters
    ----------
    x : tensor
    alpha : number or tensor
        Slope below 0.
    """
    x = pt.as_tensor_variable(x)
    if isinstance(alpha, int | float) and alpha == 0:
        return 0.5 * (x + pt.abs(x))
    return 0.5 * (1 + alpha) * x + 0.5 * (1 - alpha) * pt.abs(x)


def elu(x: Any, alpha: Any = 1) -> Variable:
    """Return x where it is positive, else alpha (exp(x) - 1) (Clevert et al. 2015, arXiv:1511.07289)."""
    x = pt.as_tensor_variable(x)
    # the gradient of the unused side must be finite, too
    return pt.switch(x > 0, x, alpha * pt.expm1(pt.minimum(x, 0)))


def selu(x: Any) -> Variable:
    """Return an `elu` whose scales keep mean 0 and variance 1 through layers (arXiv:1706.02515)."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def softsign(x: Any) -> Variable:
    """Return x / (1 + abs(x))."""
    x = pt.as_tensor_variable(x)
    return x / (1 + pt.abs(x))


def hard_sigmoid(x: Any) -> Variable:
    """Return x / 5 + 1 / 2, at least 0 and at most 1."""
    return pt.clip(pt.as_tensor_variable(x) * 0.2 + 0.5, 0, 1)


def ultra_fast_sigmoid(x: Any) -> Variable:
    """Return an approximation of the sigmoid by a rational function and a line, within 0.02."""
    half = 0.5 * pt.as_tensor_variable(x)
    size = pt.abs(half)
    line = pt.minimum(0.935409070603099 + 0.0458812946797165 * (size - 1.7), 0.99505475368673)
    return 0.5 * (pt.switch(size < 1.7, 1.5 * half / (1 + size), pt.sgn(half) * line) + 1)


def softmax(x: Any) -> Variable:
    """Return exp(x) / sum(exp(x)) along the last axis; of a vector as a matrix of one row."""
    return _softmax(_rows(x), axis=-1)


softmax_graph = softmax


def logsoftmax(x: Any) -> Variable:
    """Return the logarithm of `softmax`, without overflow."""
    return _log_softmax(_rows(x), axis=-1)


def softmax_with_bias(x: Any, b: Any) -> Variable:
    """Return the `softmax` of x + b."""
    return softmax(pt.as_tensor_variable(x) + b)


def _rows(x: Any) -> Variable:
    x = pt.as_tensor_variable(x)
    return x.dimshuffle("x", 0) if x.ndim == 1 else x


def binary_crossentropy(output: Any, target: Any) -> Variable:
    """Return -(t log(p) + (1 - t) log(1 - p)) per element, for probabilities p and targets t."""
    output = pt.as_tensor_variable(output)
    return -(target * pt.log(output) + (1 - target) * pt.log(1 - output))


def sigmoid_binary_crossentropy(output: Any, target: Any) -> Variable:
    """Return the `binary_crossentropy` of sigmoid(output), without overflow."""
    output = pt.as_tensor_variable(output)
    return softplus(output) - target * output


def categorical_crossentropy(coding_dist: Any, true_dist: Any) -> Variable:
    """Return -sum(t log(p)) along the last axis.

    Parameters
    ----------
    coding_dist : tensor, (..., classes)
        Probabilities p.
    true_dist : tensor, (..., classes), or vector of integers
        Probabilities t, or for a matrix p the class of each row.

    Raises
    ------
    ShapeError
        If the axes do not fit.
    """
    p, t = pt.as_tensor_variable(coding_dist), pt.as_tensor_variable(true_dist)
    if t.ndim == p.ndim:
        return -pt.sum(t * pt.log(p), axis=-1)
    if t.ndim == p.ndim - 1 == 1:
        return crossentropy_categorical_1hot(p, t)
    raise ShapeError(
        "the distributions do not fit",
        where="categorical_crossentropy",
        got=f"{p.ndim} and {t.ndim} axes",
        expected=f"{p.ndim} axes, or a vector of classes with a matrix",
    )


def crossentropy_categorical_1hot(coding_dist: Any, true_one_of_n: Any) -> Variable:
    """Return -log(p[i, class i]) per row i of a matrix of probabilities."""
    p = pt.as_tensor_variable(coding_dist)
    return -pt.log(p[pt.arange(p.shape[0]), true_one_of_n])


def crossentropy_softmax_1hot(x: Any, y_idx: Any) -> tuple[Variable, Variable]:
    """Return the cross-entropy per row of softmax(x) with classes y_idx, and softmax(x)."""
    x = _rows(x)
    loss = -logsoftmax(x)[pt.arange(x.shape[0]), y_idx]
    return loss, softmax(x)


def crossentropy_softmax_1hot_with_bias(x: Any, b: Any, y_idx: Any) -> tuple[Variable, Variable]:
    """Return `crossentropy_softmax_1hot` of x + b."""
    return crossentropy_softmax_1hot(pt.as_tensor_variable(x) + b, y_idx)


def crossentropy_softmax_argmax_1hot_with_bias(x: Any, b: Any, y_idx: Any) -> tuple[Variable, Variable, Variable]:
    """Return `crossentropy_softmax_1hot` of x + b, and the most probable class per row."""
    loss, p = crossentropy_softmax_1hot_with_bias(x, b, y_idx)
    return loss, p, pt.argmax(p, axis=-1)


def crossentropy_softmax_max_and_argmax_1hot(x: Any, y_idx: Any) -> tuple[Variable, Variable, Variable, Variable]:
    """Return `crossentropy_softmax_1hot`, and the greatest probability and its class per row."""
    loss, p = crossentropy_softmax_1hot(x, y_idx)
    return loss, p, pt.max(p, axis=-1), pt.argmax(p, axis=-1)


def crossentropy_softmax_max_and_argmax_1hot_with_bias(
    x: Any, b: Any, y_idx: Any
) -> tuple[Variable, Variable, Variable, Variable]:
    """Return `crossentropy_softmax_max_and_argmax_1hot` of x + b."""
    return crossentropy_softmax_max_and_argmax_1hot(pt.as_tensor_variable(x) + b, y_idx)


def confusion_matrix(actual: Any, pred: Any) -> list[Variable]:
    """Count the pairs of two vectors of classes.

    Returns
    -------
    list of two Variables
        Counts (actual, predicted), and the classes in ascending order.
    """
    actual, pred = pt.as_tensor_variable(actual), pt.as_tensor_variable(pred)
    order = pt.extra_ops.Unique(False, False, False)(pt.concatenate([actual, pred]))
    a = pt.eq(actual.dimshuffle(0, "x"), order.dimshuffle("x", 0)).astype("int64")
    b = pt.eq(pred.dimshuffle(0, "x"), order.dimshuffle("x", 0)).astype("int64")
    return [pt.dot(a.T, b), order]


def h_softmax(
    x: Any,
    batch_size: Any,
    n_outputs: Any,
    n_classes: Any,
    n_outputs_per_class: Any,
    W1: Any,
    b1: Any,
    W2: Any,
    b2: Any,
    target: Any = None,
) -> Variable:
    """Return probabilities of outputs in classes: softmax over classes times softmax within the class.

    Parameters
    ----------
    x : matrix, (b, n_in)
    batch_size, n_outputs, n_classes, n_outputs_per_class : int
    W1 : matrix, (n_in, n_classes)
    b1 : vector, (n_classes,)
    W2 : tensor, (n_classes, n_in, n_outputs_per_class)
    b2 : matrix, (n_classes, n_outputs_per_class)
    target : vector of integers, optional
        Output per row.

    Returns
    -------
    Variable
        (b, n_outputs) without a target, else the probability of the target (b,).
    """
    x = pt.as_tensor_variable(x)
    classes = softmax(pt.dot(x, W1) + b1)
    # (b, n_classes, n_outputs_per_class)
    within = _softmax(pt.tensordot(x, W2, [[1], [1]]) + pt.as_tensor_variable(b2).dimshuffle("x", 0, 1), axis=-1)
    joint = (classes.dimshuffle(0, 1, "x") * within).reshape((batch_size, n_classes * n_outputs_per_class))
    if target is None:
        return joint[:, :n_outputs]
    return joint[pt.arange(batch_size), pt.as_tensor_variable(target).flatten()]
