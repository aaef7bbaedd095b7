"""Sample data: cell nuclei, from the repository or made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from neuromancer.napari_plugin.reader import Layers, read

STACK = Path(__file__).parents[2] / "examples" / "data" / "nuclei.h5"
SHAPE, NUMBER, RADIUS = (32, 128, 128), 60, 9
"""Size of the synthetic stack, number of its nuclei, and their mean radius in voxels."""


def nuclei() -> Layers:
    """Return a stack of cell nuclei: that of the examples in the repository if it is there, else a synthetic one."""
    if STACK.is_file():
        return read(str(STACK))
    raw, label = synthetic()
    place = {"scale": (2, 1, 1)}
    return [(raw, {"name": "nuclei raw", **place}, "image"), (label, {"name": "nuclei label", **place}, "labels")]


def synthetic(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make up a stack of nuclei, half as many slices as the lateral voxel size would have.

    Parameters
    ----------
    seed : int

    Returns
    -------
    raw : numpy.ndarray of uint8, (z, y, x)
    label : numpy.ndarray of uint8, (z, y, x)
        Number of the nucleus, 0 in the background.

    Examples
    --------
    >>> raw, label = synthetic()
    >>> raw.shape == label.shape, int(label.max()) > 40, bool(raw[label > 0].mean() > 2 * raw[label == 0].mean())
    (True, True, True)
    """
    rng = np.random.default_rng(seed)
    label, grid = np.zeros(SHAPE, "uint8"), np.indices(SHAPE, "float32")
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPE), (1, 2, 2))
    wobble = ndimage.gaussian_filter(rng.normal(size=SHAPE), (3, 6, 6)) * 25
    brightness = np.zeros(SHAPE, "float32")
    for number in range(1, NUMBER + 1):
        middle, radius = rng.uniform(0, SHAPE), RADIUS * rng.uniform(0.7, 1.2)
        z, y, x = ((g - m) * s for g, m, s in zip(grid, middle, (2, 1, 1), strict=True))
        inside = (np.sqrt(z**2 + y**2 + x**2) + wobble < radius) & (label == 0)
        label[inside], brightness[inside] = number, rng.uniform(90, 180)
    signal = ndimage.gaussian_filter(brightness * (1 + texture), (0.8, 1, 1)) + 20
    return rng.poisson(np.maximum(signal, 0)).clip(0, 255).astype("uint8"), label
