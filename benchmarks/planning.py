"""Compare the time that plans predict with the measured time, by tile size, and draw time and memory by size.

``python benchmarks/planning.py`` prints the table; ``--write`` writes a section of the page and makes its picture.
Memory is compared in ``tests/dense/test_memory.py``.
"""

from __future__ import annotations

import argparse
from functools import partial
from math import ceil
from pathlib import Path

import common
import neuro3d
import numpy as np
import page
import unet3d_lite
from published import n4

import neuromancer as nm

HEADER = "| network | result | tile | overlap | predicted | measured |\n|---|---|---|---|---|---|"


def cases(quick: bool) -> list[tuple[str, nm.Node, tuple[int, ...]]]:
    """Return the measured networks: (name, node, image shape)."""
    return [
        ("neuro3d", neuro3d.create_model((15, 105, 105))["probs"], (15, 110, 110) if quick else (24, 168, 168)),
        ("N4", n4(), (120, 120) if quick else (300, 300)),
        ("unet3d_lite", unet3d_lite.create_model()["probs"], (40, 140, 140) if quick else (60, 200, 200)),
    ]


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


NOTE = """`node.plan_dense(shape)` predicts the time from one short measurement of the machine. The first tile of each
network is the one the planner chooses; smaller tiles recompute more overlap. Rank correlation of predicted and measured
times: {correlation:.2f}.
"""
CAPTION = """![Time and memory by volume and by tile](images/dense_growth.png)

Left: time grows with the number of voxels. So does memory, up to the limit for tiles, which is half of the free memory
(each of these volumes is one tile). Right: smaller tiles need less memory but recompute more of their halos.
[scaling.md](scaling.md) continues to 100 GB with a fixed memory budget.
"""


def main() -> None:
    """Run the benchmark, print the table, and write the section if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small volumes, single runs")
    parser.add_argument("--write", type=Path, help="Markdown page whose section to write")
    parser.add_argument("--growth", type=int, nargs=2, metavar=("SIDE", "TILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.growth:
        print(*growth(*args.growth))
        return
    if args.quick and args.write:
        parser.error("numbers of a quick run are not worth a page")
    print(HEADER, flush=True)
    rows, correlation = measure(args.quick)
    print(f"rank correlation {correlation:.2f}")
    if args.write:
        picture(args.write.parent / "images" / "dense_growth.png", (16, 24, 32, 48, 64), (48, 96, 192))
        note, table = NOTE.format(correlation=correlation).strip(), "\n".join([HEADER, *rows])
        page.write(args.write, "Plans", "\n\n".join([note, common.machine(), table, CAPTION]))


if __name__ == "__main__":
    main()
