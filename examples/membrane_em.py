"""Find neuron membranes in electron microscopy: train on one cube, predict another.

The data is not part of this repository. Its folder is given as an argument, in the environment variable
``NEUROMANCER_EM_DATA``, or is ``../shared/data/em`` beside the repository; it holds `train-image.h5`,
`train-gt.lzf.h5`, `test-image.h5` and `test-gt.lzf.h5`, each with a dataset `stack` (z, y, x): grey values, and neuron
numbers with 0 for boundary. A voxel is boundary if its label is 0 or differs from the next one's along an axis.
"""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import helpers
import numpy as np

import neuromancer as nm

DATA = Path(__file__).parents[2] / "shared" / "data" / "em"
PATCH = (15, 65, 65)


def boundary(labels: np.ndarray) -> np.ndarray:
    """Mask of the voxels with label 0 or beside a voxel of another label."""
    mask = labels == 0
    for axis in range(labels.ndim):
        here = [slice(None)] * labels.ndim
        there = [slice(None)] * labels.ndim
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        change = labels[tuple(here)] != labels[tuple(there)]
        mask[tuple(here)] |= change
        mask[tuple(there)] |= change
    return mask


def build() -> nm.Model:
    """The network: strides (1, 2, 2), field of view (9, 27, 27)."""
    model = nm.model_manager.newmodel("membrane")
    out: nm.Node = nm.Input((None, 1, *PATCH), "b,f,z,y,x", name="input", print_repr=False)
    out = nm.Conv(out, 16, (1, 4, 4), (1, 2, 2), print_repr=False)
    for n_f, kernel in ((24, (3, 3, 3)), (32, (3, 3, 3)), (32, (3, 3, 3)), (40, (3, 4, 4)), (48, (1, 3, 3))):
        out = nm.Conv(out, n_f, kernel, print_repr=False)
    out = nm.Conv(out, 2, (1, 1, 1), activation_func="lin", print_repr=False)
    probs = nm.Softmax(out, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, name="target", dtype="int16", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    model.designate_nodes("input", target, loss, probs)
    return model


def load(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Grey values and boundary mask of a cube, (z, y, x)."""
    with h5py.File(folder / f"{part}-image.h5", "r") as image, h5py.File(folder / f"{part}-gt.lzf.h5", "r") as labels:
        return image["stack"][()], boundary(labels["stack"][()])


def main(argv: list[str] | None = None) -> list[helpers.Row] | None:
    """Run the example; returns the rows of the printed table, None without data."""
    parser = helpers.arguments(__doc__ or "", minutes=3.0, out="membrane_em.h5")
    parser.add_argument("data", type=Path, nargs="?", default=Path(os.environ.get("NEUROMANCER_EM_DATA", DATA)))
    args = parser.parse_args(argv)
    if not args.data.is_dir():
        print(f"no data in {args.data}: give the folder as an argument or in NEUROMANCER_EM_DATA; nothing to do")
        return None
    raw, mask = load(args.data, "train")
    unseen, truth = load(args.data, "test")

    nm.seed(args.seed)
    model = build()
    probs = model["probs"]
    print(f"{probs}\n{probs.shape.ext_repr}")
    scale = helpers.Scaling(raw)
    sampler = helpers.PatchSampler(
        scale(raw), mask.astype("int16"), probs, np.random.default_rng(args.seed), batch=2, balance=0.0
    )
    helpers.train_for(model, iter(sampler), args.minutes)

    probability = helpers.predict(probs.predict_dense, scale(unseen))
    # Both thresholds are those with the largest IoU in the training cube. Membranes are dark: the darker, the likelier.
    cut = helpers.best_threshold(helpers.predict(probs.predict_dense, scale(raw)), mask)
    rows = helpers.compare(probability, 255.0 - unseen, helpers.best_threshold(255.0 - raw, mask), truth, cut)
    helpers.report(rows, "cube never seen in training")
    helpers.save_volumes(args.out, raw=unseen, label=truth.astype("uint8"), probability=probability)
    helpers.save_picture(args.out.with_suffix(".png"), unseen, truth, probability, cut=cut)
    return rows


if __name__ == "__main__":
    main()
