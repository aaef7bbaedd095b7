"""Transposed and sliced variables in a form that files can store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from theano.gof import Constant, Variable
from theano.tensor.elemwise import DimShuffle
from theano.tensor.subtensor import Subtensor, get_idx_list

from neuromancer.engine.common.views import base_and_steps, slice_step
from neuromancer.engine.interface import Engine, implements


@implements(Engine.view_of)
def view_of(variable: Variable) -> tuple[Variable, list[Any]] | None:
    return base_and_steps(variable, _step)


def _step(op: Any, inputs: Sequence[Variable]) -> list[Any] | None:
    if isinstance(op, DimShuffle):
        return ["transpose", list(op.new_order)]
    if isinstance(op, Subtensor):
        return slice_step(get_idx_list(inputs, op.idx_list), Variable, Constant)
    return None
