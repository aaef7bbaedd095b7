"""The torch linker: graphs run eagerly through torch on a device. Each module registers the forms of one family."""

from __future__ import annotations

from neuromancer.engine.pytensor.link.torch import (
    control,
    convolution,
    elemwise,
    interpolation,
    linear,
    one_pass,
    random,
    reduction,
    scan,
    shape,
    subtensor,
)
from neuromancer.engine.pytensor.link.torch.linker import TorchLinker, torch_mode
from neuromancer.engine.pytensor.link.torch.registry import Form, torch_form

__all__ = [
    "Form",
    "TorchLinker",
    "control",
    "convolution",
    "elemwise",
    "interpolation",
    "linear",
    "one_pass",
    "random",
    "reduction",
    "scan",
    "shape",
    "subtensor",
    "torch_form",
    "torch_mode",
]
