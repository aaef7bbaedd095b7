"""Benchmark dense prediction on a GPU against the same networks in plain torch on the same GPU.

``python benchmarks/gpu.py`` prints a Markdown table (some minutes). By hand means: the whole volume at once, pools
without strides, dilated kernels, float32 without TF32, in torch's default layout and channels last. Before anything is
timed, float32 results of all sides are compared to within 1e-5 of the largest value; for other precisions the table
shows the error. Runs alternate. Without a GPU there is nothing to measure; ``--quick`` then runs everything once on the
CPU, on small volumes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import dense
import neuro3d
import numpy as np
import torch
from published import znni

import neuromancer as nm

TOLERANCE = 1e-5
HEADER = (
    "| network | volume | how | neuromancer | torch by hand: default | channels last | ratio to the faster | voxels/s "
    "| largest difference |\n|---|---|---|---|---|---|---|---|---|"
)
FORMATS = (torch.contiguous_format, torch.channels_last_3d)
Predict = Callable[[np.ndarray], np.ndarray]


def by_hand(node: nm.Node, memory_format: torch.memory_format, device: torch.device) -> Predict:
    """Return the network in torch as a function of (f, z, y, x) that computes on a device."""
    hand = dense.chain_of(node, memory_format)
    hand.layers = [(w.detach().to(device), b.detach().to(device)) for w, b in hand.layers]
    probabilities = not isinstance(node, nm.Conv)

    def predict(raw: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(raw[None]).to(device).contiguous(memory_format=memory_format)
            y = hand.logits(x, dense=True)
            return (torch.softmax(y, 1) if probabilities else y)[0].cpu().numpy()

    return predict


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds until the result of a call is on the host; infinite if it runs out of memory."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    try:
        work()
    except torch.OutOfMemoryError:
        return float("inf")
    return time.perf_counter() - start


def variants(node: nm.Node, shape: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Return the arguments of `predict_dense` that are measured, by name."""
    out = [n - f + 1 for n, f in zip(shape, node.shape.fov, strict=True)]
    return {
        "f32": {},
        "f32, 4 tiles": {"tile": (out[0], -(-out[1] // 4), out[2])},
        **{precision: {"precision": precision} for precision in ("tf32", "bf16", "f16")},
    }


def measure(name: str, node: nm.Node, shape: tuple[int, ...], device: torch.device, runs: int) -> list[str]:
    """Measure one network; return rows of the table."""
    raw = np.random.default_rng(0).random((1, *shape), dtype="float32")
    hands = [by_hand(node, memory_format, device) for memory_format in FORMATS]
    sides: dict[str, Callable[[], np.ndarray]] = {
        how: lambda options=options: node.predict_dense(raw, progress=False, **options)  # type: ignore[misc]
        for how, options in variants(node, shape).items()
    }
    reference = sides["f32"]()
    largest = float(np.abs(reference).max())
    for number, hand in enumerate(hands):
        try:
            result = hand(raw)
        except torch.OutOfMemoryError:
            continue
        error = float(np.abs(result - reference).max()) / largest
        if error > TOLERANCE:
            raise SystemExit(f"{name}: float32 by hand ({FORMATS[number]}) differs by {error:.1e} of the largest value")
    errors = {}
    for how in [*sides]:
        try:
            errors[how] = float(np.abs(sides[how]() - reference).max()) / largest
        except (nm.errors.DeviceError, nm.errors.MissingDependencyError, nm.errors.ArgumentError) as reason:
            print(f"{how}: {reason}", flush=True)
            del sides[how]
    if errors["f32, 4 tiles"] > TOLERANCE:
        raise SystemExit(f"{name}: tiles differ by {errors['f32, 4 tiles']:.1e} of the largest value")
    times: dict[str, list[float]] = {key: [] for key in (*sides, *map(str, FORMATS))}
    for _ in range(runs):
        for how, ours in sides.items():
            times[how].append(seconds(ours, device))
        for memory_format, hand in zip(FORMATS, hands, strict=True):
            times[str(memory_format)].append(seconds(lambda hand=hand: hand(raw), device))  # type: ignore[misc]
    medians = {key: float(np.median(values)) for key, values in times.items()}
    peers = [medians[str(memory_format)] for memory_format in FORMATS]
    size, voxels = "x".join(map(str, shape)), np.prod(reference.shape[1:])
    rows = [
        f"| {name} | {size} | {how} | {_seconds(medians[how])} | {_seconds(peers[0])} | {_seconds(peers[1])} "
        f"| **{medians[how] / min(peers):.2f}** | {voxels / medians[how]:,.0f} | {errors[how]:.1e} |"
        for how in sides
    ]
    print("\n".join(rows), flush=True)
    return rows


def _seconds(value: float) -> str:
    return "out of memory" if np.isinf(value) else f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def machine(device: torch.device) -> str:
    """Describe the GPU and the versions of the libraries."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU, measured on the CPU"
    return f"{gpu}; torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small volumes, single runs; also without a GPU")
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch finds no GPU, so there is nothing to measure" + ("; on the CPU instead:" * args.quick))
        if not args.quick:
            return
    nm.config.device = "auto"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # for plain torch; the library does not depend on these settings
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    nm.seed(1)
    runs = 1 if args.quick else args.runs
    print(machine(device), HEADER, sep="\n\n", flush=True)
    node = neuro3d.create_model((15, 105, 105))["probs"]
    for shape in ((16, 108, 110),) if args.quick else ((24, 188, 188), (48, 400, 400)):
        measure("neuro3d", node, shape, device, runs)
    for name, out in (("n337", 4 if args.quick else 160),):
        small = znni(name)
        measure(name, small, tuple(f + out - 1 for f in small.shape.fov), device, runs)


if __name__ == "__main__":
    main()
