"""Compiled functions, gradients, and the context in which graphs are built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from neuromancer.engine.common import checks
from neuromancer.engine.common.pending import Done
from neuromancer.engine.theano.library import theano
from neuromancer.engine.theano.random_op import RandomDraw
from neuromancer.engine.theano.tensors import known_shape
from neuromancer.errors import (
    ArgumentError,
    DeviceError,
    EngineError,
    InputTypeError,
    NeuromancerError,
    OutOfMemoryError,
    ShapeError,
)
from neuromancer.exclusive import Exclusive, building_lock
from neuromancer.printable import printable

_SIZES_DIFFER = re.compile(
    r"dimension mis-?match|could not be broadcast|shapes .* not aligned|all the input array dimensions", re.IGNORECASE
)

_PROBLEMS = [
    (re.compile("sequence is shorter", re.IGNORECASE), "a sequence is shorter than the loop"),
    (re.compile("same stack size"), "channels of input and kernel differ"),
    (re.compile("impossible output|window larger"), "window larger than the input"),
]


@contextmanager
def building() -> Iterator[None]:
    """Build graphs with Python floats of `config.floatX`; Theano's own settings are as before afterwards.

    They belong to the process, so one thread builds at a time.
    """
    with building_lock, change_flags(floatX=config.floatX), np.errstate(all="ignore"):
        yield


def grad(cost: Variable, wrt: Sequence[Variable]) -> list[Variable | None]:
    """Return the gradient of the scalar `cost` for each variable of `wrt`; None where it does not depend on it.

    Raises
    ------
    ShapeError
        If `cost` is not a scalar.
    """
    checks.check_scalar(cost)
    with building():
        gradients = theano.grad(cost, list(wrt), disconnected_inputs="ignore", return_disconnected="Disconnected")
    return [None if isinstance(g.type, DisconnectedType) else g for g in gradients]


@dataclass
class Counters:
    """Transfers of arrays to and from a device: none, as Theano runs where the arrays are."""

    uploads: int = 0
    downloads: int = 0


class CompiledFunction:
    """A callable made of symbolic inputs, outputs and updates; see `function`.

    Attributes
    ----------
    name : str
    device : str
        'cpu'.
    counters : Counters
        ``uploads`` and ``downloads`` of arrays so far: always 0.
    theano_function : theano.compile.function_module.Function
        The function as Theano knows it, with the rewritten graph in ``.maker.fgraph``.
    """

    def __init__(self, inputs: list[Variable], outputs: Any, updates: dict[Variable, Variable], name: str) -> None:
        if config.device not in ("cpu", "auto"):
            raise DeviceError(
                "Theano runs on the CPU only", got=config.device, expected="'cpu' or 'auto'", nearest="cpu"
            )
        self.name = name
        self.device = "cpu"
        self.counters = Counters()
        self._inputs = list(inputs)
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
        if len(args) != len(self._inputs):
            raise InputTypeError(
                "wrong number of arguments", node=self._label(), got=len(args), expected=self._signature()
            )
        values = [self._argument(variable, value) for variable, value in zip(self._inputs, args, strict=True)]
        try:
            # A log of 0 is -inf, in every engine. Theano keeps arguments and values of a call with the function.
            with self._calling, np.errstate(all="ignore"):
                results = self.theano_function(*values)
        except NeuromancerError:
            raise
        except (ValueError, RuntimeError, AssertionError) as error:
            raise _explained(error) from error
        outputs = [np.asarray(r) if isinstance(r, np.generic) else r for r in results]
        return outputs[0] if self._single else outputs

    def start(self, *args: Any) -> Done:
        """Compute the outputs, which ``result()`` then returns."""
        return Done(self(*args))

    def expect(self, products: float, work: float | None = None) -> None:
        """Announce calls that are to be computed alike: nothing, as there is no backend to change to."""

    def release(self) -> None:
        """Give back the memory that is kept from the last call for the next one: nothing, as Theano keeps none."""

    def _argument(self, variable: Variable, value: Any) -> Any:
        if not isinstance(variable.type, TensorType):
            return value
        array = checks.argument(value, variable, self._label(), known_shape(variable) or ())
        return np.require(array, requirements="A")

    def _label(self) -> str:
        return f"function {self.name}" if self.name else "function"

    def _signature(self) -> str:
        types = ", ".join(
            f"{v}: {v.type.dtype}{known_shape(v)}" if isinstance(v.type, TensorType) else str(v) for v in self._inputs
        )
        return f"{len(self._inputs)} ({types})"


def _explained(error: Exception) -> Exception:
    """Theano's error in the package's own words: which operation, on which shapes."""
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
    """First axis along which printed shapes of one rank differ."""
    sizes = [tuple(int(n) for n in re.findall(r"\d+", shape)) for shape in re.findall(r"\(([\d, ]*)\)", shapes)]
    if len({len(s) for s in sizes}) != 1:
        return None
    return next((axis for axis, lengths in enumerate(zip(*sizes, strict=True)) if len(set(lengths)) > 1), None)


def function(
    inputs: Sequence[Variable],
    outputs: Variable | Sequence[Variable],
    updates: Any = (),
    name: str = "",
    backend: str | None = None,
    precision: str = "f32",
) -> CompiledFunction:
    """Compile a function of `inputs`, for the precision configured now and in Theano's mode (``THEANO_FLAGS``).

    Parameters
    ----------
    inputs : sequence of Variable
        Arguments of the function; unused ones are allowed.
    outputs : Variable or sequence of Variable
        What it returns: one numpy array, or a list of them.
    updates : dict or sequence of (SharedVariable, Variable)
        New values of shared variables after each call. Random streams in the graph advance without being named.
    name : str
    backend : {'auto'}, optional
        Theano computes everything itself; None follows ``config.backend``.
    precision : {'f32'}
        Theano computes in the dtypes of the graph.

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
        If the configured device is not the CPU.
    ArgumentError
        If another backend or a reduced precision is asked for.

    Examples
    --------
    >>> from neuromancer.engine import tensor
    >>> x = tensor("x", (None,), "float32")
    >>> function([x], x.sum())([1, 2, 3])
    array(6., dtype=float32)
    """
    label = f"function {name}" if name else "function"
    _check_backend(label, config.backend if backend is None else backend, precision)
    pairs = dict(updates)
    single = isinstance(outputs, Variable)
    wanted = [outputs] if single else list(outputs)
    given = list(inputs)

    def missing(roots: Iterable[Variable]) -> list[Variable]:
        known = graph_inputs(list(roots), blockers=given)
        return [v for v in known if v not in given and not isinstance(v, Constant | PlainShared)]

    checks.check_graph(label, inputs, wanted, pairs, Variable, PlainShared, missing)
    for state, advanced in random_updates([*wanted, *pairs.values()]).items():
        pairs.setdefault(state, advanced)
    return CompiledFunction(given, outputs if single else wanted, pairs, name)


def _check_backend(label: str, backend: str, precision: str) -> None:
    """Raise ArgumentError unless Theano itself is to compute, in the dtypes of the graph."""
    if backend != "auto":
        raise ArgumentError("Theano has no other backends", where=label, got=backend, expected="'auto'", nearest="auto")
    if precision != "f32":
        raise ArgumentError(
            "Theano computes in the dtypes of the graph", where=label, got=precision, expected="'f32'", nearest="f32"
        )


def random_updates(outputs: Iterable[Variable]) -> dict[Variable, Variable]:
    """Return state -> next state for every random draw that `outputs` depend on."""
    return {
        v.owner.inputs[0]: v.owner.outputs[0]
        for v in ancestors(list(outputs))
        if v.owner is not None and isinstance(v.owner.op, RandomDraw) and isinstance(v.owner.inputs[0], PlainShared)
    }
