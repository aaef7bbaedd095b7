"""The ways in which people run a torch module on a CPU: as functions of an image."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from contest import Work
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]
Prepare = Callable[[], Work]
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def eager(module: nn.Module, example: Tensor) -> Forward:
    """Return the module as it is."""
    return deepcopy(module).eval()


def channels_last(module: nn.Module, example: Tensor) -> Forward:
    """Return the module in torch's faster memory format of images."""
    memory_format = CHANNELS_LAST[example.ndim]
    moved = deepcopy(module).eval().to(memory_format=memory_format)
    return lambda x: moved(x.contiguous(memory_format=memory_format))


def compiled(module: nn.Module, example: Tensor) -> Forward:
    """Return the module, compiled for the size of the example in channels last."""
    torch.compiler.reset()
    memory_format = CHANNELS_LAST[example.ndim]
    moved = torch.compile(deepcopy(module).eval().to(memory_format=memory_format), dynamic=False)
    return lambda x: moved(x.contiguous(memory_format=memory_format))


def openvino(module: nn.Module, example: Tensor) -> Forward:
    """Return the module, converted by OpenVINO's own reader of torch modules for the size of the example."""
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    reader = FrontEndManager().load_by_framework("pytorch")
    # Kept in a variable: the reader holds no reference to it, and calls it while it converts.
    decoder = TorchScriptPythonDecoder(deepcopy(module).eval(), example_input=example)
    model = reader.convert(reader.load(decoder))
    model.reshape(list(example.shape))
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    network = ov.Core().compile_model(model, "CPU", hints)
    return lambda x: torch.from_numpy(network([x.numpy()])[0].copy())


FORWARDS: dict[str, Callable[[nn.Module, Tensor], Forward]] = {
    "torch": eager,
    "torch, channels last": channels_last,
    "torch.compile": compiled,
    "OpenVINO": openvino,
}
SLOW_START = "torch.compile"
"""Peer that quick runs measure for the first network only: it compiles for half a minute."""


def whole(module: nn.Module, raw: np.ndarray, names: tuple[str, ...] = tuple(FORWARDS)) -> dict[str, Prepare]:
    """Return the peers that evaluate an image (f, *space) at once, by name."""

    def prepare(name: str) -> Work:
        forward = FORWARDS[name](module, torch.from_numpy(raw[None]))

        def work() -> np.ndarray:
            with torch.inference_mode():
                return forward(torch.from_numpy(raw[None]))[0].contiguous().numpy()

        return work

    return {name: partial(prepare, name) for name in names}


def sliding(
    module: nn.Module, raw: np.ndarray, patch: tuple[int, ...], overlap: float, names: tuple[str, ...] = tuple(FORWARDS)
) -> dict[str, Prepare]:
    """Return MONAI's sliding window with Gaussian weights over an image (f, *space), by what evaluates the patches."""
    from monai.inferers import sliding_window_inference

    def prepare(name: str) -> Work:
        forward = FORWARDS[name](module, torch.zeros(1, raw.shape[0], *patch))

        def work() -> np.ndarray:
            with torch.inference_mode():
                image = torch.from_numpy(raw[None])
                return sliding_window_inference(image, patch, 1, forward, overlap, "gaussian")[0].numpy()

        return work

    return {f"MONAI with {name}": partial(prepare, name) for name in names}
