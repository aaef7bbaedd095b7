"""From file to file: briefly train on cell nuclei, plan, predict in bounded memory, get interrupted, resume, view.

Cells start with ``# %%``: run them one by one in an editor or notebook, or all at once as a script
(``python examples/volume_tour.py``, under a minute). Output goes to ``examples/output/tour``.
"""

# %% Settings
from __future__ import annotations

import argparse
import errno
import os
import shutil
import time
from itertools import count
from pathlib import Path
from typing import Any

import demo_nuclei
import h5py
import helpers
import numpy as np

import neuromancer as nm
from neuromancer.dense.resume import Journal
from neuromancer.train import BackgroundLoader, Flip, PatchSampler, Rotate90
from neuromancer.volumes import create_sink, open_source

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument(
    "--minutes", type=float, default=0.4, help="training time, without that of compilation (default: %(default)s)"
)
parser.add_argument("--folder", type=Path, default=helpers.OUTPUT / "tour", help="output folder; emptied first")
args, _ = parser.parse_known_args()
FOLDER: Path = args.folder
MEMORY = "100MB"
VOXEL = (0.5, 0.25, 0.25)  # micrometres; made up: the stack has no voxel size

# %% Write an image file with chunks and voxel size, scaled for the network. Real images already exist, and are larger.
shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir(parents=True)
with h5py.File(demo_nuclei.DATA, "r") as file:
    stack, labels = file["raw"][()], file["label"][()]
image = helpers.Scaling(stack[:, : demo_nuclei.SPLIT])(stack)[0]
RAW = FOLDER / "raw.h5:/raw"
sink = create_sink(RAW, (1, *image.shape), "float32", axes="zyx", chunks=(1, 16, 64, 64), voxel_size=VOXEL, unit="um")
sink[:, :, :, :] = image[None]
sink.close()
raw = open_source(RAW)
print(f"image {raw.shape} {raw.dtype} in chunks {raw.chunks}, voxels of {raw.voxel_size} {raw.unit}")

# %% Train a network on the upper part of the stack.
nm.seed(1)
model = demo_nuclei.build()
part = np.s_[:, : demo_nuclei.SPLIT]
pairs = (image[part], (labels[part] > 0).astype("int16"))
patches = PatchSampler(
    model, pairs, axes="zyx", batch_size=2, balance=0.5, pad_raw=True, augment=[Flip(), Rotate90("yx")], seed=1
)
with BackgroundLoader(patches) as loader:
    helpers.train_for(model, map(loader.batch, count()), args.minutes)
model.save(FOLDER / "nuclei.h5")

# %% Print the plan before predicting anything.
probs = model["probs"]
options: dict[str, Any] = {"pad_raw": True, "reduce": [1, "uint8"], "memory": MEMORY}
plan = probs.plan_dense(RAW, **options, chunks=(1, 16, 32, 32))
print(plan)

# %% Predict into a zarr store on a disk that is full when half of the result is written.


class Full:
    """Sink on a disk with space for a number of voxels."""

    def __init__(self, sink: Any, voxels: int) -> None:
        self.sink, self.room = sink, voxels

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        self.room -= values.size
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.sink[where] = values

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        return self.sink[where]


OUT = FOLDER / "nuclei.zarr"
store: dict[str, Any] = {"chunks": (1, 16, 32, 32)}
sink = create_sink(OUT, (1, *image.shape), "uint8", voxel_size=raw.voxel_size, unit=raw.unit, **store)
try:
    probs.predict_dense(RAW, out=Full(sink, image.size // 2), **options)
except nm.errors.FileError as error:
    print(f"stopped: {error}")
sink.close()

# %% With space on the disk, the same call with `resume=True` does the rest. On the command line:
# neuromancer predict nuclei.h5 raw.h5:/raw nuclei.zarr --pad --reduce '[1, "uint8"]' --memory 100MB --resume
before = open_source(OUT)[:, :, :, :]
journal = Journal.find(OUT.with_name(OUT.name + ".progress"))
if journal is not None:
    print(f"{len(journal.done())} of {journal.header['tiles']} tiles are done")
start = time.perf_counter()
probs.predict_dense(RAW, out=OUT, resume=True, **options)
result = open_source(OUT)
values = result[:, :, :, :]
print(f"the remaining tiles took {time.perf_counter() - start:.1f} s")
print(f"result {result.shape} {result.dtype}, voxels of {result.voxel_size} {result.unit}, offset {result.offset}")

# %% Every byte is that of an uninterrupted prediction.
whole = probs.predict_dense(RAW, out=FOLDER / "again.zarr", store=store, **options)
assert (open_source(whole)[:, :, :, :] == values).all()

# %% Evaluate and view the part that was not trained on.
unseen = np.s_[:, demo_nuclei.SPLIT :]
rows = [helpers.score("network", values[0][unseen], 127, labels[unseen] > 0)]
helpers.report(rows, "part never seen in training")


def picture(path: Path) -> None:
    """Plot a slice of the image, of the interrupted result and of the complete result."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    written = (before[0] > 0).mean(axis=(1, 2)) / np.maximum((values[0] > 0).mean(axis=(1, 2)), 1e-9)
    z = int(np.argmin(abs(written - 0.5)))
    panels = [("image", image[z], "gray", -0.5, 1.5), ("disk full", before[0, z], "magma", 0, 255)]
    panels += [("resumed", values[0, z], "magma", 0, 255)]
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.8))
    for axis, (title, plane, colours, low, high) in zip(axes, panels, strict=True):
        axis.imshow(plane, cmap=colours, vmin=low, vmax=high)
        axis.set(title=f"{title}, z = {z}", xticks=[], yticks=[])
        axis.axhline(demo_nuclei.SPLIT, color="cyan", linewidth=0.8)
    axes[0].text(4, demo_nuclei.SPLIT + 12, "never seen in training", color="cyan", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    print(f"wrote {path}")


picture(FOLDER / "tour.png")
