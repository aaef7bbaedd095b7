"""Theano's tensor functions, and those that PyTensor has renamed or moved under their new names."""

from __future__ import annotations

from theano.tensor import *  # noqa: F403
from theano.tensor import abs_ as abs  # noqa: F401
from theano.tensor import sgn as sign  # noqa: F401
from theano.tensor.nnet import sigmoid, softplus  # noqa: F401
