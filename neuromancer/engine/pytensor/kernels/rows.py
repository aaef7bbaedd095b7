"""Convolution for few channels, on the CPU in single precision: vectors are neighbouring voxels of a row.

oneDNN computes with vectors of 8 or 16 channels: with 5 or 20 channels, part of every vector is wasted. Vectors along
rows are full whatever the number of channels. A block of the image is copied, with its padding, to a buffer that fits
into a core's own cache; rows with the phases of a dilation or a stride become neighbours there, so that neither costs
bandwidth. Where that saves time, the kernel's z and y axes are computed by the Cook-Toom algorithm (`cook_toom`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from itertools import product
from math import ceil, lcm, prod
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad as zero_pad

from neuromancer.engine.pytensor.kernels.cook_toom import kernel_matrix
from neuromancer.engine.pytensor.kernels.epilogue import Epilogue
from neuromancer.engine.pytensor.kernels.joining import Parts
from neuromancer.engine.pytensor.kernels.layout import to_contiguous
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.speed import Speed, Units
from neuromancer.engine.pytensor.kernels.threads import each

Ints = tuple[int, ...]
Program = tuple[np.ndarray, np.ndarray, Ints]

BUFFER = 512 << 10
"""Maximum size in bytes of the buffer of a block, unless a single row is larger."""
LONGEST = 2048
"""Maximum number of voxels of a row in a block."""
SHORTEST = 48
"""Minimum number of voxels of a row in a block, unless the image is narrower."""
ROW = 16.0
"""Cost of starting a row of a block, in values copied."""
SLACK = 256
"""Values behind a buffer: vectors may be read beyond its end."""
TASKS = 12
"""Number of tasks per thread into which the blocks are divided."""
TILE = 6
"""Inputs of a Cook-Toom tile along an axis."""


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution.

    Attributes
    ----------
    length : int
        Of the padded input.
    taps, stride, dilation : int
    """

    length: int
    taps: int = 1
    stride: int = 1
    dilation: int = 1

    @property
    def out(self) -> int:
        """Length of the result."""
        return (self.length - self.dilation * (self.taps - 1) - 1) // self.stride + 1

    @property
    def apart(self) -> int:
        """Distance of the outputs of a block: their windows read inputs of the same phase of the dilation."""
        return lcm(self.dilation, self.stride) // self.stride

    @property
    def step(self) -> int:
        """Inputs of that phase from the window of one output of a block to the next."""
        return lcm(self.dilation, self.stride) // self.dilation

    def inputs(self, outputs: int) -> int:
        """Return the number of inputs of one phase that so many outputs of a block read."""
        return self.taps + self.step * (outputs - 1)

    def parts(self, outputs: int) -> Iterator[tuple[int, int]]:
        """Iterate over blocks of at most so many outputs: (first output, number)."""
        for phase in range(min(self.apart, self.out)):
            count = ceil((self.out - phase) / self.apart)
            for k in range(0, count, outputs):
                yield phase + k * self.apart, min(outputs, count - k)

    def source(self, pad: int, first: int, inputs: int, step: int, phase: int = 0) -> tuple[int, int, int]:
        """Return which of the inputs of a block exist.

        Parameters
        ----------
        pad : int
            Zeros at both ends, which are part of `length` but not of the image.
        first : int
            Output of the block.
        inputs : int
            Number of inputs of the block, `step` voxels apart.
        step, phase : int
            The first input is `phase` voxels behind the first one of the output's window.

        Returns
        -------
        low, high : int
            The first input that exists, and the one behind the last; equal if none does.
        at : int
            Index of the first one in the image.
        """
        start = first * self.stride - pad + phase
        low = min(inputs, max(0, ceil(-start / step)))
        high = max(low, min(inputs, (self.length - 2 * pad - 1 - start) // step + 1))
        return low, high, start + low * step


class RowConv:
    """How a convolution is cut into blocks.

    Parameters
    ----------
    x_shape : (b, groups * n_in, [z,] y, x)
        Padded.
    w_shape : (groups * n_out, n_in, [z,] y, x)
    stride, dilation : tuple of int, per spatial axis
    groups : int
    """

    def __init__(self, x_shape: Ints, w_shape: Ints, stride: Ints, dilation: Ints, groups: int = 1) -> None:
        self.groups, self.n_in, self.n_out = groups, w_shape[1], w_shape[0] // groups
        axes = [Axis(*numbers) for numbers in zip(x_shape[2:], w_shape[2:], stride, dilation, strict=True)]
        self.spatial = tuple(axis.out for axis in axes)
        self.pointwise = set(w_shape[2:]) == set(stride) == {1}
        if self.pointwise:  # the whole image is one row
            axes = [Axis(prod(x_shape[2:]))]
        self.z, self.y, self.x = [Axis(1)] * (3 - len(axes)) + axes
        self.batch = x_shape[0]
        self.block = self._block()

    key = "rows"
    """Key of the rearranged kernel in a cache."""

    def _block(self) -> Ints:
        """Return the outputs of a block per axis: those with the fewest inputs per output that fit into the buffer."""
        best, least = (1, 1, min(self.x.out, SHORTEST)), float("inf")
        for z, y, x in product(_sizes(self.z), _sizes(self.y), self._lengths()):
            rows = self.n_in * self.z.inputs(z) * self.y.inputs(y)
            values = rows * self.x.stride * self._length(x)
            cost = (values + ROW * rows) / (z * y * x)
            if 4 * values <= BUFFER and cost < least:
                best, least = (z, y, x), cost
        return best

    def _lengths(self) -> set[int]:
        """Return candidate numbers of voxels of a row in a block: whole vectors, but for the last block."""
        lanes, out = _code().vectors().lanes, self.x.out
        found = set()
        for longest in range(ceil(min(SHORTEST, out) / lanes) * lanes, LONGEST + 1, lanes):
            even = ceil(out / ceil(out / longest))
            found.add(min(out, ceil(even / lanes) * lanes))
        return found

    def _length(self, outputs: int) -> int:
        """Return the number of values of a row in the buffer, for one phase of the stride."""
        return outputs + self.x.dilation * (self.x.taps - 1) // self.x.stride

    @property
    def terms(self) -> int:
        """Number of products per output."""
        return self.n_in * self.z.taps * self.y.taps * self.x.taps

    @property
    def units(self) -> Units:
        """Work of a call; see `speed`."""
        z, y, _ = self.block
        rows, copied = self._blocks() * z * y, self._blocks() * self.z.inputs(z) * self.y.inputs(y) * self.x.stride
        return {
            "row_product": rows * self._along_x(self._vectors) * self.terms * self.n_out,
            "row_copy": copied * self._along_x(self._length) * self.n_in,
            "row_store": rows * self.x.out * self.n_out,
        }

    @property
    def preparation(self) -> Units:
        """Work of rearranging the kernel."""
        return {}

    def _blocks(self) -> float:
        """Return the number of blocks along z and y, those at the ends of the image counted in part."""
        z, y, _ = self.block
        return self.batch * self.groups * self.z.out / z * self.y.out / y

    def _along_x(self, count: Callable[[int], int]) -> int:
        """Return the sum of a count of voxels over the blocks along a row."""
        x, out = self.block[2], self.x.out
        return out // x * count(x) + (count(out % x) if out % x else 0)

    def _vectors(self, voxels: int) -> int:
        """Return the number of voxels that are computed for a row, in whole vectors."""
        lanes = _code().vectors().lanes
        return ceil(voxels / lanes) * lanes

    @property
    def prepared(self) -> int:
        """Size of the rearranged kernel in bytes."""
        return 4 * self.groups * self.n_out * self.terms

    @property
    def scratch(self) -> int:
        """Workspace in bytes, in addition to input and result."""
        image = self.batch * self.groups * self.n_in * prod(axis.length for axis in (self.z, self.y, self.x))
        copied = image if self.groups > 1 else 0
        return 4 * (self._buffer() * torch.get_num_threads() + copied)

    def _buffer(self) -> int:
        """Return the number of values of the buffer of a block."""
        z, y, x = self.block
        return self.n_in * self.z.inputs(z) * self.y.inputs(y) * self.x.stride * self._length(x) + SLACK

    def transformed(self, w: torch.Tensor) -> torch.Tensor:
        """Rearrange a kernel: (groups, values), for each block of output channels (terms, channels)."""
        w = w.reshape(self.groups, self.n_out, self.terms)
        parts = [part.transpose(1, 2).flatten(1) for part in w.split(_code().blocks(self.n_out), dim=1)]
        return torch.cat(parts, 1).contiguous()

    def conv(
        self,
        x: torch.Tensor | Parts,
        w: torch.Tensor,
        bias: torch.Tensor | None,
        pad: Ints,
        epilogue: Epilogue | None = None,
        operands: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Convolve x with a `transformed` kernel; see `conv_algorithm.ConvAlgorithm`. The result is contiguous.

        `operands` are those of the epilogue.
        """
        images = list(x.images) if isinstance(x, Parts) else [x]
        if self.groups > 1:  # each group passes over the image: its channels must not be interleaved
            images = [to_contiguous(image) for image in images]
        if self.pointwise and any(pad):
            images = [zero_pad(image, [p for p in reversed(pad) for _ in range(2)]) for image in images]
            pad = (0,)
        pad = (0,) * (3 - len(pad)) + pad if not self.pointwise else (0, 0, 0)
        result = empty(self.batch, self.groups * self.n_out, *self.spatial)
        offsets = torch.zeros(self.groups * self.n_out) if bias is None else bias.contiguous()
        if len(offsets) != self.groups * self.n_out:
            raise RuntimeError(f"a bias of {len(offsets)} values for {self.groups * self.n_out} channels")
        lengths = [axis.length - 2 * p for axis, p in zip((self.z, self.y, self.x), pad, strict=True)]
        images = [image.reshape(self.batch, image.shape[1], *lengths) for image in images]
        channels = _channels(images)
        target = result.view(self.batch, self.groups, self.n_out, self.z.out, self.y.out, self.x.out)
        terms, table, numbers = _program(self, target.stride(), w.stride(0), pad)
        beside = [to_contiguous(v) for v in operands]
        further = [*numbers, *(v.data_ptr() for v in beside)]
        run = self.function(epilogue or _code().PLAIN)
        tasks = min(len(table), TASKS * torch.get_num_threads())
        bounds = np.linspace(0, len(table), tasks + 1).astype(int)
        size = self._buffer()

        def task(k: int) -> None:
            buffer = np.empty(size, np.float32)
            part = table[bounds[k] : bounds[k + 1]]
            arrays = (images[0].data_ptr(), w.data_ptr(), offsets.data_ptr(), target.data_ptr(), buffer.ctypes.data)
            run(*arrays, channels.ctypes.data, part.ctypes.data, terms.ctypes.data, len(part), *further)

        each(task, range(tasks), torch.get_num_threads())
        return result

    def fits(self, epilogue: Epilogue, operands: Sequence[torch.Tensor]) -> bool:
        """Return whether the operands of an epilogue have the shapes of its result."""
        return epilogue.fits((self.batch, self.groups * self.n_out, *self.spatial), operands, dense=False)

    def function(self, epilogue: Epilogue) -> Any:
        """Return the machine code."""
        return _code().direct(_code().block_sizes(self.n_out), epilogue)

    def program(self, target: Ints, kernel: int, pad: Ints) -> Program:
        """Return terms, table and numbers for strides of result and kernel; see `row_blocks`."""
        nz, ny, nx = self.block
        length = self._length(nx)
        line = self.x.stride * length
        sizes = (self.n_in, self.z.inputs(nz), self.y.inputs(ny))
        steps = (sizes[1] * sizes[2] * line, sizes[2] * line, line)
        kx = np.arange(self.x.taps) * self.x.dilation
        along_x = kx % self.x.stride * length + kx // self.x.stride
        counts = (self.n_in, self.z.taps, self.y.taps)
        terms = _sums([np.arange(n) * step for n, step in zip(counts, steps, strict=True)] + [along_x])
        numbers = (
            *(self.n_in, self.z.dilation, self.y.dilation, self.x.stride),
            *(length, *steps, steps[1] * self.z.step, steps[2] * self.y.step, len(terms)),
            *(target[2], target[3] * self.z.apart, target[4] * self.y.apart, *_code().block_counts(self.n_out)),
        )
        return terms, self._table(target, kernel, pad), numbers

    def _inputs(self, nz: int, ny: int) -> tuple[int, int]:
        """Return the rows in the buffer of a block of so many outputs."""
        return self.z.inputs(nz), self.y.inputs(ny)

    def _table(self, target: Ints, kernel: int, pad: Ints) -> np.ndarray:
        """Return the table of blocks."""
        z, y, x = self.block
        length = self._length(x)
        along_x = []
        for first in range(0, self.x.out, x):
            phases = [self.x.source(pad[2], first, length, self.x.stride, k) for k in range(self.x.stride)]
            bounds = [v for phase in phases for v in phase]
            along_x.append((first * target[5], min(x, self.x.out - first), bounds))
        rows = []
        for (z0, nz), (y0, ny) in product(self.z.parts(z), self.y.parts(y)):
            in_z, in_y = self._inputs(nz, ny)
            low_z, high_z, at_z = self.z.source(pad[0], z0, in_z, self.z.dilation)
            low_y, high_y, at_y = self.y.source(pad[1], y0, in_y, self.y.dilation)
            to = z0 * target[3] + y0 * target[4]
            rows += [
                (0, at_z, at_y, 0, 0, to + at, in_z, low_z, high_z, in_y, low_y, high_y, nz, ny, nx, *bounds)
                for at, nx, bounds in along_x
            ]
        table = np.array(rows, np.int64)
        # images and groups differ in where they begin
        shifts = np.zeros((self.batch, self.groups, 1, table.shape[1]), np.int64)
        images, groups = np.arange(self.batch)[:, None], np.arange(self.groups)
        shifts[..., 0, 0] = (images * self.groups + groups) * self.n_in
        shifts[..., 0, 3] = groups * kernel
        shifts[..., 0, 4] = groups * self.n_out
        shifts[..., 0, 5] = images * target[0] + groups * target[1]
        return (table + shifts).reshape(-1, table.shape[1])


class TiledRowConv(RowConv):
    """The same by the Cook-Toom algorithm along z and y: a block is a tile."""

    def __init__(self, x_shape: Ints, w_shape: Ints, stride: Ints, dilation: Ints, groups: int = 1) -> None:
        super().__init__(x_shape, w_shape, stride, dilation, groups)
        self.sizes = tuple(TILE if axis.taps > 1 else 1 for axis in (self.z, self.y))
        outputs = [n + 1 - axis.taps for n, axis in zip(self.sizes, (self.z, self.y), strict=True)]
        lanes = _code().vectors().lanes
        self.block = (*outputs, min(ceil(self.x.out / lanes) * lanes, 64))

    key = "tiles"

    @property
    def terms(self) -> int:
        """Number of products per output."""
        return self.n_in * self.x.taps

    @property
    def units(self) -> Units:
        """Work of a call; see `speed`."""
        rows = self._blocks() * prod(self.sizes)
        values = rows * self._along_x(self._length)
        return {
            "row_product": rows * self._along_x(self._vectors) * self.terms * self.n_out,
            "row_copy": values * self.n_in,
            "row_transform": values * (self.n_in + self.n_out),
            "row_store": self._blocks() * prod(self.block[:2]) * self.x.out * self.n_out,
        }

    @property
    def preparation(self) -> Units:
        """Work of the kernel transform."""
        return {"row_kernel": self.prepared / 4}

    def _blocks(self) -> float:
        """Return the number of tiles along z and y."""
        z, y, _ = self.block
        along = [
            sum(ceil(ceil((axis.out - phase) / axis.apart) / n) for phase in range(min(axis.apart, axis.out)))
            for axis, n in ((self.z, z), (self.y, y))
        ]
        return self.batch * self.groups * prod(along)

    @property
    def prepared(self) -> int:
        """Size of the transformed kernel in bytes."""
        return 4 * prod(self.sizes) * self.groups * self.n_out * self.terms

    def _length(self, outputs: int) -> int:
        """Return the number of values of a row in the buffer: whole vectors."""
        lanes = _code().vectors().lanes
        return ceil(super()._length(outputs) / lanes) * lanes

    def _inputs(self, nz: int, ny: int) -> tuple[int, int]:
        return self.sizes[0], self.sizes[1]

    def _buffer(self) -> int:
        rows = prod(self.sizes) * (1 + self.n_in + max(_code().block_sizes(self.n_out)))
        return rows * self._length(self.block[2]) + SLACK

    def transformed(self, w: torch.Tensor) -> torch.Tensor:
        """Transform a kernel: (groups, values), for each block of output channels (points, terms, channels)."""
        w = w.reshape(self.groups, self.n_out, self.n_in, self.z.taps * self.y.taps, self.x.taps)
        matrix = kernel_matrix(*zip(self.sizes, (self.z.taps, self.y.taps), strict=True))
        result, done = empty(self.groups, self.n_out, len(matrix) * self.terms), 0
        for size, count in zip(_code().block_sizes(self.n_out), _code().block_counts(self.n_out), strict=False):
            channels = slice(done, done + size * count)
            # (groups, taps z and y, blocks, n_in, taps x, channels), so that one product transforms all blocks
            part = w[:, channels].unflatten(1, (count, size)).permute(0, 4, 1, 3, 5, 2).flatten(2)
            points = torch.matmul(matrix, part).unflatten(2, (count, -1))
            result[:, channels].view(self.groups, count, len(matrix), -1).copy_(points.transpose(1, 2))
            done += size * count
        return result.flatten(1)

    def function(self, epilogue: Epilogue) -> Any:
        """Return the machine code."""
        return _code().tiled(_code().block_sizes(self.n_out), epilogue, (self.z.taps, self.y.taps), self.sizes)

    def program(self, target: Ints, kernel: int, pad: Ints) -> Program:
        """Return terms, table and numbers for strides of result and kernel; see `row_blocks`."""
        length = self._length(self.block[2])
        terms = _sums([np.arange(self.n_in) * length, np.arange(self.x.taps) * self.x.dilation])
        numbers = (
            *(self.n_in, self.z.dilation, self.y.dilation, 1),
            *(length, 0, self.sizes[1] * length, length, 0, 0, len(terms)),
            *(target[2], target[3] * self.z.apart, target[4] * self.y.apart, *_code().block_counts(self.n_out)),
        )
        return terms, self._table(target, kernel, pad), numbers


@lru_cache(maxsize=64)
def _program(geometry: RowConv, target: Ints, kernel: int, pad: Ints) -> Program:
    """Cache the programs of recent convolutions."""
    return geometry.program(target, kernel, pad)


def _channels(images: Sequence[torch.Tensor]) -> np.ndarray:
    """Return the table of channels of images (b, c, z, y, x) that are read as if they were concatenated."""
    first, parts = images[0].data_ptr(), []
    for image in images:
        batch, channel, *apart = image.stride()
        part = np.empty((*image.shape[:2], 4), np.int64)
        starts = np.add.outer(np.arange(image.shape[0]) * batch, np.arange(image.shape[1]) * channel)
        part[..., 0] = (image.data_ptr() - first) // 4 + starts
        part[..., 1:] = apart
        parts.append(part)
    return np.concatenate(parts, 1)


def best_geometry(
    x_shape: Ints, w_shape: Ints, stride: Ints, dilation: Ints, groups: int, prepared: bool, speed: Speed
) -> RowConv | None:
    """Return the fastest way to compute a convolution of an image that is already padded, or None if there is none."""
    if not all(w_shape) or len(w_shape) not in (4, 5):
        return None
    direct = RowConv(x_shape, w_shape, stride, dilation, groups)
    if set(stride) != {1} or max(w_shape[2:-1]) < 2 or max(w_shape[2:-1]) >= TILE:
        return direct
    tiled = TiledRowConv(x_shape, w_shape, stride, dilation, groups)
    seconds = speed.seconds(tiled.units) + (0.0 if prepared else speed.seconds(tiled.preparation))
    return tiled if seconds < speed.seconds(direct.units) else direct


def _sums(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sums of one number of each part, the last part varying fastest."""
    total = np.zeros(1, np.int64)
    for part in parts:
        total = np.add.outer(total, part).ravel()
    return total.astype(np.int64)


def _sizes(axis: Axis) -> list[int]:
    """Return candidate numbers of outputs of a block along an axis."""
    most = ceil(axis.out / axis.apart)
    return sorted({min(n, most) for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)})


@cache
def _code() -> ModuleType:
    """Return the module of the machine code; imported on demand, as importing llvmlite takes time."""
    return import_module("neuromancer.engine.pytensor.kernels.row_blocks")
