"""Measure training steps against torch: default layout, channels last, and compiled; same weights, same optimiser.

``python benchmarks/training.py --only 3d --write docs/performance.md`` measures one group and writes its section;
``--quick`` proves on small patches that everything runs and that both sides agree.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import common
import neuro3d
import numpy as np
import page
import torch
import unet3d
from architectures import PaddedUNet, monai_unet
from contest import Contest, Work, contest, header
from hand_written import LR, Chain, HandWritten, UNet, Wrapped, weights_of
from peers import CHANNELS_LAST, SLOW_START, Prepare
from published import n4
from torch import nn

import neuromancer as nm

GROUPS = {"3d": "Training in 3-D", "2d": "Training in 2-D"}
OPTIMISER = "AdamW"
TOLERANCE = 1e-3
STEPS = 2
"""Steps whose losses are compared before anything is timed."""
MEMORY = ("neuro3d", "unet3d")
Size = tuple[int, ...]
Peer = Callable[[torch.memory_format], HandWritten]


@dataclass(frozen=True)
class Case:
    """One network: how to build it and its peer, the shape of a batch, that of quick runs, the number of classes."""

    name: str
    group: str
    make: Callable[[Size], tuple[nm.Model, Peer]]
    batch: Size
    quick: Size
    classes: int = 2


def roles(model: nm.Model, scores: Any) -> nm.Model:
    """Append class probabilities and a loss to a model with an input node, and designate them."""
    probs = scores if isinstance(scores, nm.Softmax) else nm.Softmax(scores, print_repr=False)
    target = nm.Input_like(probs, override_f=1, dtype="int16", name="labels", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    loss = nm.AggregateLoss([nll], print_repr=False)
    model.designate_nodes(probs.input_nodes[0], target, loss, probs)
    return model


def chain_by_hand(model: nm.Model) -> Peer:
    """Return the network of a model that is a chain of convolutions, with its present weights."""
    pools = [node.pool_shape for node in model.nodes.values() if isinstance(node, nm.Conv)]
    weights = weights_of(model)
    return lambda memory_format: Chain(weights, pools, memory_format=memory_format)


def _neuro3d(batch: Size) -> tuple[nm.Model, Peer]:
    model = neuro3d.create_model((batch[2], batch[3], batch[4]))
    return model, chain_by_hand(model)


def _unet3d(batch: Size) -> tuple[nm.Model, Peer]:
    model = unet3d.create_model((batch[2], batch[3], batch[4]))
    weights = weights_of(model)
    return model, lambda memory_format: UNet(weights, memory_format)


def _n4(batch: Size) -> tuple[nm.Model, Peer]:
    probs = n4(batch[-1])
    model = nm.model_manager.current
    assert model is not None
    roles(model, probs)
    return model, chain_by_hand(model)


def _chain(layers: list[tuple[int, int, int]], batch: Size) -> tuple[nm.Model, Peer]:
    """Build a chain of convolutions; features, kernel and pool per layer, the same along all axes."""
    model = nm.model_manager.newmodel(None)
    ndim = len(batch) - 2
    out: Any = nm.Input((None, *batch[1:]), ["b", "f", *"zyx"[3 - ndim :]], print_repr=False)
    for n_f, kernel, pool in layers[:-1]:
        out = nm.Conv(out, n_f, (kernel,) * ndim, (pool,) * ndim, print_repr=False)
    n_f, kernel, pool = layers[-1]
    out = nm.Conv(out, n_f, (kernel,) * ndim, (pool,) * ndim, activation_func="lin", print_repr=False)
    roles(model, out)
    return model, chain_by_hand(model)


def _imported(make: Callable[[], nn.Module], batch: Size) -> tuple[nm.Model, Peer]:
    torch.manual_seed(1)
    module = make()
    model = nm.from_torch(module, (1, *batch[1:]), print_report=False)
    return roles(model, model.prediction_node), partial(Wrapped, module)


def _perceptron(batch: Size) -> tuple[nm.Model, Peer]:
    model = nm.model_manager.newmodel(None)
    out: Any = nm.Input(batch, "b,f", print_repr=False)
    layers: list[nn.Module] = []
    for n_f, activation in ((512, "relu"), (512, "relu"), (10, "lin")):
        out = nm.Perceptron(out, n_f, activation_func=activation, print_repr=False)
        w, b = (out.params[key].get_value() for key in ("w", "b"))
        linear = nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        layers += [linear, nn.ReLU()]
    return roles(model, out), partial(Wrapped, nn.Sequential(*layers[:-1]))


PLANE = [(32, 5, 2), (48, 3, 2), (64, 3, 1), (64, 3, 1), (2, 1, 1)]
SMALL = [(16, 3, 2), (32, 3, 1), (48, 3, 1), (48, 3, 1), (2, 1, 1)]
CASES = (
    Case("neuro3d", "3d", _neuro3d, (1, 1, 23, 185, 185), (1, 1, 15, 105, 105)),
    Case("unet3d", "3d", _unet3d, (1, 1, 92, 92, 92), (1, 1, 92, 92, 92)),
    Case("chain of 5 layers, 48 features", "3d", partial(_chain, SMALL), (1, 1, 40, 44, 44), (1, 1, 20, 20, 22)),
    Case(
        "MONAI UNet, instance norm, PReLU", "3d", partial(_imported, monai_unet),
        (1, 1, 96, 96, 96), (1, 1, 32, 32, 32),
    ),
    Case("N4", "2d", _n4, (1, 1, 159, 159), (1, 1, 111, 111)),
    Case("chain of 5 layers, 64 features", "2d", partial(_chain, PLANE), (6, 1, 68, 68), (2, 1, 36, 36)),
    Case(
        "U-Net, batch norm, ReLU", "2d", partial(_imported, lambda: PaddedUNet(2, (32, 64, 128), norm=True)),
        (4, 1, 256, 256), (2, 1, 32, 32),
    ),
    Case("perceptron 784, 512, 512, 10", "2d", _perceptron, (256, 784), (8, 784), 10),
)  # fmt: skip


def batch_of(case: Case, model: nm.Model, shape: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return random images and labels."""
    rng = np.random.default_rng(1)
    x = rng.random(shape, dtype="float32")
    probs: Any = model.prediction_node
    space = tuple(probs.shape.spatial_shape)
    if None in space:  # evaluated only where it has to be: it would count in the peak of memory
        space = probs.infer(x).shape[2:]
    return x, rng.integers(0, case.classes, (shape[0], 1, *space)).astype("int16")


def prepared(case: Case, quick: bool, device: str = "cpu") -> tuple[Work, dict[str, Prepare]]:
    """Return our training step and those of the peers, all with the same weights; the peers on a device."""
    nm.seed(1)
    shape = case.quick if quick else case.batch
    model, by_hand = case.make(shape)
    x, labels = batch_of(case, model, shape)
    model.set_opt_meta_params(OPTIMISER, {"lr": LR, "mom": 0.9, "beta2": 0.999, "wd": 0})

    def peer(memory_format: torch.memory_format, compiled: bool = False) -> Work:
        hand = by_hand(memory_format).to(device)
        return partial((hand.compiled() if compiled else hand).trainingstep, x, labels)

    last = CHANNELS_LAST.get(len(shape), torch.contiguous_format)
    others: dict[str, Prepare] = {"torch": lambda: peer(torch.contiguous_format)}
    if last != torch.contiguous_format:
        others["torch, channels last"] = lambda: peer(last)
    others["torch.compile"] = lambda: peer(last, compiled=True)
    return lambda: model.trainingstep(x, labels, optimiser=OPTIMISER)[0], others


def losses(work: Work) -> np.ndarray:
    """Return the losses of the first steps."""
    return np.array([work() for _ in range(STEPS)])


def measure(case: Case, quick: bool) -> tuple[str, Contest]:
    """Return a line of the table, and what was measured."""
    step, others = prepared(case, quick)
    if quick and case.name != CASES[0].name:
        others.pop(SLOW_START)
    found = contest(
        f"training {case.name}", step, others, most=0 if quick else 30, runs=11, tolerance=TOLERANCE, probe=losses
    )
    line = f"| {case.name} | {common.by_x(case.quick if quick else case.batch)} {found.columns()}"
    print(line, flush=True)
    for name in [*nm.model_manager.models]:
        nm.model_manager.delmodel(name)
    return line, found


def peak(name: str, side: str) -> float:
    """Return the largest resident memory in GB of this process, which does some training steps."""
    step, others = prepared(next(case for case in CASES if case.name == name), quick=False)
    if side != "neuromancer":
        step = others[side]()
        nm.model_manager.models.clear()
    for _ in range(3):
        step()
    return common.peak_memory()


def memory() -> list[str]:
    """Return the table of peak memory, each number from a process of its own."""
    lines = ["| network | neuromancer | torch, channels last | ratio |\n|---|---|---|---|"]
    for name in MEMORY:
        ours, theirs = (
            float(common.child(__file__, "--memory-of", name, side).split()[-1])
            for side in ("neuromancer", "torch, channels last")
        )
        lines.append(f"| {name} | {ours:.2f} GB | {theirs:.2f} GB | **{ours / theirs:.2f}** |")
        print(lines[-1], flush=True)
    return lines


NOTE = f"""One step: gradient of the cross-entropy and an update by `{OPTIMISER}` without decay (in torch the fused
implementation). Losses of {STEPS} steps from the same weights are first checked to agree to {TOLERANCE:.0e}. The peers
are torch by hand (`benchmarks/hand_written.py`), for imported networks their own module: in the default layout, in
channels last, and compiled. All were measured once, the two fastest in turns with neuromancer.
"""


def main() -> None:
    """Measure, print, and write the sections if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small patches, single runs")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="groups of networks")
    parser.add_argument("--write", type=Path, help="Markdown page whose sections to write")
    parser.add_argument("--memory-of", nargs=2, metavar=("NETWORK", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(peak(*args.memory_of))
        return
    if args.quick and args.write:
        parser.error("numbers of a quick run are not worth a page")
    head = header("network", "batch")
    print(head, flush=True)
    for group in args.only:
        rows = [(case.name, *measure(case, args.quick)) for case in CASES if case.group == group]
        if not args.write:
            continue
        reasons = [remark for name, _, found in rows for remark in found.remarks(name)]
        parts = [NOTE.strip(), common.machine(), "\n".join([head, *(line for _, line, _ in rows)]), "\n".join(reasons)]
        if group == "3d":
            parts += ["Peak memory of a process that does three training steps:", "\n".join(memory())]
        page.write(args.write, GROUPS[group], "\n\n".join(filter(None, parts)))


if __name__ == "__main__":
    main()
