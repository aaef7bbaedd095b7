"""Plan of a sliding-window prediction: its patches, and the tiles in which the result is finished. Data only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

from neuromancer.dense.plan import DensePlan
from neuromancer.dense.sliding.axis import PaddedAxis, PatchAxis
from neuromancer.dense.sliding_window import SlidingWindow
from neuromancer.dense.tiles import Tile
from neuromancer.errors import ArgumentError

READ_AHEAD = 2
"""Number of patches that are read while others are evaluated."""


@dataclass(frozen=True, kw_only=True)
class SlidingPlan(DensePlan):
    """Plan whose tiles are finished in bands: all tiles of a band need the same patches along the rolling axis.

    The axes of the base class are of :class:`PatchAxis`, one per node and spatial axis. Tiles are numbered band by
    band.

    Parameters
    ----------
    window : SlidingWindow
    features : tuple of int
        Channels of each node, before they are reduced.
    image : tuple of PaddedAxis
        Per spatial axis.
    origins : tuple of tuple of int
        Per node and spatial axis: output, counted over the padded image, that is voxel 0 of the result.
    rolling : int
        Spatial axis along which rows are finished one after the other.
    rows : int
        Rows whose sums are held at once.
    spilled : bool
        Whether the sums are held in a file.
    """

    axes: tuple[tuple[PatchAxis, ...], ...]  # type: ignore[assignment]
    window: SlidingWindow
    features: tuple[int, ...]
    image: tuple[PaddedAxis, ...]
    origins: tuple[tuple[int, ...], ...]
    rolling: int
    rows: int
    spilled: bool = False

    # ---- patches
    @cached_property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """First voxels of the patches that the result needs, per spatial axis of the padded image."""
        needed = []
        for k, axis in enumerate(self.image):
            everywhere = self.window.starts(k, axis.volume)
            needed.append(tuple(s for s in everywhere if any(self._contributes(m, k, s) for m in range(self._nodes))))
        return tuple(needed)

    @property
    def _nodes(self) -> int:
        return len(self.outputs)

    def _contributes(self, node: int, axis: int, start: int) -> bool:
        first = self.row(node, axis, start)
        size = self.outputs[node].shape[self.lead + axis]
        return first < size and first + self.axes[node][axis].outputs > 0

    def row(self, node: int, axis: int, start: int) -> int:
        """Return where the outputs of a patch begin in the result of a node."""
        return int(start / self.axes[node][axis].step) - self.origins[node][axis]

    @property
    def patches(self) -> int:
        """Number of patches of the whole plan."""
        return prod(len(s) for s in self.starts) * self.extent[0]

    @property
    def evaluations(self) -> int:
        """Number of evaluations of the network: one for every mirrored view of a patch."""
        return self.patches * len(self.window.flips)

    # ---- tiles
    @property
    def _order(self) -> list[int]:
        """Axes of `extent` in the order in which tiles are numbered: images and rolling axis first."""
        rolling = self.rolling + 1
        return [0, rolling, *(k for k in range(1, len(self.extent)) if k != rolling)]

    @property
    def tiles_per_band(self) -> int:
        """Number of tiles that one band consists of."""
        return prod(n for k, n in enumerate(self.grid) if k not in (0, self.rolling + 1))

    def ranges(self, index: int) -> tuple[tuple[int, int], ...]:
        if not 0 <= index < self.count:
            raise ArgumentError("there is no such tile", where="plan", got=index, expected=f"0 to {self.count - 1}")
        found: dict[int, tuple[int, int]] = {}
        for k in reversed(self._order):
            index, place = divmod(index, self.grid[k])
            found[k] = (place * self.tile_shape[k], min((place + 1) * self.tile_shape[k], self.extent[k]))
        return tuple(found[k] for k in range(len(self.extent)))

    def tile(self, index: int) -> Tile:
        images, *spatial = self.ranges(index)
        start, stop = tuple(a for a, _ in spatial), tuple(b for _, b in spatial)
        shapes = tuple(
            tuple(max(0, min(b, n) - a) for a, b, n in zip(start, stop, o.shape[self.lead :], strict=True))
            for o in self.outputs
        )
        return Tile(index, images, start, stop, shapes, (), (), ())

    def shard(self, i: int, n: int) -> DensePlan:
        """Return the i-th of n nearly equal parts of the bands, counted from 0."""
        whole = super().shard(i, n)  # checks i and n
        bands, each = self.count // self.tiles_per_band, self.tiles_per_band
        return replace(whole, first=i * bands // n * each, last=(i + 1) * bands // n * each)

    def tasks(self, todo: Iterator[int], size: int) -> Iterator[list[int]]:
        """Group tiles into tasks of whole bands, of at least `size` tiles."""
        task: list[int] = []
        for index in todo:
            if len(task) >= size and index // self.tiles_per_band != task[-1] // self.tiles_per_band:
                yield task
                task = []
            task.append(index)
        if task:
            yield task

    def fingerprint(self) -> str:
        """Return a digest of the geometry: which voxels are computed from which, and the tiling."""
        outputs = [(o.name, o.shape, o.dtype, o.unit) for o in self.outputs]
        geometry = (self.raw_shape, self.raw_dtype, self.axes, self.image, self.origins, self.first_image)
        text = repr((geometry, outputs, self.window.label, self.rolling, self.tile_shape))
        return hashlib.sha256(text.encode()).hexdigest()

    def _how(self) -> list[str]:
        patch, views = " × ".join(str(n) for n in self.window.patch), len(self.window.flips)
        mirrored = f", each mirrored in {views} ways" if views > 1 else ""
        plural = "es" * (self.patches != 1)
        evaluated = f"{self.patches} patch{plural} of {patch}{mirrored}; {self.products:.3g} multiplications"
        held = "in a scratch file" if self.spilled else "in memory"
        return [
            f"{evaluated}, {self.overlap:.0%} of them because patches overlap",
            f"sums of {self.rows} rows along axis {self.rolling} {held}",
        ]


def places(starts: tuple[tuple[int, ...], ...], rolling: int, first: int) -> Iterator[tuple[int, ...]]:
    """Yield the patches that begin at `first` along the rolling axis, the last axis fastest."""
    across: list[Any] = [(first,) if k == rolling else own for k, own in enumerate(starts)]
    yield from product(*across)
