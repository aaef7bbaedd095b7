"""Search for the tile shape that minimises the time for the whole volume within the available memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm, prod

from neuromancer.dense.axes import AxisGeometry
from neuromancer.dense.costs import Costs


@dataclass(frozen=True)
class Choice:
    """A tile shape, and the cost of predicting a volume with it.

    Parameters
    ----------
    tile : tuple of int
        Output voxels per spatial axis.
    images : int
        Images of a stack per evaluation.
    tiles : int
        Number of evaluations.
    seconds : float
        Total time, as estimated.
    products : float
        Total multiplications as direct convolutions.
    overlap : float
        Fraction of the products computed redundantly, in the halos of tiles.
    memory : float
        Peak memory of an evaluation in bytes.
    """

    tile: tuple[int, ...]
    images: int
    tiles: int
    seconds: float
    products: float
    overlap: float
    memory: float


def choose(
    axes: Sequence[AxisGeometry],
    out: Sequence[int],
    costs: Costs,
    budget: float,
    images: int = 1,
    align: Sequence[int] | None = None,
) -> Choice:
    """Find the best tile shape.

    The tile is halved along the axis where that adds the least time per memory freed, until an evaluation fits; then
    neighbouring sizes are tried.

    Parameters
    ----------
    axes : sequence of AxisGeometry
    out : sequence of int
        Output voxels per axis.
    costs : Costs
    budget : float
        Bytes that an evaluation may use. If even the smallest tile exceeds it, that tile is returned.
    images : int
        Number of images of a stack.
    align : sequence of int, optional
        Tiles start at multiples of these numbers of voxels.
    """
    units = [lcm(max(1, int(g.tile_alignment)), a) for g, a in zip(axes, align or [1] * len(out), strict=True)]
    at = _Volume(axes, out, costs, images)
    best = at(at.out)
    while best.memory > budget:
        smaller = [at(t) for t in _cuts(best.tile, units)]
        smaller = [c for c in smaller if c.memory < best.memory]
        if not smaller:
            break
        best = min(smaller, key=lambda c: _price(c, best))
    while True:
        near = [c for t in _neighbours(best.tile, out, units) if (c := at(t)).memory <= max(budget, best.memory)]
        better = min(near, key=lambda c: c.seconds)  # the tile itself is among them
        if better.seconds >= best.seconds * 0.999:
            break
        best = better
    if best.tile == at.out:
        images_per_batch = 1
        while images_per_batch < images and at(best.tile, min(2 * images_per_batch, images)).memory <= budget:
            images_per_batch = min(2 * images_per_batch, images)
        best = at(best.tile, images_per_batch)
    return best


def appraise(
    axes: Sequence[AxisGeometry],
    out: Sequence[int],
    costs: Costs,
    tile: Sequence[int],
    images_per_batch: int = 1,
    images: int = 1,
) -> Choice:
    """Return the cost of a volume for a given tile and number of images per batch; see `choose`."""
    return _Volume(axes, out, costs, images)(tuple(tile), images_per_batch)


def _price(smaller: Choice, larger: Choice) -> float:
    """Seconds added per memory freed."""
    return (smaller.seconds - larger.seconds) / (larger.memory - smaller.memory)


class _Volume:
    """Memoised costs of tile shapes for one volume."""

    def __init__(self, axes: Sequence[AxisGeometry], out: Sequence[int], costs: Costs, images: int) -> None:
        self.axes, self.out, self.costs, self.images = axes, tuple(out), costs, images
        spans = [int(g.step * (n - 1) + min(g.step, Fraction(1))) for g, n in zip(axes, out, strict=True)]
        self.whole = [g.one_pass_size(n + g.context) for g, n in zip(axes, spans, strict=True)]
        self._input_sizes: dict[tuple[int, int], int] = {}
        self._known: dict[tuple[int, ...], Choice] = {}
        self._once = costs(self.whole, images).products

    def __call__(self, tile: tuple[int, ...], images_per_batch: int = 1) -> Choice:
        key = (*tile, images_per_batch)
        if key not in self._known:
            self._known[key] = self._evaluate(tile, images_per_batch)
        return self._known[key]

    def input_size(self, axis: int, size: int) -> int:
        """Raw size of a tile of `size` output voxels along an axis; interior tiles need the most."""
        if (axis, size) not in self._input_sizes:
            self._input_sizes[axis, size] = min(self.whole[axis], self.axes[axis].input_size(size))
        return self._input_sizes[axis, size]

    def _evaluate(self, tile: tuple[int, ...], images_per_batch: int) -> Choice:
        counts = [ceil(n / t) for n, t in zip(self.out, tile, strict=True)]
        largest = self.costs([self.input_size(k, t) for k, t in enumerate(tile)], images_per_batch)
        mean = [
            self.input_size(k, ceil(n / c)) if c > 1 else self.whole[k]
            for k, (n, c) in enumerate(zip(self.out, counts, strict=True))
        ]
        usual = self.costs(mean, images_per_batch)
        tiles = prod(counts) * ceil(self.images / images_per_batch)
        products = usual.products * tiles
        overlap = max(0.0, 1 - self._once / products) if products else 0.0
        return Choice(tile, images_per_batch, tiles, usual.seconds * tiles, products, overlap, largest.memory)


def _cuts(tile: tuple[int, ...], units: Sequence[int]) -> list[tuple[int, ...]]:
    """Tiles halved along one axis."""
    return [
        (*tile[:k], half, *tile[k + 1 :])
        for k, (n, unit) in enumerate(zip(tile, units, strict=True))
        if (half := max(1, ceil(n / 2 / unit)) * unit) < n
    ]


def _neighbours(tile: tuple[int, ...], out: Sequence[int], units: Sequence[int]) -> list[tuple[int, ...]]:
    """Tiles slightly longer along one axis, and possibly slightly shorter along another."""
    lengths = []
    for n, whole, unit in zip(tile, out, units, strict=True):
        count = ceil(whole / n)
        options = {n}
        for other in (count - 1, count + 1, ceil(count * 0.75), ceil(count * 1.5)):
            if other >= 1:
                options.add(min(whole, ceil(ceil(whole / other) / unit) * unit))
        lengths.append(sorted(options))
    singles = [(*tile[:k], n, *tile[k + 1 :]) for k, own in enumerate(lengths) for n in own]
    pairs = [
        tuple(n if j == k else m if j == i else t for j, t in enumerate(tile))
        for k, own in enumerate(lengths)
        for i, others in enumerate(lengths)
        if i != k
        for n in own
        if n > tile[k]
        for m in others
        if m < tile[i]
    ]
    return list(dict.fromkeys([*singles, *pairs]))
