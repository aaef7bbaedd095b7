"""Smaller 3-D network for neuron membranes: seven convolutions, 0.9 million parameters, strides (2, 4, 4).

``neuromancer-train examples/neuro3d_lite.py`` trains it on cell nuclei for some minutes, and
``python examples/nuclei.py MODEL.h5`` evaluates the trained model.
"""

from __future__ import annotations

import nuclei
from networks import chain, classifier

import neuromancer as nm
from neuromancer import train

LAYERS = [
    (20, (1, 4, 4), (1, 2, 2)),
    (40, (3, 3, 3), (1, 2, 2)),
    (150, (2, 4, 4), (2, 1, 1)),
    (200, (1, 3, 3), None),
    (200, (1, 3, 3), None),
    (200, (1, 1, 1), None),
]
"""Features, kernel and pool of each layer; axes (z, x, y)."""

n_steps = 300
n_validation = 2
optimiser = "AdamW"
schedules = {"lr": nm.CosineSchedule(n_steps, end=1e-5, start=0.001)}
validate_every = 50


def create_model(patch: tuple[int, int, int] = (11, 155, 155), name: str = "neuro3d_lite") -> nm.Model:
    """Build the network as a new model with all roles designated.

    Parameters
    ----------
    patch : tuple of int
        Input size (z, x, y): from 5 in steps of 2, from 39 in steps of 4.
    name : str
        Name of the model.
    """
    model = nm.model_manager.newmodel(name)
    inp = nm.Input((None, 1, *patch), "b,f,z,x,y", name="input", print_repr=False)
    return classifier(model, chain(inp, LAYERS))


def create_data(model: nm.Model) -> tuple[train.PatchSampler, train.PatchSampler]:
    """Return patches of a stack of nuclei for training and for validation."""
    return nuclei.patches(model)
