"""Plan of a prediction: its tiles, and what each reads and writes. Data only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from math import ceil, prod

import numpy as np

from neuromancer.dense.axes import AxisGeometry
from neuromancer.dense.sliding_window import SlidingWindow
from neuromancer.dense.tiles import Frame, Tile, make_tile
from neuromancer.errors import ArgumentError
from neuromancer.printable import printable


@dataclass(frozen=True)
class ResultSpec:
    """Shape and dtype of the stored result of one node.

    Parameters
    ----------
    name : str
        Name of the node.
    shape : tuple of int, (f, [z of a stack,] *spatial)
    dtype : str
    unit : tuple of int or None
        Block of the store that only one tile may write, in the same axis order; None if there is no such restriction.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: tuple[int, ...] | None = None


@dataclass(frozen=True)
class DensePlan:
    """Plan of a dense prediction. Tiles are computed from their index, so a plan of any size is a few hundred bytes.

    It can be pickled, and contains no arrays or open files. Create it with ``node.plan_dense(...)``.

    Parameters
    ----------
    raw_shape : tuple of int, (f, [z of a stack,] *spatial)
    raw_dtype : str
    stack : bool
        Whether the image is a z stack for a 2-D network.
    outputs : tuple of ResultSpec
    axes : tuple of tuple of AxisGeometry
        Per node and spatial axis.
    frames : tuple of Frame
        Geometry of the image in each of its views.
    tile_shape : tuple of int, (images, *spatial)
        Tile shape in voxels of the result; tiles at the ends may be smaller.
    images_per_batch : int
        Images of a stack per evaluation.
    offsets : tuple of tuple of int
        Per node and spatial axis: raw voxel to which voxel 0 of the result belongs.
    form : {'sliding', 'plain', 'patches'}
        How the network is evaluated; see docs/dense.md.
    products : float
        Multiplications of all convolutions as direct ones.
    time : float
        Estimated seconds for all tiles, on the machine that made the plan.
    overlap : float
        Fraction of the products computed redundantly, in the halos of tiles.
    memory : float
        Peak memory in bytes, including tiles that wait to be evaluated or written.
    first_image : int
        Image of the stack that is image 0 of the result.
    first, last : int
        Range of the tiles of this shard; ``last`` is excluded.
    passes : tuple of DensePlan
        Passes over the image that come before, to gather statistics of the whole image.
    window : SlidingWindow or None
        The sliding window whose patches are averaged, if any.
    """

    raw_shape: tuple[int, ...]
    raw_dtype: str
    stack: bool
    outputs: tuple[ResultSpec, ...]
    axes: tuple[tuple[AxisGeometry, ...], ...]
    frames: tuple[Frame, ...]
    tile_shape: tuple[int, ...]
    images_per_batch: int
    offsets: tuple[tuple[int, ...], ...]
    form: str
    products: float
    time: float
    overlap: float
    memory: float
    first_image: int = 0
    first: int = 0
    last: int = -1
    passes: tuple[DensePlan, ...] = ()
    window: SlidingWindow | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.last < 0:
            object.__setattr__(self, "last", self.count)

    @property
    def lead(self) -> int:
        """Axes before the spatial ones: 2 for stacks, else 1."""
        return 2 if self.stack else 1

    @cached_property
    def extent(self) -> tuple[int, ...]:
        """Size of the result covered by all tiles, (images, *spatial)."""
        sizes = [o.shape[self.lead :] for o in self.outputs]
        return (self.outputs[0].shape[1] if self.stack else 1, *(max(n) for n in zip(*sizes, strict=True)))

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of tiles along each axis of `extent`."""
        return tuple(ceil(n / t) for n, t in zip(self.extent, self.tile_shape, strict=True))

    @property
    def count(self) -> int:
        """Number of tiles of the whole plan, over all shards."""
        return prod(self.grid)

    def __len__(self) -> int:
        return self.last - self.first

    def indices(self) -> range:
        """Return the indices of the tiles of this shard."""
        return range(self.first, self.last)

    def shard(self, i: int, n: int) -> DensePlan:
        """Return the i-th of n nearly equal parts of the tiles, counted from 0.

        Raises
        ------
        ArgumentError
        """
        if not (isinstance(i, int) and isinstance(n, int) and 0 <= i < n):
            raise ArgumentError("there is no such shard", where="shard", got=(i, n), expected="(i, n) with 0 <= i < n")
        total = len(self)
        return replace(self, first=self.first + i * total // n, last=self.first + (i + 1) * total // n)

    def ranges(self, index: int) -> tuple[tuple[int, int], ...]:
        """Return the range of a tile along each axis of `extent`."""
        if not 0 <= index < self.count:
            raise ArgumentError("there is no such tile", where="plan", got=index, expected=f"0 to {self.count - 1}")
        result = []
        for n, t, c in zip(reversed(self.extent), reversed(self.tile_shape), reversed(self.grid), strict=True):
            index, k = divmod(index, c)
            result.append((k * t, min((k + 1) * t, n)))
        return tuple(reversed(result))

    def tile(self, index: int) -> Tile:
        """Return the tile with this index; the last axis varies fastest.

        Raises
        ------
        ArgumentError
            If there is no such tile.
        """
        images, *spatial = self.ranges(index)
        start = tuple(a for a, _ in spatial)
        stops = [
            tuple(max(a, min(b, n)) for (a, b), n in zip(spatial, o.shape[self.lead :], strict=True))
            for o in self.outputs
        ]
        return make_tile(index, images, start, stops, self.frames, self.axes)

    def halves(self, tile: Tile) -> list[Tile]:
        """Split a tile in two along its longest axis; both read only within its raw block.

        A tile of one voxel is returned as it is.
        """
        sizes = [b - a for a, b in zip(tile.start, tile.stop, strict=True)]
        axis = sizes.index(max(sizes))
        if sizes[axis] < 2:
            return [tile]
        middle = tile.start[axis] + sizes[axis] // 2
        ends = [tuple(a + n for a, n in zip(tile.start, shape, strict=True)) for shape in tile.shapes]
        result = []
        for begin, stop in ((tile.start[axis], middle), (middle, tile.stop[axis])):
            start = (*tile.start[:axis], begin, *tile.start[axis + 1 :])
            stops = [(*end[:axis], max(begin, min(end[axis], stop)), *end[axis + 1 :]) for end in ends]
            result.append(make_tile(tile.index, tile.images, start, stops, self.frames, self.axes))
        return result

    def place(self, tile: Tile, node: int) -> tuple[slice, ...]:
        """Return the index range of a tile in the store of a node, (f, [images,] *spatial)."""
        spatial = (slice(a, a + n) for a, n in zip(tile.start, tile.shapes[node], strict=True))
        return (slice(None), *((slice(*tile.images),) if self.stack else ()), *spatial)

    def head(self, tile: Tile) -> tuple[slice, ...]:
        """Return the index range to read along the image's non-spatial axes."""
        first, stop = (n + self.first_image for n in tile.images)
        return (slice(None), slice(first, stop)) if self.stack else (slice(None),)

    @property
    def layout(self) -> dict[str, list[int] | int]:
        """Tile shape and batch size, which a resumed run takes over."""
        return {"tile": list(self.tile_shape), "together": self.images_per_batch}

    def tasks(self, todo: Iterator[int], size: int) -> Iterator[list[int]]:
        """Group tiles into tasks of `size`."""
        while task := list(islice(todo, size)):
            yield task

    def fingerprint(self) -> str:
        """Return a digest of the geometry: which voxels are computed from which, and the tiling.

        Its text is that of earlier versions, so that their runs can be resumed; it contains names of classes.
        """
        image = (self.raw_shape, self.raw_dtype, self.axes, self.frames)
        outputs = [
            f"Output(name={o.name!r}, shape={o.shape!r}, dtype={o.dtype!r}, unit={o.unit!r})" for o in self.outputs
        ]
        listed = f"({outputs[0]},)" if len(outputs) == 1 else f"({', '.join(outputs)})"
        rest = f"{self.first_image!r}, {self.tile_shape!r}, {self.images_per_batch!r}"
        return hashlib.sha256(f"({image!r}, {listed}, {rest})".encode()).hexdigest()

    def size(self, index: int) -> int:
        """Return the number of voxels of a tile."""
        return prod(b - a for a, b in self.ranges(index))

    def voxels(self, tiles: int | None = None) -> int:
        """Return the number of voxels of `tiles` tiles (default: the shard), from their mean size."""
        return round(prod(self.extent) * (len(self) if tiles is None else tiles) / self.count)

    def seconds(self) -> float:
        """Return the estimated seconds to predict the shard, including earlier passes over the image."""
        return sum(p.time for p in self.passes) + self.time * len(self) / self.count

    def __str__(self) -> str:
        def size(values: Sequence[int]) -> str:
            return " × ".join(str(n) for n in values)

        def spatial(values: Sequence[int]) -> str:
            return size(values if self.stack else values[1:])

        lines = [f"image {size(self.raw_shape)} of {self.raw_dtype}"]
        for o, offsets in zip(self.outputs, self.offsets, strict=True):
            unit = "" if o.unit is None else f", written in blocks of {size(o.unit)}"
            where = f"voxel 0 at raw voxel {size(offsets)}{unit}"
            lines.append(f"{printable(o.name)}: {size(o.shape)} of {o.dtype}, {where}")
        part = "" if len(self) == self.count else f"; this shard: {self.first} to {self.last - 1}"
        lines.append(f"{self.count} tile{'s' * (self.count != 1)} of {spatial(self.tile_shape)}{part}")
        lines += self._how()
        if self.passes:
            before, tiles = sum(p.products for p in self.passes), sum(p.count for p in self.passes)
            passes = "1 pass" if len(self.passes) == 1 else f"{len(self.passes)} passes"
            lines.append(f"before that, {passes} of {tiles} tiles that gather statistics; {before:.3g} multiplications")
        nbytes = sum(prod(o.shape) * np.dtype(o.dtype).itemsize for o in self.outputs)
        lines.append(f"result {readable_bytes(nbytes)}; {readable_bytes(self.memory)} of memory in use")
        lines.append(f"about {duration(self.seconds())} on this machine, if reading and writing keep up")
        return "\n".join(lines)

    def _how(self) -> list[str]:
        """Lines that say how the network is evaluated."""
        views = [f"mean over {len(self.frames)} views of the image"] if len(self.frames) > 1 else []
        sliding = self.form == "sliding"
        how = "sliding pooling, dilated convolutions" if sliding else "evaluated unchanged, on its own grid"
        return [*views, f"{how}; {self.products:.3g} multiplications, {self.overlap:.0%} of them in overlaps of tiles"]


def duration(seconds: float) -> str:
    """Format a duration in a suitable unit, e.g. ``'3.5 hours'``."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{_two_digits(seconds / length)} {unit}"
    return f"{_two_digits(seconds)} s"


def readable_bytes(count: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{_two_digits(count / size)} {unit}"
    return f"{_two_digits(count / 1e3)} kB"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
