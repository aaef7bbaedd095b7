"""Faster backends than torch, and when a function runs on one.

A backend has a start-up cost: it has to be imported, and it compiles a model for every shape of the arguments, again
after every change of a parameter. So a function starts on torch and switches when the time spent there, for one shape
and unchanged parameters, reaches the cost of switching: it never takes more than about twice the time of the better
choice made at once. It stays on torch where its convolutions alone would take the backend longer. A caller that knows
the amount of work in advance announces it (`expect`). Then the choice is made once, and all calls until `release` run
on the same backend, so that their results agree bit by bit. It follows from predicted times; where these are close and
there are many calls, the first one runs on both backends and is timed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import inf, prod
from typing import Any

import numpy as np
import torch
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.blas import BatchedDot
from pytensor.tensor.math import Dot
from pytensor.tensor.type import TensorType

from neuromancer.config import BACKENDS as NAMES
from neuromancer.config import config
from neuromancer.engine.compiled import Agree
from neuromancer.engine.pytensor.kernels.conv_algorithm import Layer
from neuromancer.engine.pytensor.kernels.speed import current
from neuromancer.engine.pytensor.link.torch.arithmetic import require_units
from neuromancer.engine.pytensor.ops.conv import Conv, ConvBase, ConvGradInput, ConvGradKernel
from neuromancer.engine.pytensor.ops.fused import ConvBias
from neuromancer.engine.pytensor.ops.pool import AveragePoolGrad, MaxPoolGrad, TakeWinners
from neuromancer.engine.pytensor.ops.rectifier import ReluGrad
from neuromancer.errors import ArgumentError, DeviceError, MissingDependencyError, nearest_name

logger = logging.getLogger("neuromancer")

SPENT = 0.7
"""Seconds in torch after which a function switches: importing OpenVINO takes 0.2 s, compiling `neuro3d` 0.1 s, and
OpenVINO saves 10 % of the time of `neuro3d` and 24 % of that of `unet3d`."""
WORK = 2e11
"""Minimum announced multiply-adds for choosing the backend by prediction."""
BEGIN = 0.5
"""Seconds for starting on the backend."""
SHARE = 0.85
"""Time of a network of direct convolutions on the backend, relative to torch: 0.77 to 0.92 were measured."""
CLOSE = 2.0
"""Factor of predicted times up to which both backends are tried."""
TRIED, LONG = 80, 25.0
"""Minimum number and seconds of announced calls for a trial, which takes as long as three calls, and `BEGIN`: 5 %."""
TRIALS = 3
"""Calls of a shape after which it returns to torch if the backend was never faster."""
MUCH = 1.25
"""Time relative to torch from which on the second call, which no longer compiles, is enough to return."""
SHAPES = 64
"""Maximum number of argument shapes for which times are kept."""
PRECISIONS = ("f32", "tf32", "bf16", "f16")

BACKENDS: dict[str, str] = {"openvino": "neuromancer.engine.pytensor.link.openvino"}
"""Backend -> module with its ``Runner`` and exceptions ``Unsupported``, ``Missing`` and ``Passing``. The required
library has the name of the backend."""
PRODUCTS = (ConvBase, Dot, BatchedDot)
"""Operations that a backend speeds up; graphs without them stay on torch."""
GRADIENTS = (ConvGradInput, ConvGradKernel, MaxPoolGrad, AveragePoolGrad, TakeWinners, ReluGrad)
"""Operations of training, where parameters change at every call."""

logged: set[str] = set()
"""Reasons for leaving a function to torch that were logged in this process."""


@dataclass
class _Record:
    """Times, in seconds, of the calls with arguments of one shape, and of its convolutions if computed directly."""

    spent: float = 0.0
    by_torch: int = 0
    torch_best: float = float("inf")
    direct: float = 0.0
    best: float = float("inf")
    calls: int = 0
    refused: bool = False


class Accelerator:
    """Runs calls of one function on a backend, where that is faster or always.

    Parameters
    ----------
    fgraph : FunctionGraph
        The rewritten graph.
    n_arguments : int
    label : str
        Name of the function in messages.
    backend : str
        One of `BACKENDS`.
    precision : {'f32', 'bf16', 'f16'}
    always : bool
        Use the backend from the first call on, whatever the times.
    """

    def __init__(
        self, fgraph: FunctionGraph, n_arguments: int, label: str, backend: str, precision: str, always: bool
    ) -> None:
        self.backend, self.label, self.always = backend, label, always
        self._fgraph = fgraph
        self._make = lambda: import_module(BACKENDS[backend]).Runner(fgraph, n_arguments, precision)
        self._runner: Any = self._make() if precision != "f32" else None
        self._records: dict[Any, _Record] = {}
        self._seen: list[Any] = []
        self._chosen: bool | None = None
        self._agree: Agree | None = None
        self.on_trial = False
        """Whether the next call runs on both backends."""
        self._useless = False

    @property
    def calls(self) -> int:
        """Number of calls that ran on the backend, for the current parameters and recorded shapes."""
        return sum(record.calls for record in self._records.values())

    def expect(self, products: float, seconds: float | None = None, calls: int = 1, agree: Agree | None = None) -> None:
        """Choose torch or the backend for all calls until `release`; arguments as in `CompiledFunction.expect`."""
        direct = products * self._per_product()
        ours, torchs = SHARE * direct, direct if seconds is None else seconds
        # what torch needs beyond direct convolutions is not convolution, and takes the backend as long
        self._chosen, self._agree = products >= WORK and ours + BEGIN < torchs <= direct / SHARE, agree
        long = calls >= TRIED and torchs >= LONG
        self.on_trial = long and not self.always and max(ours, torchs) < CLOSE * min(ours, torchs)
        known = agree(None) if agree is not None and not self.always else None
        if known is not None:
            self._chosen, self.on_trial = known == self.backend, False

    def _per_product(self) -> float:
        """Return the seconds of a product of the network's convolutions, computed directly.

        Few channels leave part of the vectors empty.
        """
        speed = current()
        layers = [layer for node in self._fgraph.apply_nodes if (layer := one_output(node)) is not None]
        products = sum(prod(layer.w_shape) for layer in layers)
        if not products:
            return speed.per_unit["direct"]
        return sum(speed.seconds(layer.direct) for layer in layers) / products

    @property
    def _name(self) -> str:
        """Name of the chosen backend."""
        return self.backend if self._chosen else "torch"

    def trial(
        self, arguments: Sequence[np.ndarray], parameters: Sequence[Any], by_torch: Callable[[], list[np.ndarray]]
    ) -> list[np.ndarray]:
        """Return the outputs of the function by the faster of both backends, which remains chosen until `release`.

        Both run twice, as the first run compiles; nothing depends on the results of the slower one.
        """
        self.on_trial, self._chosen = False, True
        times, results = {}, {}
        for name, run in ((self.backend, lambda: self.compute(arguments, parameters)), ("torch", by_torch)):
            for _ in range(2):
                start = time.perf_counter()
                found = run()
                if found is None:
                    break
                times[name], results[name] = time.perf_counter() - start, found
        self._chosen = times.get(self.backend, inf) < times["torch"]
        if self._agree is not None:
            self._chosen = self._agree(self._name) == self.backend
        logger.info("%s runs on %s (seconds per call: %s)", self.label, self._name, times)
        return results[self._name] if self._name in results else results["torch"]

    def release(self) -> None:
        """End the announced calls and free working memory."""
        self._chosen, self._agree, self.on_trial = None, None, False
        if self._runner is not None:
            self._runner.release()

    def compute(self, arguments: Sequence[np.ndarray], parameters: Sequence[Any]) -> list[np.ndarray] | None:
        """Return the outputs of the function, or None if torch has to compute them."""
        if self._useless:
            return None
        record = self._record(arguments, parameters)
        # the first call also loads machine code and transforms kernels: it says nothing of the next ones
        spent = record.spent >= SPENT and record.by_torch > 1 and record.torch_best >= SHARE * record.direct
        enough = self.always or (spent if self._chosen is None else self._chosen)
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

    def torch_took(
        self,
        arguments: Sequence[np.ndarray],
        parameters: Sequence[Any],
        seconds: float,
        direct: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Record the time of a call on torch; `direct` predicts that of its convolutions by oneDNN, 0 if unknown.

        That is asked for only where the backend could be tried.
        """
        record = self._record(arguments, parameters)
        record.spent += seconds
        record.by_torch += 1
        record.torch_best = min(record.torch_best, seconds)
        if record.spent >= SPENT and not record.direct:
            record.direct = direct()

    def _record(self, arguments: Sequence[np.ndarray], parameters: Sequence[Any]) -> _Record:
        """Return the record for the shapes of the arguments; a changed parameter discards all records."""
        if len(self._seen) != len(parameters) or any(a is not b for a, b in zip(self._seen, parameters, strict=True)):
            self._seen = list(parameters)
            self._records.clear()
        key = tuple(a.shape for a in arguments)
        if key not in self._records and len(self._records) >= SHAPES:
            self._records.clear()
        return self._records.setdefault(key, _Record())

    def _judge(self, record: _Record, seconds: float) -> None:
        record.calls += 1
        record.best = min(record.best, seconds)
        much = MUCH if record.calls < TRIALS else 1.0
        slower = record.calls > 1 and record.best > much * record.torch_best
        if slower and not self.always and self._chosen is None:
            record.refused = True

    def _tell(self, reason: Exception) -> None:
        """Log a reason once per process: as a warning if the user requested the backend."""
        text = f"{self.backend} leaves {self.label} to torch: {reason}"
        if str(reason) not in logged:
            logged.add(str(reason))
            logger.log(logging.WARNING if self.always else logging.INFO, text)


def one_output(node: Apply) -> Layer | None:
    """Return the layer that computes a single output of a convolution; None for other operations."""
    op = getattr(node.op, "core_op", node.op)
    if type(op) not in (Conv, ConvBias):
        return None
    w_shape = node.inputs[1].type.shape
    if len(w_shape) not in (4, 5) or None in w_shape or 0 in w_shape:
        return None
    extent = [d * (k - 1) + 1 for d, k in zip(op.dilation, w_shape[2:], strict=True)]
    return Layer((1, op.groups * w_shape[1], *extent), tuple(w_shape), op.stride, op.dilation, op.groups)


def accelerator_for(
    fgraph: FunctionGraph,
    n_arguments: int,
    device: torch.device,
    label: str,
    backend: str | None = None,
    precision: str = "f32",
) -> Accelerator | None:
    """Return the accelerator of a graph, or None if it runs on torch only.

    Parameters
    ----------
    fgraph : FunctionGraph
        The rewritten graph; its inputs are the arguments, then the shared variables.
    n_arguments : int
    device : torch.device
    label : str
        Name of the function in messages.
    backend : str, optional
        'auto', 'torch' or one of `BACKENDS`; default: `config.backend`.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        On a CPU, 'bf16' and 'f16' need a backend other than torch, and 'tf32' does not exist.

    Raises
    ------
    ArgumentError
        On an unknown backend or precision, or a precision that the graph or the chosen backend does not support.
    DeviceError
        If the device or the processor does not support the precision.
    MissingDependencyError
        If the requested backend is not installed.
    """
    requested = config.backend if backend is None else backend
    for setting, value, names in (("backend", requested, NAMES), ("precision", precision, PRECISIONS)):
        if value not in names:
            raise ArgumentError(
                f"unknown {setting}",
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
    name = next(iter(BACKENDS)) if requested == "auto" else requested
    if name not in BACKENDS:
        if reduced:
            raise ArgumentError(
                f"torch computes in the dtype of the network on a CPU, not in {precision}",
                where=label,
                got=f"backend {requested!r}",
                expected=f"config.backend 'auto' or one of {tuple(BACKENDS)}",
                nearest="precision='f32'",
            )
        return None
    if find_spec(name) is None:
        if reduced or requested != "auto":
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
    always = reduced or requested != "auto"
    return None if misfit else Accelerator(fgraph, n_arguments, label, name, precision, always)


def _misfit(fgraph: FunctionGraph) -> str | None:
    """Return why a graph is not float32 inference; None if it is."""
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
        return "a graph without convolutions and products, which would not run faster"
    return None
