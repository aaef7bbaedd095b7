"""Views of an image for test-time augmentation: flips and rotations by multiples of 90 degrees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, nearest_name

GROUPS = ("flips", "rotations", "all")


@dataclass(frozen=True)
class View:
    """View of an image: axis k of the view is axis ``order[k]`` of the image, flipped if ``flips[k]``.

    Examples
    --------
    >>> image = np.arange(6).reshape(2, 3)
    >>> View((1, 0), (True, False)).apply(image).tolist()
    [[2, 5], [1, 4], [0, 3]]
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return the view of an array whose last axes are spatial; writable, as no data is copied."""
        lead = array.ndim - len(self.order)
        turned = np.transpose(array, [*range(lead), *(lead + j for j in self.order)])
        return turned[(slice(None),) * lead + tuple(slice(None, None, -1 if f else None) for f in self.flips)]


def views(group: Any, ndim: int) -> tuple[View, ...]:
    """Return the views of a symmetry group, the identity first.

    Parameters
    ----------
    group : {None, 'flips', 'rotations', 'all'}
        Only the image itself; all combinations of flips; rotations by multiples of 90 degrees in the plane of the last
        two axes; both.
    ndim : int
        Number of spatial axes.

    Raises
    ------
    ArgumentError

    Examples
    --------
    >>> [len(views(group, 3)) for group in (None, "flips", "rotations", "all")]
    [1, 8, 4, 16]
    """
    same = tuple(range(ndim))
    if group is None:
        return (View(same, (False,) * ndim),)
    if not isinstance(group, str) or group not in GROUPS:
        raise ArgumentError(
            "unknown group of symmetries",
            where="augment",
            got=group,
            expected=f"one of {GROUPS}, or None",
            nearest=nearest_name(group, GROUPS),
        )
    mirrored = [View(same, flips) for flips in product((False, True), repeat=ndim)]
    if group == "flips":
        return tuple(mirrored)
    if ndim < 2:
        raise ArgumentError("rotations need two axes", where="augment", got=f"{ndim} axis", expected="2 or 3 axes")
    turned = (*same[:-2], same[-1], same[-2])
    if group == "all":
        return (*mirrored, *(View(turned, v.flips) for v in mirrored))
    keep = (False,) * (ndim - 2)
    return (
        View(same, (*keep, False, False)),
        View(turned, (*keep, True, False)),
        View(same, (*keep, True, True)),
        View(turned, (*keep, False, True)),
    )
