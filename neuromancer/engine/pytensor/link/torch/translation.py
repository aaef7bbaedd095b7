"""PyTensor's elementwise operations as expressions that become machine code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.scalar import basic as ps
from pytensor.scalar import math as psm
from pytensor.tensor.elemwise import Elemwise

from neuromancer.engine.pytensor.kernels.expressions import Expression
from neuromancer.engine.pytensor.link.torch.registry import TORCH_DTYPES, constant_value, is_size_one
from neuromancer.engine.pytensor.ops.fused import Elu, Gelu, LeakyRelu, Prelu, Silu
from neuromancer.engine.pytensor.ops.rectifier import Relu, ReluGrad
from neuromancer.engine.pytensor.ops.square_sum import SquareSum

EXACT = ("bool", "uint8", "int8", "int16", "float32")
"""dtypes of which float32 represents every value."""
READ = (*EXACT, "int32")
"""dtypes of operands with more than one value."""
WRITTEN = ("bool", "uint8", "int8", "int16", "int32", "float32")
"""dtypes of results."""
MAX_POWER = 4

Arguments = Sequence[Expression]
Rule = Callable[[Arguments], Expression | None]

ONE, ZERO = Expression.number(1.0), Expression.number(0.0)


def _named(name: str) -> Rule:
    return lambda arguments: Expression(name, *arguments)


def _folded(name: str) -> Rule:
    return lambda arguments: reduce(lambda a, b: Expression(name, a, b), arguments)


def _power(arguments: Arguments) -> Expression | None:
    base, exponent = arguments
    value = exponent.arguments[0] if exponent.operation == "number" else 0.3
    if abs(value) > MAX_POWER or 2 * value != int(2 * value):
        return None
    return Expression("power", base, value)


def _select(arguments: Arguments) -> Expression | None:
    condition, a, b = arguments
    mask = condition if condition.is_mask else Expression("nonzero", condition)
    return Expression("select", mask, a, b)


COMPARED: dict[type, str] = {ps.LT: "lt", ps.LE: "le", ps.GT: "gt", ps.GE: "ge", ps.EQ: "eq", ps.NEQ: "ne"}
OF_MASKS: dict[type, Rule] = {
    ps.AND: _folded("and"),
    ps.OR: _folded("or"),
    ps.XOR: _folded("xor"),
    ps.Invert: _named("not"),
}
RULES: dict[type, Rule] = {
    ps.Add: _folded("add"),
    ps.Mul: _folded("mul"),
    ps.Maximum: _folded("maximum"),
    ps.Minimum: _folded("minimum"),
    ps.Pow: _power,
    ps.Switch: _select,
    ps.Identity: lambda arguments: arguments[0],
    ps.Cast: lambda arguments: arguments[0],
    **{
        scalar: _named(name)
        for scalar, name in (
            (ps.Sub, "sub"), (ps.TrueDiv, "div"), (ps.Neg, "neg"), (ps.Abs, "abs"), (ps.Sqr, "sqr"), (ps.Sqrt, "sqrt"),
            (ps.Reciprocal, "reciprocal"), (ps.Clip, "clip"), (ps.Exp, "exp"), (ps.Expm1, "expm1"), (ps.Log, "log"),
            (ps.Log1p, "log1p"), (ps.Tanh, "tanh"), (ps.Sign, "sign"), (ps.Floor, "floor"), (ps.Ceil, "ceil"),
            (ps.Trunc, "trunc"), (ps.RoundHalfToEven, "round"), (ps.RoundHalfAwayFromZero, "round_half_away"),
            (psm.Sigmoid, "sigmoid"), (psm.Softplus, "softplus"), (psm.Erf, "erf"), (psm.Erfc, "erfc"),
        )
    },
}  # fmt: skip
"""Scalar operation on float32 values -> expression."""


def _relu(op: Any, x: Expression) -> Expression:
    return Expression("maximum", x, ZERO)


def _relu_grad(op: Any, y: Expression, gy: Expression) -> Expression:
    return Expression("select", Expression("le", y, ZERO), ZERO, gy)


def _positive_or(x: Expression, other: Expression) -> Expression:
    return Expression("select", Expression("gt", x, ZERO), x, other)


KERNELS: dict[type, Callable[..., Expression]] = {
    Relu: _relu,
    ReluGrad: _relu_grad,
    LeakyRelu: lambda op, x: _positive_or(x, Expression("mul", x, Expression.number(op.slope))),
    Prelu: lambda op, x, slope: _positive_or(x, Expression("mul", x, slope)),
    Silu: lambda op, x: Expression("mul", x, Expression("sigmoid", x)),
    Gelu: lambda op, x: Expression("gelu", x),
    Elu: lambda op, x: _positive_or(x, Expression("mul", Expression("expm1", x), Expression.number(op.alpha))),
}
"""Operations of this package -> function of the operation and its arguments."""


def translated(node: Apply, arguments: Arguments) -> Expression | None:
    """Return the expression that one node computes from those of its inputs; None if there is none."""
    if type(node.op) in KERNELS:
        return KERNELS[type(node.op)](node.op, *arguments) if node.outputs[0].dtype == "float32" else None
    if not isinstance(node.op, Elemwise) or len(node.outputs) != 1 or not node.inputs:
        return None
    scalar, dtype = type(node.op.scalar_op), node.outputs[0].dtype
    if scalar in COMPARED:
        common = np.result_type(*(i.dtype for i in node.inputs)).name
        masks = any(a.is_mask for a in arguments)
        return None if masks or common not in EXACT else Expression(COMPARED[scalar], *arguments)
    if scalar in (ps.IsNan, ps.IsInf):
        return Expression("is_nan" if scalar is ps.IsNan else "is_inf", *arguments)
    if scalar in OF_MASKS:
        return _of_masks(scalar, arguments) if dtype == "bool" else None
    if scalar not in RULES or not _is_float(scalar, node):
        return None
    chosen = arguments[1:] if scalar is ps.Switch else arguments
    if scalar is not ps.Cast and any(a.is_mask for a in chosen):
        rest = [Expression("select", a, ONE, ZERO) if a.is_mask else a for a in chosen]
        arguments = [*arguments[:1], *rest] if scalar is ps.Switch else rest
    found = RULES[scalar](arguments)
    if found is not None and found.is_mask and dtype != "bool":
        return Expression("select", found, ONE, ZERO)
    return found


def _of_masks(scalar: type, arguments: Arguments) -> Expression | None:
    masks = [a if a.is_mask else Expression("nonzero", a) for a in arguments]
    return OF_MASKS[scalar](masks)


def _is_float(scalar: type, node: Apply) -> bool:
    """Return whether a node computes in float32, maybe converting integers before or its result afterwards."""
    dtype = node.outputs[0].dtype
    if scalar is ps.Cast and dtype != "float32":
        return node.inputs[0].dtype == "float32" and dtype in WRITTEN and dtype != "bool"
    return dtype == "float32"


def leaf(variable: Variable, position: int) -> Expression | None:
    """Return the expression of a variable that is read: a number for a constant, else the operand at `position`."""
    constant = constant_value(variable)
    if constant is not None and is_size_one(variable):
        value = np.asarray(constant).item()
        return Expression.number(float(np.float32(value))) if isinstance(value, bool | int | float) else None
    dtype = getattr(variable.type, "dtype", None)
    if dtype in READ or (dtype in TORCH_DTYPES and is_size_one(variable)):
        return Expression.operand(position)
    return None


def _broadcast_inputs(node: Apply) -> list[Variable]:
    """Return the inputs of a node, slopes per channel broadcast to its axes."""
    if not isinstance(node.op, Prelu):
        return node.inputs
    x, slope = node.inputs
    return [x, slope.dimshuffle("x", 0, *["x"] * (x.ndim - 2))]


class Translation:
    """Expressions of several nodes, with the variables that they read.

    Attributes
    ----------
    operands : list of Variable
        Operand k of the expressions is the k-th.

    Parameters
    ----------
    operands : sequence of Variable
        The first ones, whether they are read or not.
    """

    def __init__(self, operands: Sequence[Variable] = ()) -> None:
        self.operands = list(operands)
        self._known: dict[Variable, Expression | None] = {}
        for k, variable in enumerate(self.operands):
            self._known[variable] = leaf(variable, k)

    def read(self, variable: Variable) -> Expression | None:
        """Return the expression of a variable: what was added for it, else a number or an operand."""
        if variable not in self._known:
            self._known[variable] = found = leaf(variable, len(self.operands))
            if found is not None and found.operation == "operand":
                self.operands.append(variable)
        return self._known[variable]

    def add(self, node: Apply) -> Expression | None:
        """Add a node whose inputs were added or are operands; return its expression, None if it has none."""
        arguments = [self.read(v) for v in _broadcast_inputs(node)]
        found = None if any(a is None for a in arguments) else translated(node, [a for a in arguments if a is not None])
        self._known[node.outputs[0]] = found
        return found

    def summed(self, node: Apply) -> Expression | None:
        """Return the expression of what a sum, or a sum of squares, adds up."""
        value = self.read(node.inputs[0])
        if value is not None and value.is_mask:
            value = Expression("select", value, ONE, ZERO)
        return Expression("sqr", value) if isinstance(node.op, SquareSum) and value is not None else value


def chain(start: Variable, nodes: Sequence[Apply]) -> tuple[Expression, list[Variable]] | None:
    """Translate nodes above a variable.

    Parameters
    ----------
    start : Variable
        Becomes operand 0.
    nodes : sequence of Apply
        In topological order; the result is that of the last one.

    Returns
    -------
    tuple of Expression and list of Variable, or None
        The expression, and the variables that are its operands, `start` first; None if an operation has no expression.
    """
    translation = Translation([start])
    found = None
    for node in nodes:
        found = translation.add(node)
        if found is None:
            return None
    return None if found is None else (found, translation.operands)
