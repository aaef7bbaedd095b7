"""The OpenVINO backend: rewritten graphs as OpenVINO models. Each module registers the forms of one family.

Imported only when a function runs on it: OpenVINO is optional.
"""

from __future__ import annotations

from neuromancer.engine.pytensor.link.openvino import (
    control,
    convolution,
    elemwise,
    linear,
    pool,
    reduction,
    shape,
    subtensor,
)
from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Missing, Passing, Unsupported, convert
from neuromancer.engine.pytensor.link.openvino.runner import Runner

__all__ = [
    "Builder",
    "Missing",
    "Passing",
    "Runner",
    "Unsupported",
    "control",
    "convert",
    "convolution",
    "elemwise",
    "linear",
    "pool",
    "reduction",
    "shape",
    "subtensor",
]
