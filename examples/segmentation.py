"""Instance segmentation of a boundary map by a watershed, and its agreement with the ground truth."""

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
    """Difference between two segmentations; 0 is a perfect match in every measure.

    Attributes
    ----------
    split, merged : float
        Variation of information in bits: false splits (oversegmentation) and false merges (Meila 2007).
    rand_error : float
        Adapted Rand error: 1 - F score of pairs of voxels (Arganda-Carreras et al. 2015).
    """

    split: float
    merged: float
    rand_error: float

    @property
    def variation(self) -> float:
        """Variation of information in bits, the sum of both parts."""
        return self.split + self.merged


def segment(boundary: np.ndarray, threshold: float, depth: float) -> np.ndarray:
    """Segment a boundary map into objects (z, y, x), numbered from 1.

    Seeds are the connected components farther than `depth` voxels from any voxel whose boundary probability is above
    `threshold`; a watershed on the probability assigns every other voxel to one of them.
    """
    distance = ndimage.distance_transform_edt(boundary <= threshold)
    seeds, _ = ndimage.label(distance > depth)
    return watershed(boundary, seeds)


def agreement(objects: np.ndarray, truth: np.ndarray) -> Agreement:
    """Compare objects with the ground truth where that is not 0."""
    known = truth > 0
    split, merged = variation_of_information(truth[known], objects[known])
    return Agreement(float(split), float(merged), float(adapted_rand_error(truth[known], objects[known])[0]))


def best_settings(
    boundary: np.ndarray,
    truth: np.ndarray,
    thresholds: Iterable[float] = THRESHOLDS,
    depths: Iterable[float] = DEPTHS,
) -> tuple[float, float]:
    """Return the threshold and depth with the smallest variation of information."""
    return min(product(thresholds, depths), key=lambda pair: agreement(segment(boundary, *pair), truth).variation)
