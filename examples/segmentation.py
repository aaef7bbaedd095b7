"""Instance segmentation of boundary or foreground maps by watersheds, and its agreement with the ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error, contingency_table, variation_of_information
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


def split(foreground: np.ndarray, threshold: float = 0.5, depth: float = 6.0, smoothing: float = 2.0) -> np.ndarray:
    """Segment a foreground probability (z, y, x) into compact objects, numbered from 1; 0 is background.

    Objects that touch are divided at their necks: seeds are the connected components farther than `depth` voxels from
    the background, by a distance that is blurred by `smoothing` voxels, and a watershed on this distance assigns the
    rest of the foreground to them. Parts without a seed become background.
    """
    mask = foreground > threshold
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), smoothing)
    seeds, _ = ndimage.label(distance > depth)
    return watershed(-distance, seeds, mask=mask)


def average_precision(objects: np.ndarray, truth: np.ndarray, iou: float = 0.5) -> float:
    """Return TP / (TP + FP + FN) of objects, found if their IoU with a true one is above `iou`, at least 0.5.

    Label 0 is background in both. With two empty segmentations, it is 1.
    """
    _, a = np.unique(truth, return_inverse=True)
    _, b = np.unique(objects, return_inverse=True)
    overlap = contingency_table(a.ravel() + int(truth.min() > 0), b.ravel() + int(objects.min() > 0)).toarray()
    union = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
    ratio = (overlap / np.maximum(union, 1))[1:, 1:]  # without background
    hits = int((ratio > iou).sum())
    wrong = sum(ratio.shape) - 2 * hits
    return hits / (hits + wrong) if hits + wrong else 1.0


def summary(objects: np.ndarray, truth: np.ndarray) -> str:
    """Return a line with the three measures."""
    measures, precision = agreement(objects, truth), average_precision(objects, truth)
    return (
        f"{len(np.unique(objects[objects > 0]))} objects ({len(np.unique(truth[truth > 0]))} true), "
        f"AP at IoU 0.5: {precision:.3f}, VI: {measures.variation:.2f} bits "
        f"({measures.split:.2f} split + {measures.merged:.2f} merged), adapted Rand error: {measures.rand_error:.3f}"
    )


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
