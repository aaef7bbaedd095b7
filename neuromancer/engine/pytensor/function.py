"""Compiled functions, gradients, and the context in which graphs are built."""

from __future__ import annotations

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
from pytensor.tensor.type import TensorType

from neuromancer.config import config
from neuromancer.engine.common import checks
from neuromancer.engine.common.pending import Done
from neuromancer.engine.pytensor.depth import with_room
from neuromancer.engine.pytensor.devices import resolve_device
from neuromancer.engine.pytensor.kernels.conv import CHANNELS_LAST, channels_last
from neuromancer.engine.pytensor.kernels.memory import reserve
from neuromancer.engine.pytensor.link.accelerator import Accelerator, accelerator_for
from neuromancer.engine.pytensor.link.torch.arithmetic import arithmetic
from neuromancer.engine.pytensor.link.torch.linker import torch_mode
from neuromancer.engine.pytensor.link.torch.program import Counters, Program, download, upload
from neuromancer.engine.pytensor.link.torch.registry import DEVICE, TORCH_DTYPES
from neuromancer.engine.pytensor.link.torch.transfers import Transfers
from neuromancer.engine.pytensor.ops.random import RandomDraw
from neuromancer.errors import InputTypeError
from neuromancer.exclusive import building_lock
from neuromancer.printable import printable


@contextmanager
def building() -> Iterator[None]:
    """Build graphs with Python floats of `config.floatX`; PyTensor's own settings are as before afterwards.

    Meanwhile nothing is compiled to machine code: PyTensor folds constants in Python. Its settings belong to the
    process, so one thread builds at a time.
    """
    with building_lock, pytensor.config.change_flags(floatX=config.floatX, cxx="", mode="FAST_COMPILE"):
        yield


def grad(cost: Variable, wrt: Sequence[Variable]) -> list[Variable | None]:
    """Return the gradient of the scalar `cost` for each variable of `wrt`; None where it does not depend on it.

    Raises
    ------
    ShapeError
        If `cost` is not a scalar.
    """
    checks.check_scalar(cost)

    def differentiate() -> Sequence[Variable]:
        return pytensor.grad(cost, list(wrt), disconnected_inputs="ignore", return_disconnected="disconnected")

    with building():
        gradients = with_room([cost], differentiate)
    return [None if isinstance(g.type, DisconnectedType) else g for g in gradients]


def disconnected_grad(x: Variable) -> Variable:
    """Return `x` as a constant to every gradient."""
    return _disconnected_grad(x)


class CompiledFunction:
    """A callable made of symbolic inputs, outputs and updates; see `function`.

    Attributes
    ----------
    name : str
    device : torch.device
    counters : Counters
        ``uploads`` and ``downloads`` of arrays so far.
    accelerator : Accelerator or None
        What computes calls that torch need not.
    pytensor_function : pytensor.compile.executor.Function
        The function as PyTensor knows it, with the rewritten graph in ``.maker.fgraph``.
    """

    def __init__(
        self,
        inputs: list[Variable],
        outputs: Any,
        updates: dict[Variable, Variable],
        name: str,
        backend: str | None = None,
        precision: str = "f32",
    ) -> None:
        self.name = name
        self.device = resolve_device(config.device)
        self._single = isinstance(outputs, Variable)
        wanted = [outputs] if self._single else list(outputs)
        with building():
            self.pytensor_function = pytensor.function(
                inputs,
                wanted,
                updates=list(updates.items()),
                mode=torch_mode(self.device, "f32" if self.device.type == "cpu" else precision),
                name=name or None,
                on_unused_input="ignore",
                allow_input_downcast=True,
            )
        fgraph = self.pytensor_function.maker.fgraph
        self.program: Program = self.pytensor_function.vm.jit_fn.program
        self.counters: Counters = self.program.counters
        self._inputs = list(inputs)
        self._n_outputs = len(wanted)
        cells = self.pytensor_function.input_storage[len(inputs) :]
        self._cells = [container.storage for container in cells]
        places = self.program.input_places
        self._explicit_places, self._shared_places = places[: len(inputs)], places[len(inputs) :]
        graph_shared = fgraph.inputs[len(inputs) :]
        # What a step updates (kernels, and moments of their gradients) shares one format, so that it need not be
        # converted at every step; between a kernel and its convolution there may be a flip.
        training = bool(fgraph.update_mapping) and bool(self.program.layouts)
        self._channels_last = [
            v in self.program.layouts or (training and v.ndim in CHANNELS_LAST) for v in graph_shared
        ]
        self._updates = [(o, i - len(inputs)) for o, i in sorted((fgraph.update_mapping or {}).items())]
        self._meta_cache: dict[int, tuple[Any, torch.Tensor]] = {}
        self._holding: AbstractContextManager[None] | None = None
        self._transfers: Transfers | None = None
        self.accelerator: Accelerator | None = accelerator_for(
            fgraph, len(inputs), self.device, self._label(), backend, precision
        )

    def __repr__(self) -> str:
        return f"<function {printable(self.name or '?')} of {len(self._inputs)} inputs on {self.device}>"

    def __call__(self, *args: Any) -> Any:
        """Compute the outputs from arrays, in the order of the inputs; then apply the updates.

        Raises
        ------
        InputTypeError, ShapeError
            If the arguments do not fit the inputs.
        EngineError
            If an operation fails.
        """
        arguments = self._arguments(args)
        if self.accelerator is None:
            results = self._by_torch(arguments)
        else:
            computed = self.accelerator.compute(arguments, [cell[0] for cell in self._cells])
            if computed is None:
                start = time.perf_counter()
                results = self._by_torch(arguments)
                seconds = time.perf_counter() - start
                self.accelerator.torch_took(arguments, [cell[0] for cell in self._cells], seconds)
            else:
                results = computed
        return results[0] if self._single else results

    def start(self, *args: Any) -> Any:
        """Begin a call; ``result()`` of what it returns waits for what calling the function would have returned.

        On a GPU the next call can be started meanwhile: its arguments are copied while this one is computed. Elsewhere
        all is done at once.
        """
        if self.device.type != "cuda":
            return Done(self(*args))
        if self._transfers is None:
            self._transfers = Transfers(self.device, self.counters)
        arguments = self._arguments(args)
        with torch.inference_mode(), arithmetic(self.device, self.program.precision):
            results = self.program.run(self._placed(arguments, self._transfers.upload))
            coming = self._transfers.download(results[: self._n_outputs], self._single)
            self._update(results, set())
        return coming

    def expect(self, products: float, work: float | None = None) -> None:
        """Announce calls that are to be computed alike, until `release`.

        Parameters
        ----------
        products : float
            Multiply-adds of all of them; if they are many, a backend that is slow to start may start now.
        work : float, optional
            Multiply-adds of direct convolutions that take as long; `products` if not given.
        """
        if self._holding is None:
            self._holding = reserve.hold()
            self._holding.__enter__()
        if self.accelerator is not None:
            self.accelerator.expect(products, work)

    def release(self) -> None:
        """End what was announced, and give back the memory that is kept from the last call for the next one."""
        if self._holding is not None:
            self._holding.__exit__(None, None, None)
            self._holding = None
        if self.accelerator is not None:
            self.accelerator.release()
        if self._transfers is not None:
            self._transfers.release()

    def _by_torch(self, arguments: Sequence[Any]) -> list[Any]:
        """The outputs, after which the updates are applied."""
        with torch.inference_mode(), reserve.hold(), arithmetic(self.device, self.program.precision):
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
    def _arguments(self, args: Sequence[Any]) -> list[Any]:
        """Arguments that fit the inputs."""
        if len(args) != len(self._inputs):
            raise InputTypeError(
                "wrong number of arguments", node=self._label(), got=len(args), expected=self._signature()
            )
        return [self._checked(variable, value) for variable, value in zip(self._inputs, args, strict=True)]

    def _placed(self, arguments: Sequence[Any], to_device: Callable[[np.ndarray], torch.Tensor]) -> list[Any]:
        """What the program gets: arguments where it wants them, then the shared variables."""
        values = [
            to_device(value) if place == DEVICE and isinstance(value, np.ndarray) else value
            for value, place in zip(arguments, self._explicit_places, strict=True)
        ]
        return values + [self._shared(k) for k in range(len(self._cells))]

    def _checked(self, variable: Variable, value: Any) -> Any:
        """`value` as an array of the input's dtype, number of axes and known sizes; as it is if no array is wanted."""
        if not isinstance(variable.type, TensorType):
            return value
        return checks.argument(value, variable, self._label(), variable.type.shape)

    def _shared(self, k: int) -> Any:
        """Value of the k-th shared variable where the program wants it; a tensor replaces the array in its storage."""
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
        """The meta twin of a shared value, made once; the value itself stays where it is."""
        cached = self._meta_cache.get(k)
        if cached is None or cached[0] is not value:
            self.counters.uploads += 1
            tensor = torch.empty(value.shape, dtype=TORCH_DTYPES[np.dtype(value.dtype).name], device="meta")
            self._meta_cache[k] = cached = (value, tensor)
        return cached[1]

    # values out
    def _addresses(self, values: Iterable[Any]) -> set[int]:
        """Where the memory is that no result may share."""
        return {
            v.untyped_storage().data_ptr() for v in values if isinstance(v, torch.Tensor) and v.device.type == "cpu"
        } | self.program.constant_addresses()

    def _to_user(self, value: Any, taken: set[int]) -> Any:
        """`value` as a numpy array with memory of its own (a tensor without data on device 'meta')."""
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
        """`value` with memory of its own, to be kept in a shared variable."""
        if not isinstance(value, torch.Tensor):
            return np.array(value)
        if value.device.type != "cpu":
            return value.clone() if value.untyped_storage().nbytes() != value.nbytes else value
        address = value.untyped_storage().data_ptr()
        if address in taken or 0 in value.stride() or value.untyped_storage().nbytes() != value.nbytes:
            return value.clone(memory_format=torch.contiguous_format)
        taken.add(address)
        return value

    def _label(self) -> str:
        return f"function {self.name}" if self.name else "function"

    def _signature(self) -> str:
        types = ", ".join(
            f"{v}: {v.type.dtype}{v.type.shape}" if isinstance(v.type, TensorType) else str(v) for v in self._inputs
        )
        return f"{len(self._inputs)} ({types})"


def function(
    inputs: Sequence[Variable],
    outputs: Variable | Sequence[Variable],
    updates: Any = (),
    name: str = "",
    backend: str | None = None,
    precision: str = "f32",
) -> CompiledFunction:
    """Compile a function of `inputs`, for the device and precision configured now.

    Parameters
    ----------
    inputs : sequence of Variable
        Arguments of the function; unused ones are allowed.
    outputs : Variable or sequence of Variable
        What it returns: one numpy array, or a list of them.
    updates : dict or sequence of (SharedVariable, Variable)
        New values of shared variables after each call. Random streams in the graph advance without being named.
    name : str
    backend : {'auto', 'torch', 'openvino'}, optional
        What computes on the CPU; None follows ``config.backend``. Functions with updates, random numbers, gradients or
        float64 are always torch's.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Precision of convolutions, and of products where it is not torch that computes them. 'tf32' is for GPUs.

    Returns
    -------
    CompiledFunction
        Takes arrays of any size where the inputs' shapes are None, without compiling again.

    Raises
    ------
    EngineError
        If an output depends on a variable that is not among `inputs`.
    InputTypeError
        If an argument is not a symbolic variable of the right kind, or an update has another dtype.
    DeviceError
        If the configured device is not there, or does not have the precision.
    ArgumentError
        If backend or precision is unknown, or the function cannot have the precision.
    MissingDependencyError
        If the backend asked for is not installed.

    Examples
    --------
    >>> from neuromancer.engine import tensor
    >>> x = tensor("x", (None,), "float32")
    >>> function([x], x.sum())([1, 2, 3])
    array(6., dtype=float32)
    """
    label = f"function {name}" if name else "function"
    pairs = dict(updates)
    single = isinstance(outputs, Variable)
    wanted = [outputs] if single else list(outputs)
    given = set(inputs)

    def missing(roots: Iterable[Variable]) -> list[Variable]:
        known = graph_inputs(roots, blockers=given)
        return [v for v in known if v not in given and not isinstance(v, Constant | PlainShared)]

    checks.check_graph(label, inputs, wanted, pairs, Variable, PlainShared, missing)
    roots = [*wanted, *pairs.values()]
    for state, advanced in random_updates(roots).items():
        pairs.setdefault(state, advanced)

    def compiled() -> CompiledFunction:
        return CompiledFunction(list(inputs), outputs if single else wanted, pairs, name, backend, precision)

    return with_room(roots, compiled)


def random_updates(outputs: Iterable[Variable]) -> dict[Variable, Variable]:
    """Return state -> next state for every random draw that `outputs` depend on."""
    return {
        v.owner.inputs[0]: v.owner.outputs[0]
        for v in ancestors(list(outputs))
        if v.owner is not None and isinstance(v.owner.op, RandomDraw) and isinstance(v.owner.inputs[0], PlainShared)
    }
