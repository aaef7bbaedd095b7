"""Affinity graphs: edges between neighbouring voxels, segmentation from affinities, and comparison of segmentations.

The affinity graph of a volume has an edge from voxel v to v + offset for every voxel and every offset of a
*neighbourhood*. Its affinity, between 0 and 1, is the confidence that both voxels belong to the same object. Arrays of
affinities have shape (n_edges, *spatial); edges that leave the volume have affinity 0.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from neuromancer.casts import is_number, is_whole, numbers
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError
from neuromancer.masked import unmasked
from neuromancer.utils import as_array

__all__ = [
    "RandStatistics",
    "affinities_from_segmentation",
    "neighbourhood",
    "rand_statistics",
    "segmentation_from_affinities",
]


def neighbourhood(ndim: int = 3, radius: float = 1.0) -> np.ndarray:
    """Return the offsets to half of the voxels within a radius, so that every pair of neighbours has one edge.

    Parameters
    ----------
    ndim : int
        Number of spatial axes, 1 to 3.
    radius : float
        Maximum Euclidean distance in voxels, at least 1: 1 gives the face neighbours, 1.5 also the edge neighbours.

    Returns
    -------
    numpy.ndarray of int, (n_edges, ndim)
        Nearest first; radius 1 gives -1 along each axis in turn.

    Raises
    ------
    ArgumentError
        For any other `ndim` or `radius`.

    Examples
    --------
    >>> neighbourhood(3).tolist()
    [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    >>> len(neighbourhood(2, 1.5)), len(neighbourhood(3, 1.8))
    (4, 13)
    """
    if not is_whole(ndim) or ndim not in (1, 2, 3):
        raise ArgumentError("unsupported number of axes", where="neighbourhood", got=ndim, expected="1, 2 or 3")
    if not is_number(radius) or not 1 <= radius < 100:
        raise ArgumentError("invalid radius", where="neighbourhood", got=radius, expected="1 <= radius < 100")
    reach = range(-int(radius), int(radius) + 1)
    # Of two opposite offsets, keep the one whose first nonzero component is negative.
    half = [o for o in product(reach, repeat=ndim) if o < (0,) * ndim and sum(i * i for i in o) <= radius**2]
    return np.array(sorted(half, key=lambda o: (sum(i * i for i in o), o)), dtype=int)


def check_neighbourhood(nhood: Any, ndim: int | None = None, node: Any = "neighbourhood") -> np.ndarray:
    """Return `nhood` as an integer array (n_edges, n_spatial).

    Raises
    ------
    ArgumentError
        If it is invalid: not integers, empty, with a zero offset or duplicate offsets, or with another number of axes
        than `ndim`.
    """
    try:
        values = as_array(nhood)
        offsets = values.astype(int)
        fits = values.ndim == 2 and values.dtype.kind in "iuf" and bool((offsets == values).all())
    except (TypeError, ValueError):
        offsets, fits = np.zeros((0, 0), int), False
    fits = fits and len(offsets) > 0 and 1 <= offsets.shape[1] <= 3 and (ndim is None or offsets.shape[1] == ndim)
    if not fits or not offsets.any(axis=1).all() or len(np.unique(offsets, axis=0)) != len(offsets):
        raise ArgumentError(
            "invalid neighbourhood",
            node=node,
            got=nhood,
            expected=f"(n_edges, {ndim or '1 to 3'}) integers: distinct nonzero offsets",
            nearest=f"neighbourhood({ndim})" if ndim in (1, 2, 3) else None,
        )
    return offsets


def affinities_from_segmentation(seg: Any, nhood: Any) -> np.ndarray:
    """Compute the affinities of a segmentation: 1 where both ends of an edge have the same positive label.

    Parameters
    ----------
    seg : array of int, (*spatial)
        Labels; those below 1 are background.
    nhood : (n_edges, n_spatial) integers

    Returns
    -------
    numpy.ndarray of uint8, (n_edges, *spatial)

    Raises
    ------
    InputTypeError, ShapeError, ArgumentError
        If `seg` does not hold integers or `nhood` does not fit.

    Examples
    --------
    >>> affinities_from_segmentation([1, 1, 2, 2, 0, 0], [[-1]]).tolist()
    [[0, 1, 0, 1, 0, 0]]
    """
    seg = _labels(seg, "affinities_from_segmentation")
    offsets = check_neighbourhood(nhood, seg.ndim, "affinities_from_segmentation")
    result = np.zeros((len(offsets), *seg.shape), dtype=np.uint8)
    for affinity, offset in zip(result, offsets, strict=True):
        start, end = _ends(seg.shape, offset)
        affinity[start] = (seg[start] == seg[end]) & (seg[start] > 0)
    return result


def segmentation_from_affinities(aff: Any, nhood: Any, threshold: float = 0.5, min_size: int = 2) -> np.ndarray:
    """Segment a volume into the connected components of all edges above a threshold.

    Parameters
    ----------
    aff : array, (n_edges, *spatial)
    nhood : (n_edges, n_spatial) integers
    threshold : float
        Edges with an affinity above it connect their voxels.
    min_size : int
        Components of fewer voxels get label 0.

    Returns
    -------
    numpy.ndarray of int64, (*spatial)
        Labels 1, 2, ... in the order of the first voxel of each component.

    Raises
    ------
    ShapeError, ArgumentError
        If affinities and neighbourhood do not match, or `threshold` or `min_size` is not a number.
    InputTypeError
        If the affinities are not real numbers.

    Examples
    --------
    >>> segmentation_from_affinities([[0, 0.9, 0.2, 0.8, 0.1, 0.1]], [[-1]]).tolist()
    [1, 1, 2, 2, 0, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    label = "segmentation_from_affinities"
    aff = numbers(unmasked(aff, label), label, "the affinities")
    if aff.dtype.kind not in "biuf":
        raise InputTypeError(
            "affinities must be real numbers", where=label, got=aff.dtype.name, expected="e.g. float32"
        )
    if not is_number(threshold) or not is_whole(min_size):
        got = f"threshold={threshold!r}, min_size={min_size!r}"
        raise ArgumentError("not numbers", where=label, got=got, expected="a number and an integer")
    if not 2 <= aff.ndim <= 4:
        raise ShapeError("wrong number of axes", where=label, got=aff.shape, expected="(n_edges, *spatial)")
    offsets = check_neighbourhood(nhood, aff.ndim - 1, label)
    if len(offsets) != len(aff):
        raise ShapeError("affinities and neighbourhood differ", where=label, got=len(aff), expected=len(offsets))
    voxels = np.arange(aff[0].size).reshape(aff.shape[1:])
    pairs = []
    for affinity, offset in zip(aff, offsets, strict=True):
        start, end = _ends(voxels.shape, offset)
        joined = affinity[start] > threshold
        pairs.append((voxels[start][joined], voxels[end][joined]))
    a, b = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(voxels.size, voxels.size))
    components = connected_components(graph, directed=False)[1]
    _, first, component, sizes = np.unique(components, return_index=True, return_inverse=True, return_counts=True)
    large = np.flatnonzero(sizes >= min_size)
    labels = np.zeros(len(sizes), dtype=np.int64)
    labels[large[np.argsort(first[large])]] = np.arange(1, len(large) + 1)
    return labels[component].reshape(voxels.shape)


class RandStatistics(NamedTuple):
    """Pairwise agreement of two segmentations.

    Attributes
    ----------
    rand_index : float
        Fraction of voxel pairs on which they agree; 1 if there are no pairs.
    false_splits : int
        Number of pairs within one true object that are separated.
    false_merges : int
        Number of pairs from different true objects that are merged.
    """

    rand_index: float
    false_splits: int
    false_merges: int


def rand_statistics(seg: Any, truth: Any) -> RandStatistics:
    """Compare a segmentation with the ground truth by pairs of voxels (Rand 1971).

    Parameters
    ----------
    seg : array of int
        Labels; every voxel with a label below 1 counts as a separate object.
    truth : array of int
        Ground truth labels of the same shape; voxels with labels below 1 are ignored.

    Returns
    -------
    RandStatistics

    Raises
    ------
    InputTypeError, ShapeError
        If they are not integers or differ in shape.

    Examples
    --------
    >>> rand_statistics([1, 1, 1, 2], [1, 1, 2, 2])
    RandStatistics(rand_index=0.5, false_splits=1, false_merges=2)
    """
    seg, truth = _labels(seg, "rand_statistics"), _labels(truth, "rand_statistics")
    if seg.shape != truth.shape:
        raise ShapeError(
            "the segmentations differ in shape", where="rand_statistics", got=seg.shape, expected=truth.shape
        )
    counts = truth > 0
    _, a = np.unique(seg[counts], return_inverse=True)
    _, b = np.unique(truth[counts], return_inverse=True)
    alone = seg[counts] <= 0
    a = np.where(alone, a.max(initial=0) + np.cumsum(alone), a)
    joint = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)[1] if len(a) else np.zeros(0, int)
    together = _pairs(joint)
    splits, merges = _pairs(np.bincount(b)) - together, _pairs(np.bincount(a)) - together
    total = len(a) * (len(a) - 1) // 2
    return RandStatistics(1 - (splits + merges) / total if total else 1.0, splits, merges)


def _pairs(sizes: np.ndarray) -> int:
    """Return the number of pairs within groups of these sizes."""
    return int((sizes.astype(np.int64) * (sizes - 1) // 2).sum())


def _labels(seg: Any, label: str) -> np.ndarray:
    seg = numbers(unmasked(seg, label), label, "the segmentation")
    if seg.dtype.kind not in "iu":
        raise InputTypeError("labels must be integers", where=label, got=seg.dtype.name, expected="e.g. int64")
    return seg


def _ends(shape: tuple[int, ...], offset: np.ndarray) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the slices of the voxels at which the edges of one offset start and end."""
    start = tuple(slice(max(0, -o), max(0, n - max(0, o))) for n, o in zip(shape, offset, strict=True))
    end = tuple(slice(max(0, o), max(0, n - max(0, -o))) for n, o in zip(shape, offset, strict=True))
    return start, end
