"""Plots of training: curves of the history, and slices of previews."""

from __future__ import annotations

import io
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import MissingDependencyError
from neuromancer.printable import printable
from neuromancer.train.files import write_whole
from neuromancer.train.history import History

BLUE, ORANGE, GREY = "#1f6fb4", "#e07b00", "#8a8a8a"
PURPLE, GREEN, RED = "#7a3e9d", "#2a8f5c", "#b4261f"


def require_matplotlib() -> None:
    """Raise MissingDependencyError without matplotlib."""
    if find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "plots need matplotlib", where="plots", expected="pip install 'neuromancer-graph[plot]', or plots=False"
        )


def plot_history(history: History, path: Path, title: str = "") -> None:
    """Plot loss, errors and learning rate against the step.

    Parameters
    ----------
    history : History
        With columns step, loss, loss_smooth, lr, and optionally train_error and those of validation.
    path : Path
        PNG file to write atomically.
    title : str
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    errors = [c for c in ("train_error", "val_error") if len(_measured(history, c)[0])]
    others = [c for c in history.columns if c.startswith("val_") and c not in ("val_loss", "val_error")]
    panels = 2 + bool(errors) + bool(others)
    figure = Figure(figsize=(8.0, 2.0 + 1.7 * panels), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, 1, sharex=True, height_ratios=[3.0, *[1.4] * (panels - 1)])
    step = history["step"]
    axes[0].plot(step, history["loss"], color=BLUE, alpha=0.3, linewidth=0.8, label="mean since the last row")
    axes[0].plot(step, history["loss_smooth"], color=BLUE, linewidth=1.6, label="mean of 200 steps")
    _points(axes[0], history, "val_loss", ORANGE, "validation")
    _log_if_wide(axes[0], np.concatenate([history["loss"], _measured(history, "val_loss")[1]]))
    axes[0].set_ylabel("loss")
    axes[0].set_title(literal_text(title), fontsize=10, loc="left")
    if errors:
        _points(axes[1], history, "train_error", BLUE, "training batch")
        _points(axes[1], history, "val_error", ORANGE, "validation")
        _log_if_wide(axes[1], np.concatenate([_measured(history, name)[1] for name in errors]))
        axes[1].set_ylabel("error")
    if others:
        for name, colour in zip(others, cycle((PURPLE, GREEN, RED, GREY))):
            _points(axes[-2], history, name, colour, literal_text(name.removeprefix("val_")))
        axes[-2].set_ylabel("validation")
    for panel in axes[:-1]:
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, fontsize=8)
    axes[-1].plot(step, history["lr"], color=GREY, linewidth=1.2)
    axes[-1].set_ylabel("learning rate")
    axes[-1].set_ylim(bottom=0)
    axes[-1].set_xlabel("step")
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.5)
    write_whole(path, png_of(figure, 110))


def png_of(figure: Any, dpi: int) -> bytes:
    """Return a figure as the content of a PNG file."""
    image = io.BytesIO()
    figure.savefig(image, dpi=dpi, format="png")
    return image.getvalue()


def _measured(history: History, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and values at which a column was measured."""
    if name not in history.columns:
        return np.zeros(0), np.zeros(0)
    values = history[name]
    return history["step"][np.isfinite(values)], values[np.isfinite(values)]


def _points(axes: Any, history: History, name: str, colour: str, label: str) -> None:
    step, values = _measured(history, name)
    if len(step):
        axes.plot(step, values, "o-", color=colour, markersize=3, label=label)


def _log_if_wide(axes: Any, values: np.ndarray) -> None:
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > 20 * finite.min():
        axes.set_yscale("log")


def plot_slices(path: Path, raw: np.ndarray, prediction: np.ndarray, labels: np.ndarray | None, title: str) -> None:
    """Write :func:`slices_png` to a file, atomically."""
    write_whole(path, slices_png(raw, prediction, labels, title))


def slices_png(raw: np.ndarray, prediction: np.ndarray, labels: np.ndarray | None, title: str) -> bytes:
    """Plot the middle slice of raw data, of up to four features of a prediction, and of labels, side by side.

    Parameters
    ----------
    raw : array, (f, (z,) y, x)
    prediction : array, (f, (z,) y, x)
    labels : array, ((z,) y, x), optional
    title : str

    Returns
    -------
    bytes
        Content of a PNG file.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    images: list[tuple[str, np.ndarray, dict[str, Any]]] = [("raw", _middle(raw[0]), {"cmap": "gray"})]
    shown = [_middle(feature) for feature in prediction[:4]]
    scale = {"cmap": "magma", "vmin": np.min(shown), "vmax": np.max(shown)}
    images += [(f"prediction {f}", feature, scale) for f, feature in enumerate(shown)]
    if labels is not None:
        images.append(("labels", _middle(labels), {"cmap": "tab20", "interpolation": "nearest"}))
    high, wide = images[0][1].shape
    figure = Figure(figsize=(3.2 * len(images), 3.2 * high / wide + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, image, options) in zip(figure.subplots(1, len(images), squeeze=False)[0], images, strict=True):
        axes.imshow(image, **options)
        axes.set_title(literal_text(name), fontsize=9)
        axes.set(xticks=[], yticks=[])
    figure.suptitle(literal_text(title), fontsize=9)
    return png_of(figure, 100)


def literal_text(text: str) -> str:
    """Escape dollar signs, between which matplotlib parses formulas."""
    return printable(text).replace("$", r"\$")


def _middle(volume: np.ndarray) -> np.ndarray:
    while volume.ndim > 2:
        volume = volume[volume.shape[0] // 2]
    return np.atleast_2d(volume)
