"""Deep 3-D network for neuron membranes: eleven convolutions, 2.8 million parameters, strides (2, 4, 4).

``neuromancer-train examples/neuro3d.py`` trains it on cell nuclei for some minutes, and
``python examples/nuclei.py MODEL.h5`` evaluates the trained model.
"""

from __future__ import annotations

import nuclei
from networks import chain, classifier

import neuromancer as nm
from neuromancer import train

LAYERS = [
    (20, (1, 6, 6), (1, 2, 2)),
    (30, (1, 5, 5), (1, 2, 2)),
    (40, (1, 5, 5), None),
    (80, (4, 4, 4), (2, 1, 1)),
    (100, (3, 4, 4), None),
    (100, (3, 4, 4), None),
    (150, (2, 4, 4), None),
    (200, (1, 4, 4), None),
    (200, (1, 4, 4), None),
    (200, (1, 1, 1), None),
]
"""Features, kernel and pool of each layer; axes (z, x, y)."""

n_steps = 150
n_validation = 2
optimiser = "AdamW"
schedules = {"lr": nm.CosineSchedule(n_steps, end=1e-5, start=0.0005)}
validate_every = 25


def create_model(patch: tuple[int, int, int] = (23, 185, 185), name: str = "neuro3d") -> nm.Model:
    """Build the network as a new model with all roles designated.

    Parameters
    ----------
    patch : tuple of int
        Input size (z, x, y): from 15 in steps of 2, from 105 in steps of 4.
    name : str
        Name of the model.
    """
    model = nm.model_manager.newmodel(name)
    inp = nm.Input((None, 1, *patch), "b,f,z,x,y", name="input", print_repr=False)
    classifier(model, chain(inp, LAYERS))
    model.set_opt_meta_params("Adam", {"lr": 5e-4, "mom": 0.9, "beta2": 0.999, "wd": 0.5e-4})
    return model


def create_data(model: nm.Model) -> tuple[train.PatchSampler, train.PatchSampler]:
    """Return patches of a stack of nuclei for training and for validation."""
    return nuclei.patches(model)
