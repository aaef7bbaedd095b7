"""Agreement of labels that blocks have given independently of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Match(NamedTuple):
    """Labels of two blocks that stand for the same objects.

    Attributes
    ----------
    lower, upper : int
        Numbers of the blocks.
    pairs : int array, (n, 2)
        Labels in the one and in the other block.
    """

    lower: int
    upper: int
    pairs: np.ndarray


def matching(a: np.ndarray, b: np.ndarray, min_iou: float) -> np.ndarray:
    """Return the pairs of labels (n, 2) of two segmentations of the same voxels that overlap by more than `min_iou`.

    Label 0 is background, and overlaps with nothing.

    Examples
    --------
    >>> matching(np.array([1, 1, 2, 0, 3]), np.array([5, 5, 5, 6, 7]), 0.5)
    array([[1, 5],
           [3, 7]])
    >>> matching(np.array([1, 1, 2, 0, 3]), np.array([5, 5, 5, 6, 7]), 0).tolist()
    [[1, 5], [2, 5], [3, 7]]
    """
    size_a, size_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    both = (a > 0) & (b > 0)
    codes, overlap = np.unique(a[both].astype(np.int64) * len(size_b) + b[both], return_counts=True)
    first, second = np.divmod(codes, len(size_b))
    iou = overlap / (size_a[first] + size_b[second] - overlap)
    return np.stack([first, second], axis=1)[iou > min_iou]


def agreed(sizes: Sequence[np.ndarray], matches: Sequence[Match], min_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the objects of a volume, by union-find over the labels of its blocks.

    Parameters
    ----------
    sizes : sequence of int array
        Per block and label, from 0: number of voxels inside the block. Labels that lie only in the halo count 0; they
        connect others, but are no objects by themselves.
    matches : sequence of Match
    min_size : int
        Objects of fewer voxels become background.

    Returns
    -------
    starts : int64 array, (n_blocks + 1,)
        Where the labels of each block start in `objects`.
    objects : int64 array
        Object per block and label: 1, 2, ... in the order of blocks and labels, 0 for background.

    Examples
    --------
    >>> sizes = [np.array([0, 4, 2]), np.array([0, 3, 1])]
    >>> agreed(sizes, [Match(0, 1, np.array([[2, 1]]))], 2)[1].tolist()  # labels 0, 1, 2 of each block
    [0, 1, 2, 0, 2, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    starts = np.concatenate([[0], np.cumsum([len(s) for s in sizes])]).astype(np.int64)
    edges = [match.pairs + starts[[match.lower, match.upper]] for match in matches]
    a, b = np.concatenate([np.zeros((0, 2), np.int64), *edges]).T
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(starts[-1], starts[-1]))
    component = connected_components(graph, directed=False)[1]
    inside = np.concatenate(sizes)
    inside[starts[:-1]] = 0  # background
    total = np.bincount(component, inside)
    kept, first = np.unique(component[inside > 0], return_index=True)
    large = total[kept] >= min_size
    kept, first = kept[large], first[large]
    numbers = np.zeros(len(total), np.int64)
    numbers[kept[np.argsort(first)]] = np.arange(1, len(kept) + 1)
    return starts, numbers[component]
