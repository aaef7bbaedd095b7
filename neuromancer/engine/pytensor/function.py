"""Compiled functions, gradients, and the context in which graphs are built."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytensor
import torch
from pytensor.compile.sharedvalue import SharedVariable as PlainShared
from pytensor.gradient import DisconnectedType
from pytensor.gradient import disconnected_grad as _disconnected_grad
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors, graph_inputs

from neuromancer.config import config
from neuromancer.engine.common.checks import check_scalar
from neuromancer.engine.common.function import CompiledBase, Counters, GraphTypes, function_label
from neuromancer.engine.common.pending import Done
from neuromancer.engine.compiled import Agree
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.pytensor.depth import with_room
from neuromancer.engine.pytensor.devices import resolve_device
from neuromancer.engine.pytensor.kernels.conv import CHANNELS_LAST, channels_last
from neuromancer.engine.pytensor.kernels.conv_algorithm import direct_seconds
from neuromancer.engine.pytensor.kernels.memory import reserve
from neuromancer.engine.pytensor.link.accelerator import Accelerator, accelerator_for
from neuromancer.engine.pytensor.link.torch.arithmetic import arithmetic
from neuromancer.engine.pytensor.link.torch.linker import torch_mode
from neuromancer.engine.pytensor.link.torch.program import Program, download, upload
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, TORCH_DTYPES
from neuromancer.engine.pytensor.link.torch.transfers import Transfers
from neuromancer.engine.pytensor.ops.random import RandomDraw
from neuromancer.engine.pytensor.tensors import known_shape
from neuromancer.exclusive import building_lock

_GRAPHS = GraphTypes(Variable, Constant, PlainShared, RandomDraw, graph_inputs, ancestors)


@implements(Engine.building)
@contextmanager
def building() -> Iterator[None]:
    # Without a C++ compiler PyTensor folds constants in Python and writes no files. Recording where every operation was
    # created takes up to a quarter of the time that building takes; errors name nodes instead.
    flags = {"cxx": "", "mode": "FAST_COMPILE", "traceback__limit": 0}
    with building_lock, _garbage_kept(), pytensor.config.change_flags(floatX=config.floatX, **flags):
        yield


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """Collect no garbage: graphs consist of cycles that are in use, and are searched again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@implements(Engine.grad)
def grad(cost: Variable, wrt: Sequence[Variable]) -> list[Variable | None]:
    check_scalar(cost)

    def differentiate() -> Sequence[Variable]:
        return pytensor.grad(cost, list(wrt), disconnected_inputs="ignore", return_disconnected="disconnected")

    with building():
        gradients = with_room([cost], differentiate)
    return [None if isinstance(g.type, DisconnectedType) else g for g in gradients]


@implements(Engine.disconnected_grad)
def disconnected_grad(x: Variable) -> Variable:
    return _disconnected_grad(x)


class CompiledFunction(CompiledBase):
    """A callable made of symbolic inputs, outputs and updates; see `function`.

    Attributes
    ----------
    inputs : list of Variable
    name : str
    device : torch.device
    counters : Counters
    accelerator : Accelerator or None
        Runs calls on a faster backend than torch.
    transfers : Transfers or None
        Copies to and from a GPU in the background; created by the first `start` there.
    pytensor_function : pytensor.compile.executor.Function
        PyTensor's function, with the rewritten graph in ``.maker.fgraph``.
    """

    known_shape = staticmethod(known_shape)

    def __init__(
        self,
        inputs: list[Variable],
        outputs: Any,
        updates: dict[Variable, Variable],
        name: str,
        backend: str | None = None,
        precision: str = "f32",
    ) -> None:
        super().__init__(list(inputs), name)
        self.device = resolve_device(config.device)
        self._single = isinstance(outputs, Variable)
        listed = [outputs] if self._single else list(outputs)
        with building():
            self.pytensor_function = pytensor.function(
                inputs,
                listed,
                updates=list(updates.items()),
                mode=torch_mode(self.device, "f32" if self.device.type == "cpu" else precision),
                name=name or None,
                on_unused_input="ignore",
                allow_input_downcast=True,
            )
        fgraph = self.pytensor_function.maker.fgraph
        self.program: Program = self.pytensor_function.vm.jit_fn.program
        self.counters: Counters = self.program.counters
        self._n_outputs = len(listed)
        cells = self.pytensor_function.input_storage[len(inputs) :]
        self._cells = [container.storage for container in cells]
        places = self.program.input_places
        self._explicit_places, self._shared_places = places[: len(inputs)], places[len(inputs) :]
        graph_shared = fgraph.inputs[len(inputs) :]
        # Everything that a training step updates (kernels, and moments of their gradients) has one memory format, so
        # that no step converts it. A kernel may be flipped on its way to the convolution, so not all are in `layouts`.
        training = bool(fgraph.update_mapping) and bool(self.program.layouts)
        self._channels_last = [
            v in self.program.layouts or (training and v.ndim in CHANNELS_LAST) for v in graph_shared
        ]
        self._updates = [(o, i - len(inputs)) for o, i in sorted((fgraph.update_mapping or {}).items())]
        self._meta_cache: dict[int, tuple[Any, torch.Tensor]] = {}
        self._holding: AbstractContextManager[None] | None = None
        self.transfers: Transfers | None = None
        self.accelerator: Accelerator | None = accelerator_for(
            fgraph, len(inputs), self.device, self.label, backend, precision
        )

    @property
    def shared_values(self) -> list[Any]:
        """Values of the shared variables in the order of the graph: arrays, or tensors where they lie on a device."""
        return [cell[0] for cell in self._cells]

    def __call__(self, *args: Any) -> Any:
        """Compute the outputs from arrays, in the order of the inputs; then apply the updates.

        Raises
        ------
        InputTypeError, ShapeError
            If the arguments do not fit the inputs.
        EngineError
            If an operation fails.
        """
        arguments = self.checked(args)
        if self.accelerator is None:
            results = self._by_torch(arguments)
        elif self.accelerator.on_trial:
            results = self.accelerator.trial(arguments, self.shared_values, lambda: self._by_torch(arguments))
        else:
            computed = self.accelerator.compute(arguments, self.shared_values)
            if computed is None:
                with direct_seconds() as direct:
                    start = time.perf_counter()
                    results = self._by_torch(arguments)
                    seconds = time.perf_counter() - start
                self.accelerator.torch_took(arguments, self.shared_values, seconds, direct)
            else:
                results = computed
        return results[0] if self._single else results

    def start(self, *args: Any) -> Any:
        """Start a call; ``result()`` of the returned object waits for its outputs.

        On a GPU the next call can be started before that: its arguments are copied while this one is computed. On other
        devices the call has finished on return.
        """
        if self.device.type != "cuda":
            return Done(self(*args))
        if self.transfers is None:
            self.transfers = Transfers(self.device, self.counters)
        arguments = self.checked(args)
        with torch.inference_mode(), arithmetic(self.device, self.program.precision):
            results = self.program.run(self._placed(arguments, self.transfers.upload))
            pending = self.transfers.download(results[: self._n_outputs], self._single)
            self._update(results, set())
        return pending

    def expect(self, products: float, seconds: float | None = None, calls: int = 1, agree: Agree | None = None) -> None:
        """Announce upcoming calls: until `release`, all of them run on the same backend.

        Parameters
        ----------
        products : float
            Multiply-adds of all the calls together; if there are many, a backend that is slow to start may start now.
        seconds : float, optional
            Predicted time of the calls on the usual backend; default: that of direct convolutions.
        calls : int
            Number of calls; if there are many, the first may be used to find the fastest backend.
        agree : callable, optional
            Takes the name of the backend that was fastest and returns that of the one to use: for processes that share
            the calls, and those that continue them later. For None, it returns what was agreed on before, or None.
        """
        if self._holding is None:
            self._holding = reserve.hold()
            self._holding.__enter__()
        if self.accelerator is not None:
            self.accelerator.expect(products, seconds, calls, agree)

    def release(self) -> None:
        """End the announced calls and free memory that is kept for the next call."""
        if self._holding is not None:
            self._holding.__exit__(None, None, None)
            self._holding = None
        if self.accelerator is not None:
            self.accelerator.release()
        if self.transfers is not None:
            self.transfers.release()

    def _by_torch(self, arguments: Sequence[Any]) -> list[Any]:
        """Compute the outputs with torch, then apply the updates."""
        # what torch allocates for a step of training would come on top of kept memory
        holding = reserve.hold(and_after=not self._updates)
        with torch.inference_mode(), holding, arithmetic(self.device, self.program.precision):
            values = self._placed(arguments, lambda value: upload(value, self.device, self.counters))
            results = self.program.run(values)
            taken = set() if self.program.owns_outputs else self._addresses(values)
            outputs = [self._to_user(result, taken) for result in results[: self._n_outputs]]
            self._update(results, taken)
        return outputs

    def _update(self, results: Sequence[Any], taken: set[int]) -> None:
        if self.device.type == "meta":
            return
        fresh = [(k, self._to_cell(results[o], taken)) for o, k in self._updates]
        for k, value in fresh:
            self._cells[k][0] = value

    # values in
    def _placed(self, arguments: Sequence[Any], to_device: Callable[[np.ndarray], torch.Tensor]) -> list[Any]:
        """Inputs of the program, each in its place: the arguments, then the shared variables."""
        values = [
            to_device(value) if place == DEVICE and isinstance(value, np.ndarray) else value
            for value, place in zip(arguments, self._explicit_places, strict=True)
        ]
        return values + [self._shared(k) for k in range(len(self._cells))]

    def _shared(self, k: int) -> Any:
        """Value of the k-th shared variable in its place; a tensor on the device replaces the stored array."""
        cell = self._cells[k]
        value = cell[0]
        if self._shared_places[k] != DEVICE:
            return download(value, self.counters) if isinstance(value, torch.Tensor) else value
        if self.device.type == "meta":
            return self._shape_only(k, value)
        if not isinstance(value, torch.Tensor):
            value = upload(value, self.device, self.counters)
        elif value.device != self.device:
            self.counters.uploads += 1
            value = value.to(self.device)
        elif not self._channels_last[k]:
            return value
        if self._channels_last[k]:
            value = channels_last(value)
        cell[0] = value
        return value

    def _shape_only(self, k: int, value: Any) -> torch.Tensor:
        """Tensor on device 'meta' with the shape of a shared value, cached; the value itself stays in its storage."""
        cached = self._meta_cache.get(k)
        if cached is None or cached[0] is not value:
            self.counters.uploads += 1
            tensor = torch.empty(value.shape, dtype=TORCH_DTYPES[np.dtype(value.dtype).name], device="meta")
            self._meta_cache[k] = cached = (value, tensor)
        return cached[1]

    # values out
    def _addresses(self, values: Iterable[Any]) -> set[int]:
        """Addresses of memory that results must not share."""
        return {
            v.untyped_storage().data_ptr() for v in values if isinstance(v, torch.Tensor) and v.device.type == "cpu"
        } | self.program.constant_addresses()

    def _to_user(self, value: Any, taken: set[int]) -> Any:
        """Return `value` as a numpy array that owns its memory (on device 'meta': as a tensor without data)."""
        if not isinstance(value, torch.Tensor):
            return np.array(value) if isinstance(value, np.ndarray | np.generic) else value
        if value.device.type == "meta":
            return value
        self.counters.downloads += 1
        if value.device.type != "cpu":
            return value.contiguous().cpu().numpy()
        address = value.untyped_storage().data_ptr()
        if address in taken or 0 in value.stride() or value.untyped_storage().nbytes() != value.nbytes:
            return np.array(value.numpy(), order="C")
        taken.add(address)
        return np.asarray(value.numpy(), order="C")

    @staticmethod
    def _to_cell(value: Any, taken: set[int]) -> Any:
        """Return `value`, or a copy that owns its memory, to be stored in a shared variable."""
        if not isinstance(value, torch.Tensor):
            return np.array(value)
        if value.device.type != "cpu":
            return value.clone() if value.untyped_storage().nbytes() != value.nbytes else value
        address = value.untyped_storage().data_ptr()
        if address in taken or 0 in value.stride() or value.untyped_storage().nbytes() != value.nbytes:
            return value.clone(memory_format=torch.contiguous_format)
        taken.add(address)
        return value


@implements(Engine.function)
def function(
    inputs: Sequence[Variable],
    outputs: Variable | Sequence[Variable],
    updates: Any = (),
    name: str = "",
    backend: str | None = None,
    precision: str = "f32",
) -> CompiledFunction:
    listed = _GRAPHS.as_list(outputs)
    pairs = _GRAPHS.complete_updates(function_label(name), inputs, listed, updates)

    def compiled() -> CompiledFunction:
        single = isinstance(outputs, Variable)
        return CompiledFunction(list(inputs), outputs if single else listed, pairs, name, backend, precision)

    return with_room([*listed, *pairs.values()], compiled)
