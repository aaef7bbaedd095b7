"""Time and memory of predictions by the size of the volume: 1, 10 and 100 GB, and on paper 1 PB.

``python benchmarks/scaling.py --write docs/scaling.md`` writes the page (ten minutes on two cores); ``--quick`` only
proves that everything runs. Every line is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from math import ceil, prod
from pathlib import Path
from typing import Any

import common
import demo_nuclei
import neuro3d
import numpy as np
import pipeline

import neuromancer as nm
from neuromancer.dense.resume import RECORD

BUDGET = 1e9
BRIGHT = (128, 512, 512)
"""Voxels of a volume that are not 0: the work that is left where empty tiles are skipped."""
SIZES = {"1 GB": (1000, 1000, 1000), "10 GB": (2000, 2000, 2500), "100 GB": (4000, 5000, 5000)}
QUICK = {"10 MB": (100, 250, 400), "100 MB": (250, 500, 800)}
PETABYTE = (100_000, 100_000, 100_000)
DAYS = 30


class Sky:
    """A volume that is computed when it is read: dark, with a bright corner."""

    voxel_size, unit, locator, offset, chunks = None, None, None, (), (1, 64, 128, 128)

    def __init__(self, spatial: tuple[int, ...]) -> None:
        self.shape, self.dtype = (1, *spatial), np.dtype("uint8")

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        block = np.zeros([s.stop - s.start for s in where], "uint8")
        ends = [max(0, min(s.stop, n) - s.start) for s, n in zip(where[1:], BRIGHT, strict=True)]
        if min(ends) > 0:
            z, y, x = (np.arange(s.start, s.start + n) for s, n in zip(where[1:], ends, strict=True))
            values = 1 + (z[:, None, None] * 31 + y[:, None] * 17 + x * 7) % 250
            block[0, : ends[0], : ends[1], : ends[2]] = values
        return block

    def fingerprint(self) -> str:
        return f"sky {self.shape}"

    def close(self) -> None:
        return


def cheap() -> Any:
    """As cheap as a network with strides can be."""
    nm.seed(1)
    node: Any = nm.Input((None, 1, 4, 12, 12), "b,f,z,y,x", print_repr=False)
    node = nm.Conv(node, 2, (1, 3, 3), (1, 2, 2), print_repr=False)
    return nm.Conv(node, 1, (2, 1, 1), activation_func="sig", print_repr=False)


def measure(spatial: tuple[int, ...], skip: bool) -> dict[str, float]:
    """Predict a volume in this process."""
    node = cheap()
    node.predict_dense(np.zeros((1, 8, 30, 30), "uint8"), progress=False)
    before = common.peak_memory()
    options: dict[str, Any] = {"memory": BUDGET, "as_uint8": True, "pad_raw": True}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.zarr"
        start = time.perf_counter()
        node.predict_dense(Sky(spatial), out=out, skip_empty=0 if skip else None, progress=False, **options)
        seconds = time.perf_counter() - start
        peak = common.peak_memory()
        stored = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
        tiles = json.loads((Path(folder) / "out.zarr.progress" / "run.json").read_text())["tiles"]
    return {"seconds": seconds, "before": before, "peak": peak, "stored": stored / 1e6, "tiles": tiles}


HEADER = (
    "| volume | voxels | evaluated | tiles | time | voxels/s | peak memory | before the run | result on disk |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def line(name: str, spatial: tuple[int, ...], skip: bool) -> str:
    """Table line of a volume, measured in a new process."""
    command = (__file__, "--one", ",".join(map(str, spatial)), *(["--skip"] if skip else []))
    found = json.loads(common.child(*command).splitlines()[-1])
    voxels = prod(spatial)
    return (
        f"| {name} | {' × '.join(map(str, spatial))} | {'bright corner' if skip else 'all'} | {found['tiles']:,} "
        f"| {found['seconds']:.1f} s | {voxels / found['seconds'] / 1e6:.0f} million | {found['peak']:.2f} GB "
        f"| {found['before']:.2f} GB | {found['stored']:.1f} MB |"
    )


PAPER = (
    "| network | voxels/s, one worker | workers for 30 days | total I/O | read per voxel | tiles "
    "| journal | planning time |\n|---|---|---|---|---|---|---|---|"
)


def paper(name: str, node: Any, spatial: tuple[int, ...]) -> str:
    """Table line of a petabyte, from a measured speed."""
    raw = np.random.default_rng(0).integers(0, 256, (1, *spatial), "uint8")
    reduce = [node.shape["f"] - 1, "uint8"]
    node.predict_dense(raw, reduce=reduce, progress=False)
    times = [common.timed(lambda: node.predict_dense(raw, reduce=reduce, progress=False)) for _ in range(3)]
    out = [n - f + 1 for n, f in zip(spatial, node.shape.fov, strict=True)]
    # The speed of tiles as large as they will be: borders are computed with them, by the share that the plans say.
    start = time.perf_counter()
    plan = node.plan_dense((1, *PETABYTE), memory="8GB", chunks=(1, 64, 128, 128), reduce=reduce)
    planning = time.perf_counter() - start
    small = node.plan_dense(raw, reduce=reduce)
    work = (plan.seconds() / prod(plan.extent)) / (small.seconds() / prod(out))
    speed = prod(out) / float(np.median(times)) / work
    workers = prod(PETABYTE) / speed / (DAYS * 86400)
    tile = plan.tile(plan.count // 2)
    fed = prod(b - a for a, b in zip(tile.raw_start, tile.raw_stop, strict=True)) / prod(plan.tile_shape)
    both = prod(PETABYTE) * (1 + fed) / (DAYS * 86400)
    records = min(plan.count, workers * DAYS * 86400 / 5)
    return (
        f"| {name} | {speed / 1e3:,.0f} thousand | {ceil(workers):,} | {both / 1e9:.2f} GB/s | {fed:.2f} "
        f"| {plan.count:,} | {records * RECORD.size / 1e6:,.0f} MB at most | {planning * 1e3:.0f} ms |"
    )


def estimates(quick: bool) -> list[str]:
    """Lines of the table of a petabyte."""
    nm.model_manager.newmodel("estimates")
    nodes: list[tuple[str, Any, tuple[int, ...]]] = [
        ("one convolution and a pool (as above)", cheap(), (64, 258, 258)),
        ("`demo_nuclei.py`, 0.1 million parameters", demo_nuclei.build()["probs"], (40, 164, 164)),
        ("`neuro3d.py`, 2.8 million parameters", neuro3d.create_model((23, 185, 185))["probs"], (31, 201, 201)),
    ]
    lines = [PAPER]
    print(PAPER, flush=True)
    for name, node, spatial in nodes[: 1 if quick else None]:
        lines.append(paper(name, node, spatial))
        print(lines[-1], flush=True)
    return lines


PAGE = """# Scaling

Written by `benchmarks/scaling.py`. {machine}

## Time and memory by volume size

A synthetic 8-bit volume, generated when it is read, is predicted into a zarr with `memory="1GB"`. It is 0 except for a
corner of {bright} voxels, and `skip_empty=0` skips the empty tiles. What remains is planning, reading, and
writing chunks that take no space. The last row evaluates every voxel, with a network of one pooled convolution.

{sizes}

Time grows with the volume; memory does not. It stays below the budget plus what the process uses before it starts
(interpreter, torch, compiled network).

## Overlap of I/O and computing

The store is simulated with a limited bandwidth. "Computing alone" runs the same tiles from memory to memory. Runs
alternate; the table gives medians, and the median of the ratios of neighbouring runs. With perfect overlap, the time of
both equals the larger of the two.

{hiding}

The overhead per tile is about 0.4 ms (measured with tiles of 2 ms). It matters only for small tiles of small networks.

## A petabyte, on paper

Input: 100 000 voxels along each axis, 8 bits. Result: one channel of 8 bits. Time: {days} days. Workers are like this
machine. Their speed is measured with small volumes in memory and corrected for the halos of the tiles at
`memory="8GB"`. Assumptions: workers never wait for one another (they share only the store), the store has bandwidth for
all of them, and no shard is much slower than others.

{paper}

"Read per voxel" counts the halos of tiles, without caching. The journal gets 20 bytes per run of tiles, at most every 5
seconds, in one file per worker. The number of chunks is a separate problem: at 64 × 128 × 128 voxels there are about a
billion, each in its own file. `shards=True` puts up to 64 chunks into one file, but a tile then needs that much more
memory.
"""


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small volumes, single runs")
    parser.add_argument("--write", type=Path, help="Markdown page to write")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--skip", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(tuple(map(int, args.one.split(","))), args.skip)))
        return
    sizes = [HEADER]
    print(HEADER, flush=True)
    wanted = QUICK if args.quick else SIZES
    for name, spatial, skip in [*((n, s, True) for n, s in wanted.items()), (*next(iter(wanted.items())), False)]:
        sizes.append(line(name, spatial, skip))
        print(sizes[-1], flush=True)
    hiding, on_paper = pipeline.table(args.quick), estimates(args.quick)
    if args.write:
        tables = {"sizes": sizes, "hiding": hiding, "paper": on_paper}
        text = {key: "\n".join(lines) for key, lines in tables.items()}
        bright = " × ".join(map(str, BRIGHT))
        args.write.write_text(PAGE.format(machine=common.machine(), bright=bright, days=DAYS, **text))
        print(f"wrote {args.write}")


if __name__ == "__main__":
    main()
