"""Machine code of `row_up`: blocks of an up-convolution, whose outputs of different phases are interleaved."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from llvmlite import ir

from neuromancer.engine.pytensor.kernels.epilogue import PLAIN, Epilogue, Operands
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, INTS, Function, build, counted, vectors
from neuromancer.engine.pytensor.kernels.row_code import (
    Copied,
    Pieces,
    at,
    block_counts,
    block_sizes,
    blocks,
    each_block,
    load,
    store_rows,
)

__all__ = ["FIELDS", "NUMBERS", "PLAIN", "block_counts", "block_sizes", "blocks", "up", "vectors"]

FIELDS = (
    "x", "y", "z_in", "z_low", "z_high", "y_in", "y_low", "y_high", "x_low", "x_high",
    "z_out", "y_out", "z_first", "y_first", "width", "values",
)  # fmt: skip
"""Columns of the table of blocks: where the first value that exists is in the image, where the result begins; rows of
the block along z and y, the first one that exists and the one behind the last, the same for voxels of a row; inputs
along z and y whose outputs are computed, and the first outputs; inputs and outputs along x."""
NUMBERS = (
    "n_in", "c_apart", "z_apart", "y_apart", "x_apart", "length", "c_step", "z_step", "y_step", "row_length",
    "z_stride", "y_stride", "z_size", "y_size", "out_apart", "z_out_apart", "y_out_apart", "blocks", "larger_blocks",
)  # fmt: skip
"""Numbers of an up-convolution: input channels; distances in the image; values of a row in the buffer, distances there;
values of a row of sums; strides and sizes of the result along z and y; distances in the result; blocks of output
channels of the first size and of the second."""
ARGUMENTS = [FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, INTS, INTS, INTS, INT, *[INT] * len(NUMBERS)]
"""Image, kernel, bias, result, buffer, table, phases (z, y, x; first term, number of terms, where the kernel begins),
terms, number of blocks, `NUMBERS`; the epilogue's operands follow."""


@lru_cache(maxsize=128)
def up(outputs: tuple[int, ...], stride: int, epilogue: Epilogue) -> Function:
    """Compile the up-convolution of blocks.

    Parameters
    ----------
    outputs : tuple of int
        One or two sizes of the blocks of output channels.
    stride : int
        Along x.
    epilogue : Epilogue
    """

    def emit(
        module: Any, builder: Any, image: Any, w: Any, bias: Any, result: Any, buffer: Any, table: Any, phases: Any,
        terms: Any, count: Any, *numbers: Any,
    ) -> None:  # fmt: skip
        n = dict(zip(NUMBERS, numbers, strict=False))
        pieces = {size: Pieces(module, size, PLAIN) for size in outputs}
        # sums (phases along x, outputs, row_length) stand before the inputs
        sums = buffer
        inputs = at(builder, buffer, (n["row_length"], INT(stride * max(outputs))))
        with counted(builder, count) as number:
            row = at(builder, table, (number, INT(len(FIELDS))))
            block = {name: builder.load(builder.gep(row, [INT(k)])) for k, name in enumerate(FIELDS)}
            axes = [
                (n["n_in"], INT(0), n["n_in"], n["c_apart"], n["c_step"]),
                (block["z_in"], block["z_low"], block["z_high"], n["z_apart"], n["z_step"]),
                (block["y_in"], block["y_low"], block["y_high"], n["y_apart"], n["y_step"]),
            ]
            copied = Copied(builder, axes, (n["length"], block["x_low"], block["x_high"], n["x_apart"]))
            copied.emit(builder.gep(image, [block["x"]]), inputs)
            beside = Operands(epilogue, numbers[len(NUMBERS) :])
            with (
                counted(builder, block["z_out"]) as z,
                counted(builder, n["z_stride"]) as a,
                counted(builder, block["y_out"]) as y,
                counted(builder, n["y_stride"]) as b,
            ):
                to_z = builder.add(block["z_first"], builder.add(builder.mul(z, n["z_stride"]), a))
                to_y = builder.add(block["y_first"], builder.add(builder.mul(y, n["y_stride"]), b))
                exists = [builder.icmp_signed("<", to, n[size]) for to, size in ((to_z, "z_size"), (to_y, "y_size"))]
                with builder.if_then(builder.and_(*exists)):
                    phase = builder.mul(builder.add(builder.mul(a, n["y_stride"]), b), INT(3 * stride))
                    steps = (block["y"], INT(1)), (to_z, n["z_out_apart"]), (to_y, n["y_out_apart"])
                    _row(
                        builder, pieces, outputs, stride, at(builder, inputs, (z, n["z_step"]), (y, n["y_step"])),
                        w, bias, at(builder, result, *steps), sums, builder.gep(phases, [phase]), terms, n,
                        block, beside.moved(builder, INT(0), *steps),
                    )  # fmt: skip

    return build("up", [*ARGUMENTS, *[FLOATS] * len(epilogue.kinds)], emit, apart=True)


def _row(
    builder: Any, pieces: dict[int, Pieces], outputs: tuple[int, ...], stride: int, x: Any, w: Any, bias: Any, y: Any,
    sums: Any, phases: Any, terms: Any, n: dict[str, Any], block: dict[str, Any], beside: Operands,
) -> None:  # fmt: skip
    """Emit a row of the result for all output channels."""
    for size, done in each_block(builder, outputs, (n["blocks"], n["larger_blocks"])):
        for c in range(stride):
            first, n_terms, kernel = (builder.load(builder.gep(phases, [INT(3 * c + k)])) for k in range(3))
            target = at(builder, sums, (n["row_length"], INT(c * size)))
            factors = at(builder, builder.gep(w, [kernel]), (n_terms, done))
            pieces[size].emit_row(
                builder, x, factors, builder.gep(bias, [done]), target, builder.gep(terms, [first]), n_terms,
                block["width"], n["row_length"], Operands(PLAIN, ()),
            )  # fmt: skip
        with counted(builder, INT(size)) as o:
            channel = builder.add(o, done)
            _interleave(
                builder, at(builder, sums, (o, n["row_length"])), builder.mul(n["row_length"], INT(size)), stride,
                at(builder, y, (channel, n["out_apart"])), block["width"], block["values"],
                beside.moved(builder, channel, (channel, n["out_apart"])),
            )  # fmt: skip


def _interleave(
    builder: Any, sums: Any, apart: Any, stride: int, y: Any, width: Any, values: Any, beside: Operands
) -> None:
    """Emit stores of the phases of a row, one value of each after the other."""
    lanes = vectors().lanes
    with counted(builder, width, step=lanes) as x:
        phases = [load(builder, at(builder, sums, (apart, INT(c))), x) for c in range(stride)]
        start = builder.mul(x, INT(stride))
        for part in range(stride):
            place = builder.add(start, INT(part * lanes))
            remaining = builder.sub(values, place)
            with builder.if_then(builder.icmp_signed(">", remaining, INT(0))):
                further = beside.moved(builder, INT(0), (place, INT(1)))
                value = _part(builder, phases, part)
                store_rows(builder, [[value]], [builder.gep(y, [place])], remaining, [further])


def _part(builder: Any, phases: list[Any], part: int) -> Any:
    """Return a vector of interleaved phases."""
    stride, lanes, index = len(phases), vectors().lanes, ir.IntType(32)
    result = phases[0]
    for c, phase in enumerate(phases):
        places = [(part * lanes + k) // stride for k in range(lanes)]
        own = [(part * lanes + k) % stride == c for k in range(lanes)]
        # lanes of other phases stay as they are
        chosen = [lanes + place if mine else k for k, (place, mine) in enumerate(zip(places, own, strict=True))]
        result = builder.shuffle_vector(result, phase, ir.Constant(ir.VectorType(index, lanes), chosen))
    return result
