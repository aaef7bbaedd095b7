"""Affinity graphs: edges between neighbouring voxels, segmentations from them, and how well segmentations agree.

An affinity graph over a volume has, for every voxel v and every offset of a *neighbourhood*, an edge from v to
v + offset; its affinity, between 0 and 1, says how surely both belong to the same object. Arrays of affinities are
(n_edges, *spatial); edges that lead out of the volume have affinity 0.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

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
    """Offsets to one half of the voxels within a radius, so that every pair of neighbours has one edge.

    Parameters
    ----------
    ndim : int
        Number of spatial axes, 1 to 3.
    radius : float
        Largest Euclidean distance in voxels, at least 1: 1 gives the nearest neighbours, 1.5 also those across an edge.

    Returns
    -------
    numpy.ndarray of int, (n_edges, ndim)
        Nearest first; radius 1 gives -1 on every axis in turn.

    Raises
    ------
    ArgumentError
        For other dimensions or radii.

    Examples
    --------
    >>> neighbourhood(3).tolist()
    [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    >>> len(neighbourhood(2, 1.5)), len(neighbourhood(3, 1.8))
    (4, 13)
    """
    if ndim not in (1, 2, 3):
        raise ArgumentError("unsupported number of axes", where="neighbourhood", got=ndim, expected="1, 2 or 3")
    if isinstance(radius, bool) or not isinstance(radius, (int, float, np.number)) or not 1 <= radius < 100:
        raise ArgumentError("unusable radius", where="neighbourhood", got=radius, expected="1 <= radius < 100")
    reach = range(-int(radius), int(radius) + 1)
    # Of two opposite offsets the one that is negative on its first axis that is not zero.
    half = [o for o in product(reach, repeat=ndim) if o < (0,) * ndim and sum(i * i for i in o) <= radius**2]
    return np.array(sorted(half, key=lambda o: (sum(i * i for i in o), o)), dtype=int)


def check_neighbourhood(nhood: Any, ndim: int | None = None, node: Any = "neighbourhood") -> np.ndarray:
    """`nhood` as integers (n_edges, n_spatial).

    Raises
    ------
    ArgumentError
        If it is none: not integers, no offset at all, an offset of zero, offsets given twice, or of another number of
        axes than `ndim`.
    """
    try:
        given = as_array(nhood)
        offsets = given.astype(int)
        fits = given.ndim == 2 and given.dtype.kind in "iuf" and bool((offsets == given).all())
    except (TypeError, ValueError):
        offsets, fits = np.zeros((0, 0), int), False
    fits = fits and len(offsets) > 0 and 1 <= offsets.shape[1] <= 3 and (ndim is None or offsets.shape[1] == ndim)
    if not fits or not offsets.any(axis=1).all() or len(np.unique(offsets, axis=0)) != len(offsets):
        raise ArgumentError(
            "unusable neighbourhood",
            node=node,
            got=nhood,
            expected=f"(n_edges, {ndim or '1 to 3'}) integers: different offsets that are not zero",
            nearest=f"neighbourhood({ndim})" if ndim in (1, 2, 3) else None,
        )
    return offsets


def affinities_from_segmentation(seg: Any, nhood: Any) -> np.ndarray:
    """True affinities of a segmentation: 1 where both ends of an edge have the same label above 0.

    Parameters
    ----------
    seg : array of int, (*spatial)
        Labels; those below 1 belong to no object.
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
        here, there = _ends(seg.shape, offset)
        affinity[here] = (seg[here] == seg[there]) & (seg[here] > 0)
    return result


def segmentation_from_affinities(aff: Any, nhood: Any, threshold: float = 0.5, min_size: int = 2) -> np.ndarray:
    """Connected components of the edges above a threshold.

    Parameters
    ----------
    aff : array, (n_edges, *spatial)
    nhood : (n_edges, n_spatial) integers
    threshold : float
        Edges with an affinity above it connect.
    min_size : int
        Components of fewer voxels get label 0.

    Returns
    -------
    numpy.ndarray of int64, (*spatial)
        Labels 1, 2, ... in the order of each component's first voxel.

    Raises
    ------
    ShapeError, ArgumentError
        If affinities and neighbourhood do not fit.

    Examples
    --------
    >>> segmentation_from_affinities([[0, 0.9, 0.2, 0.8, 0.1, 0.1]], [[-1]]).tolist()
    [1, 1, 2, 2, 0, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    label = "segmentation_from_affinities"
    aff = np.asarray(unmasked(aff, label))
    if not 2 <= aff.ndim <= 4:
        raise ShapeError("wrong number of axes", where=label, got=aff.shape, expected="(n_edges, *spatial)")
    offsets = check_neighbourhood(nhood, aff.ndim - 1, label)
    if len(offsets) != len(aff):
        raise ShapeError("affinities and neighbourhood differ", where=label, got=len(aff), expected=len(offsets))
    voxels = np.arange(aff[0].size).reshape(aff.shape[1:])
    pairs = []
    for affinity, offset in zip(aff, offsets, strict=True):
        here, there = _ends(voxels.shape, offset)
        joined = affinity[here] > threshold
        pairs.append((voxels[here][joined], voxels[there][joined]))
    a, b = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(voxels.size, voxels.size))
    found = connected_components(graph, directed=False)[1]
    _, first, component, sizes = np.unique(found, return_index=True, return_inverse=True, return_counts=True)
    large = np.flatnonzero(sizes >= min_size)
    names = np.zeros(len(sizes), dtype=np.int64)
    names[large[np.argsort(first[large])]] = np.arange(1, len(large) + 1)
    return names[component].reshape(voxels.shape)


class RandStatistics(NamedTuple):
    """How two segmentations agree about pairs of voxels.

    Attributes
    ----------
    rand_index : float
        Share of pairs on which they agree, 1 if there are no pairs.
    false_splits : int
        Pairs of one true object that are apart.
    false_merges : int
        Pairs of different true objects that are together.
    """

    rand_index: float
    false_splits: int
    false_merges: int


def rand_statistics(seg: Any, truth: Any) -> RandStatistics:
    """Compare a segmentation with the true one, pair by pair (Rand 1971).

    Parameters
    ----------
    seg : array of int
        Labels; every voxel with a label below 1 is an object of its own.
    truth : array of int
        Labels of the same shape; voxels with labels below 1 are left out.

    Returns
    -------
    RandStatistics

    Raises
    ------
    InputTypeError, ShapeError
        If they are no integers or differ in shape.

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
    """Number of pairs within groups of these sizes."""
    return int((sizes.astype(np.int64) * (sizes - 1) // 2).sum())


def _labels(seg: Any, label: str) -> np.ndarray:
    seg = np.asarray(unmasked(seg, label))
    if seg.dtype.kind not in "iu":
        raise InputTypeError("labels must be integers", where=label, got=seg.dtype.name, expected="e.g. int64")
    return seg


def _ends(shape: tuple[int, ...], offset: np.ndarray) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the edges of one offset begin, and where they end."""
    here = tuple(slice(max(0, -o), max(0, n - max(0, o))) for n, o in zip(shape, offset, strict=True))
    there = tuple(slice(max(0, o), max(0, n - max(0, -o))) for n, o in zip(shape, offset, strict=True))
    return here, there
