"""Up-convolution (transposed convolution with a stride) along rows, on the CPU in single precision.

The outputs at one phase of the strides are a convolution with those taps of the kernel that meet that phase; those of
all phases along x are computed from the same inputs and interleaved.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from itertools import product
from math import ceil, prod
from types import ModuleType

import numpy as np
import torch

from neuromancer.engine.pytensor.kernels.epilogue import Epilogue
from neuromancer.engine.pytensor.kernels.layout import to_contiguous
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.rows import BUFFER, SLACK, TASKS
from neuromancer.engine.pytensor.kernels.threads import each

Ints = tuple[int, ...]
Tap = tuple[int, int]
"""A tap of the kernel and the input that it reads, relative to that of the output."""
Program = tuple[np.ndarray, np.ndarray, np.ndarray, Ints, int]

LONGEST = 256
"""Maximum number of inputs of a row in a block."""
SHORTEST = 16
"""Minimum number of inputs of a row: for shorter ones, reading the kernel again for every row takes too long."""


class Phases:
    """The taps of one axis by the phase of the output.

    Parameters
    ----------
    taps, stride, pad : int
    """

    def __init__(self, taps: int, stride: int, pad: int) -> None:
        self.taps, self.stride = taps, stride
        self.of: list[list[Tap]] = [
            [(k, (c + pad - k) // stride) for k in range(taps) if (c + pad - k) % stride == 0] for c in range(stride)
        ]
        """Taps per phase."""
        shifts = [shift for taps in self.of for _, shift in taps] or [0]
        self.first, self.last = min(shifts), max(shifts)

    @property
    def reach(self) -> int:
        """Number of inputs that an output may read, less one."""
        return self.last - self.first


class RowUpConv:
    """How an up-convolution is cut into blocks.

    Parameters
    ----------
    x_shape : (b, n_in, [z,] y, x)
    w_shape : (n_in, n_out, [z,] y, x)
    out_shape : (b, n_out, [z,] y, x)
    stride, pad : tuple of int, per spatial axis
    """

    def __init__(self, x_shape: Ints, w_shape: Ints, out_shape: Ints, stride: Ints, pad: Ints) -> None:
        self.batch, (self.n_in, self.n_out) = x_shape[0], w_shape[:2]
        flat = (1,) * (5 - len(x_shape))
        self.lengths, self.sizes = (*flat, *x_shape[2:]), (*flat, *out_shape[2:])
        self.out_shape = out_shape
        taps, strides = (*flat, *w_shape[2:]), (*flat, *stride)
        self.axes = [Phases(*n) for n in zip(taps, strides, (*((0,) * len(flat)), *pad), strict=True)]
        # inputs whose outputs exist
        self.steps = tuple(ceil(n / axis.stride) for n, axis in zip(self.sizes, self.axes, strict=True))
        self.block = self._block()
        self.key = ("up", w_shape, tuple(stride), tuple(pad))
        """Key of the rearranged kernel in a cache."""

    def _block(self) -> Ints:
        """Return the inputs of a block per axis, as many as fit into the buffer."""
        x = min(self.steps[2], LONGEST)
        best = (1, 1, x)
        for z, y in product((1, 2, 4, 8, 16), (1, 2, 4, 8, 16)):
            block = (min(z, self.steps[0]), min(y, self.steps[1]), x)
            if 4 * prod(self._inputs(block)) * self.n_in <= BUFFER and prod(block) > prod(best):
                best = block
        return best

    def _inputs(self, block: Ints) -> Ints:
        """Return the inputs of a block that its outputs read, per axis."""
        return tuple(n + axis.reach for n, axis in zip(block, self.axes, strict=True))

    def _phases(self) -> list[list[tuple[Tap, Tap, Tap]]]:
        """Return the taps along z, y, x of every term, by phase."""
        z, y, x = self.axes
        return [list(product(*taps)) for taps in product(z.of, y.of, x.of)]

    def transformed(self, w: torch.Tensor) -> torch.Tensor:
        """Rearrange a kernel: for each phase and each block of output channels (terms, channels)."""
        w = w.reshape(self.n_in, self.n_out, *(axis.taps for axis in self.axes))
        blocks, parts = _code().blocks(self.n_out), []
        for terms in self._phases():
            taps = [w[:, :, z, y, x] for (z, _), (y, _), (x, _) in terms]
            chosen = torch.stack(taps, 1).flatten(0, 1) if taps else w.new_zeros(0, self.n_out)
            parts += [part.flatten() for part in chosen.split(blocks, dim=1)]
        return torch.cat(parts).contiguous()

    def fits(self, epilogue: Epilogue, operands: Sequence[torch.Tensor]) -> bool:
        """Return whether the operands of an epilogue have the shapes of its result."""
        return epilogue.fits(self.out_shape, operands, dense=False)

    def conv(
        self,
        x: torch.Tensor,
        w: torch.Tensor,
        bias: torch.Tensor | None,
        pad: Ints = (),
        epilogue: Epilogue | None = None,
        operands: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Up-convolve x with a `transformed` kernel; the result is contiguous.

        `operands` are those of the epilogue; `pad` is that of the constructor.
        """
        code = _code()
        result = empty(*self.out_shape)
        offsets = torch.zeros(self.n_out) if bias is None else bias.contiguous()
        if len(offsets) != self.n_out:
            raise RuntimeError(f"a bias of {len(offsets)} values for {self.n_out} channels")
        image = x.reshape(self.batch, self.n_in, *self.lengths)
        target = result.view(self.batch, self.n_out, *self.sizes)
        terms, phases, table, numbers, size = _program(self, image.stride(), target.stride())
        beside = [to_contiguous(v) for v in operands]
        further = [*numbers, *(v.data_ptr() for v in beside)]
        run = code.up(code.block_sizes(self.n_out), self.axes[2].stride, epilogue or code.PLAIN)
        tasks = min(len(table), TASKS * torch.get_num_threads())
        bounds = np.linspace(0, len(table), tasks + 1).astype(int)

        def task(k: int) -> None:
            buffer = np.empty(size, np.float32)
            part = table[bounds[k] : bounds[k + 1]]
            arrays = (image.data_ptr(), w.data_ptr(), offsets.data_ptr(), target.data_ptr(), buffer.ctypes.data)
            run(*arrays, part.ctypes.data, phases.ctypes.data, terms.ctypes.data, len(part), *further)

        each(task, range(tasks), torch.get_num_threads())
        return result

    def program(self, image: Ints, target: Ints) -> Program:
        """Return terms, phases, table, numbers and size of the buffer; see `row_up_code`."""
        lanes = _code().vectors().lanes
        inputs = self._inputs(self.block)
        row_length = ceil(self.block[2] / lanes) * lanes
        along = (inputs[1] * inputs[2], inputs[2], 1)
        steps = (prod(inputs), *along[:2])
        terms: list[np.ndarray] = []
        phases, done, kernel = [], 0, 0
        for taps in self._phases():
            distances = [
                [(shift - axis.first) * step for (_, shift), axis, step in zip(tap, self.axes, along, strict=True)]
                for tap in taps
            ]
            shifts = [sum(d) for d in distances]
            own = np.add.outer(np.arange(self.n_in) * steps[0], np.array(shifts, np.int64)).ravel()
            phases.append((done, len(own), kernel))
            terms.append(own)
            done, kernel = done + len(own), kernel + len(own) * self.n_out
        numbers = (
            *(self.n_in, *image[1:], inputs[2], *steps, row_length),
            *(self.axes[0].stride, self.axes[1].stride, *self.sizes[:2], *target[1:4]),
            *_code().block_counts(self.n_out),
        )
        sums = row_length * self.axes[2].stride * max(_code().block_sizes(self.n_out))
        size = sums + self.n_in * prod(inputs) + SLACK
        all_terms = np.concatenate(terms).astype(np.int64)
        return all_terms, np.array(phases, np.int64), self._table(image, target), numbers, size

    def _table(self, image: Ints, target: Ints) -> np.ndarray:
        rows = []
        starts = [range(0, n, size) for n, size in zip(self.steps, self.block, strict=True)]
        for batch, *first in product(range(self.batch), *starts):
            counts = [min(size, n - k) for size, n, k in zip(self.block, self.steps, first, strict=True)]
            bounds, corner = [], batch * image[0]
            for k, (start, axis) in enumerate(zip(first, self.axes, strict=True)):
                begin, many = start + axis.first, self.block[k] + axis.reach
                low = min(many, max(0, -begin))
                high = max(low, min(many, self.lengths[k] - begin))
                corner += (begin + low) * image[2 + k]
                bounds.append((many, low, high))
            (z, y, (_, *x)), strides = bounds, [axis.stride for axis in self.axes]
            to_x = first[2] * strides[2]
            values = min(counts[2] * strides[2], self.sizes[2] - to_x)
            to = batch * target[0] + to_x * target[4]
            rows.append(
                (corner, to, *z, *y, *x, *counts[:2], first[0] * strides[0], first[1] * strides[1], counts[2], values)
            )
        return np.array(rows, np.int64)


@lru_cache(maxsize=64)
def _program(geometry: RowUpConv, image: Ints, target: Ints) -> Program:
    """Cache the programs of recent up-convolutions."""
    return geometry.program(image, target)


@lru_cache(maxsize=1024)
def up_convolution(
    x_shape: Ints, w_shape: Ints, out_shape: Ints, stride: Ints, dilation: Ints, pad: Ints, groups: int
) -> RowUpConv | None:
    """Return how an up-convolution is computed along rows, or None if torch has to compute it."""
    if len(x_shape) not in (4, 5) or set(dilation) != {1} or groups != 1 or not all((*x_shape, *w_shape, *out_shape)):
        return None
    return RowUpConv(x_shape, w_shape, out_shape, stride, pad) if x_shape[-1] >= SHORTEST else None


@cache
def _code() -> ModuleType:
    """Return the module of the machine code; imported on demand, as importing llvmlite takes time."""
    return import_module("neuromancer.engine.pytensor.kernels.row_up_code")
