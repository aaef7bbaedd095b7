"""Measure this library against the same network written by hand in torch; ``make bench`` writes the result.

All measurements but the imports are made in one process, in alternating runs (ours, torch, ours, torch, ...), so that
a busy moment of the machine hits both. The table gives medians, and the median of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples"), str(ROOT / "benchmarks")]

# After the path, so that a checkout that is not installed can be measured too.
import neuro3d  # noqa: E402
import torch  # noqa: E402
import unet3d  # noqa: E402
from hand_written import Chain, HandWritten, UNet, Weights  # noqa: E402

import neuromancer as nm  # noqa: E402

TOLERANCE = 1e-4


@dataclass
class Measurement:
    """Seconds of both sides, run by run."""

    what: str
    ours: list[float]
    torch: list[float]

    @property
    def ratio(self) -> float:
        """Median of ours / torch over neighbouring runs."""
        return float(np.median(np.array(self.ours) / np.array(self.torch)))

    def row(self) -> str:
        """Line of the Markdown table."""
        ratios = np.array(self.ours) / np.array(self.torch)
        return (
            f"| {self.what} | {_seconds(self.ours)} | {_seconds(self.torch)} | **{self.ratio:.2f}** "
            f"| {ratios.min():.2f} to {ratios.max():.2f} | {len(ratios)} |"
        )


def _seconds(times: list[float]) -> str:
    median = float(np.median(times))
    return f"{median * 1e3:.0f} ms" if median < 1 else f"{median:.2f} s"


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(
    what: str, ours: Callable[[], object], theirs: Callable[[], object], runs: int, warmup: int
) -> Measurement:
    """Time two functions in turns."""
    for _ in range(warmup):
        ours()
        theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(runs)]
    result = Measurement(what, [a for a, _ in pairs], [b for _, b in pairs])
    print(result.row(), flush=True)
    return result


def imports(runs: int) -> Measurement:
    """Start an interpreter that imports the package, or torch alone; each in processes of its own."""

    def run(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

    return alternate("import", run("import neuromancer"), run("import torch"), runs, warmup=1)


def first_calls(runs: int, patch: tuple[int, int, int], x: np.ndarray) -> Measurement:
    """Build the network and call it once: compilation included, another model every time."""

    def ours() -> object:
        name = f"first call {time.perf_counter_ns()}"
        result = neuro3d.create_model(patch, name)["probs"](x)
        nm.model_manager.delmodel(name)
        return result

    model = neuro3d.create_model(patch, "weights of the first call")
    theirs = lambda: by_hand(model).predict(x)  # noqa: E731
    return alternate("build and first call", ours, theirs, runs, warmup=1)


def on_torch(what: str, ours: Callable[[], object], theirs: Callable[[], object], runs: int) -> Measurement:
    """Like `alternate`, without OpenVINO."""
    nm.config.backend, before = "torch", nm.config.backend
    try:
        return alternate(what, ours, theirs, runs, warmup=1)
    finally:
        nm.config.backend = before


def by_hand(model: nm.Model, memory_format: torch.memory_format = torch.contiguous_format) -> HandWritten:
    """The same network with the same weights in torch."""
    weights = weights_of(model)
    if any(isinstance(node, nm.UpConv) for node in model.nodes.values()):
        return UNet(weights, memory_format)
    pools = [pool or (1, 1, 1) for _, _, pool in neuro3d.LAYERS] + [(1, 1, 1)]
    return Chain(weights, pools, memory_format=memory_format)


def weights_of(model: nm.Model) -> Weights:
    """Kernels as torch takes them: convolutions flip theirs, up-convolutions have inputs and outputs exchanged."""
    weights = []
    for node in model.nodes.values():
        if isinstance(node, (nm.Conv, nm.UpConv)):
            w, b = (node.params[key].get_value() for key in ("w", "b"))
            w = w.swapaxes(0, 1) if isinstance(node, nm.UpConv) else w[:, :, ::-1, ::-1, ::-1]
            weights.append((w.copy(), b))
    return weights


def check(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Refuse to time two things that do not compute the same."""
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=TOLERANCE, rtol=0):
        worst = "" if ours.shape != theirs.shape else f", largest difference {np.abs(ours - theirs).max():.2e}"
        raise SystemExit(f"{what}: the two sides differ, {ours.shape} and {theirs.shape}{worst}")


def measure(quick: bool) -> list[Measurement]:
    """All measurements, after checking that both sides agree."""
    patch = (15, 105, 105) if quick else (23, 185, 185)
    raw_shape = (15, 106, 107) if quick else (24, 188, 188)
    few, some, many = (1, 1, 1) if quick else (5, 5, 11)

    nm.seed(1)
    model = neuro3d.create_model(patch)
    probs, hand = model["probs"], by_hand(model)
    rng = np.random.default_rng(1)
    x = rng.random((1, 1, *patch)).astype("float32")
    raw = rng.random((1, *raw_shape)).astype("float32")
    size = lambda shape: "x".join(map(str, shape))  # noqa: E731

    fast_hand = by_hand(model, torch.channels_last_3d)
    dense = lambda: probs.predict_dense(raw, progress=False)  # noqa: E731
    dense_size = f"{size(raw_shape)} to {size(hand.predict_dense(raw).shape[1:])}"

    print(HEADER, flush=True)
    check("call", probs(x), hand.predict(x))
    for other in (hand, fast_hand):
        check("dense", dense(), other.predict_dense(raw))
    results = [
        imports(few),
        first_calls(few, patch, x),
        alternate(f"call, patch {size(patch)}", lambda: probs(x), lambda: hand.predict(x), many, 2),
        alternate(f"dense, {dense_size}", dense, lambda: hand.predict_dense(raw), some, warmup=0),
        alternate(
            "the same, torch by hand in `channels_last_3d`", dense, lambda: fast_hand.predict_dense(raw), some, warmup=0
        ),
        on_torch("the same, `config.backend = 'torch'`", dense, lambda: fast_hand.predict_dense(raw), some),
    ]
    for network, shape in ((model, patch), (unet3d.create_model((92, 92, 92)), (92, 92, 92))):
        results += training(network, shape, many)
    return results


def training(model: nm.Model, patch: tuple[int, int, int], runs: int) -> list[Measurement]:
    """Training steps against torch in its default layout and in the faster one."""
    rng = np.random.default_rng(1)
    x = rng.random((1, 1, *patch)).astype("float32")
    labels = rng.integers(0, 2, (1, 1, *model["probs"].shape.spatial_shape)).astype("int16")
    model.lr = 1e-4
    results = []
    for layout, memory_format in (("channels last", torch.channels_last_3d), ("default", torch.contiguous_format)):
        hand = by_hand(model, memory_format)
        check(f"{model.name} in torch's {layout} layout", model["probs"](x), hand.predict(x))
        results.append(
            alternate(
                f"training step of {model.name} (Adam), patch {'x'.join(map(str, patch))}; torch: {layout}",
                lambda: model.trainingstep(x, labels, optimiser="Adam"),
                lambda hand=hand: hand.trainingstep(x, labels),  # type: ignore[misc]
                runs,
                warmup=2,
            )
        )
    return results


def memory() -> list[str]:
    """Rows of peak memory of a training process, each side in a process of its own."""
    rows = []
    for name in ("neuro3d", "unet3d"):
        peaks = []
        for side in ("ours", "torch"):
            command = [sys.executable, __file__, "--memory-of", name, side]
            peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        rows.append(f"| {name} | {peaks[0]:.2f} GB | {peaks[1]:.2f} GB | **{peaks[0] / peaks[1]:.2f}** |")
        print(rows[-1], flush=True)
    return rows


def peak_of_training(name: str, side: str) -> float:
    """Largest resident memory in GB of this process, which does three training steps."""
    patch = {"neuro3d": (23, 185, 185), "unet3d": (92, 92, 92)}[name]
    model = {"neuro3d": neuro3d, "unet3d": unet3d}[name].create_model(patch)
    x = np.random.default_rng(1).random((1, 1, *patch)).astype("float32")
    labels = np.zeros((1, 1, *model["probs"].shape.spatial_shape), "int16")
    if side == "ours":
        step = lambda: model.trainingstep(x, labels, optimiser="Adam")  # noqa: E731
    else:
        hand = by_hand(model, torch.channels_last_3d)
        nm.model_manager.models.clear()
        del model
        step = lambda: hand.trainingstep(x, labels)  # noqa: E731
    for _ in range(3):
        step()
    return peak_memory()


def peak_memory() -> float:
    """Largest resident memory of this process so far, in GB."""
    # Not from getrusage, which goes on from the peak of the process that started this one.
    return _status("VmHWM:")


def resident_memory() -> float:
    """Resident memory of this process, in GB."""
    return _status("VmRSS:")


def _status(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key)) / 1e6


HEADER = """| | neuromancer | torch by hand | ratio | range of ratios | runs |
|---|---|---|---|---|---|"""


def machine() -> str:
    """What the numbers were taken on."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    import openvino
    import pytensor

    return (
        f"{name}, {os.cpu_count()} cores ({torch.get_num_threads()} threads), {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, PyTensor {pytensor.__version__}, "
        f"OpenVINO {openvino.__version__.split('-')[0]}, "
        f"NumPy {np.__version__}; float32; {datetime.date.today().isoformat()}"
    )


PAGE = """# Performance

Written by `make bench`. The network is `neuro3d` ({params:,} parameters, strides (2, 4, 4), field of view 15x105x105;
`examples/neuro3d.py`). It is compared with the same network and weights written by hand in torch
(`benchmarks/hand_written.py`; dense prediction by dilation). Training is also compared for `unet3d` (19 million
parameters) and with torch's channels-last layout, its faster one on a CPU. Both sides are first checked to give the
same results. Runs alternate in one process. **A ratio below 1 means that neuromancer is faster.** Calls and dense
prediction use the backend chosen automatically, unless the row says torch ([backends.md](backends.md)). The row
*import* starts a new interpreter per run and compares with importing torch alone.

{machine}

{table}

Peak memory of a process that does three training steps, one process each, torch in its channels-last layout:

| | neuromancer | torch by hand | ratio |
|---|---|---|---|
{memory}
"""


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of each on a small patch: proves that it works")
    parser.add_argument("--write", type=Path, help="Markdown page to write")
    parser.add_argument("--memory-of", nargs=2, metavar=("NETWORK", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(peak_of_training(*args.memory_of))
        return
    if args.quick and args.write:
        parser.error("numbers of a quick run are not worth a page")
    results = measure(args.quick)
    if args.write:
        params = nm.model_manager["neuro3d"]["probs"].all_params_count
        table = "\n".join([HEADER, *(r.row() for r in results)])
        args.write.write_text(PAGE.format(params=params, machine=machine(), table=table, memory="\n".join(memory())))
        print(f"wrote {args.write}")


if __name__ == "__main__":
    main()
