"""Theano's ``theano.tensor.signal``: pooling and convolution of the last axes, beside PyTensor's own functions."""

from __future__ import annotations

from pytensor.tensor.signal import convolve1d, convolve2d

from neuromancer.engine.pytensor.names.signal import conv, pool

__all__ = ["conv", "convolve1d", "convolve2d", "pool"]
