"""Conversion of stored labels to targets: classes, ignored voxels, masks, functions of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuromancer.affinities import affinities_from_segmentation, check_neighbourhood
from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError, InputTypeError, ShapeError

IGNORED = -1
"""Label that classification losses ignore."""


@dataclass(frozen=True)
class LabelRules:
    """Rules for converting stored labels to those of a target.

    Parameters
    ----------
    dtype : str
        Dtype of the target.
    n_class : int, optional
        Labels must be 0 ... n_class - 1, or ignored; None if the number of classes is unknown.
    ignore : int, optional
        Stored label of voxels to ignore.
    label_map : callable, optional
        Function of integer labels (f, *spatial) that returns others of the same shape.
    margin : int
        Number of voxels on every side that `label_map` needs in addition.
    """

    dtype: str
    n_class: int | None = None
    ignore: int | None = IGNORED
    label_map: Callable[[np.ndarray], np.ndarray] | None = None
    margin: int = 0

    def check_dtype(self, stored: np.dtype) -> None:
        """Raise InputTypeError for floating-point labels of an integer target."""
        if self.label_map is None and stored.kind == "f" and np.dtype(self.dtype).kind in "iu":
            raise InputTypeError(
                "the labels are floats, the target takes integers", got=str(stored), expected=self.dtype
            )

    def apply(
        self,
        block: np.ndarray,
        inner: tuple[slice, ...],
        mask: np.ndarray | None,
        label: str,
        where: Callable[[Sequence[int]], str],
    ) -> np.ndarray:
        """Convert a block of stored labels.

        Parameters
        ----------
        block : array, (f, *spatial)
            Stored labels, with the margin.
        inner : tuple of slice
            Part of the block without the margin.
        mask : array, (1, *spatial), optional
            Mask of the inner part; 0 where not labelled.
        label : str
            Name of the volume, for messages.
        where : callable
            Describes the position of an index of the inner part.

        Returns
        -------
        numpy.ndarray, (f, *spatial)
            int64; floating point if the labels are, or if ignored labels are NaN (in regression targets).

        Raises
        ------
        ArgumentError
            For a label that is not a class or does not fit the target's dtype.
        """
        result, ignored = block[inner], None
        if self.ignore is not None and (block.dtype.kind == "f" or holds(block.dtype, self.ignore)):
            ignored = result == self.ignore
        if mask is not None:
            ignored = (mask == 0) if ignored is None else ignored | (mask == 0)
        if self.label_map is not None:
            mapped = np.asarray(self.label_map(block))
            if mapped.shape != block.shape:
                raise ShapeError(
                    "label_map changed the shape of the labels", where=label, got=mapped.shape, expected=block.shape
                )
            result = mapped[inner]
        if result.dtype.kind != "f":
            result = exact_cast(result, np.int64, label, "the labels")
        if ignored is not None and ignored.any():
            numbers = result.dtype.kind == "f" or (self.n_class is None and np.dtype(self.dtype).kind == "f")
            result = np.where(ignored, np.nan if numbers else IGNORED, result)
        self._check(result, label, where)
        return result

    def _check(self, labels: np.ndarray, label: str, where: Callable[[Sequence[int]], str]) -> None:
        if not labels.size:
            return
        low, high = 0, None if self.n_class is None else self.n_class - 1
        if high is None:
            kind = np.dtype(self.dtype)
            if kind.kind not in "iu" or labels.dtype.kind == "f":
                return
            low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
        if low <= labels.min() and labels.max() <= high:
            return
        wrong = (labels < low) | (labels > high)
        if self.n_class is not None:
            wrong &= labels != IGNORED
        if wrong.any():
            index = np.argwhere(wrong)[0]
            raise ArgumentError(
                "label out of range",
                where=label,
                got=f"{labels[tuple(index)]} at {where(index[1:])}",
                expected=f"{low} to {high}"
                + ("" if self.n_class is None else f" ({self.n_class} classes), or ignore={self.ignore}")
                + ("" if self.n_class is not None else f" ({self.dtype})"),
            )


def holds(dtype: np.dtype, value: int) -> bool:
    """Whether an integer or bool dtype can hold a value."""
    if dtype.kind == "b":
        return value in (0, 1)
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def labels_to_boundaries(labels: np.ndarray) -> np.ndarray:
    """Return class 1 on boundaries between objects and class 0 inside them.

    A voxel lies on a boundary if its label is 0 or differs from that of the next voxel along any axis. As ``label_map``
    of a sampler, the function gets a margin of one voxel on every side.

    Parameters
    ----------
    labels : array of int, (f, *spatial)

    Returns
    -------
    numpy.ndarray of uint8, (f, *spatial)

    Examples
    --------
    >>> labels_to_boundaries(np.array([[1, 1, 2, 2, 0, 3]])).tolist()
    [[0, 1, 0, 1, 1, 0]]
    """
    labels = np.asarray(labels)
    result = labels == 0
    for axis in range(1, labels.ndim):
        here = (slice(None),) * axis + (slice(None, -1),)
        there = (slice(None),) * axis + (slice(1, None),)
        result[here] |= labels[here] != labels[there]
    return result.astype(np.uint8)


labels_to_boundaries.margin = 1  # type: ignore[attr-defined]


@dataclass(frozen=True)
class AffinityTargets:
    """Targets of an affinity loss, from labelled objects: true affinities and, for ``MalisNLL``, the objects.

    Parameters
    ----------
    nhood : sequence of sequence of int, (n_edges, n_spatial)
        See :func:`neuromancer.affinities.neighbourhood`; counted in output voxels.
    objects : bool
        Whether the objects follow as a second target.

    Raises
    ------
    ArgumentError
        If the neighbourhood is invalid.

    Examples
    --------
    >>> affinities, objects = AffinityTargets([[-1]])(np.array([[1, 1, 2]]))
    >>> affinities.tolist(), objects.tolist()
    ([[0, 1, 0]], [[1, 1, 2]])
    """

    nhood: Any
    objects: bool = True

    def __post_init__(self) -> None:
        check_neighbourhood(self.nhood, node="AffinityTargets")

    def __call__(self, labels: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return affinities (n_edges, *spatial) and objects (1, *spatial) for labels (1, *spatial)."""
        affinities = affinities_from_segmentation(labels[0], self.nhood)
        return (affinities, labels) if self.objects else (affinities,)
