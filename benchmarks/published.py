"""Networks of published dense-prediction benchmarks."""

from __future__ import annotations

import neuromancer as nm

ZNNI = {
    "n337": "2p 3p 3p 3 3 3 3",
    "n537": "4p 5p 5p 5 5 5 5",
    "n726": "6p 7p 7 7 7 7",
    "n926": "8p 9p 9 9 9 9",
}
"""Sizes of cubic kernels; p marks max-pooling by 2 (Zlateski, Lee & Seung, SC'16, arXiv:1606.05688)."""
ZNNI_PER_CORE = {"n337": 3641, "n537": 2704, "n726": 4171, "n926": 3461}
"""Voxels per second and CPU core, from the paper (measured on 72 cores)."""


def znni(name: str) -> nm.Node:
    """Build a network of the ZNNi paper: isotropic, 80 features per layer, 3 outputs."""
    nm.model_manager.newmodel(name)
    layers = [(int(layer[0]), 2 if layer.endswith("p") else 1) for layer in ZNNI[name].split()]
    size, stride = 1, 1
    for kernel, pool in layers:
        size += (kernel + pool - 2) * stride
        stride *= pool
    out: nm.Node = nm.Input((None, 1, size, size, size), "b,f,z,y,x", print_repr=False)
    for kernel, pool in layers[:-1]:
        out = nm.Conv(out, 80, (kernel,) * 3, (pool,) * 3, print_repr=False)
    kernel, pool = layers[-1]
    return nm.Conv(out, 3, (kernel,) * 3, (pool,) * 3, activation_func="lin", print_repr=False)


def n4(size: int = 95) -> nm.Node:
    """Build the membrane network N4, field of view 95x95 (Giusti, Ciresan, Masci, Gambardella & Schmidhuber 2013).

    Parameters
    ----------
    size : int
        Side of the patch: 95 or more, in steps of 16.
    """
    nm.model_manager.newmodel("n4")
    out: nm.Node = nm.Input((None, 1, size, size), "b,f,y,x", print_repr=False)
    for kernel in (4, 5, 4, 4):
        out = nm.Conv(out, 48, (kernel, kernel), (2, 2), print_repr=False)
    out = nm.Conv(out, 200, (3, 3), (1, 1), print_repr=False)
    return nm.Softmax(nm.Conv(out, 2, (1, 1), (1, 1), activation_func="lin", print_repr=False), print_repr=False)
