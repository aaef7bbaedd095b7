"""Statistics of the features of an image, gathered part by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 16
"""Voxels that are converted to float64 at a time."""


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of every feature of an image, or of a part of it.

    Parameters
    ----------
    count : int
        Number of voxels.
    sums, squares, maxima : numpy.ndarray of float64, (f,)
        Sum, sum of squares and maximum per feature.

    Examples
    --------
    >>> a, b = (FeatureStatistics.of(np.array([v], "float32")) for v in ([1, 2, 3], [10]))
    >>> float((a + b).mean[0]), float((a + b).variance[0]), float((a + b).maxima[0])
    (4.0, 12.5, 10.0)
    """

    count: int
    sums: np.ndarray
    squares: np.ndarray
    maxima: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> FeatureStatistics:
        """Return the statistics of values, (f, *spatial), of any dtype; sums are float64."""
        rows = values.reshape(len(values), -1)
        sums, squares = np.zeros(len(rows)), np.zeros(len(rows))
        for i, row in enumerate(rows):
            for k in range(0, len(row), CHUNK):
                part = row[k : k + CHUNK].astype(np.float64)
                sums[i] += part.sum()
                squares[i] += part @ part
        return cls(rows.shape[1], sums, squares, rows.max(axis=1).astype(np.float64))

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        return FeatureStatistics(
            self.count + other.count,
            self.sums + other.sums,
            self.squares + other.squares,
            np.maximum(self.maxima, other.maxima),
        )

    def over_groups(self, n_groups: int) -> FeatureStatistics:
        """Return the statistics of groups of neighbouring features, repeated for each feature of a group."""
        size = len(self.sums) // n_groups
        sums, squares = (v.reshape(n_groups, size).sum(axis=1).repeat(size) for v in (self.sums, self.squares))
        maxima = self.maxima.reshape(n_groups, size).max(axis=1).repeat(size)
        return FeatureStatistics(self.count * size, sums, squares, maxima)

    @property
    def mean(self) -> np.ndarray:
        """Mean per feature."""
        mean: np.ndarray = self.sums / self.count
        return mean

    @property
    def variance(self) -> np.ndarray:
        """Biased variance per feature."""
        variance: np.ndarray = np.maximum(self.squares / self.count - self.mean**2, 0)
        return variance
