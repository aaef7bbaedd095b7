"""Neuron membranes in electron microscopy: a small U-Net of valid convolutions, trained on one cube, tested on another.

``python examples/membrane_em.py`` trains the network (half an hour on two cores), predicts the test cube and evaluates
the result; ``neuromancer-train examples/membrane_em.py`` only trains.

The data is not part of this repository. It is read from ``../shared/data/em`` beside the repository, or from the folder
in the environment variable ``NEUROMANCER_EM_DATA``: the files `train-image.h5`, `train-gt.lzf.h5`, `test-image.h5` and
`test-gt.lzf.h5`, each with a dataset `stack` (z, y, x) of grey values or neuron ids, where 0 is boundary. A voxel is
boundary if its label is 0 or differs from that of the next voxel along an axis.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import helpers
import numpy as np
import segmentation
from networks import classifier, double_conv
from sklearn.metrics import average_precision_score

import neuromancer as nm
from neuromancer import train
from neuromancer.train.config_file import load_config

DATA = Path(os.environ.get("NEUROMANCER_EM_DATA", Path(__file__).parents[2] / "shared" / "data" / "em"))
WIDTHS = (16, 32, 64)
PATCH = 60

n_steps = 6000
optimiser = "AdamW"
schedules = {"lr": nm.CosineSchedule(n_steps, end=1e-5, start=2e-3)}
history_every = 25
validate_every = 250
n_validation = 16
metrics = {"average_precision": lambda p, labels: average_precision_score(labels.ravel() > 0, p[:, 1].ravel())}


def create_model() -> nm.Model:
    """Build the network: stride 1, 20 voxels of context on either side, 0.3 million parameters."""
    model = nm.model_manager.newmodel("membrane_em")
    out: nm.Node = nm.Input((2, 1, PATCH, PATCH, PATCH), "b,f,z,y,x", name="input", print_repr=False)
    skips = []
    for n_f in WIDTHS[:-1]:
        skips.append(double_conv(out, n_f, n_f))
        out = nm.Pool(skips[-1], (2, 2, 2), print_repr=False)
    out = double_conv(out, WIDTHS[-1], WIDTHS[-1])
    for skip, n_f in zip(skips[::-1], WIDTHS[-2::-1], strict=True):
        out = double_conv(nm.UpConvMerge(skip, out, n_f, print_repr=False), n_f, n_f)
    return classifier(model, out)


def create_data(model: nm.Model) -> tuple[train.PatchSampler, train.PatchSampler]:
    """Return augmented patches of the training cube, and plain patches of the test cube for monitoring."""
    patches = train.PatchSampler(
        model,
        load("train"),
        label_map=train.labels_to_boundaries,
        augment=[
            train.Flip(),
            train.Rotate90("zy"),
            train.Rotate90("zx"),
            train.Rotate90("yx"),
            train.Warp(rotation={"yx": 45, "zx": 20, "zy": 20}, scaling=0.1, elastic=2.0, p=0.5),
            train.GreyValues(contrast=0.2, brightness=0.15, gamma=0.2),
            train.Noise(0.04, p=0.5),
        ],
        pad_raw=True,
    )
    return patches, train.PatchSampler(model, load("test"), label_map=train.labels_to_boundaries, pad_raw=True, seed=1)


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Load grey values and neuron ids of a cube, (z, y, x)."""
    with h5py.File(DATA / f"{part}-image.h5", "r") as image, h5py.File(DATA / f"{part}-gt.lzf.h5", "r") as labels:
        return image["stack"][()], labels["stack"][()]


@dataclass
class Score:
    """Results on the test cube.

    Attributes
    ----------
    average_precision : float
        Average precision of boundary voxels.
    iou : float
        IoU of boundary voxels, at the threshold that is best on the training cube.
    objects : segmentation.Agreement
        Agreement of the neurons after a watershed with the settings that are best on the training cube.
    """

    average_precision: float
    iou: float
    objects: segmentation.Agreement


def score(boundary: np.ndarray, neurons: np.ndarray, seen: np.ndarray, seen_neurons: np.ndarray) -> Score:
    """Evaluate a boundary map (z, y, x); thresholds are determined on the training cube, `seen`."""
    truth, seen_truth = mask_of(neurons), mask_of(seen_neurons)
    threshold = helpers.best_threshold(seen, seen_truth)
    settings = segmentation.best_settings(seen, seen_neurons)
    return Score(
        float(average_precision_score(truth.ravel(), boundary.ravel())),
        helpers.iou(boundary > threshold, truth),
        segmentation.agreement(segmentation.segment(boundary, *settings), neurons),
    )


def mask_of(neurons: np.ndarray) -> np.ndarray:
    """Return the mask of boundaries, (z, y, x)."""
    return train.labels_to_boundaries(neurons[None])[0] > 0


def report(rows: dict[str, Score]) -> None:
    """Print a table; the variation of information is in bits, as split + merged."""
    print(f"\n{'boundary of the test cube':<32}{'AP':>8}{'IoU':>8}{'VI':>22}{'Rand error':>12}")
    for name, row in rows.items():
        parts = f"{row.objects.variation:.2f} = {row.objects.split:.2f} + {row.objects.merged:.2f}"
        print(f"{name:<32}{row.average_precision:>8.4f}{row.iou:>8.4f}{parts:>22}{row.objects.rand_error:>12.4f}")
    print()


def main(argv: list[str] | None = None) -> dict[str, Score] | None:
    """Train, predict and evaluate; return the rows of the table, or None without data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=n_steps, help="training steps (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=helpers.OUTPUT / "membrane_em", help="output folder")
    parser.add_argument("--resume", action="store_true", help="resume the training in the folder")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    if not DATA.is_dir():
        print(f"no data in {DATA}: set NEUROMANCER_EM_DATA to the folder with the data")
        return None
    nm.seed(args.seed)
    config = load_config(__file__, {"n_steps": args.steps, "overwrite": True, "progress": True})
    trainer = config.trainer(args.folder, args.resume)
    probs = trainer.model["probs"]
    print(f"{probs}\n{probs.shape.ext_repr}")
    trainer.run()

    (seen, seen_neurons), (unseen, neurons) = load("train"), load("test")
    boundary, boundary_seen = (helpers.predict(probs.predict_dense, raw[None]) for raw in (unseen, seen))
    rows = {
        # Baseline: membranes are dark.
        "darkness of the raw data": score(1 - unseen / 255, neurons, 1 - seen / 255, seen_neurons),
        "network": score(boundary, neurons, boundary_seen, seen_neurons),
    }
    report(rows)
    helpers.save_volumes(args.folder / "test.h5", raw=unseen, neurons=neurons, boundary=boundary)
    cut = helpers.best_threshold(boundary_seen, mask_of(seen_neurons))
    helpers.save_picture(args.folder / "test.png", unseen, mask_of(neurons).astype("uint8"), boundary, cut=cut)
    return rows


if __name__ == "__main__":
    main()
