"""Statistics of the features of an image, gathered part by part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

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
    sums, deviations, maxima : numpy.ndarray of float64, (f,)
        Sum, sum of squared deviations from the mean, and maximum per feature.

    Notes
    -----
    Parts are added by the formula of Chan, Golub and LeVeque (1983), doi:10.1080/00031305.1983.10483115, which loses no
    digits if the mean is large compared with the standard deviation.

    Examples
    --------
    >>> a, b = (FeatureStatistics.of(np.array([v], "float32")) for v in ([1, 2, 3], [10]))
    >>> float((a + b).mean[0]), float((a + b).variance[0]), float((a + b).maxima[0])
    (4.0, 12.5, 10.0)
    """

    count: int
    sums: np.ndarray
    deviations: np.ndarray
    maxima: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> FeatureStatistics:
        """Return the statistics of values, (f, *spatial), of any dtype; sums are float64."""
        rows = values.reshape(len(values), -1)
        parts = [cls._of_part(rows[:, k : k + CHUNK]) for k in range(0, rows.shape[1], CHUNK)]
        return reduce(add, parts)

    @classmethod
    def _of_part(cls, rows: np.ndarray) -> FeatureStatistics:
        count, found = rows.shape[1], np.empty((2, len(rows)))
        for i, row in enumerate(rows):
            values = row.astype(np.float64)
            found[0, i] = total = values.sum()
            values -= total / count
            found[1, i] = values @ values
        return cls(count, found[0], found[1], rows.max(axis=1).astype(np.float64))

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        count = self.count + other.count
        between = (self.mean - other.mean) ** 2 * (self.count / count * other.count)
        return FeatureStatistics(
            count,
            self.sums + other.sums,
            self.deviations + other.deviations + between,
            np.maximum(self.maxima, other.maxima),
        )

    def over_groups(self, n_groups: int) -> FeatureStatistics:
        """Return the statistics of groups of neighbouring features, repeated for each feature of a group."""
        size = len(self.sums) // n_groups
        sums, deviations, means = (v.reshape(n_groups, size) for v in (self.sums, self.deviations, self.mean))
        between = self.count * (means - means.mean(axis=1, keepdims=True)) ** 2
        groups = sums.sum(axis=1), (deviations + between).sum(axis=1), self.maxima.reshape(n_groups, size).max(axis=1)
        return FeatureStatistics(self.count * size, *(v.repeat(size) for v in groups))

    @property
    def mean(self) -> np.ndarray:
        """Mean per feature."""
        mean: np.ndarray = self.sums / self.count
        return mean

    @property
    def variance(self) -> np.ndarray:
        """Biased variance per feature."""
        variance: np.ndarray = self.deviations / self.count
        return variance
