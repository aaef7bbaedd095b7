"""Transposed and sliced variables in a form that files can store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.graph.basic import Constant, Variable
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor

from neuromancer.engine.common.views import base_and_steps, slice_step
from neuromancer.engine.interface import Engine, implements


@implements(Engine.view_of)
def view_of(variable: Variable) -> tuple[Variable, list[Any]] | None:
    return base_and_steps(variable, _step)


def _step(op: Any, inputs: Sequence[Variable]) -> list[Any] | None:
    if isinstance(op, DimShuffle):
        return ["transpose", list(op.new_order)]
    if isinstance(op, Subtensor):
        return slice_step(indices_from_subtensor(inputs[1:], op.idx_list), Variable, Constant)
    return None
