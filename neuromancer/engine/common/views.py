"""Transpositions and slices in a form that files can store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from neuromancer.engine.interface import Engine, implements


def base_and_steps(variable: Any, step_of: Callable[[Any, Sequence[Any]], Any]) -> tuple[Any, list[Any]] | None:
    """Return base and steps of a view, as `Engine.view_of` does.

    Parameters
    ----------
    variable : variable
    step_of : callable
        ``step_of(operation, inputs)``: the step that an operation is, None for one that does not make a view.
    """
    steps: list[Any] = []
    while variable.owner is not None:
        step = step_of(variable.owner.op, variable.owner.inputs)
        if step is None:
            return None
        steps.append(step)
        variable = variable.owner.inputs[0]
    return (variable, steps[::-1]) if steps else None


def slice_step(indices: Sequence[Any], variable_class: Any, constant_class: Any) -> list[Any] | None:
    """Return the step of a subtensor operation with these indices; None if one of them is symbolic."""
    index = [_plain(i, variable_class, constant_class) for i in indices]
    return None if "unknown" in index else ["slice", index]


def _plain(index: Any, variable_class: Any, constant_class: Any) -> Any:
    """Return an index as numbers, None and lists [start, stop, step]; "unknown" if it is symbolic."""
    if isinstance(index, slice):
        parts = [_plain(part, variable_class, constant_class) for part in (index.start, index.stop, index.step)]
        return "unknown" if "unknown" in parts else parts
    if isinstance(index, constant_class):
        return _plain(index.data, variable_class, constant_class)
    if index is None:
        return None
    return "unknown" if isinstance(index, variable_class) else int(index)


@implements(Engine.apply_view)
def apply_view(variable: Any, steps: Sequence[Any]) -> Any:
    for kind, content in steps:
        if kind == "transpose":
            variable = variable.dimshuffle(*content)
        else:
            variable = variable[tuple(slice(*part) if isinstance(part, list) else part for part in content)]
    return variable
