"""Tiles of the output, and what to read and evaluate for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from math import ceil

from neuromancer.dense.axes import AxisGeometry
from neuromancer.dense.geometry import covering
from neuromancer.dense.symmetry import View

Ranges = tuple[slice, ...]


@dataclass(frozen=True)
class TilePass:
    """One evaluation of the network for a tile.

    Parameters
    ----------
    view : View
        View of the image to evaluate.
    inside : tuple of slice
        Range to feed, within the raw block of the tile, per spatial axis of the image.
    cut : tuple of tuple of slice
        Per node: range of the output to use, per axis of the view.
    place : tuple of tuple of slice
        Per node: range of the tile where it belongs, per axis of the view.
    whole : bool
        Whether this single evaluation covers the whole tile.
    """

    view: View
    inside: Ranges
    cut: tuple[Ranges, ...]
    place: tuple[Ranges, ...]
    whole: bool


@dataclass(frozen=True)
class Tile:
    """A tile of the output.

    Parameters
    ----------
    index : int
        Index in the plan.
    images : tuple of int
        Range (start, stop) of images of a stack; (0, 1) without a stack.
    start, stop : tuple of int
        Output range per spatial axis.
    shapes : tuple of tuple of int
        Per node: number of voxels within its result, per spatial axis.
    raw_start, raw_stop : tuple of int
        Raw range to read, per spatial axis; mirrored beyond the image.
    passes : tuple of TilePass
        Evaluations of the network, for every view and, in strided plain form, every shift.
    """

    index: int
    images: tuple[int, int]
    start: tuple[int, ...]
    stop: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    raw_start: tuple[int, ...]
    raw_stop: tuple[int, ...]
    passes: tuple[TilePass, ...]

    def __str__(self) -> str:
        ranges = ", ".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))
        images = "" if self.images == (0, 1) else f" of images {self.images[0]}:{self.images[1]}"
        return f"tile {self.index} ({ranges}){images}"


@dataclass(frozen=True)
class Frame:
    """Geometry of the image in one view: mirror padding, and position of the output.

    Parameters
    ----------
    view : View
    sizes : tuple of int
        Size of the image, per axis of the view.
    before, volume : tuple of int
        Mirror padding before the image, and total padded size, per axis of the view.
    origins : tuple of tuple of int
        Per node and axis of the view: output voxel of the network that is voxel 0 of the result.
    own_grid : bool
        Whether the result has the voxels of the network's output, without those between them.
    """

    view: View
    sizes: tuple[int, ...]
    before: tuple[int, ...]
    volume: tuple[int, ...]
    origins: tuple[tuple[int, ...], ...]
    own_grid: bool = field(default=False, repr=False, kw_only=True)

    def output_range(self, node: int, k: int, start: int, stop: int) -> tuple[int, int]:
        """Return the range of the network's output along axis k of the view for a range of the result."""
        origin = self.origins[node][k]
        return (origin - stop + 1, origin - start + 1) if self.view.flips[k] else (origin + start, origin + stop)

    def input_ranges(
        self, axes: Sequence[Sequence[AxisGeometry]], start: Sequence[int], stops: Sequence[Sequence[int]]
    ) -> list[tuple[list[tuple[int, int]], tuple[Ranges, ...], tuple[Ranges, ...]]]:
        """Return the evaluations for a range of the result.

        Parameters
        ----------
        axes : sequence of sequence of AxisGeometry
            Per node and axis.
        start : sequence of int
            Start of the range, per axis of the image.
        stops : sequence of sequence of int
            Stop of the range, per node and axis of the image.

        Returns
        -------
        list of (ranges of the image to feed, cuts, places)
            The ranges per axis of the image, cuts and places per node and axis of the view.
        """
        steps = [1 if self.own_grid else max(1, int(g.step)) for g in axes[0]]
        along = [
            {shift: self._along(axes, k, shift, steps, start, stops) for shift in range(steps[k])}
            for k in range(len(steps))
        ]
        result = []
        for shifts in product(*(range(s) for s in steps)):
            parts = [along[k][shift] for k, shift in enumerate(shifts)]
            if any(part is None for part in parts):
                continue
            fed = {self.view.order[k]: part[0] for k, part in enumerate(parts)}  # type: ignore[index]
            cuts = tuple(zip(*(part[1] for part in parts), strict=True))  # type: ignore[index]
            places = tuple(zip(*(part[2] for part in parts), strict=True))  # type: ignore[index]
            result.append(([fed[j] for j in range(len(steps))], cuts, places))
        return result

    def _along(
        self,
        axes: Sequence[Sequence[AxisGeometry]],
        k: int,
        shift: int,
        steps: Sequence[int],
        start: Sequence[int],
        stops: Sequence[Sequence[int]],
    ) -> tuple[tuple[int, int], list[slice], list[slice]] | None:
        """(raw range of the image, cut per node, place per node) along an axis; None if there is no output."""
        j, d = self.view.order[k], steps[k]
        size = max(own[k].pass_size(self.volume[k], shift) for own in axes)
        targets = []
        for m in range(len(axes)):
            low, high = self.output_range(m, k, start[j], max(start[j], stops[m][j]))
            targets.append((low, ceil((low - shift) / d), ceil((high - shift) / d)))
        ranges = [(i, n) for _, i, n in targets if i < n]
        if not ranges:
            return None
        joint = covering(tuple(g[k] for g in axes))  # all nodes are evaluated, even those without output here
        first, last = joint.input_range(min(i for i, _ in ranges), max(n for _, n in ranges), size)
        begin = [g[k].first_output(first) for g in axes]
        cut = [slice(i - f, n - f) if i < n else slice(0, 0) for f, (_, i, n) in zip(begin, targets, strict=True)]
        place = [
            slice(shift + i * d - low, shift + (n - 1) * d + 1 - low, d) if i < n else slice(0, 0)
            for low, i, n in targets
        ]
        a, b = first + shift - self.before[k], last + shift - self.before[k]
        return ((self.sizes[k] - b, self.sizes[k] - a) if self.view.flips[k] else (a, b)), cut, place


def make_tile(
    index: int,
    images: tuple[int, int],
    start: tuple[int, ...],
    stops: Sequence[tuple[int, ...]],
    frames: Sequence[Frame],
    axes: Sequence[Sequence[AxisGeometry]],
) -> Tile:
    """Return the tile of a range of the result, whose stop is given per node."""
    found = [(frame, feed) for frame in frames for feed in frame.input_ranges(axes, start, stops)]
    low = tuple(min(fed[j][0] for _, (fed, _, _) in found) for j in range(len(start)))
    high = tuple(max(fed[j][1] for _, (fed, _, _) in found) for j in range(len(start)))
    alone = len(found) == 1 and all(place.step == 1 for place in found[0][1][2][0])
    passes = tuple(
        TilePass(
            frame.view,
            tuple(slice(a - n, b - n) for (a, b), n in zip(fed, low, strict=True)),
            cuts,
            places,
            alone,
        )
        for frame, (fed, cuts, places) in found
    )
    shapes = tuple(tuple(max(0, b - a) for a, b in zip(start, stop, strict=True)) for stop in stops)
    stop = tuple(max(ends) for ends in zip(*stops, strict=True))
    return Tile(index, images, start, stop, shapes, low, high, passes)
