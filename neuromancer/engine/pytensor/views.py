"""Transposed and sliced variables in a form that files can hold."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Constant, Variable
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor

from neuromancer.engine.common.views import plain_index


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
            indices = indices_from_subtensor(inputs[1:], op.idx_list)
            index = [plain_index(i, Variable, Constant) for i in indices]
            if "unknown" in index:
                return None
            steps.append(["slice", index])
        else:
            return None
        variable = inputs[0]
    return (variable, steps[::-1]) if steps else None
