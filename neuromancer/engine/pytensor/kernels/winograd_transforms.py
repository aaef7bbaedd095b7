"""Input and output transforms of tiles for `winograd`, compiled for each tile size on demand.

The matrices are those of `cook_toom`. Channels are the last axis and are transformed in vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

from neuromancer.engine.pytensor.kernels.cook_toom import matrices
from neuromancer.engine.pytensor.kernels.epilogue import CHANNEL, Epilogue
from neuromancer.engine.pytensor.kernels.expressions import emit
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, INTS, Function
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.values import Value, loop, unless, when, written
from neuromancer.engine.pytensor.kernels.vectors import Rows, constant, load, store, vectors

FIELDS = (
    "begin", "tiles_y", "tiles_x", "dilation_y", "dilation_x", "edge_y", "edge_x", "pad_z", "pad_y", "pad_x",
    "depth", "height", "width", "channels", "layers", "tiles", "row", "apart",
)  # fmt: skip
"""Numbers of the table `cut`, how an image is cut into tiles: number of the first tile, tiles per phase, phases (the
dilation) and outputs per tile (y, x each); padding (z, y, x); shape of the image (z, y, x, channels); layers and tiles
of the transformed values, and distances between their tiles and points."""
INPUTS = [FLOATS, FLOATS, INTS]
"""Types of the arguments of an input transform."""
ALONG_Z = [FLOATS, FLOATS, *[INT] * 9]
"""Types of the arguments of a transform along z."""


def outputs(epilogue: Epilogue) -> list[Any]:
    """Return the types of the arguments of an output transform."""
    return [FLOATS, FLOATS, FLOATS, INTS, *[FLOATS] * len(epilogue.kinds)]


def _weighted_sum(builder: Any, weights: Any, values: Any, total: Any = None) -> Any:
    """Return the weighted sum of vectors, added to `total`."""
    for weight, value in zip(weights, values, strict=True):
        if weight == 0:
            continue
        if abs(weight) != 1:
            value = builder.fmul(value, constant(abs(weight), value.type), flags=("contract",))
        if total is None:
            total = value if weight > 0 else builder.fneg(value)
        else:
            add = builder.fadd if weight > 0 else builder.fsub
            total = add(total, value, flags=("contract",))
    return total


@contextmanager
def _tiles(cut: SimpleNamespace, layer: Value) -> Iterator[tuple[Value, Value, Value]]:
    """Write a loop over the tiles of a layer; the block has where outputs begin (y, x) and the index in the values."""
    with loop(cut.tiles) as tile:
        across = cut.tiles_x * cut.dilation_x
        row, column = (cut.begin + tile) // across, (cut.begin + tile) % across
        top = row // cut.tiles_y + cut.dilation_y * cut.edge_y * (row % cut.tiles_y)
        left = column // cut.tiles_x + cut.dilation_x * cut.edge_x * (column % cut.tiles_x)
        yield top, left, (layer * cut.tiles + tile) * cut.row


def _fields(table: Value) -> SimpleNamespace:
    cut = SimpleNamespace(**{name: (table + k).get() for k, name in enumerate(FIELDS)})
    cut.right = cut.dilation_x * cut.channels
    cut.down = cut.dilation_y * cut.width * cut.channels
    return cut


@cache
def input_transform(n: int) -> Function:
    """Compile the transform of tiles of n x n inputs of x (z, y, x, c) into v (n, n, layers, tiles, c).

    The function takes x, v and the table `cut`. The channels of x may be some of those of v.
    """

    def write(x: Value, v: Value, table: Value) -> None:
        cut = _fields(table)
        gathered = x.room(n * n * LANES)
        with loop(cut.layers) as z:
            layer = z - cut.pad_z
            exists = layer.within(cut.depth)
            with unless(exists), loop(z.constant(n * n)) as point:
                start = v + (point * cut.apart + z * cut.tiles * cut.row)
                with loop(cut.tiles) as tile, vectors(cut.channels) as c:
                    store(constant(0.0), start + (tile * cut.row + c))
            with when(exists), _tiles(cut, z) as (first_y, first_x, place):
                top, left = first_y - cut.pad_y, first_x - cut.pad_x
                inside = _covered(top, cut.dilation_y, cut.height, n) & _covered(left, cut.dilation_x, cut.width, n)
                begin = ((layer * cut.height + top) * cut.width + left) * cut.channels
                with vectors(cut.channels) as c:
                    with unless(inside):
                        _gather(cut, n, x + (begin + c), gathered, top, left)
                    source = inside.choose(x + (begin + c), gathered)
                    down, right = inside.choose(cut.down, n * LANES), inside.choose(cut.right, LANES)
                    _transform_inputs(n, source, down, right, Rows(v + (place + c), cut.apart))

    return written("input_transform", INPUTS, write, apart=True)


def _covered(start: Value, dilation: Value, count: Value, n: int) -> Value:
    """Return whether all inputs of a tile are inside the image along an axis."""
    return (start >= 0) & (start + dilation * (n - 1) < count)


def _gather(cut: SimpleNamespace, n: int, source: Value, gathered: Value, top: Value, left: Value) -> None:
    """Copy the vectors of a tile, with zeros outside the image; `source` is the address of the first one."""
    with loop(top.constant(n)) as i, loop(top.constant(n)) as j:
        exists = (top + i * cut.dilation_y).within(cut.height) & (left + j * cut.dilation_x).within(cut.width)
        to = gathered + (i * n + j) * LANES
        with when(exists):
            store(load(source + (i * cut.down + j * cut.right)), to)
        with unless(exists):
            store(constant(0.0), to)


def _transform_inputs(n: int, x: Value, down: Value, right: Value, target: Rows) -> None:
    """Apply the matrix B along both axes of n x n vectors, `down` and `right` apart."""
    b = matrices(2, n)[2]
    half = []
    for j in range(n):
        source = Rows(x + right * j, down)
        values = [source.load(k) for k in range(n)]
        half.append([_weighted_sum(x.builder, weights, values) for weights in b])
    for i in range(n):
        values = [half[j][i] for j in range(n)]
        for k, weights in enumerate(b):
            target.store(i * n + k, _weighted_sum(x.builder, weights, values))


@cache
def output_transform(n: int, edges: tuple[int, int], epilogue: Epilogue) -> Function:
    """Compile the transform of tiles of s (n, n, layers, tiles, c) into outputs y (z, y, x, c), plus a bias.

    The function takes s, y, the bias, the table `cut`, whose image is y, and the operands of the epilogue. Tiles have
    `edges` outputs, (y, x).
    """

    def write(s: Value, y: Value, bias: Value, table: Value, *beside: Value) -> None:
        cut = _fields(table)
        along_y, along_x = (matrices(n + 1 - m, n)[0] for m in edges)
        with loop(cut.depth) as z, _tiles(cut, z) as (top, left, place):
            rows = (cut.height - top + cut.dilation_y - 1) // cut.dilation_y
            columns = (cut.width - left + cut.dilation_x - 1) // cut.dilation_x
            begin = ((z * cut.height + top) * cut.width + left) * cut.channels
            with vectors(cut.channels) as c:
                offset, source = load(bias + c), Rows(s + (place + c), cut.apart)
                per_channel = {k: load(beside[k] + c) for k, kind in enumerate(epilogue.kinds) if kind == CHANNEL}
                half = []
                for j in range(n):
                    values = [source.load(i * n + j) for i in range(n)]
                    half.append([_weighted_sum(s.builder, weights, values) for weights in along_y])
                for i in range(edges[0]):
                    with when(rows > i):
                        at = begin + c + cut.down * i
                        target, others = Rows(y + at, cut.right), [Rows(values + at, cut.right) for values in beside]
                        for k, weights in enumerate(along_x):
                            with when(columns > k):
                                value = _weighted_sum(s.builder, weights, [column[i] for column in half], offset)
                                operands = [per_channel.get(j) or rows.load(k) for j, rows in enumerate(others)]
                                target.store(k, emit(s.builder, epilogue.expression, [value, *operands], LANES))

    return written("output_transform", outputs(epilogue), write, apart=True)


@cache
def into_points(n: int) -> Function:
    """Compile the transform of inputs along z, n layers to n points; see `_along_z`."""
    return _along_z(tuple(map(tuple, matrices(2, n)[2].tolist())))


@cache
def from_points(n: int, edge: int) -> Function:
    """Compile the transform of sums along z, n points to `edge` layers; see `_along_z`."""
    return _along_z(tuple(map(tuple, matrices(n + 1 - edge, n)[0].tolist())))


def _along_z(matrix: tuple[tuple[float, ...], ...]) -> Function:
    """Compile a transform along z.

    The function takes source and target; points in a plane, tiles along z, values of a plane, of which there are at
    least LANES; and the distances of points in a plane, tiles and layers (or points along z) of the source and of the
    target.
    """

    def write(
        x: Value, y: Value, points: Value, tiles: Value, plane: Value, x_point: Value, x_tile: Value, x_step: Value,
        y_point: Value, y_tile: Value, y_step: Value,
    ) -> None:  # fmt: skip
        with loop(points) as point, loop(tiles) as tile, vectors(plane) as k:
            source = Rows(x + (point * x_point + tile * x_tile + k), x_step)
            target = Rows(y + (point * y_point + tile * y_tile + k), y_step)
            values = [source.load(j) for j in range(len(matrix[0]))]
            for j, weights in enumerate(matrix):
                target.store(j, _weighted_sum(x.builder, weights, values))

    return written("along_z", ALONG_Z, write, apart=True)
