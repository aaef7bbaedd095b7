"""Measure networks that people have, as imported, against the fastest way to run the same torch module on this machine.

``python benchmarks/imported.py --only nnunet --write docs/performance.md`` measures one group and writes its section;
``--quick`` proves on small images that everything runs and that all sides compute the same. The peers are torch as it
is, in channels last and compiled, OpenVINO, and for sliding windows that of MONAI with each of these.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
import page
import peers
import torch
from architectures import MedNeXt, MeshNet, PaddedUNet, PlainConvUNet, monai_unet, one_channel, segresnet
from contest import Contest, contest, header
from hand_written import weights_of
from torch import nn

import neuromancer as nm

GROUPS = {
    "meshnet5": "MeshNet, 5 channels",
    "meshnet20": "MeshNet, 20 channels",
    "nnunet": "nnU-Net",
    "monai": "MONAI",
    "unets": "U-Nets and blocks",
}
"""Groups and the headings of their sections; each takes less than ten minutes on two cores."""
OVERLAP = 0.5
VOLUME: Mapping[str, Any] = {"statistics": "volume"}
Size = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """Lines of the table: one network, one way to evaluate it.

    Attributes
    ----------
    name, group : str
    make : callable
        Returns the torch module; called with a divisor of its widths, which is above 1 for quick runs.
    sizes : tuple of tuple of int
        Images. All peers are measured on the first, only the two fastest on the others.
    quick : tuple of int
        Image of quick runs.
    patch : tuple of int, optional
        Evaluate patches of this size by a sliding window; as large as the image: a single call.
    quick_patch : tuple of int, optional
        Patch of quick runs.
    options : dict
        Arguments of `predict_dense`.
    stored : str
        Folder of a Keras model with the weights of this network.
    """

    name: str
    group: str
    make: Callable[[int], nn.Module]
    sizes: tuple[Size, ...]
    quick: Size
    patch: Size | None = None
    quick_patch: Size | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stored: str = ""


def _nnunet(divisor: int) -> nn.Module:
    return PlainConvUNet([n // divisor for n in PlainConvUNet.WIDTHS])


def _monai(divisor: int) -> nn.Module:
    return monai_unet([n // divisor for n in (16, 32, 64, 128, 256)])


def cube(*sides: int) -> tuple[Size, ...]:
    """Return cubes of these sides."""
    return tuple((side,) * 3 for side in sides)


CASES = (
    Case("MeshNet, 5 channels, ReLU", "meshnet5", lambda _: MeshNet(5, nn.ReLU), cube(160, 256), (20, 22, 24),
         stored="model5_gw_ae"),
    Case("MeshNet, 20 channels, ELU", "meshnet20", lambda _: MeshNet(20, nn.ELU), cube(160, 256), (20, 22, 24),
         stored="model20chan3cls"),
    Case("PlainConvUNet, one patch", "nnunet", _nnunet, cube(128), (64, 64, 64), (128,) * 3, (64,) * 3),
    Case("PlainConvUNet, sliding window", "nnunet", _nnunet, ((128, 192, 192),), (64, 64, 96), (128,) * 3, (64,) * 3),
    Case("UNet, one patch", "monai", _monai, cube(128), (32, 32, 32), (128,) * 3, (32,) * 3),
    Case("UNet, sliding window", "monai", _monai, cube(192), (32, 32, 48), (128,) * 3, (32,) * 3),
    Case("UNet, statistics of the volume", "monai", _monai, cube(192), (32, 32, 48), options=VOLUME),
    Case("SegResNet, one patch", "monai", lambda d: segresnet(16 // min(d, 2)), cube(128), (16, 16, 16), (128,) * 3,
         (16,) * 3),
    Case("SegResNet, sliding window", "monai", lambda d: segresnet(16 // min(d, 2)), ((128, 192, 192),), (16, 16, 24),
         (128,) * 3, (16,) * 3),
    Case("padded U-Net, 3-D, 16 to 64 features", "unets", lambda d: PaddedUNet(3, [n // d for n in (16, 32, 64)]),
         cube(160), (16, 20, 24)),
    Case("padded U-Net, 2-D, 32 to 128 features", "unets", lambda d: PaddedUNet(2, [n // d for n in (32, 64, 128)]),
         ((1024, 1024),), (40, 48)),
    Case("MedNeXt blocks, statistics of the volume", "unets", lambda d: MedNeXt(32 // d), cube(128), (16, 20, 24),
         options=VOLUME),
    Case("one layer of one channel, 5x5x5", "unets", lambda d: one_channel(32 // d), cube(160), (16, 20, 24)),
)  # fmt: skip


def network(case: Case, folder: Path | None, quick: bool) -> tuple[nn.Module, nm.Model]:
    """Return the torch module and its import, with the weights of a folder if there are some."""
    torch.manual_seed(1)
    module = case.make(4 if quick else 1).eval()
    if folder is None or not case.stored:
        example = case.quick_patch or (32,) * len(case.quick)
        return module, nm.from_torch(module, (1, 1, *example), print_report=False)
    model = nm.from_keras(folder / case.stored / "model.json", print_report=False)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv3d)]
    for layer, (w, b) in zip(layers, weights_of(model), strict=True):
        layer.weight.data, layer.bias.data = torch.from_numpy(w), torch.from_numpy(b)
    return module, model


def ours(case: Case, model: nm.Model, raw: np.ndarray, patch: Size | None) -> Callable[[], np.ndarray]:
    """Return our evaluation of an image."""
    node = model.prediction_node
    assert node is not None
    if patch == raw.shape[1:]:
        return lambda: node.infer(raw[None])[0]
    options = dict(case.options)
    if patch:
        options["sliding_window"] = nm.SlidingWindow.monai(patch, overlap=OVERLAP, mode="gaussian")
    return partial(node.predict_dense, raw, progress=False, **options)


def measure(case: Case, quick: bool, folder: Path | None, names: tuple[str, ...]) -> Iterator[tuple[str, Contest]]:
    """Yield the lines of a case, and what was measured."""
    module, model = network(case, folder, quick)
    patch = case.quick_patch if quick else case.patch
    for size in (case.quick,) if quick else case.sizes:
        raw = np.random.default_rng(0).random((1, *size), dtype="float32")
        if patch and patch != size:
            others = peers.sliding(module, raw, patch, OVERLAP, names)
        else:
            others = peers.whole(module, raw, names)
        work = ours(case, model, raw, patch)
        found = contest(case.name, work, others, most=0 if quick else 40)
        line = f"| {case.name} | {common.by_x(size)} {found.columns()}"
        print(line, flush=True)
        yield line, found
        names = tuple(name for name in names if any(kept.endswith(name) for kept in found.theirs))
    nm.model_manager.delmodel(model.name)


NOTE = """Imported from torch by `nm.from_torch` (MeshNet from Keras if its folder is given), {weights}. The best peer
is the fastest way to run the same module here: torch, torch in channels last, `torch.compile`, or OpenVINO. All were
measured once, the two fastest in turns with neuromancer (at a second size, only these). *Difference* is ours from
plain torch, relative to the largest value; above {tolerance:.0e} nothing is timed. A single patch is one call; a
sliding window is MONAI's with an overlap of {overlap:.0%} and Gaussian weights, here
`sliding_window=nm.SlidingWindow.monai(...)`.
"""


def write(args: argparse.Namespace, group: str, lines: list[str], reasons: list[str]) -> None:
    """Write the section of a group as far as it is known, if asked to."""
    if args.write:
        weights = "with published weights" if args.meshnet and "meshnet" in group else "with random weights"
        note = NOTE.format(weights=weights, tolerance=common.TOLERANCE, overlap=OVERLAP)
        text = "\n\n".join(filter(None, [note.strip(), common.machine(), "\n".join(lines), "\n".join(reasons)]))
        page.write(args.write, GROUPS[group], text)


def main() -> None:
    """Measure, print, and write the sections if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small images, single runs")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="groups of networks")
    parser.add_argument("--meshnet", type=Path, metavar="DIR", help="Keras MeshNets (default: random weights)")
    parser.add_argument("--write", type=Path, help="Markdown page whose sections to write")
    args = parser.parse_args()
    if args.quick and args.write:
        parser.error("numbers of a quick run are not worth a page")
    head = header("network", "image")
    print(head, flush=True)
    names = tuple(peers.FORWARDS)
    wrong: list[str] = []
    for group in args.only:
        lines, reasons = [head], []
        for case in CASES:
            if case.group != group:
                continue
            try:
                for line, found in measure(case, args.quick, args.meshnet, names):
                    lines.append(line)
                    reasons += found.remarks(case.name)
                    write(args, group, lines, reasons)  # a larger image may be too large for a peer and this machine
            except SystemExit as reason:  # the other networks are measured all the same
                print(reason, flush=True)
                reasons.append(f"- not timed: {reason}")
                wrong.append(str(reason))
            if args.quick:
                names = tuple(name for name in names if name != peers.SLOW_START)
        write(args, group, lines, reasons)
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
