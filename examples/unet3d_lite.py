"""Anisotropic 3-D U-Net for thick sections: pooling in the plane only, 7.8 million parameters.

``neuromancer-train examples/unet3d_lite.py`` trains it on cell nuclei for some minutes, and
``python examples/nuclei.py MODEL.h5`` evaluates the trained model.
"""

from __future__ import annotations

import nuclei
from networks import CUBE, classifier, double_conv

import neuromancer as nm
from neuromancer import train

FLAT = (1, 3, 3)


n_steps = 250
n_validation = 2
optimiser = "AdamW"
schedules = {"lr": nm.CosineSchedule(n_steps, end=1e-5, start=0.0005)}
validate_every = 50


def create_model(patch: tuple[int, int, int] = (22, 140, 140), name: str = "unet3d_lite") -> nm.Model:
    """Build the network as a new model with all roles designated.

    Parameters
    ----------
    patch : tuple of int
        Input size (z, x, y): z from 13, x and y 92 or more in steps of 8.
    name : str
        Name of the model.
    """
    model = nm.model_manager.newmodel(name)
    out: nm.Node = nm.Input((None, 1, *patch), "b,f,z,x,y", name="input", print_repr=False)
    skips = []
    for n_f in (32, 64, 128):
        skips.append(double_conv(out, n_f, n_f, FLAT))
        out = nm.Pool(skips[-1], (1, 2, 2), print_repr=False)
    out = double_conv(out, 256, 256, CUBE)
    for skip, n_up, n_f, kernel in zip(
        reversed(skips), (512, 256, 128), (256, 128, 64), (FLAT, CUBE, CUBE), strict=True
    ):
        out = double_conv(nm.UpConvMerge(skip, out, n_up, print_repr=False), n_f, n_f, kernel)
    return classifier(model, out)


def create_data(model: nm.Model) -> tuple[train.PatchSampler, train.PatchSampler]:
    """Return patches of a stack of nuclei for training and for validation."""
    return nuclei.patches(model)
