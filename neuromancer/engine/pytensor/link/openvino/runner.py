"""Compiled models of one graph: one per set of argument shapes, recompiled when a parameter changes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import openvino
import torch
from pytensor.graph.fg import FunctionGraph

from neuromancer.engine.pytensor.link.openvino.builder import Builder
from neuromancer.engine.pytensor.link.openvino.registry import Passing, Unsupported
from neuromancer.errors import DeviceError

MODELS = 8
"""Maximum number of compiled models per function; dense prediction needs one per tile shape, up to two per axis."""
UNITS = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
"""Precision -> OpenVINO's name of the processor capability."""


@cache
def _core() -> openvino.Core:
    return openvino.Core()


@cache
def _home() -> int:
    """Return the id of the process that owns OpenVINO's threads: a fork does not inherit them."""
    return os.getpid()


def require_precision(precision: str) -> None:
    """Raise DeviceError if the processor does not support `precision`: emulation is slower and less accurate."""
    abilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if UNITS[precision] not in abilities:
        has = [name for name, unit in UNITS.items() if unit in abilities]
        raise DeviceError(
            f"this processor does not compute in {precision}",
            where="precision",
            got=precision,
            expected=f"one of {has}",
            nearest="f32",
        )


@dataclass
class _Compiled:
    """A compiled model for one set of argument shapes, the arrays that it refers to, and its request."""

    model: openvino.CompiledModel
    kernels: list[np.ndarray]
    memory: list[np.ndarray]
    _request: openvino.InferRequest | None = None

    def request(self, n_arguments: int) -> openvino.InferRequest:
        """Return the request, whose inputs after the arguments are kernels."""
        if self._request is None:
            self._request = self.model.create_infer_request()
            for k, kernel in enumerate(self.kernels, n_arguments):
                self._request.set_input_tensor(k, openvino.Tensor(kernel, shared_memory=True))
        return self._request

    def release(self) -> None:
        """Free working memory; the request goes, too, as it holds the arguments and results of its last call."""
        self._request = None
        self.model.release_memory()


class Runner:
    """Runs one graph through OpenVINO.

    Parameters
    ----------
    fgraph : FunctionGraph
        The rewritten graph; its inputs are the arguments, then the shared variables.
    n_arguments : int
    precision : {'f32', 'bf16', 'f16'}
        Precision of convolutions and products; arguments and results keep their dtypes.

    Attributes
    ----------
    compilations : int
        Number of models compiled so far.
    models : dict
        Compiled models by argument shapes and number of threads, the least recently used first.

    Raises
    ------
    DeviceError
        If the processor does not support the precision.
    """

    def __init__(self, fgraph: FunctionGraph, n_arguments: int, precision: str = "f32") -> None:
        require_precision(precision)
        self.fgraph, self.n_arguments, self.precision = fgraph, n_arguments, precision
        self.compilations = 0
        self.models: OrderedDict[Any, _Compiled] = OrderedDict()
        self._current: _Compiled | None = None
        self._seen: list[Any] | None = None
        self._finite = True
        self._parameters: list[np.ndarray] = []
        self._folded: dict[Any, np.ndarray] = {}
        self._dtypes = [np.dtype(v.type.dtype) for v in fgraph.outputs]
        self._lock = Lock()
        _home()

    def run(self, arguments: Sequence[np.ndarray], parameters: Sequence[Any]) -> list[np.ndarray]:
        """Compute the outputs.

        Parameters
        ----------
        arguments : sequence of numpy.ndarray
            In the dtypes of the graph's inputs.
        parameters : sequence
            Values of the shared variables: arrays or CPU tensors. A changed value must be a new object.

        Returns
        -------
        list of numpy.ndarray
            They own their memory.

        Raises
        ------
        Unsupported
            If OpenVINO cannot compute the graph (`Missing`), these shapes, or these values (`Passing`): its maximum and
            its rectifier drop NaN.
        """
        if os.getpid() != _home():
            raise Unsupported("a process forked after OpenVINO was loaded")
        with self._lock:
            if not all(map(_finite, arguments)):
                raise Passing("arguments that are not finite")
            self._follow(parameters)
            if not self._finite:
                raise Passing("parameters that are not finite")
            request = self._compiled(arguments).request(self.n_arguments)
            for k, array in enumerate(arguments):
                request.set_input_tensor(k, _as_tensor(array))
            try:
                request.infer()
            except RuntimeError as error:
                raise Unsupported(f"OpenVINO failed: {str(error).splitlines()[-1]}") from error
            # Copied: results may share memory with arguments, and the next call overwrites them.
            return [np.array(request.get_output_tensor(k).data, dtype) for k, dtype in enumerate(self._dtypes)]

    def release(self) -> None:
        """Free the working memory of the last call; compiled models stay."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._current is not None:
            self._current.release()
            self._current = None

    def _follow(self, parameters: Sequence[Any]) -> None:
        """Discard the models if a parameter has another value than the one they were compiled for."""
        if self._seen is not None and all(a is b for a, b in zip(self._seen, parameters, strict=True)):
            return
        arrays = [np.ascontiguousarray(_as_array(p)).reshape(np.shape(p)) for p in parameters]
        if self._seen is None or not all(map(np.array_equal, arrays, self._parameters)):
            # The models refer to this memory, so nobody else may own it.
            self._parameters = [
                a.copy() if np.shares_memory(a, _as_array(p)) else a for a, p in zip(arrays, parameters, strict=True)
            ]
            self._finite = all(map(_finite, self._parameters))
            self.models.clear()
            self._folded.clear()
            self._current = None
        self._seen = list(parameters)

    def _compiled(self, arguments: Sequence[np.ndarray]) -> _Compiled:
        threads = torch.get_num_threads()
        key = (threads, *(a.shape for a in arguments))
        compiled = self.models.get(key)
        if compiled is None:
            self._release()
            compiled = self.models[key] = self._compile(arguments, threads)
            while len(self.models) > MODELS:
                self.models.popitem(last=False)
        elif compiled is not self._current:
            self._release()
        self.models.move_to_end(key)
        self._current = compiled
        return compiled

    def _compile(self, arguments: Sequence[np.ndarray], threads: int) -> _Compiled:
        inputs = self.fgraph.inputs
        sizes = dict(zip(inputs[: self.n_arguments], (a.shape for a in arguments), strict=True))
        parameters = dict(zip(inputs[self.n_arguments :], self._parameters, strict=True))
        try:
            build = Builder(self.fgraph, sizes, parameters, self._folded)
            model = build.model()
            options = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": self.precision,
                "INFERENCE_NUM_THREADS": threads,
                # several processes would all be pinned to the same first cores
                "ENABLE_CPU_PINNING": False,
            }
            compiled = _core().compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise Unsupported(f"OpenVINO refused: {str(error).splitlines()[-1]}") from error
        self.compilations += 1
        return _Compiled(compiled, build.kernels, build.memory)


def _finite(array: np.ndarray) -> bool:
    """Return False if there is a NaN or an infinity (or if the sum overflows, which costs only speed)."""
    return array.dtype.kind != "f" or bool(np.isfinite(array.sum()))


def _as_array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _as_tensor(array: np.ndarray) -> openvino.Tensor:
    """Return `array` as an OpenVINO tensor, sharing its memory if that is contiguous."""
    shared = array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    return openvino.Tensor(array, shared_memory=True) if shared else openvino.Tensor(np.array(array, order="C"))
