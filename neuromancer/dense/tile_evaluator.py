"""Evaluation of a tile: read, run the network, postprocess; or fill it where nothing is to be predicted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neuromancer import engine as E
from neuromancer.dense.agreement import agreed
from neuromancer.dense.gathered import Gathered
from neuromancer.dense.mask import AllMasks, Mask
from neuromancer.dense.network import DenseNetwork
from neuromancer.dense.plan import DensePlan
from neuromancer.dense.postprocess import Postprocess
from neuromancer.dense.processing.source import ProcessedSource
from neuromancer.dense.raw import read
from neuromancer.dense.tiles import Tile
from neuromancer.errors import PredictionError

logger = logging.getLogger("neuromancer")

T = TypeVar("T")


@dataclass(frozen=True)
class Fetched:
    """A tile with its raw block (None if it is not to be evaluated) and its mask per node."""

    tile: Tile
    block: np.ndarray | None
    inside: list[np.ndarray | None]


class TileEvaluator:
    """Reader and evaluator of the tiles of a plan.

    Parameters
    ----------
    plan : DensePlan
    postprocess : Postprocess
    network : DenseNetwork
    source : Source
        The image.
    mask : Mask or None
    precision : str
        Precision of the network's function.
    skip_empty : {None, 'constant'} or float
        Fill tiles whose image block is constant, or has this value everywhere.
    shared : bool
        Whether several threads use it concurrently; then one tile is evaluated at a time.
    gathered : Gathered, optional
        What earlier passes over the image gathered.
    folder : Path, optional
        Folder of the journal, where processes agree on a backend.

    Attributes
    ----------
    depth : int
        Maximum number of tiles under way at once.
    """

    def __init__(
        self,
        plan: DensePlan,
        postprocess: Postprocess,
        network: DenseNetwork,
        source: Any,
        mask: Mask | AllMasks | None,
        *,
        precision: str = "f32",
        skip_empty: Any = None,
        shared: bool = False,
        gathered: Gathered | None = None,
        folder: Path | None = None,
    ) -> None:
        self.plan, self.postprocess, self.network, self.source, self.mask = plan, postprocess, network, source, mask
        self.precision, self.skip_empty, self.shared, self.depth = precision, skip_empty, shared, 1
        self.gathered, self.folder = gathered, folder
        self._func: Any = None
        self._most: float = inf

    def __enter__(self) -> TileEvaluator:
        self._func = self.network.func(self.precision).compile()
        # Costs of the whole plan, so that all shards and resumed runs choose the same algorithms.
        if self.folder is None:
            self._func.expect(self.plan.products, self.plan.time)
        else:
            self._func.expect(self.plan.products, self.plan.time, self.plan.count, partial(agreed, self.folder))
        self.depth = 1 if self.shared else E.calls_under_way()
        return self

    def __exit__(self, *exc: object) -> None:
        self._func.release()
        self._func = None

    def fetch(self, index: int) -> Fetched:
        """Read the block and the mask of a tile."""
        tile = self.plan.tile(index)
        inside = [self._inside(tile, m) for m in range(len(self.plan.outputs))]
        if self.mask is not None and not any(i is not None and i.any() for i in inside):
            return Fetched(tile, None, inside)
        block = seen = self._raw_block(tile)
        if self.skip_empty is not None and isinstance(self.source, ProcessedSource):
            seen = read(self.source.source, self.plan.head(tile), tile.raw_start, tile.raw_stop)
        return Fetched(tile, None if self._is_empty(seen) else block, inside)

    def _raw_block(self, tile: Tile) -> np.ndarray:
        """Raw block of a tile; an empty image of its size if only values of earlier passes are needed."""
        if self.network.reads_image or self.skip_empty is not None:
            return read(self.source, self.plan.head(tile), tile.raw_start, tile.raw_stop)
        sizes = [b - a for a, b in zip(tile.raw_start, tile.raw_stop, strict=True)]
        images = (tile.images[1] - tile.images[0],) if self.plan.stack else ()
        return np.broadcast_to(np.zeros((), self.source.dtype), (1, *images, *sizes))

    def begin(self, fetched: Fetched) -> Callable[[], list[np.ndarray]]:
        """Start a tile; return a function that finishes it and returns the same as `compute`.

        If `depth` is 1, the tile is computed at once.
        """
        if self.depth == 1 or fetched.block is None:
            values = self.compute(fetched)
            return lambda: values
        block, tile = fetched.block, fetched.tile
        with self.network.lock:
            begun = self._begun(block, tile)

        def finish() -> list[np.ndarray]:
            with self.network.lock:
                values = self._evaluated(block, tile, begun)
            return self._stored(fetched, values)

        return finish

    def compute(self, fetched: Fetched) -> list[np.ndarray]:
        """Return the values to store of a tile: per node, (f, [images,] *spatial).

        Raises
        ------
        PredictionError
            If a value is NaN, unless ``on_nan="keep"``.
        """
        block, tile = fetched.block, fetched.tile
        if block is None:
            return [self.filled(tile, m) for m in range(len(self.plan.outputs))]
        with self.network.lock:  # compiled functions are not thread-safe
            values = self._evaluated(block, tile, self._begun(block, tile))
        return self._stored(fetched, values)

    def _stored(self, fetched: Fetched, values: list[np.ndarray]) -> list[np.ndarray]:
        return [self._reduced(fetched.tile, m, v, fetched.inside[m]) for m, v in enumerate(values)]

    def _evaluated(
        self, block: np.ndarray, tile: Tile, begun: Callable[[], list[np.ndarray]] | None
    ) -> list[np.ndarray]:
        """Values of a tile per node; the tile is halved, recursively, if memory does not suffice."""
        values = self._ended(begun, tile)
        if values is None:
            values = [
                np.empty((node.shape["f"], tile.images[1] - tile.images[0], *shape), self.network.dtype)
                for node, shape in zip(self.network.nodes, tile.shapes, strict=True)
            ]
            self._halved(block, tile, values)
        return values

    def _begun(self, block: np.ndarray, tile: Tile) -> Callable[[], list[np.ndarray]] | None:
        """Start a tile; None if it is too large. A size that was too large once is not tried again."""
        if _voxels(tile) > self._most:
            return None
        return self._if_it_fits(tile, lambda: self._start(block, tile))

    def _start(self, block: np.ndarray, tile: Tile) -> Callable[[], list[np.ndarray]]:
        return self.network.start(self._func, block, tile, self.plan.images_per_batch, self.gathered)

    def _ended(self, begun: Callable[[], list[np.ndarray]] | None, tile: Tile) -> list[np.ndarray] | None:
        """Values of a tile that has been started; None if it is too large."""
        return None if begun is None else self._if_it_fits(tile, begun)

    def _if_it_fits(self, tile: Tile, step: Callable[[], T]) -> T | None:
        """Result of a step of a tile's evaluation; None if memory does not suffice."""
        try:
            return step()
        except MemoryError:
            voxels = _voxels(tile)
            if voxels == 1 or not self.network.divisible:
                raise
            self._most = min(self._most, voxels // 2 + voxels % 2)
            logger.warning("%s: not enough memory for %s in one go; halved", self.network.name, tile)
        return None

    def _halved(self, block: np.ndarray, tile: Tile, into: Sequence[np.ndarray]) -> None:
        lead = (slice(None),) * (block.ndim - len(tile.start))
        for half in self.plan.halves(tile):
            read = zip(half.raw_start, half.raw_stop, tile.raw_start, strict=True)
            part = block[(*lead, *(slice(a - first, b - first) for a, b, first in read))]
            begin = [a - b for a, b in zip(half.start, tile.start, strict=True)]
            places = [
                whole[(slice(None), slice(None), *(slice(a, a + n) for a, n in zip(begin, shape, strict=True)))]
                for whole, shape in zip(into, half.shapes, strict=True)
            ]
            values = self._ended(self._begun(part, half), half)
            if values is None:
                self._halved(part, half, places)
            else:
                for place, value in zip(places, values, strict=True):
                    place[...] = value

    def _reduced(self, tile: Tile, m: int, values: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
        if self.postprocess.check_nan and values.size and np.isnan(values.min()):
            # Outside of the mask, NaN is allowed.
            checked = True if inside is None else inside if self.plan.stack else inside[None]
            found = np.isnan(values) & checked
            if found.any():
                raise PredictionError(
                    "the prediction contains values that are not a number",
                    node=self.network.nodes[m],
                    got=f"{int(found.sum())} of {values.size} values NaN",
                    expected="no NaN; on_nan='keep' stores them as they are",
                )
        values = self.postprocess.reductions[m].apply(values)
        output = self.plan.outputs[m]
        if (len(values), values.dtype) != (output.shape[0], np.dtype(output.dtype)):
            raise PredictionError(
                "the reduction function returned another shape or dtype than in its trial",
                node=self.network.nodes[m],
                got=f"{len(values)} channels of {values.dtype}",
                expected=f"{output.shape[0]} of {output.dtype}",
            )
        values = values if self.plan.stack else values[:, 0]
        if inside is not None and not inside.all():
            values = np.where(inside, values, np.asarray(self.postprocess.filling(m), values.dtype))
        return values

    def filled(self, tile: Tile, m: int) -> np.ndarray:
        """Return fill values for a tile of a node."""
        output = self.plan.outputs[m]
        images = (tile.images[1] - tile.images[0],) if self.plan.stack else ()
        return np.full((output.shape[0], *images, *tile.shapes[m]), self.postprocess.filling(m), output.dtype)

    def _inside(self, tile: Tile, m: int) -> np.ndarray | None:
        """The mask at the voxels of a node's tile; None without a mask."""
        if self.mask is None:
            return None
        steps = [g.output_spacing for g in self.plan.axes[m]]
        positions = [
            ((np.arange(a, a + n) * step.numerator) // step.denominator if step != 1 else np.arange(a, a + n)) + first
            for a, n, step, first in zip(tile.start, tile.shapes[m], steps, self.plan.offsets[m], strict=True)
        ]
        if any(len(p) == 0 for p in positions):
            return np.zeros([len(p) for p in positions], bool)
        if self.plan.stack:
            positions.insert(0, np.arange(*tile.images) + self.plan.first_image)
        return self.mask.at(positions)

    def _is_empty(self, block: np.ndarray) -> bool:
        if self.skip_empty is None or not block.size:
            return False
        value = block.flat[0] if self.skip_empty == "constant" else self.skip_empty
        return bool((block == value).all())


def _voxels(tile: Tile) -> int:
    return prod(b - a for a, b in zip(tile.start, tile.stop, strict=True))
