"""Faster backends beside torch: which there are, and when a function of a graph runs on one.

A backend pays for its speed at the start: it has to be imported and to compile a model for every shape of the
arguments, and again after every change of a parameter. So a function begins with torch and changes over when the time
that it has spent there, for one shape and unchanged parameters, is what the change costs: then it never takes more than
about twice the time of the better choice made at once. Who knows beforehand how much work there is says so (`expect`),
and then the choice is made once, from that alone: all calls until `release` are computed alike, to the last bit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.math import Dot
from pytensor.tensor.type import TensorType

from neuromancer.config import BACKENDS as NAMES
from neuromancer.config import config
from neuromancer.engine.pytensor.link.torch.arithmetic import require_units
from neuromancer.engine.pytensor.ops.conv import ConvBase, ConvGradInput, ConvGradKernel
from neuromancer.engine.pytensor.ops.pool import AveragePoolGrad, MaxPoolGrad, TakeWinners
from neuromancer.engine.pytensor.ops.rectifier import ReluGrad
from neuromancer.errors import ArgumentError, DeviceError, MissingDependencyError, nearest_name

logger = logging.getLogger("neuromancer")

SPENT = 0.7
"""Seconds in torch after which a function changes over: importing OpenVINO takes 0.2 s, compiling `neuro3d` 0.1 s, and
it saves 10 % of the time of `neuro3d` and 24 % of that of `unet3d`."""
WORK = 2e11
"""Multiply-adds that are worth a start at once, which costs 0.2 to 0.3 s: torch takes 1.6 s for them on two threads."""
SHARE = 0.85
"""Time of a multiply-add there, by that of one in torch's direct convolutions: 0.77 in `unet3d`, 0.92 in `neuro3d`."""
TRIALS = 3
"""Calls after which a backend that has never been faster than torch is given up for a shape."""
SHAPES = 64
"""For how many shapes of arguments times are remembered."""
PRECISIONS = ("f32", "tf32", "bf16", "f16")

BACKENDS: dict[str, str] = {"openvino": "neuromancer.engine.pytensor.link.openvino"}
"""Backend -> module with its ``Runner`` and exceptions ``Unsupported``, ``Missing`` and ``Passing``. The library that
it needs has the backend's name."""
PRODUCTS = (ConvBase, Dot, BatchedDot)
"""Operations that a faster backend is for."""
GRADIENTS = (ConvGradInput, ConvGradKernel, MaxPoolGrad, AveragePoolGrad, TakeWinners, ReluGrad)
"""Operations of training, where parameters change at every call."""

_logged: set[str] = set()


@dataclass
class _Record:
    """What is known about calls with arguments of one shape."""

    spent: float = 0.0
    torch_best: float = float("inf")
    ours_best: float = float("inf")
    ours_calls: int = 0
    refused: bool = False


class Accelerator:
    """Runs calls of one function on a backend where that pays, or always if the user says so.

    Parameters
    ----------
    fgraph : FunctionGraph
        Rewritten.
    n_arguments : int
    label : str
        Name of the function in messages.
    backend : str
        One of `BACKENDS`.
    precision : {'f32', 'bf16', 'f16'}
    always : bool
        Begin with the first call.
    """

    def __init__(
        self, fgraph: FunctionGraph, n_arguments: int, label: str, backend: str, precision: str, always: bool
    ) -> None:
        self.backend, self.label, self.always = backend, label, always
        self._make = lambda: import_module(BACKENDS[backend]).Runner(fgraph, n_arguments, precision)
        self._runner: Any = self._make() if precision != "f32" else None
        self._records: dict[Any, _Record] = {}
        self._seen: list[Any] = []
        self._chosen: bool | None = None
        self._useless = False

    @property
    def calls(self) -> int:
        """How many calls ran on the backend, of those whose shapes are remembered."""
        return sum(record.ours_calls for record in self._records.values())

    def expect(self, products: float, work: float | None = None) -> None:
        """Announce calls of together `products` multiply-adds, for which torch takes the time of `work`."""
        self._chosen = products >= WORK and SHARE * products < (products if work is None else work)

    def release(self) -> None:
        """End what was announced, and give working memory back."""
        self._chosen = None
        if self._runner is not None:
            self._runner.release()

    def compute(self, arguments: Sequence[np.ndarray], parameters: Sequence[Any]) -> list[np.ndarray] | None:
        """Outputs of the function, or None if torch is to compute them."""
        if self._useless:
            return None
        record = self._record(arguments, parameters)
        enough = self.always or (record.spent >= SPENT if self._chosen is None else self._chosen)
        if record.refused or not enough:
            return None
        if self._runner is None:
            self._runner = self._make()
        module = import_module(BACKENDS[self.backend])
        start = time.perf_counter()
        try:
            results = self._runner.run(arguments, parameters)
        except module.Missing as reason:
            self._useless = True
            self._tell(reason)
            return None
        except module.Unsupported as reason:
            record.refused = not isinstance(reason, module.Passing)
            self._tell(reason)
            return None
        self._judge(record, time.perf_counter() - start)
        return results

    def torch_took(self, arguments: Sequence[np.ndarray], parameters: Sequence[Any], seconds: float) -> None:
        """Take note of a call that torch has computed."""
        record = self._record(arguments, parameters)
        record.spent += seconds
        record.torch_best = min(record.torch_best, seconds)

    def _record(self, arguments: Sequence[np.ndarray], parameters: Sequence[Any]) -> _Record:
        """The record of the arguments' shapes, for parameters as they are now."""
        if len(self._seen) != len(parameters) or any(a is not b for a, b in zip(self._seen, parameters, strict=True)):
            self._seen = list(parameters)
            self._records.clear()
        key = tuple(a.shape for a in arguments)
        if key not in self._records and len(self._records) >= SHAPES:
            self._records.clear()
        return self._records.setdefault(key, _Record())

    def _judge(self, record: _Record, seconds: float) -> None:
        record.ours_calls += 1
        record.ours_best = min(record.ours_best, seconds)
        slower = record.ours_calls >= TRIALS and record.ours_best > record.torch_best
        if slower and not self.always and self._chosen is None:
            record.refused = True

    def _tell(self, reason: Exception) -> None:
        """One line per reason and process; the user who asked for the backend gets it as a warning."""
        text = f"{self.backend} leaves {self.label} to torch: {reason}"
        if str(reason) not in _logged:
            _logged.add(str(reason))
            logger.log(logging.WARNING if self.always else logging.INFO, text)


def accelerator_for(
    fgraph: FunctionGraph,
    n_arguments: int,
    device: torch.device,
    label: str,
    backend: str | None = None,
    precision: str = "f32",
) -> Accelerator | None:
    """Return what runs a graph beside torch, or None if nothing does.

    Parameters
    ----------
    fgraph : FunctionGraph
        Rewritten; first the arguments, then the shared variables.
    n_arguments : int
    device : torch.device
    label : str
        Name of the function in messages.
    backend : str, optional
        'auto', 'torch' or one of `BACKENDS`; None follows ``config.backend``.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        On a CPU, 'bf16' and 'f16' need a backend other than torch, and there is no 'tf32'.

    Raises
    ------
    ArgumentError
        On an unknown backend or precision, or a precision that the graph or the chosen backend does not have.
    DeviceError
        If the device or the processor does not have the precision.
    MissingDependencyError
        If the backend asked for is not installed.
    """
    wanted = config.backend if backend is None else backend
    for what, value, names in (("backend", wanted, NAMES), ("precision", precision, PRECISIONS)):
        if value not in names:
            raise ArgumentError(
                f"unknown {what}",
                where=label,
                got=value,
                expected=f"one of {names}",
                nearest=nearest_name(str(value), names) or names[0],
            )
    reduced = precision != "f32"
    if device.type != "cpu":
        misfit = _misfit(fgraph) if reduced else None
        if misfit:
            raise ArgumentError(f"only float32 inference runs in {precision}", where=label, got=misfit)
        require_units(device, precision, label)
        return None
    if precision == "tf32":
        raise DeviceError(
            "tf32 is for GPUs", where=label, got=str(device), expected="config.device 'cuda'", nearest="f32"
        )
    name = next(iter(BACKENDS)) if wanted == "auto" else wanted
    if name not in BACKENDS:
        if reduced:
            raise ArgumentError(
                f"torch computes in the dtype of the network on a CPU, not in {precision}",
                where=label,
                got=f"backend {wanted!r}",
                expected=f"config.backend 'auto' or one of {tuple(BACKENDS)}",
                nearest="precision='f32'",
            )
        return None
    if find_spec(name) is None:
        if reduced or wanted != "auto":
            raise MissingDependencyError(
                f"{name} is not installed",
                where=label,
                expected=f"pip install 'neuromancer-graph[{name}]'",
                nearest="backend 'torch'",
            )
        return None
    misfit = _misfit(fgraph)
    if misfit and reduced:
        raise ArgumentError(f"only float32 inference runs in {precision}", where=label, got=misfit)
    always = reduced or wanted != "auto"
    return None if misfit else Accelerator(fgraph, n_arguments, label, name, precision, always)


def _misfit(fgraph: FunctionGraph) -> str | None:
    """Why a graph is none for inference in float32, None if it may be."""
    if fgraph.update_mapping:
        return "a function with updates"
    for variable in (*fgraph.inputs, *fgraph.outputs):
        if not isinstance(variable.type, TensorType):
            return f"{variable} of type {variable.type}"
        if variable.type.dtype in ("float64", "float16", "complex64", "complex128"):
            return f"{variable} of {variable.type.dtype}"
    for node in fgraph.apply_nodes:
        if isinstance(node.op, GRADIENTS):
            return f"operation {node.op}"
    if not any(isinstance(getattr(node.op, "core_op", node.op), PRODUCTS) for node in fgraph.apply_nodes):
        return "a graph without convolutions and products, where nothing is to be gained"
    return None
