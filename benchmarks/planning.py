"""Compare the times and the memory that plans predict with what is measured.

``python benchmarks/planning.py`` prints two tables: times by tile size, and time and peak memory of several kinds of
networks, each in a process of its own. ``benchmarks/dense.py --write`` adds the first to its page.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import against_torch as common
import neuro3d
import numpy as np
import unet3d_lite
from published import n4

import neuromancer as nm

HEADER = "| network | result | tile | overlap | predicted | measured |\n|---|---|---|---|---|---|"
KINDS = "| network | image | predicted | measured | ratio | planned memory | used | ratio |\n" + 8 * "|---" + "|"
QUIET: dict[str, Any] = {"print_repr": False}
RUNS = 3


def cases(quick: bool) -> list[tuple[str, nm.Node, tuple[int, ...]]]:
    """Return the networks whose tiles are varied: (name, node, image shape)."""
    return [
        ("neuro3d", neuro3d.create_model((15, 105, 105))["probs"], (15, 110, 110) if quick else (24, 168, 168)),
        ("N4", n4(), (120, 120) if quick else (300, 300)),
        ("unet3d_lite", unet3d_lite.create_model()["probs"], (40, 140, 140) if quick else (60, 200, 200)),
    ]


# ---- kinds of networks
def _input(ndim: int, size: int) -> nm.Node:
    return nm.Input((None, 1, *(size,) * ndim), "b,f," + ",".join("zyx"[-ndim:]), **QUIET)


def meshnet(features: int) -> nm.Node:
    """Few features, dilations up to 8, zero-padded (Fedorov et al. 2017, arXiv:1612.00940)."""
    node = _input(3, 64)
    for d in (1, 2, 4, 8, 4, 2, 1):
        node = nm.Conv(node, features, (3, 3, 3), dilation=(d,) * 3, conv_mode="same", **QUIET)
    return nm.Conv(node, 3, (1, 1, 1), activation_func="lin", **QUIET)


def unet(ndim: int, widths: tuple[int, ...]) -> nm.Node:
    """A zero-padded U-Net."""

    def twice(node: nm.Node, features: int) -> nm.Node:
        for _ in range(2):
            node = nm.Conv(node, features, (3,) * ndim, conv_mode="same", **QUIET)
        return node

    node, skips = _input(ndim, 32), list[nm.Node]()
    for features in widths:
        node = twice(nm.Pool(node, (2,) * ndim, **QUIET) if skips else node, features)
        skips.append(node)
    for features, skip in list(zip(widths, skips, strict=True))[-2::-1]:
        node = twice(nm.UpConvMerge(skip, node, features, **QUIET), features)
    return nm.Conv(node, 2, (1,) * ndim, activation_func="lin", **QUIET)


def normalised() -> nm.Node:
    """Statistics of the whole image."""
    node: nm.Node = nm.Input((None, 1, None, None, None), "b,f,z,y,x", **QUIET)
    for features in (16, 32):
        node = nm.Conv(node, features, (3, 3, 3), conv_mode="same", activation_func="lin", **QUIET)
        node = nm.Activation(nm.InstanceNorm(node, **QUIET), "relu", **QUIET)
    return nm.Conv(node, 2, (1, 1, 1), activation_func="lin", **QUIET)


def own_functions() -> nm.Node:
    """Functions that are the user's own."""
    node: nm.Node = nm.Conv(_input(3, 32), 16, (3, 3, 3), activation_func="tanh", **QUIET)
    node = nm.ApplyFunc(nm.ApplyFunc(node, nm.T.tanh), lambda v: v * v + 0.5 * v)
    return nm.Conv(node, 4, (3, 3, 3), **QUIET)


NETWORKS: dict[str, tuple[Callable[[], nm.Node], tuple[int, ...], dict[str, Any]]] = {
    "neuro3d": (lambda: neuro3d.create_model((15, 105, 105))["probs"], (24, 150, 150), {}),
    "N4": (n4, (300, 300), {}),
    "unet3d_lite": (lambda: unet3d_lite.create_model()["probs"], (60, 180, 180), {}),
    "MeshNet, 5 features": (lambda: meshnet(5), (128, 128, 128), {}),
    "MeshNet, 20 features": (lambda: meshnet(20), (96, 96, 96), {}),
    "U-Net 3-D, 16 to 64": (lambda: unet(3, (16, 32, 64)), (64, 128, 128), {}),
    "U-Net 2-D, 32 to 128": (lambda: unet(2, (32, 64, 128)), (768, 768), {}),
    "instance norm, whole": (normalised, (64, 128, 128), {"statistics": "volume"}),
    "instance norm, passes": (normalised, (64, 128, 128), {"statistics": "volume", "memory": "200MB"}),
    "own functions": (own_functions, (64, 128, 128), {}),
}
"""Name -> network, image shape, options."""


SMALL = {"neuro3d": (15, 108, 108), "N4": (110, 110), "unet3d_lite": (40, 140, 140)}
"""Images for networks with large fields of view, to begin with."""


def _status(key: str) -> int:
    """Return a number of bytes from the status of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def one(name: str) -> str:
    """Return the row of a network, measured in this process; of a single thread, the time of the processor counts."""
    make, shape, options = NETWORKS[name]
    clock = time.thread_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter
    node, raw = make(), np.random.default_rng(0).random((1, *shape)).astype("float32")
    small = SMALL.get(name, tuple(max(n // 3, 100 if len(shape) == 2 else 40) for n in shape))
    node.predict_dense(raw[(slice(None), *map(slice, small))], progress=False, **options)  # loads libraries
    Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here on
    before = _status("VmRSS")
    result = node.predict_dense(raw, progress=False, **options)
    plan, used = node.plan_dense(raw, **options), _status("VmHWM") - before - result.nbytes
    times = []
    for _ in range(RUNS):
        start = clock()
        node.predict_dense(raw, progress=False, **options)
        times.append(clock() - start)
    took, size = min(times), "x".join(map(str, shape))
    return (
        f"| {name} | {size} | {plan.seconds():.2f} s | {took:.2f} s | {plan.seconds() / took:.2f} "
        f"| {plan.memory / 1e6:.0f} MB | {used / 1e6:.0f} MB | {plan.memory / used:.2f} |"
    )


# ---- tiles
def measure(quick: bool) -> tuple[list[str], float]:
    """Return the table rows, and the rank correlation of predicted and measured times, averaged over networks."""
    rows, ranks = [], []
    for name, node, shape in cases(quick):
        raw = np.zeros((1, *shape), "float32")
        whole = node.plan_dense(raw)
        parts = (1, 2) if quick else (1, 2, 3)
        tiles = dict.fromkeys(tuple(ceil(n / k) for n in whole.tile_shape[1:]) for k in parts)
        times: dict[tuple[int, ...], list[float]] = {tile: [] for tile in tiles}
        for run in range(2 if quick else 4):
            for tile in tiles:
                seconds = common.timed(partial(node.predict_dense, raw, tile=tile, progress=False))
                if run:  # the first run is a warm-up: it loads libraries and compiles
                    times[tile].append(seconds)
        plans = {tile: node.plan_dense(raw, tile=tile) for tile in tiles}
        predicted = [plans[tile].seconds() for tile in tiles]
        measured = [float(np.median(times[tile])) for tile in tiles]
        ranks.append(float(np.corrcoef(np.argsort(np.argsort(predicted)), np.argsort(np.argsort(measured)))[0, 1]))
        for tile, p, m in zip(tiles, predicted, measured, strict=True):
            size = lambda values: "x".join(map(str, values))  # noqa: E731
            result, overlap = size(plans[tile].extent[1:]), f"{plans[tile].overlap:.0%}"
            rows.append(f"| {name} | {result} | {size(tile)} | {overlap} | {p:.2f} s | {m:.2f} s |")
            print(rows[-1], flush=True)
    return rows, float(np.mean(ranks))


def main() -> None:
    """Run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small volumes, single runs")
    parser.add_argument("--network", choices=NETWORKS, help="print the row of one network only")
    parser.add_argument("--plan", action="store_true", help="only measure the machine, as far as the plan needs it")
    args = parser.parse_args()
    if args.network and args.plan:
        make, shape, options = NETWORKS[args.network]
        make().plan_dense(np.zeros((1, *shape), "float32"), **options)
        return
    if args.network:
        print(one(args.network))
        return
    print(KINDS, flush=True)
    for name in NETWORKS:
        for rest in (["--plan"], []):
            subprocess.run([sys.executable, __file__, "--network", name, *rest], check=True)
    print(f"\n{HEADER}", flush=True)
    print(f"rank correlation {measure(args.quick)[1]:.2f}")


if __name__ == "__main__":
    main()
