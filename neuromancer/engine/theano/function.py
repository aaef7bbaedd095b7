"""Compiled functions, gradients, and the context in which graphs are built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from theano.compile.sharedvalue import SharedVariable as PlainShared
from theano.configparser import change_flags
from theano.gof import Constant, Variable
from theano.gof.graph import ancestors
from theano.gof.graph import inputs as graph_inputs
from theano.gradient import DisconnectedType
from theano.tensor import TensorType

from neuromancer.config import config
from neuromancer.engine.common.checks import check_scalar
from neuromancer.engine.common.function import CompiledBase, Counters, GraphTypes, function_label
from neuromancer.engine.common.pending import Done
from neuromancer.engine.compiled import Agree
from neuromancer.engine.interface import Engine, implements
from neuromancer.engine.theano.library import theano
from neuromancer.engine.theano.random_op import RandomDraw
from neuromancer.engine.theano.tensors import known_shape
from neuromancer.errors import (
    ArgumentError,
    DeviceError,
    EngineError,
    NeuromancerError,
    OutOfMemoryError,
    ShapeError,
)
from neuromancer.exclusive import Exclusive, building_lock

_SIZES_DIFFER = re.compile(
    r"dimension mis-?match|could not be broadcast|shapes .* not aligned|all the input array dimensions", re.IGNORECASE
)

_PROBLEMS = [
    (re.compile("sequence is shorter", re.IGNORECASE), "a sequence is shorter than the loop"),
    (re.compile("same stack size"), "channels of input and kernel differ"),
    (re.compile("impossible output|window larger"), "window larger than the input"),
]


_GRAPHS = GraphTypes(Variable, Constant, PlainShared, RandomDraw, graph_inputs, ancestors)


@implements(Engine.building)
@contextmanager
def building() -> Iterator[None]:
    with building_lock, change_flags(floatX=config.floatX), np.errstate(all="ignore"):
        yield


@implements(Engine.grad)
def grad(cost: Variable, wrt: Sequence[Variable]) -> list[Variable | None]:
    check_scalar(cost)
    with building():
        gradients = theano.grad(cost, list(wrt), disconnected_inputs="ignore", return_disconnected="Disconnected")
    return [None if isinstance(g.type, DisconnectedType) else g for g in gradients]


class CompiledFunction(CompiledBase):
    """A callable made of symbolic inputs, outputs and updates; see `function`.

    Attributes
    ----------
    inputs : list of Variable
    name : str
    device : str
        'cpu'.
    counters : Counters
        Always 0: Theano computes where the arrays are.
    theano_function : theano.compile.function_module.Function
        Theano's function, with the rewritten graph in ``.maker.fgraph``.
    """

    known_shape = staticmethod(known_shape)

    def __init__(self, inputs: list[Variable], outputs: Any, updates: dict[Variable, Variable], name: str) -> None:
        if config.device not in ("cpu", "auto"):
            raise DeviceError(
                "Theano runs on the CPU only", got=config.device, expected="'cpu' or 'auto'", nearest="cpu"
            )
        super().__init__(list(inputs), name)
        self.device = "cpu"
        self.counters = Counters()
        self._single = isinstance(outputs, Variable)
        self._calling = Exclusive()
        with building():
            self.theano_function = theano.function(
                inputs,
                [outputs] if self._single else list(outputs),
                updates=list(updates.items()),
                name=name or None,
                on_unused_input="ignore",
                allow_input_downcast=True,
            )

    def checked_value(self, variable: Variable, value: Any) -> Any:
        """Return `value` as an aligned array that fits the input."""
        fitting = super().checked_value(variable, value)
        return np.require(fitting, requirements="A") if isinstance(variable.type, TensorType) else fitting

    def __call__(self, *args: Any) -> Any:
        """Compute the outputs from arrays, in the order of the inputs; then apply the updates.

        Raises
        ------
        InputTypeError, ShapeError
            If the arguments do not fit the inputs.
        EngineError
            If an operation fails.
        """
        values = self.checked(args)
        try:
            # log(0) is -inf in every engine, without a warning. Theano stores arguments and intermediate results of a
            # call in the function, so two threads must not call it at once.
            with self._calling, np.errstate(all="ignore"):
                results = self.theano_function(*values)
        except NeuromancerError:
            raise
        except (ValueError, RuntimeError, AssertionError) as error:
            raise _explained(error) from error
        outputs = [np.asarray(r) if isinstance(r, np.generic) else r for r in results]
        return outputs[0] if self._single else outputs

    def start(self, *args: Any) -> Done:
        """Compute the outputs; ``result()`` of the returned object returns them."""
        return Done(self(*args))

    def expect(self, products: float, seconds: float | None = None, calls: int = 1, agree: Agree | None = None) -> None:
        """Do nothing: there is no other backend."""

    def release(self) -> None:
        """Do nothing: Theano keeps no memory between calls."""


def _explained(error: Exception) -> Exception:
    """Return Theano's error as one of the package that names the operation and its shapes."""
    text = str(error)
    first = text.splitlines()[0] if text else type(error).__name__
    found = re.search(r"^Apply node that caused the error: (\w+)", text, re.MULTILINE)
    shapes = re.search(r"^Inputs shapes: (.*)$", text, re.MULTILINE)
    node = found.group(1) if found else None
    for pattern, problem in _PROBLEMS:
        if pattern.search(first):
            return ShapeError(problem, node=node, got=f"shapes {shapes.group(1)}" if shapes else None)
    if _SIZES_DIFFER.search(first):
        axis = _differing_axis(shapes.group(1) if shapes else "")
        return ShapeError(
            first if axis is None else f"operands differ along axis {axis}",
            node=node,
            got=f"shapes {shapes.group(1)}" if shapes else None,
            expected="equal lengths, or an axis declared to have length 1",
        )
    kind = OutOfMemoryError if "allocate" in first else EngineError
    return kind(first, node=node, got=f"inputs of shapes {shapes.group(1)}" if shapes else None)


def _differing_axis(shapes: str) -> int | None:
    """Return the first axis along which printed shapes of equal rank differ."""
    sizes = [tuple(int(n) for n in re.findall(r"\d+", shape)) for shape in re.findall(r"\(([\d, ]*)\)", shapes)]
    if len({len(s) for s in sizes}) != 1:
        return None
    return next((axis for axis, lengths in enumerate(zip(*sizes, strict=True)) if len(set(lengths)) > 1), None)


@implements(Engine.function)
def function(
    inputs: Sequence[Variable],
    outputs: Variable | Sequence[Variable],
    updates: Any = (),
    name: str = "",
    backend: str | None = None,
    precision: str = "f32",
) -> CompiledFunction:
    label = function_label(name)
    _check_backend(label, config.backend if backend is None else backend, precision)
    listed = _GRAPHS.as_list(outputs)
    pairs = _GRAPHS.complete_updates(label, inputs, listed, updates)
    return CompiledFunction(list(inputs), outputs if isinstance(outputs, Variable) else listed, pairs, name)


def _check_backend(label: str, backend: str, precision: str) -> None:
    """Raise ArgumentError on another backend or a reduced precision."""
    if backend != "auto":
        raise ArgumentError("Theano has no other backends", where=label, got=backend, expected="'auto'", nearest="auto")
    if precision != "f32":
        raise ArgumentError(
            "Theano computes in the dtypes of the graph", where=label, got=precision, expected="'f32'", nearest="f32"
        )
