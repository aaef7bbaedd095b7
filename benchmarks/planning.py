"""Compare the times and the memory that plans predict with what is measured.

``python benchmarks/planning.py`` prints two tables: time and peak memory of several kinds of networks, each in a
process of its own, and times by tile size; ``--write`` writes a section of the page and makes its picture.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import common
import neuro3d
import numpy as np
import page
import unet3d_lite
from published import n4

import neuromancer as nm
from neuromancer.dense.memory import return_free_memory

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

    node = _input(ndim, 32)
    skips: list[nm.Node] = []
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
    raw = np.random.default_rng(0).random((1, *shape)).astype("float32")
    small = SMALL.get(name, tuple(max(n // 3, 100 if len(shape) == 2 else 40) for n in shape))
    # another one like it, so that libraries and machine code are loaded, but no kernel of the network is transformed
    make().predict_dense(raw[(slice(None), *map(slice, small))], progress=False, **options)
    for model in list(nm.model_manager):
        nm.model_manager.delmodel(model)
    gc.collect()
    return_free_memory()
    node = make()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here on
    before = _status("VmRSS")
    result = node.predict_dense(raw, progress=False, **options)
    plan, used = node.plan_dense(raw, **options), _status("VmHWM") - before - result.nbytes
    times = []
    for _ in range(RUNS):
        return_free_memory()  # as a plan cannot know what earlier runs left
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
                return_free_memory()
                seconds = common.timed(partial(node.predict_dense, raw, tile=tile, progress=False))
                if run:  # the first run is a warm-up: it loads libraries and compiles
                    times[tile].append(seconds)
        plans = {tile: node.plan_dense(raw, tile=tile) for tile in tiles}
        predicted = [plans[tile].seconds() for tile in tiles]
        measured = [float(np.median(times[tile])) for tile in tiles]
        ranks.append(float(np.corrcoef(np.argsort(np.argsort(predicted)), np.argsort(np.argsort(measured)))[0, 1]))
        for tile, p, m in zip(tiles, predicted, measured, strict=True):
            result, overlap = common.by_x(plans[tile].extent[1:]), f"{plans[tile].overlap:.0%}"
            rows.append(f"| {name} | {result} | {common.by_x(tile)} | {overlap} | {p:.2f} s | {m:.2f} s |")
            print(rows[-1], flush=True)
    return rows, float(np.mean(ranks))


def growth(side: int, tile: int) -> tuple[float, float, float]:
    """Seconds, voxels and peak memory in GB of this process, which predicts a volume, possibly in tiles of a size."""
    model = neuro3d.create_model((15, 105, 105))
    node = model["probs"]
    shape = (side, 104 + 4 * side, 104 + 4 * side)
    raw = np.zeros((1, *shape), "float32")
    cut = (max(1, tile // 4), tile, tile) if tile else None
    node.predict_dense(raw[:, :20, :120, :120], progress=False)  # loads and compiles
    before = common.resident_memory()
    seconds = common.timed(lambda: node.predict_dense(raw, tile=cut, progress=False))
    return seconds, float(np.prod(cut if cut else shape)), common.peak_memory() - before


def picture(path: Path, sides: tuple[int, ...], tiles: tuple[int, ...]) -> None:
    """Time and memory by the size of the volume and of the tile, each point a process of its own."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for left, what, cases in (
        (axes[0], "volume", [(side, 0) for side in sides]),
        (axes[1], "tile", [(48, tile) for tile in tiles]),
    ):
        points = []
        for side, tile in cases:
            found = common.child(__file__, "--growth", str(side), str(tile)).split()
            points.append([float(v) for v in found])
            print(what, side, tile, points[-1], flush=True)
        seconds, voxels, memory = np.array(points).T
        left.loglog(voxels, seconds, "o-", color="tab:blue")
        left.set_xlabel(f"voxels of the {what}")
        left.set_ylabel("seconds", color="tab:blue")
        right = left.twinx()
        right.loglog(voxels, memory, "s--", color="tab:red")
        right.set_ylabel("memory for it at the peak (GB)", color="tab:red")
        right.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_title("neuro3d, tiles as planned")
    axes[1].set_title("neuro3d, 48 × 296 × 296, tiles given")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


NOTE = """`node.plan_dense(shape)` predicts the time from the measured speed of the machine. Memory of earlier runs is
returned before each. The first tile of each network is the one the planner chooses; smaller tiles recompute more
overlap. Rank correlation of predicted and measured times: {correlation:.2f}.
"""
CAPTION = """![Time and memory by volume and by tile](images/dense_growth.png)

Left: time grows with the number of voxels. So does memory, up to the limit for tiles, which is half of the free memory
(each of these volumes is one tile). Right: smaller tiles need less memory but recompute more of their halos.
[scaling.md](scaling.md) continues to 100 GB with a fixed memory budget.
"""


def main() -> None:
    """Run the benchmark, print the tables, and write the section if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small volumes, single runs")
    parser.add_argument("--write", type=Path, help="Markdown page whose section to write")
    parser.add_argument("--network", choices=NETWORKS, help="print the row of one network only")
    parser.add_argument("--growth", type=int, nargs=2, metavar=("SIDE", "TILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.growth:
        print(*growth(*args.growth))
        return
    if args.network:
        print(one(args.network))
        return
    if args.quick and args.write:
        parser.error("numbers of a quick run are not worth a page")
    kinds = [] if args.quick else [common.child(__file__, "--network", name).strip() for name in NETWORKS]
    print("\n".join([KINDS.strip(), *kinds]), flush=True)
    print(HEADER, flush=True)
    rows, correlation = measure(args.quick)
    print(f"rank correlation {correlation:.2f}")
    if args.write:
        picture(args.write.parent / "images" / "dense_growth.png", (16, 24, 32, 48, 64), (48, 96, 192))
        note, table = NOTE.format(correlation=correlation).strip(), "\n".join([HEADER, *rows])
        networks = "\n".join([KINDS.strip(), *kinds])
        page.write(args.write, "Plans", "\n\n".join([note, common.machine(), table, networks, CAPTION]))


if __name__ == "__main__":
    main()
