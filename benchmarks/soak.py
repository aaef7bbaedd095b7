"""Kill predictions at random times, resume them, and compare every byte with an uninterrupted run.

``python benchmarks/soak.py --kills 300`` does so for zarr, HDF5 and .npy and prints a table for docs/reliability.md.
Half of the kills come after a random time, half in the middle of a write, when part of a tile is in the store.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import neuromancer as nm
from neuromancer.dense import pipeline
from neuromancer.dense.result_stores import ResultStores

STORES = {"zarr": "result.zarr", "sharded zarr": "sharded.zarr", "HDF5": "result.h5:/values", "npy": "result.npy"}
OPTIONS: dict[str, dict[str, Any]] = {"sharded zarr": {"chunks": (2, 4, 4, 4), "shards": (2, 4, 8, 8)}}
TILE = (4, 8, 8)


class Deadly:
    """Sink that kills its process in the middle of the n-th write, and is as slow as a real store in others."""

    def __init__(self, sink: Any, fatal: int) -> None:
        self._sink, self._left = sink, fatal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def __setitem__(self, where: tuple[slice, ...], values: np.ndarray) -> None:
        self._left -= 1
        if self._left == 0:
            half = values.shape[-1] // 2
            last = where[-1]
            self._sink[(*where[:-1], slice(last.start, last.start + half))] = values[..., :half]
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)
        self._sink[where] = values


def network() -> Any:
    """Build a small network with the same weights in every run."""
    nm.seed(1)
    node: Any = nm.Input((None, 1, 6, 10, 10), "b,f,z,y,x", print_repr=False)
    node = nm.Conv(node, 3, (2, 3, 3), (1, 2, 2), print_repr=False)
    return nm.Softmax(nm.Conv(node, 2, (2, 2, 2), activation_func="lin", print_repr=False), print_repr=False)


def child(node: Any, raw: str, out: str, store: str, fatal: int) -> None:
    """Resume the prediction in a forked process and exit; never returns."""
    make = ResultStores.sink

    def deadly(*args: Any, **kwargs: Any) -> Any:
        return Deadly(make(*args, **kwargs), fatal)

    status = 1
    try:
        pipeline.COMMIT_TILES = 3
        ResultStores.sink = deadly  # type: ignore[method-assign]
        options = OPTIONS.get(store, {"chunks": (2, 4, 8, 8)} if store != "npy" else {})
        node.predict_dense(raw, out=out, tile=TILE, resume=True, store=options, progress=False)
        status = 0
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        os._exit(status)


def contents(out: str) -> np.ndarray:
    """Read the values of a finished prediction."""
    from neuromancer.volumes import open_source

    source = open_source(out)
    try:
        return source[tuple(slice(0, n) for n in source.shape)]
    finally:
        source.close()


def soak(store: str, kills: int, seed: int, folder: Path) -> tuple[int, int, int]:
    """Kill and resume predictions into a store until the number of kills is reached.

    Returns
    -------
    tuple of int
        Kills, finished predictions, and the number of those that differ from an uninterrupted one.
    """
    rng = np.random.default_rng(seed)
    node = network()
    image = rng.integers(0, 255, (1, 20, 48, 48)).astype("uint8")
    raw = folder / "raw.npy"
    np.save(raw, image)
    want = node.predict_dense(image, tile=TILE)
    tiles = node.plan_dense(image, tile=TILE).count
    done = finished = different = turn = 0
    while done < kills:
        turn += 1
        (folder / str(turn)).mkdir()
        out = str(folder / str(turn) / STORES[store])
        while True:
            in_write = rng.random() < 0.5
            fatal = int(rng.integers(1, tiles)) if in_write and done < kills else 0
            pid = os.fork()
            if pid == 0:
                child(node, str(raw), out, store, fatal)
            if not in_write and done < kills:
                time.sleep(float(rng.uniform(0, 0.5)))
                os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            if os.WIFSIGNALED(status):
                done += 1
            elif os.WEXITSTATUS(status):
                raise SystemExit(f"{store}: resuming failed after {done} kills")
            else:
                break
        finished += 1
        different += contents(out).tobytes() != want.tobytes()
    return done, finished, different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300, help="number of kills per store (default: %(default)s)")
    parser.add_argument("--stores", nargs="+", default=list(STORES), choices=list(STORES))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bad = 0
    print("| store | kills | finished predictions | different from an uninterrupted one | seconds |")
    print("|---|---|---|---|---|")
    for store in args.stores:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            done, finished, different = soak(store, args.kills, args.seed, Path(folder))
        print(f"| {store} | {done} | {finished} | {different} | {time.perf_counter() - start:.0f} |", flush=True)
        bad += different
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
