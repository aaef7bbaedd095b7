"""Theano's ``theano.tensor.nnet.abstract_conv``: convolutions, their gradients, and upsampling."""

from __future__ import annotations

from neuromancer.engine.pytensor.names.convolution import (
    causal_conv1d,
    conv2d,
    conv2d_grad_wrt_inputs,
    conv2d_grad_wrt_weights,
    conv3d,
    conv3d_grad_wrt_inputs,
    conv3d_grad_wrt_weights,
    separable_conv2d,
    separable_conv3d,
)
from neuromancer.engine.pytensor.names.upsampling import (
    bilinear_kernel_1D,
    bilinear_kernel_2D,
    bilinear_upsampling,
    frac_bilinear_upsampling,
)

__all__ = [
    "bilinear_kernel_1D", "bilinear_kernel_2D", "bilinear_upsampling", "causal_conv1d", "conv2d",
    "conv2d_grad_wrt_inputs", "conv2d_grad_wrt_weights", "conv3d", "conv3d_grad_wrt_inputs", "conv3d_grad_wrt_weights",
    "frac_bilinear_upsampling", "separable_conv2d", "separable_conv3d",
]  # fmt: skip
