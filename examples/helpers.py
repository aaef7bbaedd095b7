"""Shared by the examples: a training loop of limited time, metrics, figures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from neuromancer import Model

OUTPUT = Path(__file__).parent / "output"
LINE_EVERY = 10.0


def arguments(description: str, minutes: float, out: str) -> argparse.ArgumentParser:
    """Return a parser with the options that the training examples share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--minutes",
        type=float,
        default=minutes,
        help="training time, without that of compilation (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="random seed of weights and patches (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUTPUT / out, help="HDF5 file to write; a PNG is written beside it")
    return parser


class Scaling:
    """Scaling of raw intensities to about [-1, 1], by median and 99th percentile of the training part."""

    def __init__(self, raw: np.ndarray) -> None:
        self.middle, high = (float(q) for q in np.percentile(raw, (50, 99)))
        self.width = max(high - self.middle, 1e-6)

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return a scaled float32 copy with a leading channel axis, (f=1, *spatial)."""
        return np.clip((raw.astype("float32") - self.middle) / self.width, -4, 4)[None]


def train_for(
    model: Model,
    batches: Iterator[Sequence[np.ndarray]],
    minutes: float,
    rates: tuple[float, float] = (2e-3, 1e-4),
    optimiser: str = "Adam",
) -> int:
    """Train for some minutes with a learning rate that decays exponentially between `rates`; return the step count.

    The minutes count from the end of the first step, which waits for compilation. On a terminal, a progress bar shows
    the loss and the steps per second; elsewhere a line is printed every 10 s.
    """
    begin = time.perf_counter()
    model.lr = rates[0]
    model.trainingstep(*next(batches), optimiser=optimiser)
    start, steps, passed, printed = time.perf_counter(), 1, 0.0, 0.0
    print(f"compilation and first step: {start - begin:.1f} s", flush=True)
    seconds, live = minutes * 60.0, sys.stderr.isatty()
    with tqdm(total=round(seconds), desc="training", disable=not live, bar_format=_BAR, miniters=0) as bar:
        while passed < seconds:
            model.lr = rates[0] * (rates[1] / rates[0]) ** (passed / seconds)
            model.trainingstep(*next(batches), optimiser=optimiser)
            steps += 1
            passed = time.perf_counter() - start
            text = f"step {steps}, loss {model.loss_smooth:.4f}, {(steps - 1) / passed:.1f} it/s"
            bar.set_postfix_str(text, refresh=False)
            bar.update(min(round(passed), bar.total) - bar.n)
            if not live and passed >= printed:
                print(f"{passed:6.1f} s  {text}", flush=True)
                printed = passed + LINE_EVERY
    print(f"{steps} steps in {passed:.0f} s, mean loss of the last 200: {model.loss_smooth:.4f}")
    return steps


_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining} {postfix}"


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the intersection over union of two masks."""
    either = np.logical_or(mask, truth).sum()
    return float(np.logical_and(mask, truth).sum() / either) if either else 1.0


def best_threshold(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the threshold of a score with the largest IoU, among 99 percentiles."""
    return max(np.percentile(score, range(1, 100)), key=lambda t: iou(score > t, truth))


@dataclass
class Row:
    """Row of the results table: name of the predictor, average precision, IoU."""

    who: str
    average_precision: float
    iou: float


def score(who: str, values: np.ndarray, threshold: float, truth: np.ndarray) -> Row:
    """Evaluate a score per voxel against the true mask."""
    from sklearn.metrics import average_precision_score

    return Row(who, float(average_precision_score(truth.ravel(), values.ravel())), iou(values > threshold, truth))


def compare(
    probability: np.ndarray, intensity: np.ndarray, threshold: float, truth: np.ndarray, cut: float = 0.5
) -> list[Row]:
    """Return result rows for the network and two baselines: thresholded intensity, and a constant.

    Parameters
    ----------
    probability, intensity : array, (*spatial)
    threshold : float
        Threshold of the intensity, determined on the training part.
    truth : bool array, (*spatial)
    cut : float
        Threshold of the probability.
    """
    share = float(truth.mean())
    return [
        Row("constant", share, share),
        score("threshold of the raw intensity", intensity, threshold, truth),
        score("network", probability, cut, truth),
    ]


def report(rows: Sequence[Row], what: str) -> None:
    """Print a table of results."""
    print(f"\n{what:<34}{'average precision':>18}{'IoU':>8}")
    for row in rows:
        print(f"{row.who:<34}{row.average_precision:>18.4f}{row.iou:>8.4f}")
    print()


def predict(predict_dense: Callable[..., np.ndarray], raw: np.ndarray) -> np.ndarray:
    """Predict the probability of class 1 at every voxel of `raw` (f, *spatial) and print the throughput."""
    start = time.perf_counter()
    result = predict_dense(raw, pad_raw=True)[1]
    seconds = time.perf_counter() - start
    print(f"predicted {result.size / 1e6:.2f} MVx in {seconds:.1f} s: {result.size / 1e6 / seconds:.3f} MVx/s")
    return result


def save_volumes(path: Path, **volumes: np.ndarray) -> None:
    """Write arrays as datasets of an HDF5 file."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, data in volumes.items():
            file.create_dataset(name, data=data, compression="gzip", compression_opts=4, shuffle=True)
    print(f"wrote {path}")


def in_colours(labels: np.ndarray) -> np.ndarray:
    """Return an image (y, x, rgb) of labels (y, x): a random colour each, the same in every plane; 0 is black."""
    from matplotlib.colors import hsv_to_rgb

    names, which = np.unique(labels, return_inverse=True)
    rows = np.array([np.random.default_rng(int(name)).random(3) for name in names])
    colours = hsv_to_rgb(rows * (1.0, 0.5, 0.5) + (0.0, 0.45, 0.5)) * (names > 0)[:, None]
    return np.asarray(colours[which.reshape(labels.shape)])


def save_picture(
    path: Path,
    raw: np.ndarray,
    labels: np.ndarray,
    probability: np.ndarray,
    n_slices: int = 4,
    cut: float = 0.5,
    instances: np.ndarray | None = None,
) -> None:
    """Plot slices: raw, label, instances if given, probability, and the outlines of both on the raw data.

    Parameters
    ----------
    path : Path
        PNG to write.
    raw, labels, probability : array, (z, y, x)
        Labels may be instances; 0 is background.
    n_slices : int
        Number of z slices, evenly spaced.
    cut : float
        Threshold of the probability for its outline.
    instances : int array, (z, y, x), optional
        Predicted instances; 0 is background. Colours of labels and instances are random.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    high = raw.shape[1] / raw.shape[2]
    kinds = {"label": labels} if instances is None else {"label": labels, "instances": instances}
    n = len(kinds) + 3
    figure, rows = plt.subplots(n_slices, n, figsize=(3.5 * n, n_slices * (3.4 * high + 0.35) + 0.4), squeeze=False)
    top = float(np.percentile(raw, 99.8))
    for row, z in zip(rows, np.linspace(0, len(raw), n_slices + 2)[1:-1].astype(int), strict=True):
        panels: list[tuple[str, Any, dict[str, Any]]] = [
            ("raw", raw[z], dict(cmap="gray", vmax=top)),
            *((name, in_colours(ids[z]), dict(interpolation="nearest")) for name, ids in kinds.items()),
            ("probability", probability[z], dict(cmap="magma", vmin=0, vmax=1)),
            ("overlay", raw[z], dict(cmap="gray", vmax=top)),
        ]
        for axes, (title, image, options) in zip(row, panels, strict=True):
            axes.set_facecolor("black")
            axes.imshow(image, **options)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{title}, z = {z}", fontsize=9)
        for mask, colour in ((labels[z] > 0, "deepskyblue"), (probability[z] > cut, "orange")):
            if 0 < mask.mean() < 1:
                row[-1].contour(mask, [0.5], colors=colour, linewidths=1.0)
    figure.suptitle("overlay: label blue, prediction orange", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    print(f"wrote {path}")
