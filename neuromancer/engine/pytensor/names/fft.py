"""Theano's ``theano.tensor.fft``: transforms of real inputs, with the real and imaginary part along a last axis."""

from __future__ import annotations

from pytensor.tensor.fft import irfft, rfft

__all__ = ["irfft", "rfft"]
