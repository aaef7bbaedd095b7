"""Transposed and sliced variables in a form that files can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.graph.basic import Constant, Variable
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor


def view_of(variable: Variable) -> tuple[Variable, list[Any]] | None:
    """What a variable is a view of, and how.

    Parameters
    ----------
    variable : Variable

    Returns
    -------
    (Variable, list) or None
        The variable below all transpositions and constant slices, and these as ``["transpose", [axes]]`` and
        ``["slice", [[start, stop, step] or index, ...]]``, innermost first; None if it is no view.

    Examples
    --------
    >>> from neuromancer.engine import tensor
    >>> x = tensor("x", (2, 3), "float32")
    >>> base, steps = view_of(x.T[::-1])
    >>> base is x, steps
    (True, [['transpose', [1, 0]], ['slice', [[None, None, -1]]]])
    """
    steps: list[Any] = []
    while variable.owner is not None:
        op, inputs = variable.owner.op, variable.owner.inputs
        if isinstance(op, DimShuffle):
            steps.append(["transpose", list(op.new_order)])
        elif isinstance(op, Subtensor):
            index = [_plain(i) for i in indices_from_subtensor(inputs[1:], op.idx_list)]
            if "unknown" in index:
                return None
            steps.append(["slice", index])
        else:
            return None
        variable = inputs[0]
    return (variable, steps[::-1]) if steps else None


def _plain(index: Any) -> Any:
    if isinstance(index, slice):
        parts = [_plain(part) for part in (index.start, index.stop, index.step)]
        return "unknown" if "unknown" in parts else parts
    if isinstance(index, Constant):
        return _plain(index.data)
    if index is None:
        return None
    return "unknown" if isinstance(index, Variable) else int(index)


def apply_view(variable: Variable, steps: Sequence[Any]) -> Variable:
    """Carry out the steps that :func:`view_of` gave.

    Parameters
    ----------
    variable : Variable
    steps : list

    Returns
    -------
    Variable

    Examples
    --------
    >>> from neuromancer.engine import constant
    >>> apply_view(constant([[1, 2], [3, 4]]), [["transpose", [1, 0]], ["slice", [0]]]).eval().tolist()
    [1, 3]
    """
    for kind, content in steps:
        if kind == "transpose":
            variable = variable.dimshuffle(*content)
        else:
            variable = variable[tuple(slice(*part) if isinstance(part, list) else part for part in content)]
    return variable
