"""Small networks and images for the tests of the plugin."""

from __future__ import annotations

import numpy as np

import neuromancer as nm


def small_model(name="small", classes=2, channels=1):
    """A 3-D network of valid convolutions with stride; its field of view is (3, 6, 6)."""
    model = nm.model_manager.newmodel(name)
    inp = nm.Input((1, channels, 5, 14, 14), "b,f,z,y,x", name="raw", print_repr=False)
    out = nm.Conv(inp, 4, (1, 3, 3), (1, 2, 2), print_repr=False)
    out = nm.Conv(out, classes, (3, 2, 2), activation_func="lin", name="scores", print_repr=False)
    model.designate_nodes("raw", prediction_node=nm.Softmax(out, name="probs", print_repr=False))
    return model


def image(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, "uint8")
