"""Symbolic operations that PyTensor lacks: N-d convolution, pooling, random draws and pair counts.

Each knows its static shape and its gradients, and computes through the torch kernels on numpy memory, so it runs in any
mode of PyTensor; the torch forms of `neuromancer.engine.pytensor.link.torch` run the same kernels on the device.
"""

from __future__ import annotations
