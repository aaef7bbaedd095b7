"""Geometric augmentation: flips and quarter turns, which move voxels without interpolation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuromancer.errors import ArgumentError
from neuromancer.train.data.frame import PatchFrame
from neuromancer.train.data.placement import Orientation, PatchPlacement


class Geometric(ABC):
    """Base class of augmentations that move voxels.

    A sampler composes its geometric augmentations, in order, into one map, and then reads the raw data that this map
    needs; so nothing is padded.
    """

    @abstractmethod
    def check(self, frame: PatchFrame) -> None:
        """Raise ArgumentError if the augmentation cannot be applied to patches of a frame."""

    @abstractmethod
    def draw(self, placement: PatchPlacement, rng: np.random.Generator) -> PatchPlacement:
        """Return the placement after a random augmentation."""


def axes_of(axes: str | Sequence[int] | None, frame: PatchFrame, who: str) -> list[int]:
    """Return axes of a frame, by tags or by numbers of the network's spatial axes; default: all of the network's."""
    own = list(frame.own)
    tags = [frame.tags[k] for k in own]
    if axes is None:
        return own
    numbered = isinstance(axes, (Sequence, np.ndarray)) and all(isinstance(i, (int, np.integer, str)) for i in axes)
    if not numbered:
        raise ArgumentError("no such axes", node=who, got=axes, expected=f"tags out of {''.join(tags)!r}")
    names = [tags[i] if not isinstance(i, str) and -len(tags) <= i < len(tags) else i for i in axes]
    if not set(names) <= set(tags) or len(set(names)) != len(names):
        raise ArgumentError("no such axes", node=who, got=axes, expected=f"tags out of {''.join(tags)!r}")
    return [own[tags.index(str(name))] for name in names]


@dataclass(frozen=True)
class Flip(Geometric):
    """Flips along axes at random.

    Parameters
    ----------
    axes : str or sequence of int, optional
        Tags, e.g. ``"yx"``, or numbers of spatial axes; default: all.
    p : float
        Probability of a flip, per axis.

    Examples
    --------
    >>> flip = Flip("yx")
    """

    axes: str | Sequence[int] | None = None
    p: float = 0.5

    def check(self, frame: PatchFrame) -> None:
        """Raise ArgumentError for axes that the patches do not have."""
        probability(self.p, "Flip")
        axes_of(self.axes, frame, "Flip")

    def draw(self, placement: PatchPlacement, rng: np.random.Generator) -> PatchPlacement:
        """Flip the placement at random."""
        flips = [False] * placement.frame.ndim
        for k in axes_of(self.axes, placement.frame, "Flip"):
            flips[k] = bool(rng.random() < self.p)
        turn = Orientation(tuple(range(placement.frame.ndim)), tuple(flips))
        return replace(placement, orientation=placement.orientation.then(turn))


@dataclass(frozen=True)
class Rotate90(Geometric):
    """Rotates by 0, 90, 180 or 270 degrees in a plane; only by 0 or 180 if the patch is not square in the plane.

    Parameters
    ----------
    plane : str or sequence of int, optional
        Two tags, e.g. ``"yx"``, or numbers of two spatial axes; default: the last two.

    Examples
    --------
    >>> turn = Rotate90("yx")
    """

    plane: str | Sequence[int] | None = None

    def _axes(self, frame: PatchFrame) -> list[int]:
        return axes_of((-2, -1) if self.plane is None else self.plane, frame, "Rotate90")

    def check(self, frame: PatchFrame) -> None:
        """Raise ArgumentError unless the plane has two axes of the patch."""
        if len(frame.own) < 2 or len(self._axes(frame)) != 2:
            raise ArgumentError(
                "a plane has two axes", where="Rotate90", got=self.plane, expected=f"two of {''.join(frame.tags)!r}"
            )

    def draw(self, placement: PatchPlacement, rng: np.random.Generator) -> PatchPlacement:
        """Rotate the placement at random."""
        frame = placement.frame
        a, b = self._axes(frame)
        square = frame.sizes[a] == frame.sizes[b] and frame.counts[a] == frame.counts[b]
        n = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        order, flips = list(range(frame.ndim)), [False] * frame.ndim
        if n % 2:
            order[a], order[b] = b, a
        flips[a], flips[b] = n in (1, 2), n in (2, 3)
        return replace(placement, orientation=placement.orientation.then(Orientation(tuple(order), tuple(flips))))


def probability(value: float, who: str) -> float:
    """Return a number from 0 to 1; raise ArgumentError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise ArgumentError("not a probability", node=who, got=value, expected="0 to 1")
    return float(value)
