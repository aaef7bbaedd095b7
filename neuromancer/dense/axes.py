"""One axis of a network: which raw voxels an output range needs, and which sizes the network takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np


def context_of(size: int, out: int, step: Fraction) -> int:
    """Raw size minus the raw voxels that the output spans."""
    return int(size - step * (out - 1) - min(step, Fraction(1)))


@dataclass(frozen=True)
class AxisGeometry:
    """One axis of the sliding form: output voxel i needs raw voxels ``i + low`` to ``i + high``.

    Parameters
    ----------
    low, high : int
        First and last raw voxel of the receptive field of output voxel 0; `low` is negative if the network pads.
    context : int
        Raw size minus output size.
    offset : int
        Raw voxel to which output voxel 0 belongs.
    least : int
        Smallest raw size for which no intermediate node is empty.
    step : Fraction
        Stride of the output in raw voxels; below 1 on grids finer than the image.
    head : tuple of int
        (n, last): the first n output voxels need the raw voxels up to `last` as well, whose values the network's
        padding has (mirrored, for example).
    tail : tuple of int
        (n, last): the last n output voxels need the raw voxels from the `last`-th before the end as well.
    """

    low: int
    high: int
    context: int
    offset: int
    least: int = 1
    step: Fraction = Fraction(1)
    head: tuple[int, int] = field(default=(0, 0), repr=False, kw_only=True)
    tail: tuple[int, int] = field(default=(0, 0), repr=False, kw_only=True)

    def one_pass_size(self, size: int) -> int:
        """Return the smallest valid input size that is at least `size`."""
        return size

    def length(self, size: int) -> int:
        """Return how many raw voxels the outputs of an image span, where the network takes its size."""
        return size - self.context

    def pass_size(self, size: int, shift: int) -> int:
        """Return the input size of the pass over an image of `size` voxels that starts `shift` voxels late.

        It is large enough for all outputs of the image, also where they reach further without the shift.
        """
        fed = self.one_pass_size(size - shift)
        wanted = ceil((self.length(size) - shift) / self.step) if shift else 0
        while self.outputs(fed) < wanted:
            fed = self.one_pass_size(fed + 1)
        return fed

    @property
    def largest_context(self) -> int:
        """Largest difference between the size of an image and the raw voxels that its outputs span."""
        return self.context

    def _at_ends(self, start: int, stop: int, size: int) -> tuple[int, int]:
        """First and one past the last raw voxel that an output range needs for the network's padding."""
        last = self.head[1] + 1 if start < self.head[0] else 0
        first = size - 1 - self.tail[1] if stop > self.outputs(size) - self.tail[0] else size
        return first, last

    def input_range(self, start: int, stop: int, size: int) -> tuple[int, int]:
        """Return the raw range needed for an output range, within a volume of `size` voxels.

        The range is wide enough that zero padding at cut ends does not affect the output range, and ends with the
        volume where the network's own padding applies.
        """
        before, beyond = self._at_ends(start, stop, size)
        first = max(0, min(start + min(self.low, 0), size - self.least, before))
        return first, min(size, max(stop + max(self.high, self.context), first + self.least, beyond))

    def reach(self, voxels: Any) -> tuple[Any, Any]:
        """Return the first and last raw voxel of the receptive fields of output voxels."""
        return voxels + min(self.low, 0), voxels + max(self.high, self.context)

    @property
    def output_spacing(self) -> Fraction:
        """Spacing of the result in raw voxels: below 1 on grids finer than the image, else 1."""
        return min(self.step, Fraction(1))

    @property
    def tile_alignment(self) -> int:
        """Period of the geometry in output voxels: tiles should start at multiples of it."""
        return 1

    def input_size(self, size: int) -> int:
        """Return the raw size needed by an interior tile of `size` output voxels."""
        return max(size + max(self.context, self.high - min(self.low, 0)), self.least)

    def outputs(self, size: int) -> int:
        """Return the output size for a raw size."""
        return size - self.context

    def first_output(self, start: int) -> int:
        """Return the index of the first output voxel for an input that starts at raw voxel `start`."""
        return int(start / self.step)


@dataclass(frozen=True)
class PeriodicAxis(AxisGeometry):
    """One axis of the plain form, which repeats every `period` raw voxels.

    Parameters
    ----------
    period : int
        Smallest shift of the input, in raw voxels, that shifts the output along.
    residue : int
        Valid input sizes are ``residue`` modulo ``period``.
    smallest : int
        Smallest of these sizes.
    others : tuple of (int, int)
        Smallest valid input size, and its number of output voxels, for every other residue of valid sizes: networks
        that ignore what their strides leave over take several.
    lows, highs : tuple of int
        First and last raw voxel of the receptive field of output voxel i, for every i of the first period.
    """

    period: int = 1
    residue: int = 0
    smallest: int = 1
    lows: tuple[int, ...] = (0,)
    highs: tuple[int, ...] = (0,)
    others: tuple[tuple[int, int], ...] = field(default=(), repr=False, kw_only=True)

    def one_pass_size(self, size: int) -> int:
        smallest = (self.smallest, *(least for least, _ in self.others))
        return min(max(size, n) + (n - max(size, n)) % self.period for n in smallest)

    @property
    def largest_context(self) -> int:
        return max([self.context, *(context_of(size, out, self.step) for size, out in self.others)])

    def _class(self, size: int) -> tuple[int, int] | None:
        """Smallest valid size of the residue of `size`, and its outputs, if that is not the usual residue."""
        return next((found for found in self.others if (size - found[0]) % self.period == 0), None)

    def length(self, size: int) -> int:
        found = self._class(size)
        return size - (self.context if found is None or size < found[0] else context_of(*found, self.step))

    def input_range(self, start: int, stop: int, size: int) -> tuple[int, int]:
        low = self.lows[start % self.tile_alignment] + start // self.tile_alignment * self.period
        high = self.highs[(stop - 1) % self.tile_alignment] + (stop - 1) // self.tile_alignment * self.period
        before, beyond = self._at_ends(start, stop, size)
        # What is left at the far end must be as large as the network takes, too.
        found = self._class(size)
        enough = size - (self.smallest if found is None else found[0])
        first = max(0, min(low, floor(start * self.step), before, enough)) // self.period * self.period
        least = max(high + 1 - first, floor((stop - first / self.step) * self.step) + self.context, beyond - first)
        if not self.others:
            return first, min(size, first + self.one_pass_size(max(least, self.smallest)))
        fed = self.one_pass_size(max(high + 1, beyond) - first)
        while self.outputs(fed) < stop - self.first_output(first) and first + fed < size:
            fed = self.one_pass_size(fed + 1)
        return first, min(size, first + fed)

    def reach(self, voxels: Any) -> tuple[Any, Any]:
        periods, phases = voxels // self.tile_alignment * self.period, voxels % self.tile_alignment
        return np.asarray(self.lows)[phases] + periods, np.asarray(self.highs)[phases] + periods

    @property
    def tile_alignment(self) -> int:
        return max(1, int(self.period / self.step))

    def input_size(self, size: int) -> int:
        far = 8 * self.tile_alignment
        start, stop = self.input_range(far, far + size, 1 << 40)
        return stop - start

    def outputs(self, size: int) -> int:
        found = self._class(size)
        if found is not None:
            return found[1] + int((size - found[0]) / self.step)
        return floor((size - self.context - self.output_spacing) / self.step) + 1
