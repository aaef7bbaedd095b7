"""Cell nuclei for the network examples: patches of a confocal stack, and evaluation on a held-out part.

``python examples/nuclei.py MODEL.h5`` evaluates a model trained by ``neuromancer-train examples/unet3d_lite.py`` or one
of the other examples. The stack is split along y and borders are mirrored, so no voxel of one part is read for the
other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import helpers
import numpy as np

import neuromancer as nm
from neuromancer import train

DATA = Path(__file__).parent / "data" / "nuclei.h5"
SPLIT = 136
PARTS = {"train": np.s_[:, :SPLIT], "test": np.s_[:, SPLIT:]}


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Load raw data in [0, 1], float32, and the nuclei mask, int16, of the part 'train' or 'test', (z, y, x)."""
    with h5py.File(DATA, "r") as file:
        raw, labels = file["raw"][()], file["label"][()]
    top = float(np.percentile(raw[PARTS["train"]], 99.9))
    return (np.minimum(raw[PARTS[part]] / top, 1)).astype("float32"), (labels[PARTS[part]] > 0).astype("int16")


def patches(model: nm.Model, batch_size: int = 1) -> tuple[train.PatchSampler, train.PatchSampler]:
    """Return training and validation data for a network that classifies voxels as nuclei or background."""
    augment = [train.Flip(), train.Rotate90("yx"), train.GreyValues(0.2, 0.1, 0.2), train.Noise(0.03, p=0.5)]
    options = {"axes": "zyx", "pad_raw": True, "balance": 0.5, "batch_size": batch_size}
    return (
        train.PatchSampler(model, load("train"), augment=augment, **options),  # type: ignore[arg-type]
        train.PatchSampler(model, load("test"), seed=1, **options),  # type: ignore[arg-type]
    )


def score(model: nm.Model) -> helpers.Row:
    """Compute average precision and IoU at probability 0.5 on the test part."""
    raw, mask = load("test")
    axes = [tag for tag in model["input"].shape.tags if tag in "zyx"]
    order = ["zyx".index(tag) for tag in axes]
    probability = helpers.predict(model.predict_dense, raw.transpose(order)[None]).transpose(np.argsort(order))
    return helpers.score(model.name, probability, 0.5, mask > 0)


def main() -> None:
    """Evaluate model files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    rows = [score(nm.modelload(path)) for path in parser.parse_args().models]
    helpers.report(rows, "part never seen in training")


if __name__ == "__main__":
    main()
