"""Expressions of elementwise operations, and the vector instructions that compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from neuromancer.engine.pytensor.kernels.vector_math import FUNCTIONS, Vectors, power

COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
MASKS = frozenset({*COMPARISONS, "is_nan", "is_inf", "nonzero", "and", "or", "xor", "not"})
"""Operations that return a mask: only "select" and operations on masks take it."""

_known: WeakValueDictionary[tuple[Any, ...], Expression] = WeakValueDictionary()
_lock = Lock()


class Expression:
    """Operation on float32 values, or a leaf: an operand or a number.

    Equal expressions are one object, so comparison and hash take no time even where results are used several times.

    Parameters
    ----------
    operation : str
        A name in `OPERATIONS`, `COMPARISONS` or `vector_math.FUNCTIONS`; "operand" or "number"; "power".
    *arguments : Expression, or int or float
        For "operand" its position, for "number" the number, for "power" an expression and a multiple of 1/2.

    Examples
    --------
    >>> x = Expression.operand(0)
    >>> Expression("mul", x, Expression("sigmoid", x))
    mul(x0, sigmoid(x0))
    """

    __slots__ = ("__weakref__", "arguments", "operation")
    operation: str
    arguments: tuple[Any, ...]

    def __new__(cls, operation: str, *arguments: Expression | float) -> Expression:
        # numbers by their digits: 0.0 equals -0.0, and NaN is not equal to itself
        key = (
            operation,
            *(a if isinstance(a, Expression) else a.hex() if isinstance(a, float) else a for a in arguments),
        )
        with _lock:
            found = _known.get(key)
            if found is None:
                found = _known[key] = super().__new__(cls)
                found.operation, found.arguments = operation, arguments
        return found

    @classmethod
    def operand(cls, position: int) -> Expression:
        """Return the operand at a position."""
        return cls("operand", position)

    @classmethod
    def number(cls, value: float) -> Expression:
        """Return a number."""
        return cls("number", float(value))

    @property
    def parts(self) -> tuple[Expression, ...]:
        """The expressions among the arguments."""
        return tuple(a for a in self.arguments if isinstance(a, Expression))

    @property
    def is_mask(self) -> bool:
        """Whether the values are truth values."""
        return self.operation in MASKS

    def nodes(self) -> Iterator[Expression]:
        """Yield every different expression in it once, arguments first."""
        seen: set[Expression] = set()
        stack: list[tuple[Expression, bool]] = [(self, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((part, False) for part in node.parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Expression, (self.operation, *self.arguments)

    def __repr__(self) -> str:
        if self.operation == "operand":
            return f"x{self.arguments[0]}"
        if self.operation == "number":
            return repr(self.arguments[0])
        return f"{self.operation}({', '.join(map(repr, self.arguments))})"


def _is_infinite(v: Vectors, x: Any) -> Any:
    return v.compare("==", v.absolute(x), v.number(float("inf")))


def _round_half_away(v: Vectors, x: Any) -> Any:
    # adding 1/2 to the largest number below 1/2 gives 1
    size = v.absolute(x)
    whole = v.intrinsic("llvm.trunc", size)
    up = v.compare(">=", v.builder.fsub(size, whole), v.number(0.5))
    return v.with_sign(v.select(up, v.builder.fadd(whole, v.number(1.0)), whole), x)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": Vectors.add,
    "sub": Vectors.sub,
    "mul": Vectors.mul,
    "div": Vectors.div,
    "maximum": Vectors.maximum,
    "minimum": Vectors.minimum,
    "select": Vectors.select,
    "neg": lambda v, x: v.builder.fneg(x),
    "abs": Vectors.absolute,
    "sqr": lambda v, x: v.mul(x, x),
    "sqrt": lambda v, x: v.intrinsic("llvm.sqrt", x),
    "reciprocal": lambda v, x: v.div(v.number(1.0), x),
    "clip": lambda v, x, low, high: v.minimum(v.maximum(x, low), high),
    "floor": lambda v, x: v.intrinsic("llvm.floor", x),
    "ceil": lambda v, x: v.intrinsic("llvm.ceil", x),
    "trunc": lambda v, x: v.intrinsic("llvm.trunc", x),
    "round": lambda v, x: v.intrinsic("llvm.rint", x),
    "round_half_away": _round_half_away,
    "is_nan": Vectors.is_nan,
    "is_inf": _is_infinite,
    "nonzero": lambda v, x: v.compare("!=", x, v.number(0.0)),
    "and": lambda v, a, b: v.builder.and_(a, b),
    "or": lambda v, a, b: v.builder.or_(a, b),
    "xor": lambda v, a, b: v.builder.xor(a, b),
    "not": lambda v, a: v.builder.not_(a),
    "power": power,
    **FUNCTIONS,
}
"""Name -> function of vectors and of the arguments."""
for _name, _symbol in COMPARISONS.items():
    OPERATIONS[_name] = lambda v, a, b, symbol=_symbol: v.compare(symbol, a, b)


def emit(builder: Any, expression: Expression, operands: Sequence[Any], lanes: int) -> Any:
    """Emit the instructions that compute an expression of float32 vectors; each different part is computed once.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    expression : Expression
    operands : sequence
        Vectors of `lanes` float32 values.
    lanes : int

    Returns
    -------
    llvmlite.ir.Value
        Vector of float32, or of bits if the expression is a mask.
    """
    return emit_all(builder, [expression], operands, lanes)[0]


def emit_all(builder: Any, expressions: Sequence[Expression], operands: Sequence[Any], lanes: int) -> list[Any]:
    """Emit the instructions that compute several expressions, as `emit` does."""
    vectors = Vectors(builder, lanes)
    values: dict[Expression, Any] = {}
    for expression in expressions:
        for node in expression.nodes():
            if node not in values:
                values[node] = _emit_one(vectors, node, operands, values)
    return [values[expression] for expression in expressions]


def _emit_one(vectors: Vectors, node: Expression, operands: Sequence[Any], values: dict[Expression, Any]) -> Any:
    if node.operation == "operand":
        return operands[node.arguments[0]]
    if node.operation == "number":
        return vectors.number(node.arguments[0])
    arguments = [values[a] if isinstance(a, Expression) else a for a in node.arguments]
    return OPERATIONS[node.operation](vectors, *arguments)
