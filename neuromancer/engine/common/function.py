"""Parts of compiled functions that the engines share: arguments, names, updates and transfer counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neuromancer.engine.common.checks import argument
from neuromancer.errors import EngineError, InputTypeError
from neuromancer.printable import printable


@dataclass
class Counters:
    """Numbers of arrays copied to the device and back."""

    uploads: int = 0
    downloads: int = 0


def function_label(name: str) -> str:
    """Return how messages name a function.

    Examples
    --------
    >>> function_label("loss"), function_label("")
    ('function loss', 'function')
    """
    return f"function {name}" if name else "function"


class CompiledBase:
    """Name and inputs of a compiled function.

    Parameters
    ----------
    inputs : list of variables
    name : str

    Attributes
    ----------
    inputs : list of variables
    name : str
    device : str or device of the engine
    """

    device: Any
    known_shape: Callable[[Any], tuple[int | None, ...] | None]
    """The engine's function of that name."""

    def __init__(self, inputs: list[Any], name: str) -> None:
        self.inputs, self.name = inputs, name

    def __repr__(self) -> str:
        return f"<function {printable(self.name or '?')} of {len(self.inputs)} inputs on {self.device}>"

    @property
    def label(self) -> str:
        """Name of the function in messages."""
        return function_label(self.name)

    def checked(self, values: Sequence[Any]) -> list[Any]:
        """Return `values` as arrays that fit the inputs; inputs that are not tensors take any object.

        Raises
        ------
        InputTypeError, ShapeError, ArgumentError
            If their number is wrong, or one does not fit its input.
        """
        if len(values) != len(self.inputs):
            raise InputTypeError("wrong number of arguments", node=self.label, got=len(values), expected=self._inputs())
        return [self.checked_value(variable, value) for variable, value in zip(self.inputs, values, strict=True)]

    def checked_value(self, variable: Any, value: Any) -> Any:
        """Return `value` as an array of the input's dtype, number of axes and known sizes."""
        sizes = self.known_shape(variable)
        return value if sizes is None else argument(value, variable, self.label, sizes)

    def _inputs(self) -> str:
        sizes = [self.known_shape(v) for v in self.inputs]
        types = [str(v) if s is None else f"{v}: {v.type.dtype}{s}" for v, s in zip(self.inputs, sizes, strict=True)]
        return f"{len(types)} ({', '.join(types)})"


@dataclass(frozen=True)
class GraphTypes:
    """Classes and functions of an engine that describe its graphs.

    Parameters
    ----------
    variable, constant, shared : type
        Classes of variables.
    random_draw : type
        Class of the operation that draws random numbers: first input is its state, first output the next state.
    graph_inputs : callable
        ``graph_inputs(outputs, blockers=variables)``: variables on which `outputs` depend and that nothing computes.
    ancestors : callable
        All variables on which some variables depend.
    """

    variable: Any
    constant: Any
    shared: Any
    random_draw: Any
    graph_inputs: Callable[..., Iterable[Any]]
    ancestors: Callable[[list[Any]], Iterable[Any]]

    def as_list(self, outputs: Any) -> list[Any]:
        """Return `outputs`, one variable or several, as a list."""
        return [outputs] if isinstance(outputs, self.variable) else list(outputs)

    def complete_updates(self, label: str, inputs: Sequence[Any], outputs: Sequence[Any], updates: Any) -> dict:
        """Return `updates` and those of the random streams in the graph, after checking the graph.

        Parameters
        ----------
        label : str
            Name of the function in messages.
        inputs, outputs : sequences of variables
        updates : dict or sequence of (shared variable, variable)

        Returns
        -------
        dict of shared variable -> variable

        Raises
        ------
        InputTypeError
            If something is not a symbolic variable, or an update does not fit.
        EngineError
            If an output depends on a variable that is not among the inputs.
        """
        pairs = dict(updates)
        for variable in (*inputs, *outputs, *pairs, *pairs.values()):
            if not isinstance(variable, self.variable):
                raise InputTypeError(
                    "not a symbolic variable", node=label, got=type(variable).__name__, expected="a symbolic variable"
                )
        for shared, value in pairs.items():
            self._check_update(label, shared, value)
        roots = [*outputs, *pairs.values()]
        self._check_inputs(label, inputs, roots)
        for variable in self.ancestors(roots):
            draw = variable.owner
            if draw is not None and isinstance(draw.op, self.random_draw) and isinstance(draw.inputs[0], self.shared):
                pairs.setdefault(draw.inputs[0], draw.outputs[0])
        return pairs

    def _check_update(self, label: str, shared: Any, value: Any) -> None:
        if not isinstance(shared, self.shared):
            raise InputTypeError("only shared variables have updates", node=label, got=str(shared.type))
        if value.type.dtype != shared.type.dtype or value.ndim != shared.ndim:
            raise InputTypeError(
                f"update of {shared} has the wrong type", node=label, got=str(value.type), expected=str(shared.type)
            )

    def _check_inputs(self, label: str, inputs: Sequence[Any], roots: list[Any]) -> None:
        known = set(inputs)
        missing = [
            v
            for v in self.graph_inputs(roots, blockers=known)
            if v not in known and not isinstance(v, self.constant | self.shared)
        ]
        if missing:
            raise EngineError(
                "outputs depend on variables that are not given",
                node=label,
                got=f"inputs {[str(v) for v in inputs]}",
                expected=f"also {[str(v) for v in missing]}",
            )
