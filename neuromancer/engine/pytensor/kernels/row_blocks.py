"""Machine code of `rows`: whole blocks of a convolution, directly or by the Cook-Toom algorithm along z and y."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from neuromancer.engine.pytensor.kernels.cook_toom import matrices
from neuromancer.engine.pytensor.kernels.epilogue import PLAIN, Epilogue, Operands, repeated
from neuromancer.engine.pytensor.kernels.native import FLOAT, FLOATS, INT, INTS, Function, build, counted, vectors
from neuromancer.engine.pytensor.kernels.row_code import (
    CONTRACT,
    Copied,
    Pieces,
    at,
    block_counts,
    block_sizes,
    blocks,
    each_block,
    load,
    store,
    store_rows,
    vector_type,
)

__all__ = ["PLAIN", "block_counts", "block_sizes", "blocks", "direct", "tiled", "vectors"]

FIELDS = (
    "channel", "z", "y", "w", "bias", "result", "z_in", "z_low", "z_high", "y_in", "y_low", "y_high", "z_out", "y_out",
    "width",
)  # fmt: skip
"""Columns of the table of blocks: number of the first channel; indices along z and y of the first value that exists in
the image; where kernel, bias and result begin; rows of the block along z and y, the first one that exists and the one
behind the last; outputs along z, y, x."""
PHASE = ("low", "high", "at")
"""Further columns, for each phase of the stride along x: the first value that exists, the one behind the last, and the
index of the first one in the image."""
CHANNEL = ("start", "z_apart", "y_apart", "x_apart")
"""Columns of the table of channels, of all images of the batch: where it begins, relative to the address of the image,
and its distances. Channels may be parts of different arrays."""
NUMBERS = (
    "n_in", "z_dilation", "y_dilation", "x_stride", "length", "c_step", "z_step", "y_step",
    "z_rows", "y_rows", "n_terms", "out_apart", "z_out_apart", "y_out_apart", "blocks", "larger_blocks",
)  # fmt: skip
"""Numbers of a convolution: input channels; steps in the image, of which that along x is the number of phases; values
of a phase of a row in the buffer; distances in the buffer of what is apart by one input and, along z and y, by one
output; terms; distances in the result of channels and, along z and y, of neighbouring outputs of a block; blocks of
output channels of the first size and of the second."""
ARGUMENTS = [FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, INTS, INTS, INTS, INT, *[INT] * len(NUMBERS)]
"""Image, kernel, bias, result, buffer, tables of channels and of blocks, terms, number of blocks, `NUMBERS`; the
operands of the epilogue follow."""


class _Block:
    """The fields of a block, read from the table."""

    def __init__(self, builder: Any, table: Any) -> None:
        self._builder, self._table = builder, table

    def __getattr__(self, name: str) -> Any:
        return self._builder.load(self._builder.gep(self._table, [INT(FIELDS.index(name))]))

    def source(self, image: Any, channels: Any, number: Any) -> tuple[Any, list[Any]]:
        """Return the address of the first value of an input channel along z and y, and its distances along z, y, x."""
        builder = self._builder
        row = at(builder, channels, (builder.add(self.channel, number), INT(len(CHANNEL))))
        start, *apart = (builder.load(builder.gep(row, [INT(k)])) for k in range(len(CHANNEL)))
        return at(builder, builder.gep(image, [start]), (self.z, apart[0]), (self.y, apart[1])), apart

    def phase(self, number: Any) -> list[Any]:
        """Return (low, high, at) of a phase."""
        first = self._builder.add(self._builder.mul(number, INT(len(PHASE))), INT(len(FIELDS)))
        return [
            self._builder.load(self._builder.gep(self._table, [self._builder.add(first, INT(k))]))
            for k in range(len(PHASE))
        ]


def _columns(builder: Any, phases: Any) -> Any:
    return builder.add(builder.mul(phases, INT(len(PHASE))), INT(len(FIELDS)))


@lru_cache(maxsize=256)
def direct(outputs: tuple[int, ...], epilogue: Epilogue) -> Function:
    """Compile the direct convolution of blocks, for output channels in blocks of one or two sizes."""
    kinds = [*ARGUMENTS, *[FLOATS] * len(epilogue.kinds)]

    def emit(
        module: Any, builder: Any, image: Any, w: Any, bias: Any, result: Any, buffer: Any, channels: Any, table: Any,
        terms: Any, count: Any, *numbers: Any,
    ) -> None:  # fmt: skip
        n = dict(zip(NUMBERS, numbers, strict=False))
        pieces = {size: Pieces(module, size, epilogue) for size in outputs}
        columns = _columns(builder, n["x_stride"])
        with counted(builder, count) as number:
            block = _Block(builder, at(builder, table, (number, columns)))
            with counted(builder, n["x_stride"]) as phase, counted(builder, n["n_in"]) as channel:
                to = at(builder, buffer, (phase, n["length"]), (channel, n["c_step"]))
                _copy(builder, image, channels, block, n, (block.z_in, block.y_in), (phase, channel), to)
            target, width = builder.gep(result, [block.result]), block.width
            kernel, offsets = builder.gep(w, [block.w]), builder.gep(bias, [block.bias])
            beside = Operands(epilogue, numbers[len(NUMBERS) :]).moved(builder, block.bias, (block.result, INT(1)))
            with counted(builder, block.z_out) as z, counted(builder, block.y_out) as y:
                x_row = at(builder, buffer, (z, n["z_rows"]), (y, n["y_rows"]))
                steps = (z, n["z_out_apart"]), (y, n["y_out_apart"])
                y_row, row = at(builder, target, *steps), beside.moved(builder, INT(0), *steps)
                _outputs(builder, pieces, outputs, x_row, kernel, offsets, y_row, terms, n, width, row)

    return build("direct", kinds, emit, apart=True)


def _copy(
    builder: Any, image: Any, channels: Any, block: _Block, n: dict[str, Any], counts: tuple[Any, Any],
    place: tuple[Any, Any], to: Any,
) -> None:  # fmt: skip
    """Emit the copy of one (phase, channel) of a block, of so many rows along z and y."""
    phase, channel = place
    low, high, first = block.phase(phase)
    source, (z, y, x) = block.source(image, channels, channel)
    axes = [
        (counts[0], block.z_low, block.z_high, builder.mul(z, n["z_dilation"]), n["z_step"]),
        (counts[1], block.y_low, block.y_high, builder.mul(y, n["y_dilation"]), n["y_step"]),
    ]
    copied = Copied(builder, axes, (n["length"], low, high, builder.mul(x, n["x_stride"])))
    copied.emit(at(builder, source, (first, x)), to)


def _outputs(
    builder: Any, pieces: dict[int, Pieces], outputs: tuple[int, ...], x: Any, w: Any, bias: Any, y: Any, terms: Any,
    n: dict[str, Any], width: Any, beside: Operands,
) -> None:  # fmt: skip
    """Emit a row of all output channels."""
    apart = n["out_apart"]
    for size, done in each_block(builder, outputs, (n["blocks"], n["larger_blocks"])):
        kernel = at(builder, w, (n["n_terms"], done))
        channels = at(builder, y, (apart, done))
        first = builder.gep(bias, [done])
        further = beside.moved(builder, done, (done, apart))
        pieces[size].emit_row(builder, x, kernel, first, channels, terms, n["n_terms"], width, apart, further)


@lru_cache(maxsize=256)
def tiled(outputs: tuple[int, ...], epilogue: Epilogue, taps: tuple[int, int], sizes: tuple[int, int]) -> Function:
    """Compile the convolution of tiles by the Cook-Toom algorithm.

    Parameters
    ----------
    outputs : tuple of int
        One or two sizes of the blocks of output channels.
    epilogue : Epilogue
    taps, sizes : tuple of int, (z, y)
        Taps of the kernel, and inputs of a tile; both 1 along an axis that is not transformed.
    """
    points = sizes[0] * sizes[1]
    kinds = [*ARGUMENTS, *[FLOATS] * len(epilogue.kinds)]

    def emit(
        module: Any, builder: Any, image: Any, w: Any, bias: Any, result: Any, buffer: Any, channels: Any, table: Any,
        terms: Any, count: Any, *numbers: Any,
    ) -> None:  # fmt: skip
        n = dict(zip(NUMBERS, numbers, strict=False))
        pieces = {size: Pieces(module, size, PLAIN) for size in outputs}
        columns = _columns(builder, INT(1))
        # the buffer holds one channel of a tile, then the transformed tile (points, n_in, length), then the products
        inputs = builder.gep(buffer, [builder.mul(n["length"], INT(points))])
        apart = builder.mul(n["n_in"], n["length"])
        products = at(builder, inputs, (apart, INT(points)))
        zeros = at(builder, products, (n["length"], INT(points * max(outputs))))
        for k in range(max(outputs)):
            builder.store(FLOAT(0.0), builder.gep(zeros, [INT(k)]))
        with counted(builder, count) as number:
            block = _Block(builder, at(builder, table, (number, columns)))
            with counted(builder, n["n_in"]) as channel:
                rows = (INT(sizes[0]), INT(sizes[1]))
                _copy(builder, image, channels, block, n, rows, (INT(0), channel), buffer)
                target = at(builder, inputs, (channel, n["length"]))
                _transform_inputs(builder, buffer, target, n["length"], apart, sizes)
            target, width, kernel = builder.gep(result, [block.result]), block.width, builder.gep(w, [block.w])
            beside = Operands(epilogue, numbers[len(NUMBERS) :]).moved(builder, block.bias, (block.result, INT(1)))
            for size, done in each_block(builder, outputs, (n["blocks"], n["larger_blocks"])):
                first = at(builder, kernel, (n["n_terms"], builder.mul(done, INT(points))))
                step = builder.mul(n["n_terms"], INT(size))
                row = builder.mul(n["length"], INT(size))
                with counted(builder, INT(points)) as point:
                    pieces[size].emit_row(
                        builder, at(builder, inputs, (point, apart)), at(builder, first, (point, step)), zeros,
                        at(builder, products, (point, row)), terms, n["n_terms"], width, n["length"],
                        Operands(PLAIN, ()),
                    )  # fmt: skip
                offsets = builder.gep(bias, [builder.add(block.bias, done)])
                with counted(builder, INT(size)) as o:
                    channel = builder.add(o, done)
                    _transform_outputs(
                        builder, at(builder, products, (o, n["length"])), row, builder.load(builder.gep(offsets, [o])),
                        at(builder, target, (channel, n["out_apart"])), n, block, taps, sizes,
                        beside.moved(builder, channel, (channel, n["out_apart"])),
                    )  # fmt: skip

    return build("tiled", kinds, emit, apart=True)


def weighted(builder: Any, weights: Any, values: Any) -> Any:
    """Return the weighted sum of vectors."""
    total = None
    for weight, value in zip(weights, values, strict=True):
        if weight == 0:
            continue
        if abs(weight) != 1:
            factor = repeated(builder, value.type.element(float(abs(weight))), value.type)
            value = builder.fmul(value, factor, flags=CONTRACT)
        if total is None:
            total = value if weight > 0 else builder.fneg(value)
        else:
            total = (builder.fadd if weight > 0 else builder.fsub)(total, value, flags=CONTRACT)
    return total


def _along_both(builder: Any, values: list[list[Any]], along_z: Any, along_y: Any) -> list[list[Any]]:
    """Return vectors (z, y) with a matrix applied along both axes; None leaves an axis as it is."""
    if along_z is not None:
        columns = zip(*values, strict=True)
        changed = [[weighted(builder, weights, column) for weights in along_z] for column in columns]
        values = [list(row) for row in zip(*changed, strict=True)]
    if along_y is not None:
        values = [[weighted(builder, weights, row) for weights in along_y] for row in values]
    return values


def _transform_inputs(builder: Any, tile: Any, to: Any, length: Any, apart: Any, sizes: tuple[int, int]) -> None:
    """Emit the transform of one channel (z, y, length) to (points, channels, length)."""
    factors = [matrices(2, size)[2] if size > 1 else None for size in sizes]
    with counted(builder, length, step=vectors().lanes) as x:
        rows = [
            [load(builder, at(builder, tile, (length, INT(z * sizes[1] + y))), x) for y in range(sizes[1])]
            for z in range(sizes[0])
        ]
        for k, value in enumerate(v for row in _along_both(builder, rows, *factors) for v in row):
            store(builder, value, builder.gep(at(builder, to, (apart, INT(k))), [x]))


def _transform_outputs(
    builder: Any, products: Any, apart: Any, bias: Any, y: Any, n: dict[str, Any], block: _Block,
    taps: tuple[int, int], sizes: tuple[int, int], beside: Operands,
) -> None:  # fmt: skip
    """Emit the transform of the products of one output channel to rows of the result, and the epilogue."""
    factors = [matrices(k, size)[0] if size > 1 else None for k, size in zip(taps, sizes, strict=True)]
    lanes, width = vectors().lanes, block.width
    counts = (block.z_out, block.y_out)
    with counted(builder, width, step=lanes) as x:
        values = [
            [load(builder, at(builder, products, (apart, INT(z * sizes[1] + k))), x) for k in range(sizes[1])]
            for z in range(sizes[0])
        ]
        offset = repeated(builder, bias, vector_type())
        remaining = builder.sub(width, x)
        for j, row in enumerate(_along_both(builder, values, *factors)):
            for k, value in enumerate(row):
                value = builder.fadd(value, offset)
                exists = [builder.icmp_signed("<", INT(i), count) for i, count in zip((j, k), counts, strict=True)]
                with builder.if_then(builder.and_(*exists)):
                    steps = (INT(j), n["z_out_apart"]), (INT(k), n["y_out_apart"]), (x, INT(1))
                    target, further = at(builder, y, *steps), beside.moved(builder, INT(0), *steps)
                    store_rows(builder, [[value]], [target], remaining, [further])
