"""Machine code that evaluates expressions over rows of values; `elementwise` decides what the rows are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from typing import Any

import torch
from llvmlite import ir

from neuromancer.engine.pytensor.kernels.expressions import Expression, emit_all
from neuromancer.engine.pytensor.kernels.native import FLOAT, INT, INTS, Function, build, counted, vectors
from neuromancer.engine.pytensor.kernels.vector_math import FUSED

DTYPES: dict[torch.dtype, tuple[Any, bool]] = {
    torch.float32: (FLOAT, True),
    torch.bool: (ir.IntType(8), False),
    torch.uint8: (ir.IntType(8), False),
    torch.int8: (ir.IntType(8), True),
    torch.uint16: (ir.IntType(16), False),
    torch.int16: (ir.IntType(16), True),
    torch.int32: (ir.IntType(32), True),
}
"""dtypes of operands and results -> (type in memory, whether it has a sign)."""
INT32, DOUBLE = ir.IntType(32), ir.DoubleType()
TOGETHER = 4
"""So many rows are computed together where every value of a row is added to a sum of its own, read and written once."""


@dataclass(frozen=True)
class Kind:
    """How an operand or a result lies in memory.

    Attributes
    ----------
    dtype : torch.dtype
    single : bool
        One value per row.
    added : bool
        A sum in float64 to which results are added.
    squared : bool
        Their squares are added, which are exact in float64.
    """

    dtype: torch.dtype
    single: bool = False
    added: bool = False
    squared: bool = False


@lru_cache(maxsize=1024)
def compiled(
    expressions: tuple[Expression, ...], operands: tuple[Kind, ...], results: tuple[Kind, ...], depth: int
) -> Function:
    """Return a function that evaluates expressions over rows.

    Parameters
    ----------
    expressions : tuple of Expression
    operands : tuple of Kind
    results : tuple of Kind
        Per expression.
    depth : int
        Number of axes over which the rows are counted.

    Returns
    -------
    Function
        It takes the address of a table of integers, the first row and the one behind the last, and the same columns.
        The table holds the addresses of operands and results; per axis, from the last one, its length and the
        distances in bytes of operands and results along it; the length of rows; and the number of values in all rows of
        the last axis, of which the last row may have fewer than the others.
    """

    def body(module: Any, builder: Any, table: Any, start: Any, stop: Any, first: Any, last: Any) -> None:
        rows = _Rows(builder, table, expressions, (*operands, *results), depth)
        if depth and all(kind.added and not kind.single for kind in results):
            rows.evaluate_together(start, stop, first, last)
        else:
            rows.evaluate(start, stop, first, last)

    return build("elementwise", [INTS, INT, INT, INT, INT], body)


class _Rows:
    """Instructions for all rows, from the table that a function takes."""

    def __init__(
        self, builder: Any, table: Any, expressions: tuple[Expression, ...], arrays: Sequence[Kind], depth: int
    ) -> None:
        entries = iter(range(len(arrays) + depth * (1 + len(arrays)) + 2))
        entry = lambda: builder.load(builder.gep(table, [INT(next(entries))]))  # noqa: E731
        self.builder, self.expressions, self.arrays = builder, expressions, arrays
        self.bases = [entry() for _ in arrays]
        self.axes = [(entry(), [entry() for _ in arrays]) for _ in range(depth)]
        self.row_length, self.extent = entry(), entry()

    def evaluate(self, start: Any, stop: Any, first: Any, last: Any) -> None:
        """Evaluate columns of rows, one after the other."""
        b = self.builder
        with counted(b, stop, start) as row:
            addresses, _, position = self._at(row)
            left = b.sub(self.extent, position)
            end = b.select(b.icmp_signed("<", left, last), left, last)
            _Row(b, self.arrays, addresses, self.expressions).evaluate(first, end)

    def evaluate_together(self, start: Any, stop: Any, first: Any, last: Any) -> None:
        """Evaluate columns of rows, several rows at once where they are added to the same sums."""
        b, many = self.builder, INT(TOGETHER)
        length, strides = self.axes[0]
        with counted(b, stop, start, TOGETHER) as row:
            addresses, index, position = self._at(row)
            end = b.add(row, many)
            whole = b.add(position, b.mul(self.row_length, many))
            conditions = [
                b.icmp_signed("<=", a, limit)
                for a, limit in ((end, stop), (b.add(index, many), length), (whole, self.extent))
            ]
            conditions += [b.icmp_signed("==", s, INT(0)) for s in strides[len(strides) - len(self.expressions) :]]
            with b.if_else(reduce(b.and_, conditions)) as (then, otherwise):
                with then:
                    others = []
                    for k in range(1, TOGETHER):
                        moved = [b.add(a, b.mul(s, INT(k))) for a, s in zip(addresses, strides, strict=True)]
                        others.append(_Row(b, self.arrays, moved, self.expressions))
                    _Row(b, self.arrays, addresses, self.expressions, others).evaluate(first, last)
                with otherwise:
                    self.evaluate(row, b.select(b.icmp_signed("<", end, stop), end, stop), first, last)

    def _at(self, row: Any) -> tuple[list[Any], Any, Any]:
        """Return the addresses of a row, its index on the last axis, and the number of values before it there."""
        b, addresses, rest, along = self.builder, list(self.bases), row, INT(0)
        for number, (length, strides) in enumerate(self.axes):
            slowest = number == len(self.axes) - 1
            index = rest if slowest else b.urem(rest, length)
            rest = rest if slowest else b.udiv(rest, length)
            along = index if number == 0 else along
            addresses = [b.add(a, b.mul(index, stride)) for a, stride in zip(addresses, strides, strict=True)]
        return addresses, along, b.mul(along, self.row_length)


class _Row:
    """Instructions for one row.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    arrays : sequence of Kind
        Operands, then results.
    addresses : sequence
        Of the first value of each.
    expressions : tuple of Expression
    others : sequence of _Row
        Rows that are added to the same sums.
    """

    def __init__(
        self,
        builder: Any,
        arrays: Sequence[Kind],
        addresses: Sequence[Any],
        expressions: tuple[Expression, ...],
        others: Sequence[_Row] = (),
    ) -> None:
        self.builder, self.expressions, self.others = builder, expressions, others
        self.lanes = vectors().lanes
        n = len(arrays) - len(expressions)
        self.kinds, self.results = arrays[:n], arrays[n:]
        self.sources, self.targets = addresses[:n], addresses[n:]
        self.singles = [
            self._repeated(kind.dtype, a) if kind.single else None
            for kind, a in zip(self.kinds, self.sources, strict=True)
        ]

    def evaluate(self, first: Any, end: Any) -> None:
        """Evaluate the columns from `first` to `end`: vectors, then the rest of a vector."""
        b, lanes = self.builder, INT(self.lanes)
        self.sums = [self._new_sum() if kind.added and kind.single else None for kind in self.results]
        whole = b.add(first, b.mul(b.sdiv(b.sub(end, first), lanes), lanes))
        with counted(b, whole, first, self.lanes) as column:
            self._vector(column, None)
        with b.if_then(b.icmp_signed("<", whole, end)):
            left = self._splat(b.trunc(b.sub(end, whole), INT32))
            numbers = ir.Constant(left.type, [INT32(k) for k in range(self.lanes)])
            self._vector(whole, b.icmp_signed("<", numbers, left))
        for total, address in zip(self.sums, self.targets, strict=True):
            if total is not None:
                self._add_lanes(total, address)

    def _vector(self, column: Any, mask: Any) -> None:
        if self.others and mask is None:
            self._fetch(column)
        rows = [row.values(column, mask) for row in (self, *self.others)]
        for k, (kind, address, total) in enumerate(zip(self.results, self.targets, self.sums, strict=True)):
            if kind.added:
                added = [self._double(values[k], kind.squared, mask) for values in rows]
                self._add(reduce(partial(self.builder.fadd, flags=FUSED), added), total, address, column)
            else:
                self._store(rows[0][k], kind.dtype, address, column, mask)

    def _fetch(self, column: Any) -> None:
        """Ask for what the next rows will read, in the order of memory.

        Processors foresee neither the rows that are read at the same time nor the jump to the next ones.
        """
        b, many, byte = self.builder, len(self.others) + 1, ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
        prefetch = b.module.declare_intrinsic("llvm.prefetch.p0", (), signature)
        for k, (kind, single) in enumerate(zip(self.kinds, self.singles, strict=True)):
            if single is not None:
                continue
            step = b.sub(self.others[0].sources[k], self.sources[k])
            start = b.add(self.sources[k], b.mul(step, INT(many)))
            for j in range(many):
                place = b.add(b.mul(column, INT(many)), INT(j * self.lanes))
                distance = b.mul(place, INT(kind.dtype.itemsize))
                b.call(prefetch, [b.inttoptr(b.add(start, distance), byte), INT32(0), INT32(3), INT32(1)])

    def values(self, column: Any, mask: Any) -> list[Any]:
        """Compute the results of a vector."""
        operands = [
            self._load(kind.dtype, address, column, mask) if single is None else single
            for kind, address, single in zip(self.kinds, self.sources, self.singles, strict=True)
        ]
        return list(emit_all(self.builder, self.expressions, operands, self.lanes))

    # sums
    @property
    def _doubles(self) -> Any:
        return ir.VectorType(DOUBLE, self.lanes)

    def _new_sum(self) -> Any:
        """Return a vector variable with zeros."""
        with self.builder.goto_entry_block():
            total = self.builder.alloca(self._doubles)
        self.builder.store(ir.Constant(self._doubles, None), total)
        return total

    def _double(self, value: Any, squared: bool, mask: Any) -> Any:
        """Return values, or their squares, in float64; 0 where the mask is not set."""
        if mask is not None:
            value = self.builder.select(mask, value, ir.Constant(value.type, None))
        value = self.builder.fpext(value, self._doubles)
        return self.builder.fmul(value, value, flags=FUSED) if squared else value

    def _add(self, value: Any, total: Any, address: Any, column: Any) -> None:
        """Add values to the sum of the row, or each to a sum of its own."""
        b = self.builder
        if total is not None:
            b.store(b.fadd(b.load(total), value, flags=FUSED), total)
            return
        pointer, _, nbytes = self._pointer(DOUBLE, address, column)
        # the sums of a row are padded to whole vectors
        b.store(b.fadd(b.load(pointer, align=nbytes), value, flags=FUSED), pointer, align=nbytes)

    def _add_lanes(self, total: Any, address: Any) -> None:
        """Add the lanes of the sum of a row to the value in memory."""
        b = self.builder
        lanes = b.load(total)
        pointer = b.inttoptr(address, DOUBLE.as_pointer())
        result = b.load(pointer)
        for k in range(self.lanes):
            result = b.fadd(result, b.extract_element(lanes, INT32(k)))
        b.store(result, pointer)

    def _splat(self, value: Any) -> Any:
        kind = ir.VectorType(value.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, INT32(0))
        return self.builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes))

    def _repeated(self, dtype: torch.dtype, address: Any) -> Any:
        """Load one value into all lanes."""
        memory = DTYPES[dtype][0]
        value = self.builder.load(self.builder.inttoptr(address, memory.as_pointer()))
        return self._to_float(dtype, self._splat(value))

    def _pointer(self, memory: Any, address: Any, column: Any) -> tuple[Any, Any, int]:
        vector, nbytes = ir.VectorType(memory, self.lanes), _nbytes(memory)
        start = self.builder.add(address, self.builder.mul(column, INT(nbytes)))
        return self.builder.inttoptr(start, vector.as_pointer()), vector, nbytes

    def _load(self, dtype: torch.dtype, address: Any, column: Any, mask: Any) -> Any:
        memory = DTYPES[dtype][0]
        pointer, vector, nbytes = self._pointer(memory, address, column)
        if mask is None:
            return self._to_float(dtype, self.builder.load(pointer, align=nbytes))
        kind = ir.FunctionType(vector, [pointer.type, INT32, mask.type, vector])
        load = self._masked("load", memory, kind)
        zeros = ir.Constant(vector, None)
        return self._to_float(dtype, self.builder.call(load, [pointer, INT32(nbytes), mask, zeros]))

    def _store(self, value: Any, dtype: torch.dtype, address: Any, column: Any, mask: Any) -> None:
        memory = DTYPES[dtype][0]
        pointer, vector, nbytes = self._pointer(memory, address, column)
        value = self._from_float(dtype, value, vector)
        if mask is None:
            self.builder.store(value, pointer, align=nbytes)
            return
        kind = ir.FunctionType(ir.VoidType(), [vector, pointer.type, INT32, mask.type])
        self.builder.call(self._masked("store", memory, kind), [value, pointer, INT32(nbytes), mask])

    def _masked(self, name: str, memory: Any, kind: Any) -> Any:
        suffix = "f32" if memory is FLOAT else f"i{memory.width}"
        return self.builder.module.declare_intrinsic(f"llvm.masked.{name}.v{self.lanes}{suffix}.p0", (), kind)

    def _to_float(self, dtype: torch.dtype, value: Any) -> Any:
        memory, signed = DTYPES[dtype]
        if memory is FLOAT:
            return value
        wide = ir.VectorType(INT32, self.lanes)
        if memory.width < INT32.width:
            value = self.builder.sext(value, wide) if signed else self.builder.zext(value, wide)
        return self.builder.sitofp(value, ir.VectorType(FLOAT, self.lanes))

    def _from_float(self, dtype: torch.dtype, value: Any, vector: Any) -> Any:
        memory, floats = DTYPES[dtype][0], ir.VectorType(FLOAT, self.lanes)
        if isinstance(value.type.element, ir.IntType):  # a mask
            if dtype is torch.bool:
                return self.builder.zext(value, vector)
            value = self.builder.uitofp(value, floats)
        if memory is FLOAT:
            return value
        if dtype is torch.bool:
            return self.builder.zext(self.builder.fcmp_unordered("!=", value, ir.Constant(floats, None)), vector)
        # as in C where that is defined; other values become some number, instead of anything
        wide = ir.VectorType(INT32, self.lanes)
        kind = ir.FunctionType(wide, [floats])
        name = f"llvm.fptosi.sat.v{self.lanes}i32.v{self.lanes}f32"
        value = self.builder.call(self.builder.module.declare_intrinsic(name, (), kind), [value])
        return value if memory.width == INT32.width else self.builder.trunc(value, vector)


def _nbytes(memory: Any) -> int:
    return {FLOAT: 4, DOUBLE: 8}.get(memory) or memory.width // 8
