"""Measure dense prediction: many networks, against torch by hand, MONAI's sliding window and published numbers.

``python benchmarks/dense.py --write docs/performance.md`` writes its section of the page, with ``--large`` that of the
large volumes; ``--quick`` only proves that everything runs and that all sides compute the same. Runs alternate in one
process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import common
import neuro3d
import numpy as np
import page
import torch
import unet3d
from hand_written import Chain, UNet, weights_of
from peers import CHANNELS_LAST
from published import ZNNI_PER_CORE, n4, znni

import neuromancer as nm

HEADER = (
    "| network | volume | result | backend | neuromancer | peer | ratio | voxels/s | runs |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
Predict = Callable[[np.ndarray], np.ndarray]
UNET_POOLS = 8
"""Product of the pools of `unet3d` along an axis."""


class Row:
    """One line: our times, a peer's, and how many voxels."""

    def __init__(self, name: str, volume: tuple[int, ...], result: tuple[int, ...], peer: str) -> None:
        self.name, self.volume, self.result, self.peer = name, volume, result, peer
        self.backend = nm.config.backend
        self.ours: list[float] = []
        self.theirs: list[float] = []

    @property
    def speed(self) -> float:
        """Voxels of the result per second."""
        return float(np.prod(self.result) / np.median(self.ours))

    def __str__(self) -> str:
        theirs = f"{np.median(self.theirs):.2f} s ({self.peer})" if self.theirs else self.peer
        ratio = f"**{np.median(np.array(self.ours) / self.theirs):.2f}**" if self.theirs else ""
        return (
            f"| {self.name} | {common.by_x(self.volume)} | {common.by_x(self.result)} | {self.backend} "
            f"| {np.median(self.ours):.2f} s | {theirs} | {ratio} | {self.speed:,.0f} | {len(self.ours)} |"
        )


def compare(
    name: str,
    node: nm.Node,
    shape: tuple[int, ...],
    theirs: Callable[[np.ndarray], np.ndarray] | None,
    peer: str,
    runs: int,
    memory: str | None = None,
) -> Row:
    """Alternate runs of `predict_dense` and a peer, after checking that both give the same."""
    raw = np.random.default_rng(0).random((node.input_nodes[0].shape["f"], *shape), dtype="float32")
    ours = lambda: node.predict_dense(raw, memory=memory, progress=False)  # noqa: E731
    start = time.perf_counter()
    first = ours()
    row = Row(name, shape, first.shape[1:], peer)
    if not runs:  # long enough to need no second run
        row.ours.append(time.perf_counter() - start)
    if theirs is not None:
        start = time.perf_counter()
        expected = theirs(raw)
        if not runs:
            row.theirs.append(time.perf_counter() - start)
        error = common.difference(first, expected)
        if error > common.TOLERANCE:
            raise SystemExit(f"{name}: {first.shape} and {expected.shape} differ by {error:.1e}")
    for _ in range(runs):
        row.ours.append(common.timed(ours))
        if theirs is not None:
            row.theirs.append(common.timed(lambda: theirs(raw)))
    print(row, flush=True)
    return row


def chain_of(node: nm.Node, memory_format: torch.memory_format) -> Chain:
    """A chain of convolutions in torch."""
    layers = [n for n in dict.fromkeys([*node.all_parents.values(), node]) if isinstance(n, nm.Conv)]
    weights = []
    for layer in layers:
        w = layer.params["w"].get_value()
        mirrored = np.flip(w, tuple(range(2, w.ndim)))
        weights.append((mirrored.copy(), layer.params["b"].get_value()))
    return Chain(weights, [layer.pool_shape for layer in layers], memory_format=memory_format)


def chain_by_hand(
    node: nm.Node, compiled: bool = False, memory_format: torch.memory_format | None = None, device: str = "cpu"
) -> Predict:
    """The same as a function of an image: pools without strides and dilated kernels, by default channels last."""
    hand = chain_of(node, memory_format or CHANNELS_LAST[len(node.shape.spatial_axes) + 2])
    hand.to(device)
    if compiled:
        hand.compiled()
    if not isinstance(node, nm.Conv):
        return hand.predict_dense

    def scores(raw: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return hand.logits(hand._input(raw[None]), dense=True)[0].cpu().numpy()

    return scores


def with_its_best_tile(whole: Predict, fov: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Predict, str]:
    """A peer in tiles of the size at which it is fastest per voxel: as they come, and its name."""
    out = [n - f + 1 for n, f in zip(shape, fov, strict=True)]
    speeds: dict[tuple[int, ...], float] = {}
    for parts in (2, 4):
        for thin in (1, 2):
            tile = (-(-out[0] // thin), *(-(-n // parts) for n in out[1:]))
            block = np.zeros((1, *(t + f - 1 for t, f in zip(tile, fov, strict=True))), "float32")
            speeds[tile] = float(np.prod(tile)) / common.timed(lambda block=block: whole(block))  # type: ignore[misc]
    best = max(speeds, key=lambda tile: speeds[tile])

    def predict(raw: np.ndarray) -> np.ndarray:
        parts = []
        for start in np.ndindex(*(-(-n // t) for n, t in zip(out, best, strict=True))):
            low = [k * t for k, t in zip(start, best, strict=True)]
            high = [min(a + t, n) for a, t, n in zip(low, best, out, strict=True)]
            values = whole(raw[(slice(None), *(slice(a, b + f - 1) for a, b, f in zip(low, high, fov, strict=True)))])
            parts.append((tuple(slice(a, b) for a, b in zip(low, high, strict=True)), values))
        result = np.empty((parts[0][1].shape[0], *out), "float32")
        for where, values in parts:
            result[(slice(None), *where)] = values
        return result

    return predict, f"torch, tiles of {common.by_x(best)}"


def steps_of_patches(model: nm.Model) -> tuple[int, ...]:
    """The largest distance of patches at which their results leave no gap and their pools see the image's grid."""
    return tuple(n // UNET_POOLS * UNET_POOLS for n in model["probs"].shape.spatial_shape)


def monai_by_hand(model: nm.Model, patch: tuple[int, ...]) -> Predict:
    """MONAI's sliding window over a valid U-Net, with the smallest overlap at which its answer is right."""
    from monai.inferers import sliding_window_inference

    net = UNet(weights_of(model), torch.channels_last_3d)
    inner = model["probs"].shape.spatial_shape
    border = [(p - i) // 2 for p, i in zip(patch, inner, strict=True)]
    after = [p - i - b for p, i, b in zip(patch, inner, border, strict=True)]
    pads = [n for b, a in reversed(list(zip(border, after, strict=True))) for n in (b, a)]

    def predictor(x: torch.Tensor) -> torch.Tensor:
        probs = torch.softmax(net.logits(x.contiguous(memory_format=torch.channels_last_3d)), 1)
        # MONAI averages where patches overlap, so borders have to come out again: by how often they were not border
        return torch.nn.functional.pad(torch.cat([probs, torch.ones_like(probs[:, :1])], 1), pads)

    def predict(raw: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            result = sliding_window_inference(
                torch.from_numpy(raw[None]), patch, 1, predictor,
                overlap=[1 - (step + 0.5) / p for step, p in zip(steps_of_patches(model), patch, strict=True)],
            )  # fmt: skip
        inside = tuple(slice(b, n - a) for b, a, n in zip(border, after, raw.shape[1:], strict=True))
        result = result[(0, slice(None), *inside)]
        return (result[:-1] / result[-1:]).numpy()

    return predict


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Meanwhile everything is computed by one backend."""
    chosen, nm.config.backend = nm.config.backend, name
    try:
        yield
    finally:
        nm.config.backend = chosen


def measure(quick: bool, large: bool) -> list[Row]:
    """All rows."""
    nm.seed(1)
    if large:
        return [*tiled_rows(quick), *znni_rows(quick)]
    return [*neuro3d_rows(quick), *unet_rows(quick), *plane_rows(quick)]


def neuro3d_rows(quick: bool) -> Iterator[Row]:
    """The example network of the original, by all backends and against all peers."""
    node = neuro3d.create_model((15, 105, 105) if quick else (23, 185, 185))["probs"]
    hand = chain_by_hand(node)
    if quick:
        yield compare("neuro3d", node, (15, 108, 110), hand, "torch", 1)
        return
    yield compare("neuro3d", node, (24, 188, 188), hand, "torch", 3)
    yield compare("neuro3d", node, (24, 188, 188), chain_by_hand(node, True), "torch.compile", 3)
    with backend("openvino"):
        yield compare("neuro3d", node, (24, 188, 188), hand, "torch", 3)
    with backend("torch"):
        yield compare("neuro3d", node, (24, 188, 188), hand, "torch", 3)
    yield compare("neuro3d", node, (32, 300, 300), hand, "torch", 2)


def tiled_rows(quick: bool) -> Iterator[Row]:
    """A volume that hand-written torch cannot compute at once."""
    node = neuro3d.create_model((15, 105, 105))["probs"]
    shape = (15, 110, 110) if quick else (48, 400, 400)
    peer = with_its_best_tile(chain_by_hand(node), tuple(node.shape.fov), shape)
    yield compare("neuro3d", node, shape, *peer, 0)


def unet_rows(quick: bool) -> Iterator[Row]:
    """A valid U-Net against MONAI's sliding window, two patches along every axis."""
    patch = (92, 92, 92) if quick else (116, 132, 132)
    model = unet3d.create_model(patch)
    volume = tuple(p + (0 if quick else step) for p, step in zip(patch, steps_of_patches(model), strict=True))
    yield compare("unet3d", model["probs"], volume, monai_by_hand(model, patch), "MONAI", 1 if quick else 2)
    if not quick:
        with backend("openvino"):
            yield compare("unet3d", model["probs"], volume, None, "", 2)


def plane_rows(quick: bool) -> Iterator[Row]:
    """N4 on one slice."""
    node = n4()
    shape, runs = ((120, 130), 1) if quick else ((512, 512), 3)
    yield compare("N4", node, shape, chain_by_hand(node), "torch", runs)
    if not quick:
        with backend("openvino"):
            yield compare("N4", node, shape, None, "", runs)


def znni_rows(quick: bool) -> Iterator[Row]:
    """ZNNi's networks, with as much memory as this machine has to spare: theirs had 256 GB."""
    for name, out in (("n337", 4),) if quick else (("n337", 192), ("n537", 96), ("n726", 128), ("n926", 96)):
        node = znni(name)
        shape = tuple(f + out - 1 for f in node.shape.fov)
        peer = f"ZNNi, per core: {ZNNI_PER_CORE[name]:,} voxels/s"
        theirs = chain_by_hand(node) if quick else None
        yield compare(name, node, shape, theirs, peer, 0 if quick else 1, None if quick else "16GB")


NOTE = """Speed is given in voxels of the result per second. The peer *torch* is the same network written by hand,
dilated, in its channels-last layout. *MONAI* is `sliding_window_inference` with the only overlap at which a network of
valid convolutions gives the right result. Results of both sides are first checked to agree to 1e-4 of the largest
value.
"""
NOTE_LARGE = """Single runs. The peer *torch* is as above, in tiles of the size at which it is fastest. The numbers for
ZNNi come from its paper and are per processor core; these networks may use 16 GB here.
"""


def main() -> None:
    """Measure, print, and write a section if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small volumes, single runs")
    parser.add_argument("--large", action="store_true", help="large volumes and ZNNi's networks")
    parser.add_argument("--write", type=Path, help="Markdown page whose section to write")
    args = parser.parse_args()
    if args.quick and args.write:
        parser.error("numbers of a quick run are not worth a page")
    print(HEADER, flush=True)
    rows = measure(args.quick, args.large)
    if args.write:
        heading, note = ("Large volumes", NOTE_LARGE) if args.large else ("Dense prediction", NOTE)
        table = "\n".join([HEADER, *map(str, rows)])
        page.write(args.write, heading, "\n\n".join([note.strip(), common.machine(), table]))


if __name__ == "__main__":
    main()
