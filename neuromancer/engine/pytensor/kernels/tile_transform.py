"""Machine code that transforms tiles of channels-last images for the Cook-Toom algorithm."""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from neuromancer.engine.pytensor.kernels.cook_toom import matrices
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, Function, build, counted
from neuromancer.engine.pytensor.kernels.row_blocks import weighted
from neuromancer.engine.pytensor.kernels.row_code import at, load, store, vector_type, vectors

NUMBERS = ("depth", "height", "width", "channels", "z_out", "tiles", "first", "ny", "nx", "dy", "dx", "my", "mx",
           "pz", "py", "px")  # fmt: skip
"""Lengths of the image; planes and tiles to transform, and the first tile; tiles per phase of the dilation; the
dilation; distance of tiles in voxels of a phase; zeros in front of the image."""

Matrix = tuple[tuple[float, ...], ...]


@cache
def inputs_matrix(size: int) -> Matrix:
    """Return the matrix that transforms the inputs of a tile along an axis."""
    return tuple(map(tuple, matrices(2, size)[2].tolist()))


@cache
def adjoint_matrix(taps: int, size: int) -> Matrix:
    """Return the matrix that transforms the gradient of the outputs of a tile along an axis, (size, outputs)."""
    return tuple(map(tuple, matrices(taps, size)[0].T.tolist()))


@cache
def tile_transform(along_y: Matrix, along_x: Matrix) -> Function:
    """Compile the transform of tiles of an image (z, y, x, c) to (points y, points x, z, tiles, c).

    Parameters
    ----------
    along_y, along_x : tuple of tuples, (points, voxels of a tile)
        Applied along the axes; voxels outside of the image are zero.

    Returns
    -------
    Function
        Takes the addresses of image and result and `NUMBERS`; there are at least as many channels as a vector has.
    """

    def emit(module: Any, builder: Any, image: Any, result: Any, *numbers: Any) -> None:
        n = dict(zip(NUMBERS, numbers, strict=True))
        zeros = builder.alloca(vector_type())
        builder.store(ir.Constant(vector_type(), None), zeros)
        zeros = builder.bitcast(zeros, FLOATS)
        with counted(builder, n["z_out"]) as z, counted(builder, n["tiles"]) as tile:
            row, column = _divided(builder, builder.add(n["first"], tile), builder.mul(n["nx"], n["dx"]))
            ys, y_inside = _places(builder, row, len(along_y[0]), n, "y", "height")
            xs, x_inside = _places(builder, column, len(along_x[0]), n, "x", "width")
            layer = builder.sub(z, n["pz"])
            z_exists = _within(builder, layer, n["depth"])
            plane = at(builder, image, (layer, builder.mul(n["height"], builder.mul(n["width"], n["channels"]))))
            rows = [(at(builder, plane, (y, builder.mul(n["width"], n["channels"]))), ok) for y, ok in ys]
            steps = [(builder.mul(x, n["channels"]), ok) for x, ok in xs]
            whole = builder.and_(z_exists, builder.and_(y_inside, x_inside))
            place = builder.add(builder.mul(z, n["tiles"]), tile)
            apart = builder.mul(builder.mul(n["z_out"], n["tiles"]), n["channels"])
            target = at(builder, result, (place, n["channels"]))
            with counted(builder, n["channels"], step=vectors().lanes) as start:
                # the last vector may overlap the one before
                last = builder.sub(n["channels"], INT(vectors().lanes))
                channel = builder.select(builder.icmp_signed("<", start, last), start, last)
                with builder.if_else(whole) as (inside, at_edge):
                    for branch in (inside, at_edge):
                        with branch:
                            values = []
                            for base, y_ok in rows:
                                sources = [builder.gep(base, [builder.add(step, channel)]) for step, _ in steps]
                                if branch is at_edge:
                                    ok = builder.and_(z_exists, y_ok)
                                    sources = [
                                        builder.select(builder.and_(ok, x_ok), source, zeros)
                                        for source, (_, x_ok) in zip(sources, steps, strict=True)
                                    ]
                                values.append([load(builder, source) for source in sources])
                            _store(builder, values, along_y, along_x, builder.gep(target, [channel]), apart)

    return build("tile_transform", [FLOATS, FLOATS, *[INT] * len(NUMBERS)], emit, apart=True)


def _divided(builder: Any, number: Any, by: Any) -> tuple[Any, Any]:
    return builder.sdiv(number, by), builder.srem(number, by)


def _within(builder: Any, index: Any, length: Any) -> Any:
    return builder.and_(builder.icmp_signed(">=", index, INT(0)), builder.icmp_signed("<", index, length))


def _places(builder: Any, number: Any, count: int, n: dict[str, Any], axis: str, length: str) -> tuple[list[Any], Any]:
    """Return (index, whether it exists) of the voxels of a tile along an axis, and whether all of them exist."""
    phase, tile = _divided(builder, number, n[f"n{axis}"])
    apart = n[f"d{axis}"]
    first = builder.add(phase, builder.mul(builder.mul(apart, n[f"m{axis}"]), tile))
    first = builder.sub(first, n[f"p{axis}"])
    places = [builder.add(first, builder.mul(apart, INT(k))) for k in range(count)]
    exist = [_within(builder, place, n[length]) for place in places]
    return list(zip(places, exist, strict=True)), builder.and_(exist[0], exist[-1])


def _store(builder: Any, values: list[list[Any]], along_y: Matrix, along_x: Matrix, to: Any, apart: Any) -> None:
    """Emit both transforms of vectors (y, x) and store the results `apart` from one another."""
    columns = [[weighted(builder, weights, column) for weights in along_y] for column in zip(*values, strict=True)]
    for k, row in enumerate(zip(*columns, strict=True)):
        for j, weights in enumerate(along_x):
            point = INT(k * len(along_x) + j)
            store(builder, weighted(builder, weights, row), at(builder, to, (point, apart)))
