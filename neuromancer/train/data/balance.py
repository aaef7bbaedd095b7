"""Class balance: an index of the voxels of each class, in bounded memory for volumes of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.volumes import Volume

FOREGROUND = "foreground"
BLOCK_VOXELS = 1 << 18
KEPT = 1024
"""Maximum number of voxels stored per class and block."""
SHOWN = 100
"""Approximate number of classes that a message lists."""


def shares_of(balance: Any) -> dict[Any, float]:
    """Return the share of patches by class; :data:`FOREGROUND` stands for all classes above 0.

    Raises
    ------
    ArgumentError
        For anything but a share, or a dict of shares with a sum of at most 1.

    Examples
    --------
    >>> shares_of({0: 0.2, 2: 0.5})
    {0: 0.2, 2: 0.5}
    """
    shares = balance if isinstance(balance, Mapping) else {FOREGROUND: balance}
    kinds = (int, float, np.integer, np.floating)
    numbers = all(isinstance(s, kinds) and not isinstance(s, bool) and 0 <= s <= 1 for s in shares.values())
    classes = all(c == FOREGROUND or (isinstance(c, (int, np.integer)) and not isinstance(c, bool)) for c in shares)
    if not numbers or not classes or not 0 < len(shares) or sum(shares.values()) > 1 + 1e-9:
        raise ArgumentError(
            "not a balance",
            where="PatchSampler",
            got=balance,
            expected="a share from 0 to 1 for classes above 0, or {class: share} with a sum of at most 1",
        )
    return {c: float(s) for c, s in shares.items()}


class ClassIndex:
    """Index of the voxels of some classes at which targets can be centred.

    The part of every volume where targets can be centred is divided into blocks. All blocks are searched if they have
    at most `limit` voxels in total, else a random subset of about that size. For each block and class, the index stores
    the number of voxels and the positions of at most 1024 of them, drawn at random.

    Parameters
    ----------
    volumes : sequence of Volume
    frame : PatchFrame
    ranges : sequence of list of tuple of int
        Positions of patches, per volume and axis.
    classes : sequence
    limit : int
        Maximum number of voxels to search.
    seed : int

    Raises
    ------
    ArgumentError
        If a class is not found; the message lists those found.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        frame: PatchFrame,
        ranges: Sequence[list[tuple[int, int]]],
        classes: Sequence[Any],
        limit: int,
        seed: int,
    ) -> None:
        rng = np.random.default_rng([seed, 0x1DE])
        middle = [frame.offsets[k] + frame.strides[k] * c for k, c in enumerate(frame.centre)]
        boxes = [[(a + m, b + m + 1) for (a, b), m in zip(r, middle, strict=True)] for r in ranges]
        total = sum(prod(b - a for a, b in box) for box in boxes)
        found: set[int] = set()
        self.counts: dict[Any, list[list[int]]] = {c: [[] for _ in volumes] for c in classes}
        self.voxels: dict[Any, list[list[np.ndarray]]] = {c: [[] for _ in volumes] for c in classes}
        searched = 0
        for v, (volume, box) in enumerate(zip(volumes, boxes, strict=True)):
            grid, numbers = _Grid(box), None
            if total > limit:
                # The same share of every volume, but at least one block.
                n = max(1, int(len(grid) * limit / total))
                numbers = np.sort(rng.choice(len(grid), n, replace=False))
            for number in range(len(grid)) if numbers is None else numbers:
                block = grid[int(number)]
                searched += prod(b - a for a, b in block)
                self._look(v, volume, block, found, rng)
        for c in classes:
            if not any(self.counts[c]):
                raise ArgumentError(
                    f"no voxel of class {c} where a target can be centred",
                    where="PatchSampler",
                    got=f"classes {sorted(found)} in {searched} of {total} voxels",
                    expected="a balance of classes that exist"
                    + (f", or a larger balance_voxels than {limit}" if searched < total else ""),
                    nearest="pad_raw=True, which lets targets be centred on more voxels",
                )

    def _look(
        self, v: int, volume: Volume, block: list[tuple[int, int]], found: set[int], rng: np.random.Generator
    ) -> None:
        labels = volume.read_labels([a for a, _ in block], [b for _, b in block])
        present = _values(labels)
        if len(found) < SHOWN:
            found.update(int(c) for c in present[:SHOWN] if np.isfinite(c))
        for c in self.counts:
            if not ((present > 0).any() if c == FOREGROUND else (present == c).any()):
                continue
            is_class = (labels > 0 if c == FOREGROUND else labels == c).any(axis=0)
            where = np.flatnonzero(is_class)
            self.counts[c][v].append(len(where))
            if len(where) > KEPT:
                where = rng.choice(where, KEPT, replace=False)
            places = np.stack(np.unravel_index(where, is_class.shape), axis=1)
            self.voxels[c][v].append((places + [a for a, _ in block]).astype(np.int32))

    def numbers(self, c: Any) -> np.ndarray:
        """Return the number of voxels of a class among those searched, per volume."""
        return np.array([sum(n) for n in self.counts[c]], dtype=float)

    def draw(self, c: Any, volume: int, rng: np.random.Generator) -> np.ndarray:
        """Draw a voxel of a class in a volume; return its raw coordinates (ndim,)."""
        counts = np.array(self.counts[c][volume], dtype=float)
        places = self.voxels[c][volume][int(rng.choice(len(counts), p=counts / counts.sum()))]
        return places[int(rng.integers(len(places)))]


def _values(labels: np.ndarray) -> np.ndarray:
    """Return the distinct finite values in ascending order."""
    if labels.dtype.kind == "f":
        return np.unique(labels[np.isfinite(labels)])
    low = int(labels.min())
    if int(labels.max()) - low >= BLOCK_VOXELS:
        return np.unique(labels)
    # Counting is ten times faster than sorting.
    return low + np.flatnonzero(np.bincount((labels - low).ravel()))


class _Grid:
    """Roughly cubic blocks of at most :data:`BLOCK_VOXELS` voxels that cover a box."""

    def __init__(self, box: list[tuple[int, int]]) -> None:
        self.box = box
        self.steps, left = [1] * len(box), float(BLOCK_VOXELS)
        for done, k in enumerate(sorted(range(len(box)), key=lambda k: box[k][1] - box[k][0])):
            self.steps[k] = max(1, min(box[k][1] - box[k][0], int(left ** (1 / (len(box) - done)))))
            left /= self.steps[k]
        self.lengths = [-(-(b - a) // step) for (a, b), step in zip(box, self.steps, strict=True)]

    def __len__(self) -> int:
        return prod(self.lengths)

    def __getitem__(self, number: int) -> list[tuple[int, int]]:
        index = np.unravel_index(number, self.lengths)
        return [
            (a + int(i) * s, min(a + (int(i) + 1) * s, b))
            for (a, b), i, s in zip(self.box, index, self.steps, strict=True)
        ]
