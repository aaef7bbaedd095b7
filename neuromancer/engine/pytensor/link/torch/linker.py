"""The linker through which PyTensor makes a rewritten graph executable, and the compilation mode that uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytensor.compile.mode import Mode
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.link.basic import JITLinker

from neuromancer.engine.pytensor.link.torch.arithmetic import arithmetic
from neuromancer.engine.pytensor.link.torch.program import Program, download, upload
from neuromancer.engine.pytensor.link.torch.registry import DEVICE
from neuromancer.engine.pytensor.link.torch.rewriting import INCOMPATIBLE, REQUIRED, rewriter


class TorchLinker(JITLinker):
    """Links a graph into a `Program` on `device`.

    Parameters
    ----------
    device : torch.device
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Precision of convolutions.
    """

    required_rewrites = REQUIRED
    incompatible_rewrites = INCOMPATIBLE

    def __init__(self, device: torch.device | None = None, precision: str = "f32", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.device, self.precision = device or torch.device("cpu"), precision

    def fgraph_convert(self, fgraph: FunctionGraph, **kwargs: Any) -> Program:
        """Return the program of `fgraph`."""
        return Program(fgraph, self.device, updates=fgraph.update_mapping, precision=self.precision)

    def jit_compile(self, program: Program) -> Callable[..., Any]:
        """Return `program` as a function from numpy values to numpy values, for calls through PyTensor's function."""
        counters, device = program.counters, program.device

        def run(*inputs: Any) -> tuple[Any, ...]:
            with torch.inference_mode(), arithmetic(device, program.precision):
                ready = [
                    upload(v, device, counters) if place == DEVICE and isinstance(v, np.ndarray) else v
                    for v, place in zip(inputs, program.input_places, strict=True)
                ]
                return tuple(np.array(download(v, counters)) for v in program.run(ready))

        run.program = program  # type: ignore[attr-defined]
        return run

    def create_thunk_inputs(self, storage_map: dict[Any, Any]) -> list[Any]:
        """Return the storage cells of the graph's inputs, in order."""
        return [storage_map[variable] for variable in self.fgraph.inputs]


class TorchMode(Mode):
    """Compilation mode with the rewrites and the linker of this package."""

    @property
    def optimizer(self) -> GraphRewriter:
        """All rewrites, in order."""
        return rewriter()


def torch_mode(device: torch.device, precision: str = "f32") -> Mode:
    """Return a compilation mode for `device`, with convolutions in `precision`."""
    return TorchMode(TorchLinker(device, precision), RewriteDatabaseQuery(include=["fast_run"]))
