"""The namespace `T`: PyTensor's tensor functions, and what PyTensor has renamed, moved or dropped of Theano's.

Configurations and nodes written for Theano's ``theano.tensor`` find every name of its tutorial and reference here, with
the same arguments and values. What PyTensor still has is PyTensor's own.
"""

from __future__ import annotations

from pytensor.gradient import Lop, Rop, grad_not_implemented, grad_undefined, numeric_grad, verify_grad
from pytensor.gradient import zero_grad as consider_constant
from pytensor.tensor import *  # noqa: F403
from pytensor.tensor.type import (
    all_dtypes,
    complex_dtypes,
    continuous_dtypes,
    discrete_dtypes,
    float_dtypes,
    int_dtypes,
    integer_dtypes,
    uint_dtypes,
)

# `import ... as` takes the modules of this package, where PyTensor has one of the same name.
import neuromancer.engine.pytensor.names.fft as fft
import neuromancer.engine.pytensor.names.nlinalg as nlinalg
import neuromancer.engine.pytensor.names.nnet as nnet
import neuromancer.engine.pytensor.names.shared_randomstreams as shared_randomstreams
import neuromancer.engine.pytensor.names.signal as signal
import neuromancer.engine.pytensor.names.slinalg as slinalg
from neuromancer.engine.pytensor.names.basic import (
    abs_,
    addbroadcast,
    argtopk,
    default,
    flatten,
    inv,
    isinf_,
    isnan_,
    patternbroadcast,
    setdefault,
    split,
    stack,
    tile,
    to_one_hot,
    topk,
    topk_and_argtopk,
    unbroadcast,
)
from neuromancer.engine.pytensor.names.inputs import (
    col,
    matrix,
    row,
    scalar,
    tensor,
    tensor3,
    tensor4,
    tensor5,
    tensor6,
    tensor7,
    vector,
    wmatrix,
)
from neuromancer.engine.pytensor.names.products import batched_dot, batched_tensordot
from neuromancer.engine.pytensor.ops.alloc import alloc
