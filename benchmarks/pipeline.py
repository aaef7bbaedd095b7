"""Does reading and writing cost time beside computing? Prediction from and to slow stores, against one in memory.

``python benchmarks/pipeline.py`` prints a table; ``benchmarks/scaling.py`` puts it into docs/scaling.md. Runs alternate
(in memory, slow store, in memory, ...); the table has medians, and the median of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

import neuromancer as nm  # noqa: E402

HEADER = (
    "| store | computing alone | I/O alone | both, overlapped | larger of the two | ratio | runs |\n"
    "|---|---|---|---|---|---|---|"
)
TILE = (32, 64, 64)


class Wire:
    """A connection that carries so many bytes per second, one transfer after the other."""

    def __init__(self, rate: float) -> None:
        self.rate, self.seconds, self._free, self._lock = rate, 0.0, 0.0, Lock()

    def carry(self, nbytes: int) -> None:
        """Return when these bytes are through."""
        with self._lock:
            self._free = max(self._free, time.perf_counter()) + nbytes / self.rate
            self.seconds += nbytes / self.rate
            ready = self._free
        time.sleep(max(0.0, ready - time.perf_counter()))


class SlowSource:
    """An image behind a wire."""

    chunks, voxel_size, unit, locator, offset = None, None, None, None, ()

    def __init__(self, array: np.ndarray, wire: Wire) -> None:
        self.array, self.wire = array, wire
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        block = self.array[where]
        self.wire.carry(block.nbytes)
        return block

    def fingerprint(self) -> str:
        return repr(self.shape)

    def close(self) -> None:
        return


class SlowSink:
    """A result behind a wire."""

    unit_of_write, exclusive, locator = None, True, None

    def __init__(self, shape: tuple[int, ...], wire: Wire) -> None:
        self.array, self.wire = np.zeros(shape, "uint8"), wire
        self.shape, self.dtype = shape, self.array.dtype

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        self.wire.carry(values.nbytes)
        self.array[where] = values

    def flush(self) -> None:
        return

    def fingerprint(self) -> str:
        return repr(self.shape)

    def close(self) -> None:
        return


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def network() -> Any:
    """A small network with strides (1, 2, 2)."""
    nm.seed(1)
    node: Any = nm.Input((None, 1, 8, 24, 24), "b,f,z,y,x", print_repr=False)
    node = nm.Conv(node, 16, (1, 3, 3), (1, 2, 2), print_repr=False)
    node = nm.Conv(node, 24, (3, 3, 3), print_repr=False)
    return nm.Softmax(nm.Conv(node, 2, (1, 1, 1), activation_func="lin", print_repr=False), print_repr=False)


def row(name: str, share: float, image: np.ndarray, runs: int) -> str:
    """Table line of a store that needs `share` of the time that computing takes."""
    node = network()
    options: dict[str, Any] = {"tile": TILE, "as_uint8": True, "progress": False}
    want = node.predict_dense(image, **options)
    moved = want.nbytes
    plan = node.plan_dense(image, tile=TILE, as_uint8=True)
    for tile in map(plan.tile, plan.indices()):
        moved += int(np.prod([b - a for a, b in zip(tile.raw_start, tile.raw_stop, strict=True)]))
    warm = [timed(lambda: node.predict_dense(image, **options)) for _ in range(3)]
    rate = moved / (share * min(warm))
    alone, both, wires, ratios = [], [], [], []
    for _ in range(runs):
        alone.append(timed(lambda: node.predict_dense(image, **options)))
        wire = Wire(rate)
        sink = SlowSink(want.shape, wire)
        source = SlowSource(image, wire)
        both.append(timed(partial(node.predict_dense, source, out=sink, **options)))
        if (sink.array != want).any():
            raise SystemExit(f"{name}: another result")
        wires.append(wire.seconds)
        ratios.append(both[-1] / max(alone[-1], wires[-1]))
    middle = [float(np.median(v)) for v in (alone, wires, both, np.maximum(alone, wires), ratios)]
    return "| {} | {:.2f} s | {:.2f} s | {:.2f} s | {:.2f} s | **{:.2f}** | {} |".format(name, *middle, runs)


def table(quick: bool) -> list[str]:
    """All lines, printed as they come."""
    image = np.random.default_rng(0).integers(0, 256, (1, *((36, 104, 104) if quick else (194, 264, 264))), "uint8")
    lines = [HEADER]
    print(HEADER, flush=True)
    for name, share in (("fast: half the computing time", 0.5), ("slow: three times the computing time", 3.0)):
        lines.append(row(name, share, image, 1 if quick else 5))
        print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small image, single runs")
    table(parser.parse_args().quick)
