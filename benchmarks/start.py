"""Measure how long one waits: for the import, the commands, and first calls; ``--write`` adds a section to the page.

Every number but the patches' comes from new processes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import common
import neuro3d
import numpy as np
import page
import torch
from contest import Contest, contest, header
from hand_written import Chain, weights_of

import neuromancer as nm

CHILD = """
import sys, time
sys.path[:0] = {path!r}
import numpy as np
import {module}
{build}
start = time.perf_counter()
{call}
print(time.perf_counter() - start)
"""
DENSE = {
    "module": "neuro3d",
    "build": 'probs = neuro3d.create_model((15, 105, 105))["probs"]; raw = np.zeros((1, {shape}), "float32")',
    "call": "probs.predict_dense(raw, progress=False)",
}


def peer_of(model: nm.Model, memory_format: torch.memory_format = torch.channels_last_3d) -> Chain:
    """Return `neuro3d` by hand, with the weights of a model."""
    pools = [pool or (1, 1, 1) for _, _, pool in neuro3d.LAYERS] + [(1, 1, 1)]
    return Chain(weights_of(model), pools, memory_format=memory_format)


def processes(folder: Path, runs: int) -> list[tuple[str, Contest]]:
    """Return the rows of commands and of the import, beside ``import torch``."""
    model = folder / "neuro3d.h5"
    neuro3d.create_model((15, 105, 105), "stored").save(str(model))
    command = "from neuromancer.commands.start import volumes; volumes()"
    works = {
        "`import neuromancer`": ("import neuromancer",),
        "`from neuromancer import Input`, which imports torch and the engine": ("from neuromancer import Input",),
        "`neuromancer --version`": (command, "--version"),
        "`neuromancer --help`": (command, "--help"),
        "`neuromancer info neuro3d.h5`": (command, "info", str(model)),
    }
    nothing = lambda work: np.array([len(str(work())) * 0.0 + 1])  # noqa: E731
    rows = []
    for name, (code, *arguments) in works.items():
        run = partial(common.child, "-c", code, *arguments)
        peer = {"`import torch`": lambda: partial(common.child, "-c", "import torch")}
        rows.append((name, contest(name, run, peer, most=60 if runs > 1 else 0, runs=runs, probe=nothing)))
    return rows


def first_dense(shape: tuple[int, ...], runs: int) -> str:
    """Return the line of the first dense prediction of a process."""
    build = DENSE["build"].format(shape=", ".join(map(str, shape)))
    code = CHILD.format(path=[str(common.ROOT), str(common.ROOT / "examples")], **DENSE | {"build": build})
    times = [float(common.child("-c", code).split()[-1]) for _ in range(runs)]
    time_of_call = common.seconds(float(np.median(times)))
    line = f"| first dense call of a process, {common.by_x(shape)} | {time_of_call} | {runs} |"
    print(line, flush=True)
    return line


def calls(patch: tuple[int, int, int], runs: int) -> list[tuple[str, Contest]]:
    """Return the rows of one process: building a network and calling it once, and later calls."""
    nm.seed(1)
    model = neuro3d.create_model(patch)
    x = np.random.default_rng(1).random((1, 1, *patch), dtype="float32")

    def build() -> np.ndarray:
        name = f"first call {time.perf_counter_ns()}"
        nm.seed(1)
        result = neuro3d.create_model(patch, name)["probs"](x)
        nm.model_manager.delmodel(name)
        return result

    def built(memory_format: torch.memory_format) -> Callable[[], np.ndarray]:
        return lambda: peer_of(model, memory_format).predict(x)

    def ready(memory_format: torch.memory_format) -> Callable[[], np.ndarray]:
        return partial(peer_of(model, memory_format).predict, x)

    names = {"torch": torch.contiguous_format, "torch, channels last": torch.channels_last_3d}
    most = 40 if runs > 1 else 0
    size = common.by_x(patch)
    first = {name: partial(built, layout) for name, layout in names.items()}
    later = {name: partial(ready, layout) for name, layout in names.items()}
    return [
        (f"build neuro3d and call it, {size}", contest("first call", build, first, most=most, runs=runs)),
        (f"later calls, {size}", contest("call", lambda: model["probs"](x), later, most=most, runs=runs)),
    ]


NOTE = """The commands and the import run in processes of their own, beside one that imports torch and nothing else.
The time of the first dense call is without imports. The last rows are `neuro3d` (`examples/neuro3d.py`) in one process,
against the same network and weights by hand (`benchmarks/hand_written.py`).
"""


def main() -> None:
    """Measure, print, and write the section if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="single runs on small patches")
    parser.add_argument("--write", type=Path, help="Markdown page whose section to write")
    args = parser.parse_args()
    if args.quick and args.write:
        parser.error("numbers of a quick run are not worth a page")
    runs = 1 if args.quick else 7
    head = header("what")
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = processes(folder, runs)
        rows += calls((15, 105, 105) if args.quick else (23, 185, 185), runs)
        lines = [f"| {what} {found.columns()}" for what, found in rows]
        print(head, *lines, sep="\n", flush=True)
        dense = first_dense((15, 106, 107) if args.quick else (24, 188, 188), 1 if args.quick else 3)
    if args.write:
        tables = ["\n".join([head, *lines]), "\n".join(["| | time | runs |\n|---|---|---|", dense])]
        page.write(args.write, "Start and first calls", "\n\n".join([NOTE.strip(), common.machine(), *tables]))


if __name__ == "__main__":
    main()
