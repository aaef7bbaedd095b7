"""Counts of voxel pairs per edge that connects them: Kruskal's algorithm with label counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from neuromancer.errors import InputTypeError, ShapeError

Offsets = Sequence[Sequence[int]]


def inside(shape: Sequence[int], offset: Sequence[int]) -> tuple[slice, ...]:
    """Return the part of a volume whose voxels have a neighbour at `offset`.

    Examples
    --------
    >>> inside((5, 5), (-1, 2))
    (slice(1, 5, None), slice(0, 3, None))
    """
    return tuple(slice(max(0, -o), max(0, n - max(0, o))) for n, o in zip(shape, offset, strict=True))


def edge_ids(shape: Sequence[int], neighbourhood: Offsets) -> np.ndarray:
    """Return flat indices (int64) into (n_edges, *shape) of the edges with both ends in the volume."""
    voxels = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(tuple(shape))
    parts = [voxels[inside(shape, o)].ravel() + k * voxels.size for k, o in enumerate(neighbourhood)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def pair_counts(
    affinity: np.ndarray, labels: np.ndarray, neighbourhood: Offsets, same: bool, allowed: np.ndarray | None = None
) -> np.ndarray:
    """Count, for every edge, the labelled pairs of voxels whose best path has it as its weakest edge.

    These are the pairs that the edge joins when edges are added in descending order of affinity (Turaga et al. 2009);
    ties are taken in the order of the edges.

    Parameters
    ----------
    affinity : array, (n_edges, *spatial)
        Edge k of voxel v leads to v + neighbourhood[k].
    labels : array of int, (*spatial)
        Voxels with a label below 1 are not counted.
    neighbourhood : sequence of offsets
    same : bool
        Count pairs of the same label; if False, pairs of different labels.
    allowed : array of bool, (n_edges, *spatial), optional
        Edges that exist; default: all.

    Returns
    -------
    numpy.ndarray
        int64, in the shape of `affinity`; 0 for edges that lead out of the volume.
    """
    ids = edge_ids(labels.shape, neighbourhood)
    if allowed is not None:
        ids = ids[allowed.reshape(-1)[ids]]
    weights = affinity.reshape(-1)[ids]
    order = ids[np.argsort(-weights, kind="stable")]
    names, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(-1).astype(np.int64) - int(np.searchsorted(names, 1))
    steps = np.array([_flat(o, labels.shape) for o in neighbourhood], dtype=np.int64)
    counts = np.zeros(affinity.size, dtype=np.int64)
    _kernel()(order, steps, compact, len(names), same, counts)
    return counts.reshape(affinity.shape)


def _flat(offset: Sequence[int], shape: Sequence[int]) -> int:
    step = 0
    for o, n in zip(offset, shape, strict=True):
        step = step * n + int(o)
    return step


@cache
def _kernel() -> Callable[..., Any]:
    """Return the compiled loop; cached in the process, not on disk."""
    import numba

    return numba.njit(nogil=True)(_join)


def _join(
    order: np.ndarray, steps: np.ndarray, labels: np.ndarray, n_labels: int, same: bool, counts: np.ndarray
) -> None:
    """Join voxels edge by edge. Every set has a linked list of (label, count); a hash table finds the entry of a label.

    Of two sets the one with fewer labels is merged into the other, so an entry moves at most log2(n_labels) times.
    """
    n = labels.size
    parent = np.arange(n)
    head = np.full(n, -1, np.int64)  # first entry of a set's list; an entry has the index of its first voxel
    following = np.full(n, -1, np.int64)
    count = np.zeros(n, np.int64)
    n_entries = np.zeros(n, np.int64)
    n_labelled = np.zeros(n, np.int64)
    bits = 2
    while (1 << bits) < 2 * n:
        bits += 1
    mask = (1 << bits) - 1
    keys = np.full(mask + 1, -1, np.int64)
    entries = np.zeros(mask + 1, np.int64)
    shift, factor = np.uint64(64 - bits), np.uint64(0x9E3779B97F4A7C15)
    for v in range(n):
        if labels[v] >= 0:
            head[v], count[v], n_entries[v], n_labelled[v] = v, 1, 1, 1
            key = v * n_labels + labels[v]
            slot = np.int64((np.uint64(key) * factor) >> shift)
            while keys[slot] != -1:
                slot = (slot + 1) & mask
            keys[slot], entries[slot] = key, v
    for edge in order:
        a = edge % n
        b = a + steps[edge // n]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a == b:
            continue
        if n_entries[a] < n_entries[b]:
            a, b = b, a
        parent[b] = a
        equal = 0
        entry = head[b]
        while entry != -1:
            after, label = following[entry], labels[entry]
            key = b * n_labels + label
            slot = np.int64((np.uint64(key) * factor) >> shift)
            while keys[slot] != key:
                slot = (slot + 1) & mask
            # Remove it and close the gap in the probe sequence, so that no search stops early.
            gap = slot
            while True:
                slot = (slot + 1) & mask
                if keys[slot] == -1:
                    break
                home = np.int64((np.uint64(keys[slot]) * factor) >> shift)
                if ((slot - home) & mask) >= ((slot - gap) & mask):
                    keys[gap], entries[gap] = keys[slot], entries[slot]
                    gap = slot
            keys[gap] = -1
            key = a * n_labels + label
            slot = np.int64((np.uint64(key) * factor) >> shift)
            while keys[slot] != key and keys[slot] != -1:
                slot = (slot + 1) & mask
            if keys[slot] == key:
                equal += count[entry] * count[entries[slot]]
                count[entries[slot]] += count[entry]
            else:
                keys[slot], entries[slot] = key, entry
                following[entry] = head[a]
                head[a] = entry
                n_entries[a] += 1
            entry = after
        counts[edge] = equal if same else n_labelled[a] * n_labelled[b] - equal
        n_labelled[a] += n_labelled[b]


class MaximinBase:
    """(affinity, target, labels) -> (pairs of the same label, pairs of different labels) per edge.

    Parameters
    ----------
    neighbourhood : tuple of tuple of int
        Offset of every edge.
    unrestricted : bool
        Judge wrong connections by the affinity alone. If False, edges of the target count as connected.
    """

    __props__ = ("neighbourhood", "unrestricted")

    def __init__(self, neighbourhood: tuple[tuple[int, ...], ...], unrestricted: bool) -> None:
        self.neighbourhood, self.unrestricted = neighbourhood, bool(unrestricted)

    def check_operands(self, affinity: Any, target: Any, labels: Any) -> None:
        """Raise ShapeError or InputTypeError on wrong numbers of axes or non-integer labels."""
        ndim = 2 + len(self.neighbourhood[0])
        for name, v in (("affinity", affinity), ("target", target), ("labels", labels)):
            if v.ndim != ndim:
                raise ShapeError(
                    f"{name} has the wrong number of axes", where="maximin_pairs", got=v.ndim, expected=ndim
                )
        if labels.dtype[:3] not in ("int", "uin"):
            raise InputTypeError("labels must be integers", where="maximin_pairs", got=labels.dtype, expected="int64")

    def perform(self, node: Any, inputs: Sequence[Any], output_storage: Sequence[list[Any]]) -> None:
        """Compute on numpy arrays."""
        affinity, target, labels = (np.asarray(i) for i in inputs)
        required = (1, len(self.neighbourhood), *affinity.shape[2:])
        shapes = affinity.shape, target.shape, labels.shape
        if shapes != (required, required, (1, 1, *required[2:])):
            raise ShapeError(
                "affinities, their target and labels do not fit, or the batch size is not 1",
                where="maximin_pairs",
                got=shapes,
                expected=f"{required}, {required}, {(1, 1, *required[2:])}",
            )
        affinity, target, labels = affinity[0], target[0], labels[0, 0]
        same = pair_counts(np.minimum(affinity, target), labels, self.neighbourhood, True, target > 0)
        weakest = affinity if self.unrestricted else np.maximum(affinity, target)
        different = pair_counts(weakest, labels, self.neighbourhood, False)
        output_storage[0][0], output_storage[1][0] = same[None], different[None]

    def infer_shape(self, *args: Any) -> list[Any]:
        """Both outputs have the shape of the affinity."""
        return [args[-1][0]] * 2

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Counts are piecewise constant: nothing is differentiable."""
        return [[False, False] for _ in node.inputs]
