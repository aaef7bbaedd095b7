"""Chunks of tiles of `winograd`, one after the other: input transform, products, output transform, all in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

from neuromancer.engine.pytensor.kernels.epilogue import FULL, Epilogue
from neuromancer.engine.pytensor.kernels.matrix_products import ARGUMENTS as PRODUCTS
from neuromancer.engine.pytensor.kernels.native import FLOATS, INT, INTS, Function
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.values import Number, Value, loop, written
from neuromancer.engine.pytensor.kernels.winograd_transforms import ALONG_Z, FIELDS, INPUTS, outputs

PLAN = (
    "input_transform", "multiply", "output_transform", "into_points", "from_points",
    "steps", "blocks", "step", "tiles", "length", "depth", "height", "width",
    "tiles_y", "tiles_x", "dilation_y", "dilation_x", "edge_y", "edge_x",
    "points", "deep", "edge", "halo", "n_in", "n_out", "parts", "taps", "reach", "sources",
)  # fmt: skip
"""Numbers of a convolution: addresses of its functions; chunks along the tiles and along z, tiles of a chunk and of the
image, layers of a chunk; shape of the result (z, y, x); see `winograd_transforms.FIELDS`; points of a tile in a plane
and along z, its layers of outputs, layers read beyond a chunk; channels of image and result; parts and taps of the
kernel and the distance of its taps along z; images times parts. Without tiles along z, they have one point and one
layer; with them, the kernel has one tap."""
SOURCE = ("at", "image", "part", "channel", "pad_z", "pad_y", "pad_x", "height", "width", "depth", "channels")
"""An image that is transformed for a part of the kernel: address relative to that of the first image, distance of the
images of the batch; the part; its first channel among those of all images; padding and shape."""


@cache
def chunks(epilogue: Epilogue, deep: bool) -> Function:
    """Compile the convolution of a range of chunks.

    The function takes the first image, the result (image, z, y, x, c), the kernel, the bias, buffers for values
    transformed in planes, for transformed values and for sums, the table `PLAN`, a table of `SOURCE`, the range, and
    the operands of the epilogue. The first buffer is used only if tiles are `deep`: transformed along z, too.
    """

    def write(
        x: Value, y: Value, w: Value, bias: Value, planes: Value, v: Value, s: Value, plan: Value, table: Value,
        begin: Value, end: Value, *beside: Value,
    ) -> None:  # fmt: skip
        p = SimpleNamespace(**{name: (plan + k).get() for k, name in enumerate(PLAN)})
        cut = plan.room(len(FIELDS))

        def put(**numbers: Number) -> None:
            for name, number in numbers.items():
                (cut + FIELDS.index(name)).put(number if isinstance(number, Value) else plan.constant(number))

        put(**{name: getattr(p, name) for name in PLAN if name in FIELDS and name != "tiles"})
        with loop(end, begin) as chunk:
            first, z = chunk % p.steps * p.step, chunk // p.steps % p.blocks * p.length
            image = chunk // (p.steps * p.blocks)
            tiles, length = (first + p.step).least(p.tiles) - first, (z + p.length).least(p.depth) - z
            along_z = (length + p.edge - 1) // p.edge
            layers, rows = along_z * p.edge + p.halo, along_z * tiles
            v_plane, s_plane = tiles * p.n_in, tiles * p.n_out
            v_point, s_point = along_z * v_plane + LANES, along_z * s_plane + LANES
            if not deep:
                v_point = v_point + p.halo * v_plane
            inputs, sums = (planes, planes) if deep else (v, s)
            in_apart, out_apart = v_point, s_point
            if deep:
                in_apart, out_apart = layers * v_plane + LANES, along_z * p.edge * s_plane + LANES
            put(begin=first, tiles=tiles, layers=layers, row=p.n_in, apart=in_apart)
            with loop(p.sources) as k:
                source = table + k * len(SOURCE)
                q = SimpleNamespace(**{name: (source + i).get() for i, name in enumerate(SOURCE)})
                put(pad_z=q.pad_z - z, **{name: getattr(q, name) for name in SOURCE[5:]})
                to = inputs + (q.part * p.points * in_apart + q.channel)
                p.input_transform.call(INPUTS, x + (q.at + image * q.image), to, cut)
            points = p.points * p.deep
            if deep:
                sizes = p.parts * p.points, along_z, v_plane, in_apart, p.edge * v_plane, v_plane
                p.into_points.call(ALONG_Z, planes, v, *sizes, p.deep * v_point, v_plane, v_point)
            sizes = points, rows, p.n_in, p.n_out, p.parts, p.taps
            apart = v_point, points * v_point, p.reach * v_plane, p.n_in, 1, s_point, p.n_out
            p.multiply.call(PRODUCTS, v, w, bias, s, *sizes, *apart)
            if deep:
                sizes = p.points, along_z, s_plane, p.deep * s_point, s_plane, s_point
                p.from_points.call(ALONG_Z, s, planes, *sizes, out_apart, p.edge * s_plane, s_plane)
            put(pad_z=0, pad_y=0, pad_x=0, depth=length, height=p.height, width=p.width, channels=p.n_out)
            put(layers=length, row=p.n_out, apart=out_apart)
            to = (image * p.depth + z) * p.height * p.width * p.n_out
            others = [a + to if kind == FULL else a for a, kind in zip(beside, epilogue.kinds, strict=True)]
            p.output_transform.call(outputs(epilogue), sums, y + to, bias, cut, *others)

    kinds: Sequence[object] = [*[FLOATS] * 7, INTS, INTS, INT, INT, *[FLOATS] * len(epilogue.kinds)]
    return written("chunks", kinds, write, apart=True)
