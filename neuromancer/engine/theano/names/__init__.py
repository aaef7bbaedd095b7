"""The namespace `T`: Theano's tensor functions, also under the names that PyTensor has given them.

What this Theano computes only in part, or not on this NumPy, is replaced; values are those of the default engine.
"""

from __future__ import annotations

from theano.gradient import Lop, Rop, grad, hessian, jacobian, verify_grad
from theano.tensor import *  # noqa: F403
from theano.tensor import abs_ as abs
from theano.tensor import extra_ops, fft, nlinalg, shared_randomstreams, signal, slinalg, xlogx
from theano.tensor import sgn as sign
from theano.tensor.extra_ops import compress, diff, searchsorted, to_one_hot
from theano.tensor.nnet import sigmoid, softplus
from theano.tensor.signal import conv as _conv
from theano.tensor.signal import pool as _pool

import neuromancer.engine.theano.names.nnet as nnet
from neuromancer.engine.theano.names.basic import argtopk, consider_constant, flatten, topk, topk_and_argtopk
