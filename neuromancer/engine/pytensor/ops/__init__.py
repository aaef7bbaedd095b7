"""Symbolic operations that PyTensor lacks: N-d convolution, pooling, random draws and pair counts.

Each operation defines its static shape and its gradients, and runs the torch kernels on numpy arrays, so it works in
every mode of PyTensor. The torch forms in `neuromancer.engine.pytensor.link.torch` run the same kernels on a device.
"""

from __future__ import annotations
