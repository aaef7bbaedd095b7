"""Numbers, flags and addresses of a function that is being written, so that its loops read as they would in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from neuromancer.engine.pytensor.kernels.native import INT, Function, build, counted
from neuromancer.engine.pytensor.kernels.simd import CACHE_LINE


class Value:
    """A number, a flag or an address; operators write instructions.

    Divisions are for numbers that are not negative. An address plus a number is the address so many values behind it.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where instructions go.
    raw : llvmlite.ir.Value
        As LLVM knows it.
    """

    __slots__ = ("builder", "raw")

    def __init__(self, builder: Any, raw: Any) -> None:
        self.builder, self.raw = builder, raw

    def _apply(self, instruction: Callable[..., Any], *operands: Number) -> Value:
        return Value(self.builder, instruction(self.raw, *(_raw(operand) for operand in operands)))

    def __add__(self, other: Number) -> Value:
        if isinstance(self.raw.type, ir.PointerType):
            return Value(self.builder, self.builder.gep(self.raw, [_raw(other)]))
        return self._apply(self.builder.add, other)

    def __radd__(self, other: int) -> Value:
        return self + other

    def __sub__(self, other: Number) -> Value:
        return self._apply(self.builder.sub, other)

    def __mul__(self, other: Number) -> Value:
        return self._apply(self.builder.mul, other)

    def __floordiv__(self, other: Number) -> Value:
        return self._apply(self.builder.sdiv, other)

    def __mod__(self, other: Number) -> Value:
        return self._apply(self.builder.srem, other)

    def __and__(self, other: Value) -> Value:
        return self._apply(self.builder.and_, other)

    def _compare(self, operator: str, other: Number) -> Value:
        return Value(self.builder, self.builder.icmp_signed(operator, self.raw, _raw(other)))

    def __lt__(self, other: Number) -> Value:
        return self._compare("<", other)

    def __gt__(self, other: Number) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Number) -> Value:
        return self._compare(">=", other)

    def within(self, count: Number) -> Value:
        """Return whether a number is an index of so many things."""
        return Value(self.builder, self.builder.icmp_unsigned("<", self.raw, _raw(count)))

    def least(self, other: Number) -> Value:
        """Return the smaller of two numbers."""
        return (self < other).choose(self, other)

    def most(self, other: Number) -> Value:
        """Return the larger of two numbers."""
        return (self > other).choose(self, other)

    def choose(self, value: Number, otherwise: Number) -> Value:
        """Return one of two values, depending on this flag."""
        return self._apply(self.builder.select, value, otherwise)

    def constant(self, number: int) -> Value:
        """Return a constant of the same function."""
        return Value(self.builder, INT(number))

    def get(self) -> Value:
        """Load the value at this address."""
        return Value(self.builder, self.builder.load(self.raw))

    def put(self, value: Value) -> None:
        """Store a value at this address."""
        self.builder.store(value.raw, self.raw)

    def room(self, count: Number) -> Value:
        """Return the address of so many values on the stack, of the type that this address has."""
        place = self.builder.alloca(self.raw.type.pointee, _raw(count))
        place.align = CACHE_LINE
        return Value(self.builder, place)

    def call(self, kinds: Sequence[Any], *arguments: Number) -> None:
        """Call the function whose address this number is; `kinds` are the types of its arguments."""
        pointer = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        self.builder.call(self.builder.inttoptr(self.raw, pointer), [_raw(argument) for argument in arguments])


Number = Value | int


def _raw(number: Number) -> Any:
    return number.raw if isinstance(number, Value) else INT(number)


@contextmanager
def loop(end: Value, start: Number = 0) -> Iterator[Value]:
    """Write a loop over the numbers from `start` to `end`; the block has the loop's number."""
    with counted(end.builder, end.raw, _raw(start)) as index:
        yield Value(end.builder, index)


@contextmanager
def when(flag: Value) -> Iterator[None]:
    """Write instructions that run if a flag is true."""
    with flag.builder.if_then(flag.raw):
        yield


@contextmanager
def unless(flag: Value) -> Iterator[None]:
    """Write instructions that run if a flag is false."""
    with flag.builder.if_then(flag.builder.not_(flag.raw)):
        yield


def written(name: str, kinds: Sequence[Any], write: Callable[..., None], apart: bool = False) -> Function:
    """Compile a function; see `native.build`.

    Parameters
    ----------
    name : str
    kinds : sequence
        Types of the arguments.
    write : callable
        Takes the arguments as `Value`; writes all but the return.
    apart : bool
        Arrays never overlap.
    """

    def emit(module: Any, builder: Any, *arguments: Any) -> None:
        write(*(Value(builder, argument) for argument in arguments))

    # loops run over calls and vectors: unrolled, they would only need more addresses than there are registers
    return build(name, kinds, emit, apart, unrolled=False)


def inner(module: Any, name: str, kinds: Sequence[Any]) -> tuple[Any, list[Value]]:
    """Begin a function that others of the same module call, as it needs all registers; return it and its arguments.

    Arrays never overlap. The caller writes all instructions, with the return.
    """
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    for argument in function.args:
        if isinstance(argument.type, ir.PointerType):
            argument.attributes.add("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    return function, [Value(builder, argument) for argument in function.args]
