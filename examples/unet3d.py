"""3-D U-Net of valid convolutions: three levels of pooling and up-convolution, 19 million parameters.

Without padding inside the network, results of adjacent patches fit together without seams: the receptive field of an
output voxel, 44 to 55 voxels on either side, contains only real voxels.

``neuromancer-train examples/unet3d.py`` trains it on cell nuclei for some minutes, and
``python examples/nuclei.py MODEL.h5`` evaluates the trained model.
"""

from __future__ import annotations

import nuclei
from networks import classifier, double_conv

import neuromancer as nm
from neuromancer import train

n_steps = 100
n_validation = 2
optimiser = "AdamW"
schedules = {"lr": nm.CosineSchedule(n_steps, end=1e-5, start=0.0005)}
validate_every = 25


def create_model(patch: tuple[int, int, int] = (116, 132, 132), name: str = "unet3d") -> nm.Model:
    """Build the network as a new model with all roles designated.

    Parameters
    ----------
    patch : tuple of int
        Input size (z, x, y): 92 or more, in steps of 8.
    name : str
        Name of the model.
    """
    model = nm.model_manager.newmodel(name)
    out: nm.Node = nm.Input((None, 1, *patch), "b,f,z,x,y", name="input", print_repr=False)
    skips = []
    for first, second in ((32, 64), (64, 128), (128, 256)):
        skips.append(double_conv(out, first, second))
        out = nm.Pool(skips[-1], (2, 2, 2), print_repr=False)
    out = double_conv(out, 256, 512)
    for skip, n_up, n_f in zip(reversed(skips), (512, 256, 128), (256, 128, 64), strict=True):
        out = double_conv(nm.UpConvMerge(skip, out, n_up, print_repr=False), n_f, n_f)
    return classifier(model, out)


def create_data(model: nm.Model) -> tuple[train.PatchSampler, train.PatchSampler]:
    """Return patches of a stack of nuclei for training and for validation."""
    return nuclei.patches(model)
