"""Check and measure the package on one NVIDIA GPU in less than ten minutes.

``python benchmarks/gpu.py --out results`` repeats the stored cases of the original library, compares imported networks
with the CPU and with torch, and times dense prediction, a patch of nnU-Net and training steps against torch, eager and
compiled. It prints a table, and writes it with all numbers as JSON. What fails is named, and the rest goes on; what
does not fit into ``--seconds`` is left out, and listed. ``--device cpu --quick`` tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import common
import dense
import neuro3d
import numpy as np
import peers
import torch
import training
from architectures import MeshNet, PlainConvUNet, monai_unet
from contest import Work, limit
from published import znni
from torch import nn

import neuromancer as nm

TOLERANCE = 1e-4
RUNS = 5
SHARE = 20
"""Seconds that the runs of one network in turns may take."""
PRECISIONS = ("tf32", "bf16", "f16")
EXACT = ("torch", "torch, channels last", "torch.compile")
RIVALS = {
    "neuromancer": EXACT,
    "neuromancer f32": EXACT,
    "neuromancer tf32": ("torch TF32",),
    "neuromancer bf16": ("torch bf16",),
}
Sides = dict[str, Callable[[], Work]]


class Report:
    """What was found, in the order of finding: printed, and written after every line, so that a stop loses nothing."""

    def __init__(self, folder: Path | None, seconds: float, device: str) -> None:
        self.path = folder / "gpu.json" if folder else None
        self.end = time.monotonic() + seconds
        self.found: dict[str, Any] = {"machine": machine(device), "lines": [], "failed": []}
        print(self.found["machine"], "", "| part | what | result |\n|---|---|---|", sep="\n", flush=True)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    def add(self, part: str, what: str, text: str, **numbers: Any) -> None:
        """Add a line."""
        print(f"| {part} | {what} | {text} |", flush=True)
        self.found["lines"].append({"part": part, "what": what, "text": text, **numbers})
        self._write()

    @contextmanager
    def guard(self, part: str, what: str, bounded: bool = True) -> Iterator[None]:
        """Name what fails inside, and go on; `bounded`: also what is not done when the time is over."""
        try:
            if self.left < 1:
                raise TimeoutError("no time is left")
            with limit(self.left) if bounded else nullcontext():
                yield
        except Exception as reason:  # the script is about finding out what fails
            text = f"FAILED: {type(reason).__name__}: {' '.join(str(reason).split())[:300]}"
            self.found["failed"].append({"part": part, "what": what, "trace": traceback.format_exc()})
            self.add(part, what, text)
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _write(self) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.found, indent=1))


def machine(device: str) -> str:
    """Describe the device and the versions of the libraries."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "no GPU, measured on the CPU"
    return f"{name}; torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"


@contextmanager
def on(device: str) -> Iterator[None]:
    """Meanwhile what is compiled runs on a device."""
    before, nm.config.device = nm.config.device, device
    try:
        yield
    finally:
        nm.config.device = before


def stored_cases(report: Report, device: str, quick: bool, reference: Path) -> None:
    """Repeat the stored results of the original library."""
    mismatches = import_module("tests.reference.replay").mismatches
    paths = sorted(reference.glob("*.h5"))[: 4 if quick else None]
    right = 0
    for path in paths:
        with report.guard("stored cases", path.stem), on(device):
            nm.model_manager.newmodel(None)
            with redirect_stdout(StringIO()):  # nodes print themselves
                wrong = list(mismatches(path))
            if wrong:
                raise AssertionError("; ".join(wrong))
            right += 1
    report.add("stored cases", reference.name, f"{right} of {len(paths)} are reproduced", right=right, of=len(paths))


def modules(quick: bool) -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Any]]]:
    """Return the imported networks: how to make them, an image, and options of the prediction."""
    volume = {"statistics": "volume"}
    widths = [n // 4 if quick else n for n in PlainConvUNet.WIDTHS]
    mesh_net = partial(MeshNet, 20, nn.ELU)
    return {
        "MONAI UNet": (monai_unet, (32,) * 3 if quick else (96,) * 3, volume),
        "PlainConvUNet": (partial(PlainConvUNet, widths), (64,) * 3 if quick else (128,) * 3, volume),
        "MeshNet": (mesh_net, (20, 22, 24) if quick else (256,) * 3, {}),
    }


def imported(name: str, quick: bool) -> tuple[nn.Module, nm.Node]:
    """Return a torch module and the prediction node of its import."""
    torch.manual_seed(1)
    module = modules(quick)[name][0]().eval()
    model = nm.from_torch(module, (1, 1, *((64,) * 3 if "Plain" in name else (32,) * 3)), print_report=False)
    assert model.prediction_node is not None
    return module, model.prediction_node


def imports(report: Report, device: str, quick: bool, reference: Path) -> None:
    """Compare imported networks on the device with the CPU, and with torch."""
    for name, (_, full, options) in modules(quick).items():
        shape = tuple(min(n, 96) for n in full)  # small enough for the CPU
        raw = np.random.default_rng(0).random((1, *shape), dtype="float32")
        with report.guard("imports", name):
            results = {}
            for place in ("cpu", device):
                with on(place):
                    module, node = imported(name, quick)
                    results[f"call, {place}"] = node.infer(raw[None])[0]
                    results[f"dense, {place}"] = node.predict_dense(raw, progress=False, **options)
            with torch.inference_mode():
                want = module(torch.from_numpy(raw[None]))[0].numpy()
            errors = {how: common.difference(values, want) for how, values in results.items()}
            text = ", ".join(f"{how}: {error:.1e}" for how, error in errors.items())
            verdict = "" if max(errors.values()) <= TOLERANCE else f"; WRONG, more than {TOLERANCE:.0e}"
            report.add("imports", f"{name}, {common.by_x(shape)}", f"differences from torch: {text}{verdict}", **errors)


def forward(module: nn.Module, raw: np.ndarray, how: str, device: str, dtype: torch.dtype | None = None) -> Work:
    """Return the evaluation of an image by a torch module on a device, in `dtype` where autocast thinks it right."""
    call = peers.FORWARDS[how](module.to(device), torch.from_numpy(raw[None]).to(device))

    def work() -> np.ndarray:
        kind = device.split(":")[0]
        with torch.inference_mode(), torch.autocast(kind, dtype or torch.bfloat16, enabled=dtype is not None):
            return call(torch.from_numpy(raw[None]).to(device))[0].float().contiguous().cpu().numpy()

    return work


def with_tf32(work: Work) -> np.ndarray:
    """Run plain torch with TF32, which is off otherwise."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return work()
    finally:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def our_sides(node: nm.Node, raw: np.ndarray, options: dict[str, Any]) -> Sides:
    """Return dense predictions in all precisions."""
    sides: Sides = {}
    for precision in ("f32", *PRECISIONS):
        predict = partial(node.predict_dense, raw, progress=False, precision=precision, **options)
        sides[f"neuromancer {precision}"] = lambda predict=predict: predict  # type: ignore[misc]
    return sides


def race(report: Report, part: str, what: str, sides: Sides, runs: int, probe: Callable[[Work], np.ndarray]) -> None:
    """Run all sides once, then in turns; add a line for each.

    It has the median, the ratio to the fastest rival of the same precision, the difference from the first side, and the
    peak of memory.
    """
    works: dict[str, Work] = {}
    reference: np.ndarray | None = None
    numbers: dict[str, dict[str, float]] = {}
    for name, prepare in sides.items():
        with report.guard(part, f"{what}, {name}"):
            cuda = torch.cuda.is_available()
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            with limit(max(1.0, min(120.0, report.left / 3))):
                work = prepare()
                result = probe(work)
            reference = result if reference is None else reference
            peak = torch.cuda.max_memory_allocated() / 1e9 if cuda else common.peak_memory()
            numbers[name] = {"difference": common.difference(result, reference), "gigabytes": peak}
            works[name] = work
    times: dict[str, list[float]] = {name: [] for name in works}
    with report.guard(part, what):
        begin = time.monotonic()
        for _ in range(runs):
            for name, work in works.items():
                times[name].append(common.timed(work))
            if time.monotonic() - begin > SHARE:
                break
    numbers = {name: row | {"seconds": float(np.median(times[name]))} for name, row in numbers.items() if times[name]}
    for name, row in numbers.items():
        rivals = [numbers[rival]["seconds"] for rival in RIVALS.get(name, ()) if rival in numbers]
        if rivals:
            row["ratio"] = row["seconds"] / min(rivals)
        ratio = f", **{row['ratio']:.2f}**" if rivals else ""
        text = f"{common.seconds(row['seconds'])}{ratio}, difference {row['difference']:.0e}, {row['gigabytes']:.2f} GB"
        report.add(part, f"{what}, {name}", text, **row, runs=len(times[name]))


def whole(work: Work) -> np.ndarray:
    """Return the result of a prediction."""
    return work()


def chain_sides(node: nm.Node, raw: np.ndarray, device: str, quick: bool) -> Sides:
    """Return a network with strides, and the same by hand with dilation."""

    def by_hand(memory_format: torch.memory_format = torch.channels_last_3d, compiled: bool = False) -> Work:
        return partial(dense.chain_by_hand(node, compiled, memory_format, device), raw)

    sides = our_sides(node, raw, {}) | {
        "torch": partial(by_hand, torch.contiguous_format),
        "torch, channels last": by_hand,
        "torch TF32": lambda: partial(with_tf32, by_hand()),
    }
    return sides if quick else sides | {"torch.compile": partial(by_hand, compiled=True)}


def chains(report: Report, device: str, quick: bool, reference: Path) -> None:
    """Time dense prediction of networks with strides."""
    sizes = {"neuro3d": (15, 108, 110) if quick else (48, 400, 400), "n337": (88,) * 3 if quick else (244,) * 3}
    for name, shape in sizes.items():
        with report.guard("dense", name, bounded=False), on(device):
            nm.seed(1)
            node = neuro3d.create_model((15, 105, 105))["probs"] if name == "neuro3d" else znni(name)
            raw = np.random.default_rng(0).random((1, *shape), dtype="float32")
            sides = chain_sides(node, raw, device, quick)
            race(report, "dense", f"{name}, {common.by_x(shape)}", sides, 1 if quick else RUNS, whole)


def module_sides(module: nn.Module, raw: np.ndarray, device: str, quick: bool) -> Sides:
    """Return the ways to evaluate a torch module."""
    by_torch = partial(forward, module, raw, device=device)
    names = [name for name in EXACT if not (quick and name == peers.SLOW_START)]
    return {name: partial(by_torch, name) for name in names} | {
        "torch TF32": lambda: partial(with_tf32, by_torch("torch, channels last")),
        "torch bf16": partial(by_torch, "torch, channels last", dtype=torch.bfloat16),
    }


def networks(report: Report, device: str, quick: bool, reference: Path) -> None:
    """Time imported networks against their torch modules."""
    for name in ("PlainConvUNet", "MeshNet"):
        with report.guard("networks", name, bounded=False), on(device):
            _, shape, options = modules(quick)[name]
            module, node = imported(name, quick)
            raw = np.random.default_rng(0).random((1, *shape), dtype="float32")
            sides = our_sides(node, raw, options) | module_sides(module, raw, device, quick)
            race(report, "networks", f"{name}, {common.by_x(shape)}", sides, 1 if quick else RUNS, whole)


def steps(report: Report, device: str, quick: bool, reference: Path) -> None:
    """Time training steps."""
    for case in training.CASES:
        if case.name not in ("neuro3d", "MONAI UNet, instance norm, PReLU"):
            continue
        with report.guard("training", case.name, bounded=False), on(device):
            ours, others = training.prepared(case, quick, device)
            sides: Sides = {"neuromancer": lambda ours=ours: ours, **others}  # type: ignore[misc]
            if quick:
                sides.pop(peers.SLOW_START)
            race(report, "training", case.name, sides, 1 if quick else 2 * RUNS, training.losses)


PARTS = {"stored": stored_cases, "imports": imports, "dense": chains, "networks": networks, "training": steps}


def main() -> None:
    """Run all parts, and print and write what they find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=540, help="time for everything (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small images, single runs")
    parser.add_argument("--reference", type=Path, default=common.ROOT / "tests" / "reference", help="stored cases")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--out", type=Path, help="folder for gpu.json")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU; --device cpu --quick tries the script without one")
    # for plain torch; the library does not depend on these settings
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    report = Report(args.out, args.seconds, args.device)
    for name in args.only:
        with report.guard(name, "all", bounded=False):
            PARTS[name](report, args.device, args.quick, args.reference)
        for model in [*nm.model_manager.models]:
            nm.model_manager.delmodel(model)
    print(f"\n{len(report.found['failed'])} failures, {max(0, report.left):.0f} s left")


if __name__ == "__main__":
    main()
