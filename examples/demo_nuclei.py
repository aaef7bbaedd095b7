"""Find cell nuclei in a confocal stack: build a small 3-D network, train it, and predict unseen data.

``make demo`` runs this. The stack is split along y: the network is trained on the upper part only and evaluated on the
lower part, whose prediction reads no voxel of the training part (its borders are mirrored). A watershed divides nuclei
that touch.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import h5py
import helpers
import numpy as np
import segmentation

import neuromancer as nm
from neuromancer.train import BackgroundLoader, Flip, PatchSampler, Rotate90

DATA = Path(__file__).parent / "data" / "nuclei.h5"
SPLIT = 168
PATCH = (17, 101, 101)


def build() -> nm.Model:
    """Build the network: strides (1, 4, 4), field of view (9, 37, 37), 0.1 million parameters."""
    model = nm.model_manager.newmodel("nuclei")
    out: nm.Node = nm.Input((None, 1, *PATCH), "b,f,z,y,x", name="input", print_repr=False)
    out = nm.Conv(out, 16, (1, 4, 4), (1, 2, 2), print_repr=False)
    out = nm.Conv(out, 24, (3, 4, 4), (1, 2, 2), print_repr=False)
    out = nm.Conv(out, 32, (3, 3, 3), print_repr=False)
    out = nm.Conv(out, 32, (3, 3, 3), print_repr=False)
    out = nm.Conv(out, 48, (3, 3, 3), print_repr=False)
    out = nm.Conv(out, 2, (1, 1, 1), activation_func="lin", print_repr=False)
    probs = nm.Softmax(out, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, name="target", dtype="int16", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    loss = nm.AggregateLoss([nll], name="loss", print_repr=False)
    errors = nm.Errors(probs, target, target_is_sparse=True, name="errors", print_repr=False)
    model.designate_nodes("input", target, loss, probs, prediction_ext=[loss, errors, probs], error_node=errors)
    return model


def main(argv: list[str] | None = None) -> list[helpers.Row]:
    """Run the demo; return the rows of the printed table."""
    args = helpers.arguments(__doc__ or "", minutes=2.0, out="nuclei.h5").parse_args(argv)
    with h5py.File(DATA, "r") as file:
        raw, labels = file["raw"][()], file["label"][()]
    train, unseen = np.s_[:, :SPLIT], np.s_[:, SPLIT:]

    nm.seed(args.seed)
    model = build()
    probs = model["probs"]
    print(probs)
    print(probs.shape.ext_repr)

    scale = helpers.Scaling(raw[train])
    patches = PatchSampler(
        model,
        (scale(raw[train]), (labels[train] > 0).astype("int16")),
        batch_size=2,
        balance=0.5,
        augment=[Flip(), Rotate90("yx")],
        seed=args.seed,
    )
    with BackgroundLoader(patches) as loader:
        helpers.train_for(model, map(loader.batch, count()), args.minutes)

    probability = helpers.predict(probs.predict_dense, scale(raw[unseen]))
    threshold = helpers.best_threshold(raw[train], labels[train] > 0)
    rows = helpers.compare(probability, raw[unseen].astype("float32"), threshold, labels[unseen] > 0)
    helpers.report(rows, "part never seen in training")
    instances = segmentation.split(probability).astype("uint16")
    print(f"instances: {segmentation.summary(instances, labels[unseen])}\n")
    raw, labels = raw[unseen], labels[unseen]
    helpers.save_volumes(args.out, raw=raw, label=labels, probability=probability, instances=instances)
    helpers.save_picture(args.out.with_suffix(".png"), raw, labels, probability, instances=instances)
    return rows


if __name__ == "__main__":
    main()
