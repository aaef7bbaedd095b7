"""A network that normalises by statistics of its image, predicted in three ways: by tiles, windows, and as a whole.

A small U-Net with instance normalisation learns to find nuclei in patches of a confocal stack, and then sees an unseen
part of it, which is larger: cut into tiles with a margin, as is usual; in windows that overlap, as nnU-Net does; and
with the statistics of the whole image. The picture shows a slice of each, and how far the first two are from the third.
"""

from __future__ import annotations

from itertools import count, product
from pathlib import Path

import helpers
import nuclei
import numpy as np

import neuromancer as nm
from neuromancer.train import BackgroundLoader

PATCH, TILE, MARGIN = (16, 64, 64), (16, 48, 48), 8


def build() -> nm.Model:
    """Build a U-Net of two levels with instance normalisation."""
    model = nm.model_manager.newmodel("instance norm")
    image = nm.Input((None, 1, *PATCH), "b,f,z,y,x", name="input", print_repr=False)
    fine = block(block(image, 12), 12)
    coarse = block(block(nm.Pool(fine, (1, 2, 2), print_repr=False), 24), 24)
    up = nm.Upsample(coarse, (1, 2, 2), mode="linear", print_repr=False)
    out = block(nm.Concat([up, fine], print_repr=False), 16)
    scores = nm.Conv(out, 2, (1, 1, 1), activation_func="lin", print_repr=False)
    probs = nm.Softmax(scores, name="probs", print_repr=False)
    target = nm.Input_like(probs, override_f=1, name="target", dtype="int16", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, name="nll", print_repr=False)
    model.designate_nodes("input", target, nm.AggregateLoss([nll], name="loss", print_repr=False), probs)
    return model


def block(parent: nm.Node, features: int) -> nm.Node:
    """Append a convolution, instance normalisation and an activation function."""
    out = nm.Conv(parent, features, (3, 3, 3), conv_mode="same", activation_func="lin", print_repr=False)
    return nm.Activation(nm.InstanceNorm(out, affine=True, print_repr=False), "relu", print_repr=False)


def by_tiles(probs: nm.Node, raw: np.ndarray) -> np.ndarray:
    """Predict tile by tile, each with a margin that is cut off."""
    sizes = raw.shape[1:]
    margins = (0, MARGIN, MARGIN)
    padded = np.pad(
        raw, [(0, 0), *((m, m + t - n % t) for m, t, n in zip(margins, TILE, sizes, strict=True))], "symmetric"
    )
    result = np.empty((2, *(n - 2 * m for n, m in zip(padded.shape[1:], margins, strict=True))), "float32")
    for start in product(*(range(0, n, t) for n, t in zip(sizes, TILE, strict=True))):
        fed = tuple(slice(a, a + t + 2 * m) for a, t, m in zip(start, TILE, margins, strict=True))
        inner = tuple(slice(m, m + t) for t, m in zip(TILE, margins, strict=True))
        place = tuple(slice(a, a + t) for a, t in zip(start, TILE, strict=True))
        result[(slice(None), *place)] = probs.infer(padded[(None, slice(None), *fed)])[0][(slice(None), *inner)]
    return result[:, : sizes[0], : sizes[1], : sizes[2]]


def main(argv: list[str] | None = None) -> list[helpers.Row]:
    """Train, predict in three ways, print a table and draw the picture; return the rows of the table."""
    args = helpers.arguments(__doc__ or "", minutes=2.0, out="whole_image.h5").parse_args(argv)
    nm.seed(args.seed)
    model = build()
    probs = model["probs"]
    with BackgroundLoader(nuclei.patches(model)[0]) as loader:
        helpers.train_for(model, map(loader.batch, count()), args.minutes)

    raw, mask = nuclei.load("test")
    window = nm.SlidingWindow.nnunet(PATCH)
    print(nm.plan_dense(probs, raw[None], statistics="volume", pad_raw=True))
    ways = {
        "tiles with a margin": by_tiles(probs, raw[None])[1],
        "sliding window": probs.predict_dense(raw[None], sliding_window=window)[1],
        "statistics of the volume": probs.predict_dense(raw[None], statistics="volume", pad_raw=True)[1],
    }
    rows = [helpers.score(name, values, 0.5, mask > 0) for name, values in ways.items()]
    helpers.report(rows, "part never seen in training")
    whole = ways["statistics of the volume"]
    for name, values in ways.items():
        flipped = float(((values > 0.5) != (whole > 0.5)).mean())
        print(f"{name:<26} differs by up to {np.abs(values - whole).max():.3f}; other label at {flipped:.2%} of voxels")
    helpers.save_volumes(args.out, raw=raw, label=mask, **{name.replace(" ", "_"): v for name, v in ways.items()})
    picture(args.out.with_suffix(".png"), raw, ways)
    return rows


def picture(path: Path, raw: np.ndarray, ways: dict[str, np.ndarray]) -> None:
    """Draw a slice of the image, of every prediction, and of the differences to the last one."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    z, whole = raw.shape[0] // 2, list(ways.values())[-1]
    figure, axes = plt.subplots(2, 4, figsize=(14, 3.9))
    figure.subplots_adjust(left=0.005, right=0.995, top=0.93, bottom=0.01, wspace=0.03, hspace=0.2)
    axes[0, 0].imshow(raw[z], cmap="gray")
    axes[0, 0].set_title("image")
    for axis, (name, values) in zip(axes[0, 1:], ways.items(), strict=True):
        axis.imshow(values[z], cmap="gray", vmin=0, vmax=1)
        axis.set_title(name)
    shown = None
    for axis, (name, values) in zip(axes[1, 1:3], list(ways.items())[:2], strict=True):
        shown = axis.imshow(values[z] - whole[z], cmap="RdBu_r", vmin=-0.5, vmax=0.5)
        axis.set_title(f"{name}, difference")
    bar = figure.colorbar(shown, cax=axes[1, 3].inset_axes((0.02, 0.1, 0.04, 0.8)))
    bar.set_label("difference of probabilities")
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
