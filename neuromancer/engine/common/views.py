"""Steps of transposition and slicing in a form that files can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def plain_index(index: Any, variable_class: Any, constant_class: Any) -> Any:
    """An index as numbers, None and lists [start, stop, step]; "unknown" if it is symbolic."""
    if isinstance(index, slice):
        parts = [plain_index(part, variable_class, constant_class) for part in (index.start, index.stop, index.step)]
        return "unknown" if "unknown" in parts else parts
    if isinstance(index, constant_class):
        return plain_index(index.data, variable_class, constant_class)
    if index is None:
        return None
    return "unknown" if isinstance(index, variable_class) else int(index)


def apply_view(variable: Any, steps: Sequence[Any]) -> Any:
    """Carry out the steps that `view_of` gave.

    Parameters
    ----------
    variable : Variable
    steps : list

    Returns
    -------
    Variable

    Examples
    --------
    >>> from neuromancer.engine import constant, function
    >>> view = apply_view(constant([[1, 2], [3, 4]]), [["transpose", [1, 0]], ["slice", [0]]])
    >>> function([], view)().tolist()
    [1, 3]
    """
    for kind, content in steps:
        if kind == "transpose":
            variable = variable.dimshuffle(*content)
        else:
            variable = variable[tuple(slice(*part) if isinstance(part, list) else part for part in content)]
    return variable
