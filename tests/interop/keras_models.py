"""Small Keras networks with random weights, and files of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras


def randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give all weights random values, and variances positive ones."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" in variable.name:
            continue
        values = rng.standard_normal(variable.shape) * 0.3
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    return model


def sequential(shape: tuple[int | None, ...], *layers: keras.Layer) -> keras.Model:
    """Return a chain of layers with random weights."""
    return randomised(keras.Sequential([keras.Input(shape), *layers]))


def functional(shape: tuple[int | None, ...], build) -> keras.Model:
    """Return the network that a function makes of an input."""
    inputs = keras.Input(shape, name="image")
    return randomised(keras.Model(inputs, build(inputs)))


def saved(model: keras.Model, folder: Path, kind: str = "keras") -> Path:
    """Save a network as .keras or .h5."""
    path = folder / f"network.{kind}"
    model.save(path)
    return path


def evaluated(model: keras.Model, x: np.ndarray, channels_last: bool = True) -> np.ndarray:
    """Evaluate a network on an array (b, f, *space)."""
    result = model(np.moveaxis(x, 1, -1) if channels_last else x, training=False)
    result = keras.ops.convert_to_numpy(result)
    return np.moveaxis(result, -1, 1) if channels_last else result
