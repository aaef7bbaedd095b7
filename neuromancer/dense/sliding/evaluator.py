"""Evaluation of a sliding-window prediction: patches are read, evaluated and added up until a tile is finished."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.dense.pipeline import file_error
from neuromancer.dense.processing.source import ProcessedSource
from neuromancer.dense.raw import normalise
from neuromancer.dense.sliding.network import PatchNetwork
from neuromancer.dense.sliding.plan import READ_AHEAD, SlidingPlan, places
from neuromancer.dense.sliding.sums import RollingSums, Scratch, sums_bytes
from neuromancer.dense.tile_evaluator import Fetched, TileEvaluator
from neuromancer.dense.tiles import Tile
from neuromancer.errors import PredictionError
from neuromancer.masked import unmasked


@dataclass(frozen=True)
class Patch:
    """A patch: image of the stack, and first voxel per spatial axis of the padded image."""

    image: int
    start: tuple[int, ...]

    def __str__(self) -> str:
        return f"the patch at {self.start}"


class Roll:
    """Sums of one thread: rows that are not finished, and how far patches have been added to them.

    Parameters
    ----------
    plan : SlidingPlan
    images : tuple of int
        Range of images of a stack.
    dtype : numpy dtype
    folder : Path or None
        Folder of the scratch file, if the plan asks for one.
    """

    def __init__(self, plan: SlidingPlan, images: tuple[int, int], dtype: Any, folder: Path | None) -> None:
        self.plan, self.images, self.finished, self.next = plan, images, 0, 0
        shapes = [
            (features, images[1] - images[0], *o.shape[plan.lead :])
            for features, o in zip(plan.features, plan.outputs, strict=True)
        ]
        self.sums: list[RollingSums] = []
        itemsize, at = np.dtype(dtype).itemsize, 0
        file = Scratch(sums_bytes(shapes, plan.rolling, plan.rows, itemsize), folder) if plan.spilled else None
        for shape in shapes:
            buffer = None if file is None else (file, at)
            self.sums.append(RollingSums(shape, plan.rolling, plan.rows, dtype, buffer))
            at += sums_bytes([shape], plan.rolling, plan.rows, itemsize)


class SlidingEvaluator(TileEvaluator):
    """Reader and evaluator of the tiles of a sliding-window plan.

    Patches are evaluated in ascending order along the rolling axis, each once, and a tile is finished when all that
    reach it have been added. Tiles that are not asked for in order start over with the patches that reach them. Voxels
    sum their patches in the same order in any case.

    Parameters
    ----------
    plan : SlidingPlan
    postprocess, network, source, mask, precision, skip_empty, shared
        See `TileEvaluator`.
    folder : Path, optional
        Folder for sums that do not fit into memory; default: the system's folder of temporary files.
    """

    plan: SlidingPlan
    network: PatchNetwork

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.dtype = np.result_type(np.float32, self.network.dtype)
        self.weights = [
            self.plan.window.importance([g.outputs for g in axes]).astype(self.dtype)
            for axes in self.network.patch_axes
        ]
        self._rolls: dict[int, Roll] = {}
        self._failed: dict[tuple[Any, ...], str] = {}
        self._lock, self._calls = threading.Lock(), threading.Lock()

    def __enter__(self) -> SlidingEvaluator:
        super().__enter__()
        self.depth = 1  # several patches are under way instead of several tiles
        return self

    def __exit__(self, *exc: object) -> None:
        self._rolls.clear()
        super().__exit__(*exc)

    def fetch(self, index: int) -> Fetched:
        """Read the mask of a tile; patches are read when they are needed."""
        tile = self.plan.tile(index)
        return Fetched(tile, None, [self._inside(tile, m) for m in range(len(self.plan.outputs))])

    def begin(self, fetched: Fetched) -> Callable[[], list[np.ndarray]]:
        """Compute a tile at once."""
        values = self.compute(fetched)
        return lambda: values

    def compute(self, fetched: Fetched) -> list[np.ndarray]:
        """Return the values to store of a tile: per node, (f, [images,] *spatial)."""
        tile = fetched.tile
        if self.mask is not None and not any(inside is not None and inside.any() for inside in fetched.inside):
            return [self.filled(tile, m) for m in range(len(self.plan.outputs))]
        roll = self._rolled(tile)
        result = []
        for m, (sums, inside) in enumerate(zip(roll.sums, fetched.inside, strict=True)):
            stop = [a + n for a, n in zip(tile.start, tile.shapes[m], strict=True)]
            if not all(tile.shapes[m]):
                result.append(self.filled(tile, m))
                continue
            values, covered = sums.take(tile.start, stop)
            if not covered.all():
                covered = covered if self.plan.stack else covered[0]
                inside = covered if inside is None else inside & covered
            result.append(self._reduced(tile, m, values, inside))
        return result

    # ---- rolling
    def _rolled(self, tile: Tile) -> Roll:
        """Sums of this thread, with all patches added that reach the band of a tile."""
        key, k = threading.get_ident(), self.plan.rolling
        first, stop = tile.start[k], tile.stop[k]
        band = (tile.images, first)
        if band in self._failed:
            raise PredictionError("a patch of the same band failed", got=self._failed[band])
        with self._lock:
            roll = self._rolls.pop(key, None)
        if roll is None or roll.images != tile.images or first < roll.sums[0].first:
            del roll  # before its successor takes as much memory
            roll = Roll(self.plan, tile.images, self.dtype, self.folder)
        for sums in roll.sums:
            sums.advance(first)
        try:
            self._add_up_to(roll, first, stop)
        except Exception as error:
            self._failed[band] = f"{type(error).__name__}: {error}"
            raise
        with self._lock:
            self._rolls[key] = roll
        return roll

    def _add_up_to(self, roll: Roll, first: int, stop: int) -> None:
        """Add the patches that reach rows `first` to `stop` and have not been added yet."""
        plan, k, nodes = self.plan, self.plan.rolling, range(len(self.plan.outputs))
        due: list[int] = []
        while roll.next < len(plan.starts[k]):
            start = plan.starts[k][roll.next]
            if min(plan.row(m, k, start) for m in nodes) >= stop:
                break
            if max(plan.row(m, k, start) + plan.axes[m][k].outputs for m in nodes) > first:
                due.append(start)
            roll.next += 1
        patches = (
            Patch(image, start) for row in due for image in range(*roll.images) for start in places(plan.starts, k, row)
        )
        waiting: deque[tuple[Patch, Callable[[], list[np.ndarray]]]] = deque()
        depth = 1 if self.shared else E.calls_under_way()
        for patch, block in self._read_ahead(patches, first):
            if block is None:
                continue
            if self.shared:  # a compiled function takes one call at a time
                with self._calls:
                    values = self.network.begin(self._func, block)()
                self._add(roll, patch, values)
                continue
            waiting.append((patch, self.network.begin(self._func, block)))
            while len(waiting) >= depth:
                done, finish = waiting.popleft()
                self._add(roll, done, finish())
        while waiting:
            done, finish = waiting.popleft()
            self._add(roll, done, finish())

    def _add(self, roll: Roll, patch: Patch, values: list[np.ndarray]) -> None:
        for m, (sums, found) in enumerate(zip(roll.sums, values, strict=True)):
            starts = [self.plan.row(m, k, start) for k, start in enumerate(patch.start)]
            sums.add(patch.image - roll.images[0], starts, found, self.weights[m])

    # ---- reading
    def _read_ahead(self, patches: Iterator[Patch], first: int) -> Iterator[tuple[Patch, np.ndarray | None]]:
        """Yield patches with their blocks, in order, while the next ones are read."""
        waiting: deque[tuple[Patch, Future[np.ndarray | None]]] = deque()
        with ThreadPoolExecutor(1, "neuromancer-patches") as reader:
            try:
                for patch in patches:
                    waiting.append((patch, reader.submit(self._block, patch, first)))
                    if len(waiting) > READ_AHEAD:
                        done, future = waiting.popleft()
                        yield done, self._result(done, future)
                while waiting:
                    done, future = waiting.popleft()
                    yield done, self._result(done, future)
            finally:
                for _, future in waiting:
                    future.cancel()

    @staticmethod
    def _result(patch: Patch, future: Future[np.ndarray | None]) -> np.ndarray | None:
        try:
            return future.result()
        except OSError as error:
            raise file_error("cannot be read", str(patch), error) from error

    def _block(self, patch: Patch, first: int) -> np.ndarray | None:
        """The patch in the units of the network, padded; None if it does not count."""
        if self.mask is not None and not self._is_needed(patch, first):
            return None
        plan = self.plan
        used = [axis.indices(a, a + n) for axis, a, n in zip(plan.image, patch.start, plan.window.patch, strict=True)]
        ranges = [(int(u[u >= 0].min()), int(u.max()) + 1) for u in used]
        image = (slice(patch.image + plan.first_image, patch.image + plan.first_image + 1),) if plan.stack else ()
        where = (slice(None), *image, *(slice(*r) for r in ranges))
        block = seen = np.asarray(unmasked(self.source[where], "image"))
        if self.skip_empty is not None and isinstance(self.source, ProcessedSource):
            seen = self.source.source[where]
        block = block[:, 0] if plan.stack else block
        if self._is_empty(seen):
            return None
        block = normalise(block, self.network.source.output.dtype)
        for k, (u, (low, _)) in enumerate(zip(used, ranges, strict=True)):
            if len(u) != block.shape[k + 1] or (np.diff(u) != 1).any():
                block = np.take(block, np.maximum(u - low, 0), axis=k + 1)
        for k, u in enumerate(used):
            if (u < 0).any():
                block[(slice(None),) * (k + 1) + (u < 0,)] = plan.window.padding_value
        return block

    def _is_needed(self, patch: Patch, first: int) -> bool:
        """Whether the mask holds a voxel that the patch contributes to, in rows that are not finished."""
        plan = self.plan
        for m, output in enumerate(plan.outputs):
            start = [plan.row(m, k, a) for k, a in enumerate(patch.start)]
            low = [max(a, first if k == plan.rolling else 0) for k, a in enumerate(start)]
            ends = zip(start, plan.axes[m], output.shape[plan.lead :], strict=True)
            high = [min(a + g.outputs, n) for a, g, n in ends]
            shape = tuple(max(0, b - a) for a, b in zip(low, high, strict=True))
            images = (patch.image, patch.image + 1)
            part = Tile(0, images, tuple(low), tuple(high), (shape,) * len(plan.outputs), (), (), ())
            inside = self._inside(part, m)
            if inside is not None and inside.any():
                return True
        return False
