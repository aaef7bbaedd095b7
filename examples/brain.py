"""Grey and white matter of the human brain, by a published network that was trained elsewhere.

``make brain`` runs this, in less than a minute. The network (MeshNet of the project brainchop, MIT licence: ten dilated
convolutions, 5 features, 22 KB) is stored as a Keras model for browsers. It is imported, verified if Keras is
installed, and applied to the MNI152 template, which the package nilearn ships together with its tissue probabilities.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import helpers
import matplotlib
import nibabel
import numpy as np

import neuromancer as nm

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

MODEL = Path(__file__).parent / "data" / "brain" / "model.json"
TISSUES = ("white matter", "grey matter")
TEMPLATE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
SIZE = 256


def template(kind: str) -> np.ndarray:
    """Load a volume of the MNI152 template: 't1', 'wm' or 'gm'; axes to Left, Inferior, Anterior, 256^3 at 1 mm."""
    package = find_spec("nilearn")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the template comes with nilearn: pip install nilearn")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / TEMPLATE.format(kind)
    image = nibabel.as_closest_canonical(nibabel.load(path))
    turned = np.asarray(image.dataobj, "float32")[::-1, :, ::-1].transpose(0, 2, 1)
    whole = np.zeros((SIZE,) * 3, "float32")
    begin = [(SIZE - n) // 2 for n in turned.shape]
    whole[tuple(slice(b, b + n) for b, n in zip(begin, turned.shape, strict=True))] = turned
    return whole


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice coefficient of two masks."""
    return float(2 * np.logical_and(found, truth).sum() / (found.sum() + truth.sum()))


def draw(head: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Draw the template with the labels over it, in three planes through the middle of the head."""
    inside = [np.flatnonzero((head > 0).any(axis=tuple({0, 1, 2} - {k}))) for k in range(3)]
    box = tuple(slice(max(0, i[0] - 4), i[-1] + 5) for i in inside)
    head, labels = head[box], labels[box]
    centre = [n // 2 for n in head.shape]
    planes = {  # axes point to Left, Inferior, Anterior
        "sagittal": lambda volume: volume[centre[0]],
        "axial": lambda volume: volume[:, centre[1]].T[::-1],
        "coronal": lambda volume: volume[:, :, centre[2]].T,
    }
    colours = ListedColormap([(0, 0, 0, 0), (0.95, 0.75, 0.25, 0.65), (0.2, 0.55, 0.9, 0.65)])
    figure, axes = plt.subplots(2, 3, figsize=(11, 8), facecolor="black", layout="constrained")
    for column, (name, plane) in zip(axes.T, planes.items(), strict=True):
        for row, axis in enumerate(column):
            axis.imshow(plane(head), cmap="gray", vmax=np.quantile(head, 0.999))
            if row:
                axis.imshow(plane(labels), cmap=colours, vmin=0, vmax=2, interpolation="nearest")
            axis.set_axis_off()
        column[0].set_title(name, color="white")
    figure.suptitle("MNI152 template; below: white matter (yellow) and grey matter (blue)", color="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Run the example; return the Dice coefficient of each tissue."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=helpers.OUTPUT / "brain.png", help="picture to write")
    parser.add_argument("--memory", help="memory limit, such as 1GB (default: a fraction of what is free)")
    args = parser.parse_args(argv)

    model = nm.from_keras(MODEL, name="brain")
    head = template("t1")
    scaled = (head - head.min()) / (head.max() - head.min())
    start = time.perf_counter()
    labels = model.predict_dense(scaled[None], reduce="argmax", memory=args.memory)[0]
    print(f"{labels.size / 1e6:.0f} million voxels in {time.perf_counter() - start:.1f} s")
    scores = {}
    for label, (tissue, kind) in enumerate(zip(TISSUES, ("wm", "gm"), strict=True), start=1):
        probability = template(kind)
        scores[tissue] = dice(labels == label, probability > probability.max() / 2)
        print(f"{tissue}: Dice {scores[tissue]:.2f} against the template's own map")
    draw(head, labels, args.out)
    print(f"wrote {args.out}")
    return scores


if __name__ == "__main__":
    main()
