"""Graph rewrites that replace activation functions by torch's kernels, which make one pass over memory.

They run after the gradients are built. A function stays as it is if the gradient reads a part of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.scalar import basic as ps
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import mul

from neuromancer.engine.pytensor.link.torch.registry import constant_value, is_size_one
from neuromancer.engine.pytensor.ops.fused import Elu, Gelu, LeakyRelu, Prelu, Silu

Function = Callable[[Variable], Variable]


def channel_vector(variable: Variable, ndim: int) -> Variable | None:
    """Return the vector that `variable` broadcasts from the channel axis to `ndim` axes; None if it does not."""
    node = variable.owner
    if node is not None and isinstance(node.op, DimShuffle):
        if tuple(node.op.new_order) == ("x", 0, *["x"] * (ndim - 2)) and node.inputs[0].ndim == 1:
            return node.inputs[0]
    return None


def _operands(variable: Variable, scalar: type) -> list[Variable] | None:
    """Return the operands if `variable` is the result of an elementwise operation, else None."""
    node = variable.owner
    if node is None or not isinstance(node.op, Elemwise) or type(node.op.scalar_op) is not scalar:
        return None
    return list(node.inputs)


def _number(variable: Variable) -> float | None:
    """Return the value of a constant with one element, None for anything else."""
    value = constant_value(variable)
    return float(np.asarray(value).item()) if value is not None and is_size_one(variable) else None


def _other_number(operands: list[Variable] | None, x: Variable) -> float | None:
    """Return the number that stands beside x in the operands of a commutative operation, None if there is none."""
    others = [v for v in operands or () if v is not x]
    return _number(others[0]) if operands is not None and len(operands) == 2 and len(others) == 1 else None


def _is_positive(condition: Variable, x: Variable) -> bool:
    """Return whether `condition` is ``x > 0``."""
    operands = _operands(condition, ps.GT)
    return operands is not None and operands[0] is x and _number(operands[1]) == 0


def _one_or_slope(x: Variable, slope: Variable) -> Function | None:
    """Return the function ``x * (1 if x > 0 else slope)``."""
    number = _number(slope)
    if number is not None:
        return LeakyRelu(number)
    vector, node = channel_vector(slope, x.ndim), slope.owner
    if node is not None and isinstance(node.op, DimShuffle) and set(node.op.new_order) == {"x"}:
        vector = node.inputs[0] if node.inputs[0].type.shape == (1,) else None
    if vector is None or x.ndim < 2 or vector.dtype != x.dtype or vector.type.shape[0] not in (1, x.type.shape[1]):
        return None
    # a vector of length 1 for a channel axis of unknown length is one slope, too: torch repeats it
    return None if vector.type.shape[0] is None else lambda y: Prelu()(y, vector)


def _as_product(x: Variable, factor: Variable) -> tuple[Function, float] | None:
    """Return a function f and a number c for which ``x * factor = c * f(x)``."""
    argument = _operands(factor, psm.Sigmoid)
    if argument is not None and argument[0] is x:
        return Silu(), 1
    argument = _operands(factor, psm.Erfc)  # which simplification makes of 1 + erf
    if argument is not None:
        number = _other_number(_operands(argument[0], ps.Mul), x)
        return (Gelu(), 2) if number is not None and number == np.asarray(-(0.5**0.5), x.dtype) else None
    branches = _operands(factor, ps.Switch)
    if branches is not None and _is_positive(branches[0], x) and _number(branches[1]) == 1:
        function = _one_or_slope(x, branches[2])
        return None if function is None else (function, 1)
    return None


def product_with_own_function(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """x * f(x) -> one kernel, if torch has it and nothing else reads f(x)."""
    operands = _operands(node.outputs[0], ps.Mul)
    for x in operands or ():
        for factor in node.inputs:
            found = _as_product(x, factor)
            if found is None or len(fgraph.clients[factor]) != 1 or x.type != factor.type:
                continue
            function, scale = found
            rest = [v for v in node.inputs if v is not x and v is not factor]
            inverse = next((v for v in rest if _number(v) == 1 / scale), None)
            if len(rest) != len(node.inputs) - 2 or (scale != 1 and inverse is None):
                continue  # x occurs twice, or a factor would remain
            if scale != 1:
                rest = [v for v in rest if v is not inverse]
            new = mul(function(x), *rest) if rest else function(x)
            return new if new.type == node.outputs[0].type else None
    return None


def elu(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """``x if x > 0 else alpha * expm1(min(x, 0))`` -> one kernel, if nothing else reads the negative branch."""
    branches = _operands(node.outputs[0], ps.Switch)
    if branches is None or len(fgraph.clients[branches[2]]) != 1:
        return None
    condition, x, negative = branches
    alpha = 1.0
    for part in _operands(negative, ps.Mul) or ():
        number = _other_number(_operands(negative, ps.Mul), part)
        if number is not None:
            alpha, negative = number, part
            break
    grown = _operands(negative, ps.Expm1)
    below = None if grown is None else _other_number(_operands(grown[0], ps.Minimum), x)
    if below != 0 or not _is_positive(condition, x) or x.type != node.outputs[0].type:
        return None
    return Elu(alpha)(x)
