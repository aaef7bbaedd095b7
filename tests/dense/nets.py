"""Small networks for tests of dense prediction."""

from __future__ import annotations

import numpy as np

import neuromancer as nm


def volume_net(name=None, channels=1, out=2):
    """Two 3-D convolutions with pooling in between; field of view (4, 6, 6)."""
    node = nm.Input((None, channels, 6, 10, 10), "b,f,z,y,x", print_repr=False)
    node = nm.Conv(node, 3, (2, 3, 3), (1, 2, 2), activation_func="tanh", print_repr=False)
    node = nm.Conv(node, out, (3, 2, 2), activation_func="lin", print_repr=False)
    return nm.Softmax(node, name=name or "probs", print_repr=False)


def plane_net(kernel=3, channels=1):
    """Two 2-D convolutions."""
    node = nm.Input((None, channels, 12, 12), "b,f,y,x", print_repr=False)
    node = nm.Conv(node, 3, (kernel, kernel), activation_func="tanh", print_repr=False)
    return nm.Conv(node, 2, (kernel, 3), activation_func="lin", print_repr=False)


def image(*shape, seed=0, dtype="uint8"):
    values = np.random.default_rng(seed).integers(0, 255, shape)
    return values.astype(dtype)
