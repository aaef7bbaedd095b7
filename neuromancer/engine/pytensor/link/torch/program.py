"""A rewritten graph as a flat list of steps that run eagerly: the result of the torch linker.

Every variable lives either on the device, as a tensor, or on the host, as a numpy value. Sizes and everything computed
from them stay on the host, so no step waits for the device unless the graph itself needs a value there (boolean masks,
printing, conditions computed from data, operations without a torch form).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph, Output
from pytensor.raise_op import Assert
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.type import TensorType

from neuromancer.engine.common.function import Counters
from neuromancer.engine.pytensor.devices import is_lack_of_memory
from neuromancer.engine.pytensor.kernels.conv import channels_last
from neuromancer.engine.pytensor.link.torch.epilogues import with_epilogues
from neuromancer.engine.pytensor.link.torch.grouping import grouped, is_elementwise
from neuromancer.engine.pytensor.link.torch.host import fallback_form, host_form
from neuromancer.engine.pytensor.link.torch.one_pass import wide
from neuromancer.engine.pytensor.link.torch.parts import with_parts
from neuromancer.engine.pytensor.link.torch.registry import (
    ANY,
    DEVICE,
    HOST,
    NEW,
    Context,
    Form,
    has_own_place,
    supported,
    torch_form,
)
from neuromancer.engine.pytensor.ops.base import tensor_view
from neuromancer.engine.pytensor.ops.elementwise import FusedElementwise
from neuromancer.errors import EngineError, NeuromancerError, OutOfMemoryError, ShapeError

SHAPE = "shape"
"""Place of tensors that have a shape but no memory."""
SMALL = 8
"""Integer arrays of up to this many elements (counters, seeds, shapes) are kept on the host."""


@dataclass
class Step:
    """One call: ``values[outputs] = run(*values[inputs])``; then the slots in `free` are emptied.

    The results of a held step depend on parameters only and are cached until one of them changes. Those of a late step
    are used for updates only.
    """

    run: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    node: Apply | None
    free: tuple[int, ...] = ()
    held: bool = False
    late: bool = False


def upload(value: Any, device: torch.device, counters: Counters) -> torch.Tensor:
    """Return a host value as a tensor on `device` (on the CPU: sharing its memory)."""
    counters.uploads += 1
    tensor = tensor_view(value)
    if device.type == "cpu":
        return tensor
    try:
        return tensor.to(device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError("not enough memory", where=str(device), got=f"array of shape {value.shape}") from error


def download(value: Any, counters: Counters) -> Any:
    """Return a device value as a numpy array, waiting for the device."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.device.type == "meta":
        raise EngineError(
            "a value is needed on the host, but device 'meta' has shapes only", got=f"tensor of shape {value.shape}"
        )
    counters.downloads += 1
    return value.cpu().numpy()


def stays_on_host(variable: Variable) -> bool:
    """Return True for inputs that stay on the host: non-tensors, scalars, and small integer arrays of known size."""
    if not isinstance(variable.type, TensorType) or variable.ndim == 0 or not supported(variable):
        return True
    shape = variable.type.shape
    return variable.dtype[:3] in ("int", "uin", "boo") and None not in shape and np.prod(shape) <= SMALL


def _only_for_updates(fgraph: FunctionGraph, updates: dict[int, int]) -> set[Apply]:
    """Return the elementwise operations whose results are used only to compute updates."""
    replacing = {fgraph.outputs[o] for o in updates}
    result: set[Apply] = set()
    for node in reversed(fgraph.toposort()):
        if not isinstance(node.op, Elemwise | DimShuffle | FusedElementwise):
            continue
        clients = [(out, reader) for out in node.outputs for reader, _ in fgraph.clients[out]]
        if clients and all(
            reader in result or (isinstance(reader.op, Output) and out in replacing) for out, reader in clients
        ):
            result.add(node)
    return result


def _shape_only(node: Apply, k: int) -> bool:
    """Return whether a node uses only the shape of its input number `k`."""
    return k in getattr(node.op, "shape_only", ())


def _without_memory(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor with the shape and the memory format of another one."""
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _in_format(value: Any) -> Any:
    return channels_last(value) if isinstance(value, torch.Tensor) else value


class Program:
    """Steps that compute the outputs of a graph.

    Attributes
    ----------
    input_places, output_places : list
        'host' or 'device', in the order of the graph.
    owns_outputs : bool
        All outputs on the device are known to be new tensors, not views.

    Parameters
    ----------
    fgraph : FunctionGraph
        The rewritten graph; inputs in order are those of `run`.
    device : torch.device
    counters : Counters
        Shared between a function and the programs of its inner graphs.
    updates : dict
        Output index -> index of the input that it replaces after a call; both must live in the same place.
    places : dict, optional
        Input index -> 'host' or 'device'; default: as `stays_on_host` says.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Precision of convolutions.
    """

    def __init__(
        self,
        fgraph: FunctionGraph,
        device: torch.device,
        counters: Counters | None = None,
        updates: dict[int, int] | None = None,
        places: dict[int, str] | None = None,
        precision: str = "f32",
    ) -> None:
        self.device, self.precision = device, precision
        self.counters = counters or Counters()
        self.layouts: set[Variable] = set()
        # Training changes the parameters at every call, so caching what depends on them would only cost time.
        parameters = set() if updates else {v for v in fgraph.inputs if isinstance(v, SharedVariable)}
        originals = fgraph.inputs
        if device.type == "cpu":
            fgraph, copies = grouped(fgraph, parameters)
            with_epilogues(fgraph)
            with_parts(fgraph)
            parameters = {copies[v] for v in parameters}
        self.fgraph, self._parameters = fgraph, parameters
        self._late = _only_for_updates(fgraph, updates or {})
        self._held_values: list[tuple[int, Any]] = []
        self._held_for: list[Any] | None = None
        forced: dict[Variable, str] = {fgraph.inputs[i]: place for i, place in (places or {}).items()}
        while True:
            self._build(forced)
            clash = [
                fgraph.inputs[i]
                for o, i in (updates or {}).items()
                if self.places[fgraph.inputs[i]] == HOST and self.places[fgraph.outputs[o]] == DEVICE
            ]
            if not clash:
                break
            forced.update(dict.fromkeys(clash, DEVICE))
        self.layouts = {v for v, own in zip(originals, fgraph.inputs, strict=True) if own in self.layouts}
        self.input_places = [self.places[i] for i in fgraph.inputs]
        self.output_places = [self.places[o] for o in fgraph.outputs]
        self.owns_outputs = all(o in self._fresh or self.places[o] == HOST for o in fgraph.outputs)

    # building
    def _build(self, forced: dict[Variable, str]) -> None:
        fgraph = self.fgraph
        self.places: dict[Variable, str] = {}
        self.steps: list[Step] = []
        self._slots: dict[tuple[Variable, str], int] = {}
        self._fresh: set[Variable] = set()
        self._held = set(self._parameters)
        self._initial: list[Any] = []
        self.layouts = set()
        for variable in fgraph.inputs:
            self.places[variable] = forced.get(variable) or (HOST if stays_on_host(variable) else DEVICE)
            self._new_slot(variable, self.places[variable])
        for node in fgraph.toposort():
            self._add(node)
        self.output_slots = []
        for variable in fgraph.outputs:
            self._place_constant(variable)
            place = self.places[variable]
            self.output_slots.append(self._slot(variable, place))
        self._plan_frees()

    def _new_slot(self, variable: Variable, place: str, value: Any = None) -> int:
        self._slots[variable, place] = slot = len(self._initial)
        self._initial.append(value)
        return slot

    def _place_constant(self, variable: Variable) -> None:
        if isinstance(variable, Constant) and variable not in self.places:
            single = np.size(variable.data) == 1
            self.places[variable] = HOST if single or stays_on_host(variable) else DEVICE

    def _slot(self, variable: Variable, place: str | None) -> int:
        """Return the slot that holds `variable` in `place`, adding a transfer if it is computed in the other place."""
        if place in (ANY, None):
            place = self.places[variable]
        slot = self._slots.get((variable, place))
        if slot is not None:
            return slot
        if isinstance(variable, Constant):
            value = variable.data
            if place == DEVICE:
                value = tensor_view(np.array(value)).to(self.device)
            return self._new_slot(variable, place, value)
        counters, device = self.counters, self.device
        source = self._slots[variable, self.places[variable]]
        target = self._new_slot(variable, place)
        if place == DEVICE:
            if not supported(variable):
                raise EngineError("a value has no torch form", where=str(variable), got=str(variable.type))
            run = lambda value: upload(value, device, counters)  # noqa: E731
        else:
            run = lambda value: download(value, counters)  # noqa: E731
        held, late = variable in self._held, variable.owner in self._late
        self.steps.append(Step(run, (source,), (target,), None, held=held, late=late))
        return target

    def _add(self, node: Apply) -> None:
        for variable in node.inputs:
            self._place_constant(variable)
        form = self._form(node)
        slots = tuple(
            self._slot(variable, SHAPE if (variable, SHAPE) in self._slots and _shape_only(node, k) else place)
            for k, (variable, place) in enumerate(zip(node.inputs, form.takes, strict=True))
            if place is not None
        )
        outputs = []
        for variable, place in zip(node.outputs, form.gives, strict=True):
            self.places[variable] = place
            outputs.append(self._new_slot(variable, place))
        held = self._depends_on_parameters_only(node)
        if held:
            self._held.update(node.outputs)
        elif form.fresh:
            self._fresh.update(node.outputs)
        self.steps.append(Step(form.run, slots, tuple(outputs), node, held=held, late=node in self._late))
        for variable, slot in zip(node.outputs, outputs, strict=True):
            self._keep_shape(variable, slot, held)

    def _keep_shape(self, variable: Variable, slot: int, held: bool) -> None:
        """Keep the shape of a variable apart, if an operation needs no more of it: its memory can be freed earlier."""
        readers = self.fgraph.clients.get(variable, ())
        if self.places[variable] == DEVICE and any(_shape_only(node, k) for node, k in readers):
            self.steps.append(Step(_without_memory, (slot,), (self._new_slot(variable, SHAPE),), None, held=held))

    def _depends_on_parameters_only(self, node: Apply) -> bool:
        """Return True if the results of `node` change only when a parameter changes."""
        return (
            any(v in self._held for v in node.inputs)
            and all(v in self._held or isinstance(v, Constant) for v in node.inputs)
            and node.op.do_constant_folding(self.fgraph, node)
        )

    def _form(self, node: Apply) -> Form:
        op = node.op
        if all(self.places[v] == HOST for v in node.inputs) and not has_own_place(op):
            return host_form(node)
        used = tuple(bool(self.fgraph.clients.get(v)) for v in node.outputs)
        form = None
        if all(supported(v) or self.places.get(v) == HOST for v in (*node.inputs, *node.outputs)):
            lasting = {v for v in node.inputs if v in self._held or isinstance(v, Constant)}
            context = Context(
                self.device, self.places, used, self._reusable(node), lasting, self.layouts, self.counters,
                self.precision,
            )  # fmt: skip
            form = torch_form(op, node, context)
        if form is None:
            return fallback_form(node)
        if not isinstance(form, Form):
            fresh = type(op) in NEW
            form = Form(form, [DEVICE] * len(node.inputs), [DEVICE] * len(node.outputs), fresh)
        if self.device.type == "cpu" and is_elementwise(node):
            form = wide(node, form, context)
        # Values of other dtypes, such as uint16, stay on the host, also where they meet values on the device.
        stays = any(take == DEVICE and not supported(v) for v, take in zip(node.inputs, form.takes, strict=True))
        return fallback_form(node) if stays else form

    def _reusable(self, node: Apply) -> set[Variable]:
        """Return the inputs of `node` that own their memory and that nothing reads later: it may overwrite them."""
        return {v for v in node.inputs if v in self._fresh and self._is_last_reader(node, v)}

    def _is_last_reader(self, node: Apply, variable: Variable) -> bool:
        """Return whether all others that read a variable run before `node` and keep no view of it."""
        readers = [client for client, _ in self.fgraph.clients[variable]]
        others = [client for client in readers if client is not node]
        return len(readers) == len(others) + 1 and all(
            client not in self._late and client.outputs and all(v in self._fresh for v in client.outputs)
            for client in others
        )

    def _plan_frees(self) -> None:
        """Order the steps, and let every step empty the slots that no later step reads.

        Held steps come first: they read no argument. Late steps come last: otherwise new parameters and moments would
        lie in memory beside the old ones while gradients of large arrays are still to be computed.
        """
        self.steps.sort(key=lambda step: (not step.held, step.late))
        keep = set(self.output_slots)
        keep.update(slot for (variable, _), slot in self._slots.items() if isinstance(variable, Constant))
        made = {slot for step in self.steps if step.held for slot in step.outputs}
        read = {slot for step in self.steps if not step.held for slot in step.inputs}
        boundary = made & (read | keep)
        keep |= boundary
        formats = {slot for (variable, _), slot in self._slots.items() if variable in self.layouts}
        self._boundary = [(slot, slot in formats) for slot in sorted(boundary)]
        seen: set[int] = set()
        for step in reversed(self.steps):
            last = {s for s in (*step.inputs, *step.outputs) if s not in seen and s not in keep}
            seen.update(last)
            step.free = tuple(last)
        self._schedule = [
            (s.run, s.inputs, s.outputs, s.outputs[0] if len(s.outputs) == 1 else -1, s.free) for s in self.steps
        ]
        self._n_held = sum(step.held for step in self.steps)
        self._n_inputs = len(self.fgraph.inputs)
        self._parameter_slots = [k for k, v in enumerate(self.fgraph.inputs) if v in self._parameters]

    def constant_addresses(self) -> set[int]:
        """Return the addresses of constants and of cached values."""
        values = [*self._initial, *(value for _, value in self._held_values)]
        return {v.untyped_storage().data_ptr() for v in values if isinstance(v, torch.Tensor)}

    # running
    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Compute the outputs from inputs that are already in their places (`input_places`)."""
        values = self._initial.copy()
        values[: self._n_inputs] = inputs
        if self._n_held:
            parameters = [inputs[k] for k in self._parameter_slots]
            if self._held_for is None or any(a is not b for a, b in zip(parameters, self._held_for, strict=True)):
                self._execute(values, 0, self._n_held)
                self._held_values = [(k, _in_format(values[k]) if fmt else values[k]) for k, fmt in self._boundary]
                self._held_for = parameters
            for slot, value in self._held_values:
                values[slot] = value
        self._execute(values, self._n_held, len(self._schedule))
        return [values[s] for s in self.output_slots]

    def _execute(self, values: list[Any], start: int, stop: int) -> None:
        """Run the steps from `start` to `stop`."""
        position = start
        try:
            for run, sources, targets, target, free in self._schedule[start:stop]:
                result = run(*[values[s] for s in sources])
                if target >= 0:
                    values[target] = result
                else:
                    for t, r in zip(targets, result, strict=True):
                        values[t] = r
                for s in free:
                    values[s] = None
                position += 1
        except NeuromancerError:
            raise
        except Exception as error:
            raise self._explain(position, values, error) from error

    def _explain(self, position: int, values: list[Any], error: Exception) -> Exception:
        """Return an error of a step as one that names the operation and the shapes of its inputs."""
        step = self.steps[position]
        if step.node is None:
            return OutOfMemoryError("not enough memory", where="transfer") if is_lack_of_memory(error) else error
        shapes = [tuple(getattr(values[s], "shape", ())) for s in step.inputs]
        check = getattr(step.node.op, "check_shapes", None)
        if check is not None and len(shapes) == len(step.node.inputs):
            try:
                check(shapes)
            except NeuromancerError as explained:
                return explained
        if is_lack_of_memory(error):
            return OutOfMemoryError("not enough memory", where=str(step.node.op), got=f"inputs of shapes {shapes}")
        if isinstance(step.node.op, Assert) and "broadcast" in str(error):
            # Where only the shape of a sum is needed, the sum itself is optimised away.
            return ShapeError(
                "operands differ along an axis",
                where="an elementwise operation",
                expected="equal lengths, or an axis declared to have length 1",
            )
        if isinstance(error, RuntimeError):
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            return EngineError(text, where=str(step.node.op), got=f"inputs of shapes {shapes}")
        error.add_note(f"in operation {step.node.op} on inputs of shapes {shapes}")
        return error
