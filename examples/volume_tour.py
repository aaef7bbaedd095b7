"""A tour of prediction from file to file, cell by cell: a stack of nuclei from raw data to counted nuclei.

``python examples/volume_tour.py`` runs all of it in about two minutes; editors that know ``# %%`` run it cell by cell.
A stack of any size, in any store, goes the same way.
"""

# %% Settings
import argparse
import time
from itertools import count
from pathlib import Path

import demo_nuclei
import h5py
import helpers
import matplotlib.pyplot as plt
import numpy as np
import zarr
from skimage.measure import label

import neuromancer as nm
from neuromancer.train import Flip, PatchSampler, Rotate90
from neuromancer.volumes import open_source

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--minutes", type=float, default=1.0, help="training time (default: %(default)s)")
parser.add_argument("--folder", type=Path, default=helpers.OUTPUT / "volume_tour", help="where everything is written")
args, _ = parser.parse_known_args()
folder: Path = args.folder
folder.mkdir(parents=True, exist_ok=True)
result = folder / f"nuclei-{time.strftime('%Y%m%d-%H%M%S')}.zarr"  # what exists is never overwritten

# %% Data: 8 bits, as microscopes give them, in an HDF5 file that says how large a voxel is
with h5py.File(demo_nuclei.DATA) as file:
    raw, truth = file["raw"][()], file["label"][()] > 0
top = np.percentile(raw[:, : demo_nuclei.SPLIT], 99.9)
image = (np.minimum(raw / top, 1) * 255).astype("uint8")
with h5py.File(folder / "stack.h5", "w") as file:
    stack = file.create_dataset("raw", data=image, chunks=(16, 64, 64))
    stack.attrs.update(axes=list("zyx"), voxel_size=[0.5, 0.25, 0.25], unit="micrometer")  # made up: it is not known
source = open_source(folder / "stack.h5")
print("image", source.shape, source.dtype, source.voxel_size, source.unit)

# %% A network, trained on the upper part of the stack
nm.seed(1)
model = demo_nuclei.build()
train = np.s_[:, : demo_nuclei.SPLIT]
labelled = (image[train][None] / np.float32(255), truth[train].astype("int16"))
patches = PatchSampler(model, labelled, batch_size=2, balance=0.5, augment=[Flip(), Rotate90("yx")])
helpers.train_for(model, map(patches.batch, count()), args.minutes)
model.save(folder / "nuclei.h5")

# %% The plan: which tiles, how much memory, how long
probs = model["probs"]
options = {"pad_raw": True, "reduce": [1, "uint8"], "memory": "120MB", "store": {"chunks": (1, 16, 64, 64)}}
print(probs.plan_dense(folder / "stack.h5", pad_raw=True, reduce=[1, "uint8"], memory="120MB", chunks=(1, 16, 64, 64)))

# %% The first half: as one of two machines does it, or until a machine goes down
probs.predict_dense(folder / "stack.h5", out=result, shard=(0, 2), **options)
half = zarr.open(result)[0, 24]

# %% The rest: the same call says what is missing by itself
probs.predict_dense(folder / "stack.h5", out=result, resume=True, **options)
described, predicted = open_source(result), zarr.open(result)
print("result", described.shape, described.dtype, described.voxel_size, described.unit)
print("a shell does the same: neuromancer predict nuclei.h5 stack.h5:/raw result.zarr --pad --uint8 --memory 120MB")

# %% Nuclei: connected voxels that are more likely nucleus than not, in the part that was not trained on
unseen = np.s_[:, demo_nuclei.SPLIT :]
inside = predicted[0][unseen] > 127
print(f"IoU {helpers.iou(inside, truth[unseen]):.3f} in the part that was not trained on")
nuclei = label(inside)
sizes = np.bincount(nuclei.ravel())[1:]
print(f"{(sizes > 200).sum()} nuclei of more than 200 voxels")

# %% A picture
figure, axes = plt.subplots(1, 4, figsize=(14, 4), constrained_layout=True)
pictures = {
    "raw data": image[24],
    "after the first half": half,
    "probability": predicted[0, 24],
    "label": truth[24] * 255,
}
for panel, (title, values) in zip(axes, pictures.items(), strict=True):
    panel.imshow(values, cmap="gray", vmin=0, vmax=255)
    panel.axhline(demo_nuclei.SPLIT, color="tab:orange", linestyle=":")
    panel.set_title(title)
    panel.axis("off")
figure.savefig(folder / "tour.png", dpi=80)
print(f"wrote {folder / 'tour.png'}")
