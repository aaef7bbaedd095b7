"""From a map of boundaries to numbered objects by a watershed, and how these agree with the true ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import watershed

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
DEPTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)


@dataclass(frozen=True)
class Agreement:
    """How two segmentations differ; 0 is best everywhere.

    Attributes
    ----------
    split, merged : float
        Variation of information in bits: what is cut too finely, and what is put together wrongly (Meila 2007).
    rand_error : float
        1 - F score of pairs of voxels (adapted Rand error; Arganda-Carreras et al. 2015).
    """

    split: float
    merged: float
    rand_error: float

    @property
    def variation(self) -> float:
        """Variation of information in bits, both parts together."""
        return self.split + self.merged


def segment(boundary: np.ndarray, threshold: float, depth: float) -> np.ndarray:
    """Objects (z, y, x), numbered from 1.

    Seeds are the connected places farther than `depth` voxels from any voxel whose boundary probability is above
    `threshold`; a watershed on the probability gives every other voxel to one of them.
    """
    distance = ndimage.distance_transform_edt(boundary <= threshold)
    seeds, _ = ndimage.label(distance > depth)
    return watershed(boundary, seeds)


def agreement(objects: np.ndarray, truth: np.ndarray) -> Agreement:
    """Compare objects with the true ones where these are not 0."""
    known = truth > 0
    split, merged = variation_of_information(truth[known], objects[known])
    return Agreement(float(split), float(merged), float(adapted_rand_error(truth[known], objects[known])[0]))


def best_settings(
    boundary: np.ndarray,
    truth: np.ndarray,
    thresholds: Iterable[float] = THRESHOLDS,
    depths: Iterable[float] = DEPTHS,
) -> tuple[float, float]:
    """Threshold and depth with the smallest variation of information."""
    return min(product(thresholds, depths), key=lambda pair: agreement(segment(boundary, *pair), truth).variation)
