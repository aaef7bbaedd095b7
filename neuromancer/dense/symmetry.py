"""Views of an image: mirrored and turned by quarters, over which predictions can be averaged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, nearest_name

GROUPS = ("flips", "rotations", "all")


@dataclass(frozen=True)
class View:
    """An image seen in another way: axis k of the view is axis ``order[k]`` of the image, mirrored if ``flips[k]``.

    Examples
    --------
    >>> image = np.arange(6).reshape(2, 3)
    >>> View((1, 0), (True, False)).apply(image).tolist()
    [[2, 5], [1, 4], [0, 3]]
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """View of an array whose last axes are spatial; no data is copied, so that it can be written through."""
        lead = array.ndim - len(self.order)
        turned = np.transpose(array, [*range(lead), *(lead + j for j in self.order)])
        return turned[(slice(None),) * lead + tuple(slice(None, None, -1 if f else None) for f in self.flips)]


def views(group: Any, ndim: int) -> tuple[View, ...]:
    """Views of a symmetry group; the image itself comes first.

    Parameters
    ----------
    group : {None, 'flips', 'rotations', 'all'}
        Nothing else than the image; mirrored along every set of axes; turned by quarters about the first axis (in the
        plane of the last two); both.
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
    if group not in GROUPS:
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
        raise ArgumentError("only planes can be turned", where="augment", got=f"{ndim} axis", expected="2 or 3 axes")
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
