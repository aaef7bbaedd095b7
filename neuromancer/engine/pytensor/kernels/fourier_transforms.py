"""Input and output transforms of tiles for `fourier`.

A few tiles at a time are transformed axis after axis, in a buffer that fits into a core's L2 cache.

A unit is LANES channels of a tile. Where the number of input channels is no multiple of LANES, the first group starts
with channels of the voxel before, whose products are left out; the last group of output channels overlaps the one
before it. The buffer `work` holds units (z, y, half of x). All groups of a tile are done together at each position,
because they are neighbours in images and in products.

Each pass is compiled once for all lengths: it gets the address of a transform of `dft_instructions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

from neuromancer.engine.pytensor.kernels.dft_instructions import FULL, HALF_TO_REAL, REAL_TO_HALF
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, INTS, Function
from neuromancer.engine.pytensor.kernels.simd import LANES, PAIR
from neuromancer.engine.pytensor.kernels.values import Value, loop, unless, when, written
from neuromancer.engine.pytensor.kernels.vectors import constant, load, prefetch, store

FIELDS = (
    "begin", "tiles_z", "tiles_y", "tiles_x", "dilation_z", "dilation_y", "dilation_x", "edge_z", "edge_y", "edge_x",
    "pad_z", "pad_y", "pad_x", "size_z", "size_y", "size_x", "depth", "height", "width", "channels", "groups",
    "plane", "apart",
)  # fmt: skip
"""Numbers of the table `cut`, how an image is cut into tiles: number of the first tile; tiles per phase, phases (the
dilation), outputs per tile, padding and inputs per tile (z, y, x each); shape of the image (z, y, x, channels); groups
of channels; frequencies that are stored per plane, and their distance in (frequencies, tiles, groups * PAIR)."""


def _fields(cut: Value) -> SimpleNamespace:
    fields = SimpleNamespace(**{name: (cut + k).get() for k, name in enumerate(FIELDS)})
    fields.half = fields.size_x // 2 + 1
    return fields


@contextmanager
def _tiles(cut: SimpleNamespace, first: Value, end: Value) -> Iterator[tuple[Value, Value, Value]]:
    """Write a loop over the tiles of units `first` to `end`; the block has a tile, its first unit and end."""
    with loop((end - 1) // cut.groups + 1, first // cut.groups) as tile:
        yield tile, first.most(tile * cut.groups), end.least((tile + 1) * cut.groups)


def _corner(cut: SimpleNamespace, tile: Value) -> list[Value]:
    """Return where the outputs of a tile begin, (z, y, x)."""
    number = cut.begin + tile
    along_y, along_x = cut.tiles_y * cut.dilation_y, cut.tiles_x * cut.dilation_x
    rest = number // along_x
    indices = rest // along_y, rest % along_y, number % along_x
    tiles = cut.tiles_z, cut.tiles_y, cut.tiles_x
    steps = (cut.dilation_z, cut.edge_z), (cut.dilation_y, cut.edge_y), (cut.dilation_x, cut.edge_x)
    return [k // n + d * m * (k % n) for k, n, (d, m) in zip(indices, tiles, steps, strict=True)]


def _outputs(cut: SimpleNamespace, corner: list[Value]) -> list[Value]:
    """Return the numbers of outputs of a tile that are inside the image, (z, y, x)."""
    room = cut.depth - corner[0], cut.height - corner[1], cut.width - corner[2]
    steps = (cut.dilation_z, cut.edge_z), (cut.dilation_y, cut.edge_y), (cut.dilation_x, cut.edge_x)
    return [m.least((n + d - 1) // d) for n, (d, m) in zip(room, steps, strict=True)]


def _clear(address: Value, vectors: Value) -> None:
    with loop(vectors) as k:
        store(constant(0.0), address + k * LANES)


def _rows_in(transform: Value, image: Value, work: Value, table: Value, first: Value, end: Value) -> None:
    """Transform the last axis of units of an image (z, y, x, c) into `work`."""
    cut = _fields(table)
    row = cut.half * PAIR
    step, line = cut.dilation_x * cut.channels, cut.width * cut.channels
    before = cut.groups * LANES - cut.channels
    gathered = image.room(cut.size_x * LANES)
    _clear(gathered, cut.size_x)
    with _tiles(cut, first, end) as (tile, low, high):
        corner = _corner(cut, tile)
        front, top, left = corner[0] - cut.pad_z, corner[1] - cut.pad_y, corner[2] - cut.pad_x
        inside = (left >= 0) & (left + (cut.size_x - 1) * cut.dilation_x < cut.width)
        with loop(cut.size_z) as i, loop(cut.size_y) as j, loop(high, low) as unit:
            plane, y = front + i * cut.dilation_z, top + j * cut.dilation_y
            exists = plane.within(cut.depth) & y.within(cut.height)
            to = work + (((unit - first) * cut.size_z + i) * cut.size_y + j) * row
            with unless(exists):
                _clear(to, cut.half * 2)
            with when(exists):
                channel = (unit - tile * cut.groups) * LANES - before
                start = (plane * cut.height + y) * line + left * cut.channels + channel
                dense = inside & (start >= 0)
                with unless(dense):
                    _gather(cut, image, gathered, start, left, before)
                transform.call(
                    REAL_TO_HALF, dense.choose(image + start, gathered), dense.choose(step, LANES),
                    dense.choose(line * cut.dilation_y, 0), to,
                )  # fmt: skip


def _gather(cut: SimpleNamespace, image: Value, gathered: Value, start: Value, left: Value, before: Value) -> None:
    """Copy the vectors of a row, with zeros outside the image; `start` is the index of the first one."""
    with loop(cut.size_x) as m:
        at, to = start + m * cut.dilation_x * cut.channels, gathered + m * LANES
        exists = (left + m * cut.dilation_x).within(cut.width)
        whole = exists & (at >= 0)
        with unless(exists):
            store(constant(0.0), to)
        with when(whole):
            store(load(image + at), to)
        # no voxel is before the first one
        with when(exists), unless(whole), loop(before.constant(LANES), before) as c:
            (to + c).put((image + at + c).get())


def _columns(
    transform: Value, work: Value, units: Value, used: Value, planes: Value, length: Value, half: Value, shift: Value
) -> None:
    """Transform the middle axis in place, in the first `used` of `planes` planes.

    The transform is inverse if `shift` is LANES instead of 0, which exchanges real and imaginary parts.
    """
    step = half * PAIR
    with loop(units) as unit, loop(used) as plane:
        start = work + (unit * planes + plane) * length * step
        with loop(half) as k:
            re, im = start + (k * PAIR + shift), start + (k * PAIR + LANES - shift)
            transform.call(FULL, re, im, step, re, im, step)


def _planes_in(transform: Value, work: Value, v: Value, table: Value, columns: Value, first: Value, end: Value) -> None:
    """Transform the first axis of units of `work` into v (frequencies, tiles, groups * PAIR).

    `columns` numbers the frequencies that are stored, see `fourier.columns`.
    """
    cut = _fields(table)
    across = cut.size_y * cut.half
    step, apart = across * PAIR, cut.plane * cut.apart
    with _tiles(cut, first, end) as (_, low, high), loop(across) as k:
        column = (columns + k).get()
        with when(column >= 0), loop(high, low) as unit:
            source = work + (unit - first) * cut.size_z * step + k * PAIR
            target = v + column * cut.apart + unit * PAIR
            transform.call(FULL, source, source + LANES, step, target, target + LANES, apart)
    # nontemporal stores become visible to all threads
    work.builder.fence("seq_cst")


def _planes_out(
    transform: Value, s: Value, work: Value, table: Value, columns: Value, first: Value, end: Value
) -> None:
    """Inverse of `_planes_in`, from s (frequencies, tiles, groups * PAIR)."""
    cut = _fields(table)
    across = cut.size_y * cut.half
    step, apart = across * PAIR, cut.plane * cut.apart
    with _tiles(cut, first, end) as (_, low, high), loop(across) as k:
        column = (columns + k).get()
        with loop(high, low) as unit:
            start = work + (unit - first) * cut.size_z * step
            target = start + k * PAIR
            with when(column >= 0):
                source = s + column * cut.apart + unit * PAIR
                with loop(cut.size_z) as m:
                    # the next frequency
                    ahead = source + m * apart + cut.apart
                    prefetch(ahead)
                    prefetch(ahead + LANES)
                transform.call(FULL, source + LANES, source, apart, target + LANES, target, step)
            with unless(column >= 0), loop(cut.size_z) as m:
                # copied from the conjugate column, which comes earlier
                other = start + m * step + (across - k // cut.half * cut.half + k % cut.half) * PAIR
                store(load(other), target + m * step)
                store(s.builder.fneg(load(other + LANES)), target + m * step + LANES)


def _rows_out(transform: Value, work: Value, image: Value, bias: Value, table: Value, first: Value, end: Value) -> None:
    """Inverse of `_rows_in`, plus `bias`, for the voxels inside the image (z, y, x, c)."""
    cut = _fields(table)
    row = cut.half * PAIR
    with _tiles(cut, first, end) as (tile, low, high):
        corner = _corner(cut, tile)
        planes, rows, outputs = _outputs(cut, corner)
        front, top, left = corner
        with loop(planes) as i, loop(rows) as j, loop(high, low) as unit:
            plane, y = front + i * cut.dilation_z, top + j * cut.dilation_y
            channel = ((unit - tile * cut.groups) * LANES).least(cut.channels - LANES)
            source = work + (((unit - first) * cut.size_z + i) * cut.size_y + j) * row
            target = image + ((plane * cut.height + y) * cut.width + left) * cut.channels + channel
            step = cut.dilation_x * cut.channels
            transform.call(HALF_TO_REAL, source, target, step, outputs, bias + channel)


PASSES: dict[str, tuple[Callable[..., None], list[Any]]] = {
    "rows_in": (_rows_in, [INT, FLOATS, FLOATS, INTS, INT, INT]),
    "columns": (_columns, [INT, FLOATS, *[INT] * 6]),
    "planes_in": (_planes_in, [INT, FLOATS, FLOATS, INTS, INTS, INT, INT]),
    "planes_out": (_planes_out, [INT, FLOATS, FLOATS, INTS, INTS, INT, INT]),
    "rows_out": (_rows_out, [INT, FLOATS, FLOATS, FLOATS, INTS, INT, INT]),
}
"""Passes and the types of their arguments; the first one is the address of a transform."""


@cache
def compiled(name: str) -> Function:
    """Compile one of the passes."""
    write, kinds = PASSES[name]
    return written(name, kinds, write, apart=True)
