"""Theano's ``theano.tensor.nnet``; softmax of any number of axes, and activations whose gradient does not overflow."""

from __future__ import annotations

from typing import Any

import theano.tensor as tt
from theano.gof import Variable
from theano.tensor.nnet import *  # noqa: F403
from theano.tensor.nnet import abstract_conv, bn, conv, conv3d2d, neighbours  # noqa: F401 (names of T.nnet)
from theano.tensor.nnet import h_softmax as _h_softmax

from neuromancer.engine.theano import tensors

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
"""Klambauer, Unterthiner, Mayr & Hochreiter 2017, arXiv:1706.02515: the fixed point has mean 0 and variance 1."""


def softmax(x: Any) -> Variable:
    """Return exp(x) / sum(exp(x)) along the last axis; of a vector as a matrix of one row."""
    x = _rows(x)
    return tensors.softmax(x, x.ndim - 1)


softmax_graph = softmax


def logsoftmax(x: Any) -> Variable:
    """Return the logarithm of `softmax`, without overflow."""
    x = _rows(x)
    return tensors.log_softmax(x, x.ndim - 1)


def elu(x: Any, alpha: Any = 1) -> Variable:
    """Return x where it is positive, else alpha (exp(x) - 1)."""
    x = tt.as_tensor_variable(x)
    return tt.switch(x > 0, x, alpha * tt.expm1(tt.minimum(x, 0)))


def selu(x: Any) -> Variable:
    """Return an `elu` whose scales keep mean 0 and variance 1 through layers."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


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
    """Return probabilities of outputs in classes, for tensors or arrays."""
    parameters = (tt.as_tensor_variable(v) for v in (W1, b1, W2, b2))
    target = None if target is None else tt.as_tensor_variable(target)
    return _h_softmax(x, batch_size, n_outputs, n_classes, n_outputs_per_class, *parameters, target)


def _rows(x: Any) -> Variable:
    x = tt.as_tensor_variable(x)
    return x.dimshuffle("x", 0) if x.ndim == 1 else x
