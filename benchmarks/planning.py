"""Compare the time that plans predict with the measured time, by tile size.

``python benchmarks/planning.py`` prints the table; ``benchmarks/dense.py --write`` adds it to its page. Memory is
compared in ``tests/dense/test_memory.py``.
"""

from __future__ import annotations

import argparse
from functools import partial
from math import ceil

import against_torch as common
import neuro3d
import numpy as np
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
            size = lambda values: "x".join(map(str, values))  # noqa: E731
            result, overlap = size(plans[tile].extent[1:]), f"{plans[tile].overlap:.0%}"
            rows.append(f"| {name} | {result} | {size(tile)} | {overlap} | {p:.2f} s | {m:.2f} s |")
            print(rows[-1], flush=True)
    return rows, float(np.mean(ranks))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small volumes, single runs")
    args = parser.parse_args()
    print(HEADER, flush=True)
    print(f"rank correlation {measure(args.quick)[1]:.2f}")


if __name__ == "__main__":
    main()
