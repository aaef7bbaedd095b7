"""Machine code for `rows`: pieces of rows of a convolution, and blocks of an image copied to a buffer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from llvmlite import ir

from neuromancer.engine.pytensor.kernels.epilogue import Epilogue, Operands, masked_load, repeated
from neuromancer.engine.pytensor.kernels.native import FLOAT, FLOAT_BYTES, FLOATS, INT, INTS, counted, vectors

MOST_OUTPUTS = 6
"""Maximum number of output channels that are computed together: each value that is loaded is used that often."""
MOST_VECTORS = 8
CONTRACT = ("contract",)
"""A multiplication and an addition may be fused."""


def blocks(n_out: int) -> tuple[int, ...]:
    """Split output channels into blocks of nearly equal size.

    Examples
    --------
    >>> blocks(20), blocks(3)
    ((5, 5, 5, 5), (3,))
    """
    count = -(-n_out // MOST_OUTPUTS)
    return tuple((n_out + k) // count for k in range(count))


def block_sizes(n_out: int) -> tuple[int, ...]:
    """Return the one or two sizes of the blocks: machine code depends on them, not on the number of channels.

    Examples
    --------
    >>> block_sizes(20), block_sizes(22)
    ((5,), (5, 6))
    """
    return tuple(Counter(blocks(n_out)))


def block_counts(n_out: int) -> tuple[int, int]:
    """Return the numbers of blocks of the first size and of the second."""
    first, *second = Counter(blocks(n_out)).values()
    return first, sum(second)


def each_block(builder: Any, sizes: Sequence[int], counts: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Emit loops over the blocks of each size; iterate over their (size, number of the first channel)."""
    done: Any = INT(0)
    for size, count in zip(sizes, counts, strict=False):
        with counted(builder, count) as k:
            yield size, builder.add(done, builder.mul(k, INT(size)))
        done = builder.add(done, builder.mul(count, INT(size)))


def vectors_at_once(outputs: int) -> int:
    """Return the number of neighbouring vectors for which `outputs` sums each fit into the registers, a power of 2."""
    count = MOST_VECTORS
    while count > 1 and outputs * count + min(outputs, count) + 1 > vectors().registers:
        count //= 2
    return count


def at(builder: Any, pointer: Any, *steps: tuple[Any, Any]) -> Any:
    """Return the address that is products (index, distance) behind a pointer."""
    for index, apart in steps:
        pointer = builder.gep(pointer, [builder.mul(index, apart)])
    return pointer


def vector_type() -> Any:
    """Return the type of the largest vectors of this processor."""
    return ir.VectorType(FLOAT, vectors().lanes)


def load(builder: Any, data: Any, offset: Any = 0, mask: Any = None) -> Any:
    """Load a vector, `offset` values behind a pointer; values for which `mask` is false are not read and are zero."""
    index = INT(offset) if isinstance(offset, int) else offset
    return masked_load(builder, builder.gep(data, [index]), vector_type(), mask)


def store(builder: Any, value: Any, data: Any, mask: Any = None) -> None:
    """Store a vector, or those of its values for which `mask` is true."""
    pointer = builder.bitcast(data, value.type.as_pointer())
    if mask is None:
        builder.store(value, pointer, align=FLOAT_BYTES)
        return
    kind = ir.FunctionType(ir.VoidType(), [value.type, pointer.type, ir.IntType(32), mask.type])
    name = f"llvm.masked.store.v{value.type.count}f32.p0"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, [value, pointer, ir.IntType(32)(FLOAT_BYTES), mask])


def first_lanes(builder: Any, count: Any) -> Any:
    """Return a vector of flags, of which the first `count` are true."""
    lanes = vectors().lanes
    integers = ir.VectorType(INT, lanes)
    numbers = ir.Constant(integers, list(range(lanes)))
    return builder.icmp_signed("<", numbers, repeated(builder, count, integers))


class Pieces:
    """Functions that compute pieces of a row for a block of output channels: 1, 2, 4, ... vectors of voxels.

    Parameters
    ----------
    module
        To which the functions are added.
    outputs : int
        Number of output channels.
    epilogue : Epilogue
    """

    def __init__(self, module: Any, outputs: int, epilogue: Epilogue) -> None:
        self.outputs, self.lanes, self.epilogue = outputs, vectors().lanes, epilogue
        most = vectors_at_once(outputs)
        self.counts = [most >> k for k in range(most.bit_length())]
        self.functions = {count: self._piece(module, count) for count in self.counts}

    def emit_row(
        self, builder: Any, x: Any, w: Any, bias: Any, y: Any, terms: Any, n_terms: Any, width: Any, apart: Any,
        beside: Operands,
    ) -> None:  # fmt: skip
        """Emit calls for a whole row: as many of the longest pieces as possible, then shorter ones.

        Parameters
        ----------
        builder
        x, w, bias, y : FLOATS
            Start of the row in the input; kernel (terms, outputs); (outputs,); start of the row of the first channel.
        terms, n_terms : INTS, INT
            Indices in the input, relative to the voxel.
        width, apart : INT
            Number of voxels, and distance of output channels.
        beside : Operands
            Of the epilogue, for the start of the row of the first channel.
        """
        done: Any = INT(0)
        for count in self.counts:
            voxels = count * self.lanes
            # the last vector may be longer than what remains of the row
            end = builder.sub(builder.add(width, INT(self.lanes)), INT(voxels))
            with counted(builder, end, done, voxels) as place:
                arguments = [builder.gep(x, [place]), w, bias, builder.gep(y, [place]), terms, n_terms]
                further = beside.moved(builder, INT(0), (place, INT(1))).pointers
                builder.call(self.functions[count], [*arguments, builder.sub(width, place), apart, *further])
            steps = builder.sdiv(builder.add(builder.sub(end, done), INT(voxels - 1)), INT(voxels))
            positive = builder.select(builder.icmp_signed(">", steps, INT(0)), steps, INT(0))
            done = builder.add(done, builder.mul(positive, INT(voxels)))

    def _piece(self, module: Any, count: int) -> Any:
        """Define the function for `count` vectors."""
        kinds = [FLOATS, FLOATS, FLOATS, FLOATS, INTS, INT, INT, INT, *[FLOATS] * len(self.epilogue.kinds)]
        name = f"piece_{self.outputs}_{count}"
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        x, w, bias, y, terms, n_terms, remaining, apart, *further = function.args
        for array in (x, w, bias, y, terms):
            array.attributes.add("noalias")
        vector = vector_type()
        sums = [[builder.alloca(vector) for _ in range(count)] for _ in range(self.outputs)]
        for o, row in enumerate(sums):
            first = repeated(builder, builder.load(builder.gep(bias, [INT(o)])), vector)
            for place in row:
                builder.store(first, place)
        with counted(builder, n_terms) as term:
            source = builder.gep(x, [builder.load(builder.gep(terms, [term]))])
            factors = at(builder, w, (term, INT(self.outputs)))
            values = [load(builder, source, k * self.lanes) for k in range(count)]
            for o, row in enumerate(sums):
                factor = repeated(builder, builder.load(builder.gep(factors, [INT(o)])), vector)
                for value, place in zip(values, row, strict=True):
                    product = builder.fmul(value, factor, flags=CONTRACT)
                    builder.store(builder.fadd(product, builder.load(place), flags=CONTRACT), place)
        results = [[builder.load(place) for place in row] for row in sums]
        targets = [at(builder, y, (INT(o), apart)) for o in range(self.outputs)]
        beside = Operands(self.epilogue, further)
        store_rows(
            builder, results, targets, remaining,
            [beside.moved(builder, INT(o), (INT(o), apart)) for o in range(self.outputs)],
        )  # fmt: skip
        builder.ret_void()
        return function


def store_rows(
    builder: Any, rows: Sequence[Sequence[Any]], targets: Sequence[Any], remaining: Any, beside: Sequence[Operands]
) -> None:
    """Emit epilogue and stores of neighbouring vectors per target: whole vectors, or as many voxels as remain."""
    count, lanes = len(rows[0]), vectors().lanes
    with builder.if_else(builder.icmp_signed(">=", remaining, INT(count * lanes))) as (whole, part):
        for branch in (whole, part):
            with branch:
                masks = [
                    first_lanes(builder, builder.sub(remaining, INT(k * lanes))) if branch is part else None
                    for k in range(count)
                ]
                for target, row, operands in zip(targets, rows, beside, strict=True):
                    for k, (value, mask) in enumerate(zip(row, masks, strict=True)):
                        result = operands.applied(builder, value, k * lanes, mask)
                        store(builder, result, builder.gep(target, [INT(k * lanes)]), mask)


class Copied:
    """Emits loops that copy the rows of a block to a buffer, with zeros where the image does not reach.

    Parameters
    ----------
    builder
    axes : list of (count, first, end, apart, step), INT
        From the outermost axis on: the number of rows in the buffer, the first one that exists in the image and the one
        behind the last, the distances of rows in the image and in the buffer.
    along_x : (count, first, end, apart), INT
        The same for the values of a row, which are dense in the buffer.
    """

    def __init__(self, builder: Any, axes: list[Any], along_x: Any) -> None:
        self.builder, self.axes, self.along_x = builder, axes, along_x

    def emit(self, x: Any, buffer: Any, axis: int = 0, exists: Any = None) -> None:
        """Emit the loops from an axis on, given the addresses of the first value that exists, and of the first one."""
        builder = self.builder
        exists = ir.IntType(1)(1) if exists is None else exists
        if axis == len(self.axes):
            self._row(x, buffer, exists)
            return
        count, first, end, apart, step = self.axes[axis]
        with counted(builder, count) as k:
            inside = builder.and_(builder.icmp_signed(">=", k, first), builder.icmp_signed("<", k, end))
            source = at(builder, x, (builder.sub(k, first), apart))
            self.emit(source, at(builder, buffer, (k, step)), axis + 1, builder.and_(exists, inside))

    def _row(self, x: Any, buffer: Any, exists: Any) -> None:
        builder = self.builder
        count, first, end, apart = self.along_x
        zero, none = ir.Constant(FLOAT, 0.0), INT(0)
        first, end = (builder.select(exists, value, none) for value in (first, end))
        with counted(builder, first) as k:
            builder.store(zero, builder.gep(buffer, [k]))
        with builder.if_else(builder.icmp_signed("==", apart, INT(1))) as (dense, spread):
            for branch, step in ((dense, INT(1)), (spread, apart)):
                with branch, counted(builder, end, first) as k:
                    value = builder.load(at(builder, x, (builder.sub(k, first), step)))
                    builder.store(value, builder.gep(buffer, [k]))
        with counted(builder, count, end) as k:
            builder.store(zero, builder.gep(buffer, [k]))
