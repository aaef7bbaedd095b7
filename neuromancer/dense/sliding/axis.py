"""One axis of a sliding-window prediction: padding of the image, and where the outputs of its patches lie."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil

import numpy as np

from neuromancer.dense.raw import fold


@dataclass(frozen=True)
class PatchAxis:
    """One axis of a node that is evaluated at a fixed patch.

    Parameters
    ----------
    patch, outputs : int
        Voxels of the patch, and of the node's output for it.
    step : Fraction
        Stride of the output in raw voxels; below 1 on grids finer than the image.
    offset : int
        Raw voxel of the patch to which output voxel 0 belongs.
    centre : Fraction or None
        Its exact place, in raw voxels; None if unknown.
    """

    patch: int
    outputs: int
    step: Fraction
    offset: int
    centre: Fraction | None

    @property
    def output_spacing(self) -> Fraction:
        """Spacing of the result in raw voxels."""
        return self.step

    @property
    def lead(self) -> int:
        """Raw voxels of the patch before its outputs: 0 if the outputs span the patch."""
        return 0 if self.outputs * self.step >= self.patch else min(max(self.offset, 0), self._cropped)

    @property
    def tail(self) -> int:
        """Raw voxels of the patch behind its outputs."""
        return max(0, self._cropped - self.lead)

    @property
    def _cropped(self) -> int:
        return self.patch - ceil(self.outputs * self.step)

    @property
    def symmetric(self) -> bool:
        """Whether the outputs of a mirrored patch, mirrored back, lie where those of the patch do."""
        if self.outputs * self.step == self.patch and self.step <= 1:
            return True  # a voxel for every voxel of the patch, as networks of equal size are mirrored
        return self.centre is not None and 2 * self.centre + (self.outputs - 1) * self.step == self.patch - 1


@dataclass(frozen=True)
class PaddedAxis:
    """One axis of the image, mirrored for networks that crop, and padded to at least the patch.

    Parameters
    ----------
    size : int
        Voxels of the image.
    before, after : int
        Mirrored voxels at either end.
    patch : int
    mode : {'constant', 'reflect', 'replicate', 'circular'}
        Padding of what is smaller than the patch.
    """

    size: int
    before: int
    after: int
    patch: int
    mode: str

    @property
    def inner(self) -> int:
        """Voxels with the mirrored ones."""
        return self.size + self.before + self.after

    @property
    def volume(self) -> int:
        """Voxels with all padding."""
        return max(self.inner, self.patch)

    @property
    def padded(self) -> int:
        """Voxels of the padding to the patch before the image."""
        return (self.volume - self.inner) // 2

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Return the raw voxels of a range of the padded axis; -1 where it has the padding value.

        Examples
        --------
        >>> PaddedAxis(3, 0, 0, 6, "reflect").indices(0, 6).tolist()
        [1, 0, 1, 2, 1, 0]
        >>> PaddedAxis(3, 1, 1, 6, "constant").indices(0, 6).tolist()
        [0, 0, 1, 2, 2, -1]
        """
        n, places = self.inner, np.arange(start, stop) - self.padded
        outside = (places < 0) | (places >= n)
        if self.mode == "replicate":
            places = np.clip(places, 0, n - 1)
        elif self.mode == "circular":
            places = places % n
        elif self.mode == "reflect":
            places = np.where(places < 0, -places, places)
            places = np.where(places >= n, 2 * (n - 1) - places, places)
        raw = fold(places - self.before, self.size)
        return np.where(outside, -1, raw) if self.mode == "constant" else raw

    def result(self, node: PatchAxis, outputs: int, mirrored: bool) -> tuple[int, int, int]:
        """Return the range of a node's outputs, counted over the padded axis, that the result consists of.

        Parameters
        ----------
        node : PatchAxis
        outputs : int
            Number of outputs over the padded axis.
        mirrored : bool
            Whether the result has the size of the image because it was mirrored.

        Returns
        -------
        tuple of int
            First and one past the last output, and the raw voxel of the first.
        """
        step, lead = node.step, node.lead
        if not mirrored and self.volume == self.inner:
            return 0, outputs, max(node.offset, 0)
        begin = self.before + self.padded
        first = max(0, ceil((begin - lead) / step))
        stop = min(outputs, ceil((begin + self.size - lead) / step))
        return first, stop, int(lead + first * step - begin)


def largest_gap(starts: tuple[int, ...]) -> int:
    """Return the largest distance of neighbouring patches; 0 for one patch."""
    return max((b - a for a, b in pairwise(starts)), default=0)
