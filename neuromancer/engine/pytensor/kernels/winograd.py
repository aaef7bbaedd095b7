"""Winograd (Cook-Toom) convolution over the last two axes, on the CPU in single precision.

A tile of 6x6 inputs gives 3x3 outputs of a 4x4 kernel with 36 products instead of 144 (4x4 outputs of a 3x3 kernel, 2x2
of a 5x5 kernel); a tile of 7x7 gives 4x4 outputs with 49 products. Larger kernels are split into parts of such sizes,
each applied to shifted inputs. Dilation only spreads the inputs of a tile. The products of all tiles and channels at
one position of the tile are one matrix product, summed over parts and the first kernel axis before the output
transform. In 3-D, tiles may also have several layers, with fewer products: 6x6x6 inputs give 4x4x4 outputs of a 3x3x3
kernel with 216 instead of 1728.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise, product
from math import ceil, prod
from types import ModuleType

import numpy as np
import torch

from neuromancer.engine.pytensor.kernels.cook_toom import kernel_matrix
from neuromancer.engine.pytensor.kernels.epilogue import PLAIN, Epilogue
from neuromancer.engine.pytensor.kernels.joining import Parts, whole
from neuromancer.engine.pytensor.kernels.layout import to_channels_last
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.simd import CACHE_LINE, LANES
from neuromancer.engine.pytensor.kernels.speed import Speed, Units
from neuromancer.engine.pytensor.kernels.threads import together

Ints = tuple[int, ...]

CHUNK = 1 << 20
"""Size in bytes of the transformed values of a chunk: they stay in the cache."""
LEAST_ROWS, MOST_ROWS = 56, 192
"""Rows of a matrix product; with fewer, reading the kernel takes as long as the products."""
HALO = 4
"""Minimum length of a chunk along z relative to the layers that it reads beyond."""
TASKS = 8
"""Units of work per thread."""
TRANSFORM = {6: 1.0, 7: 1.4}
"""Cost of the transforms per value by tile size, relative to tiles of 6."""
PRECISE = 0.93
"""Maximum cost of the larger tiles relative to the smaller ones: they are less precise. They are used for at least 4
taps; below, they would save little."""
DEEP = 6
"""Inputs of a tile along z."""


@cache
def split(taps: int, size: int) -> Ints:
    """Split a kernel axis for tiles of a size with the fewest products; return (parts, taps of a part).

    Examples
    --------
    >>> [split(taps, 6) for taps in (2, 4, 5, 6, 7, 9)]
    [(1, 2), (1, 4), (1, 5), (2, 3), (2, 4), (3, 3)]
    """
    options = [(ceil(taps / part), part) for part in range(2, size)]
    return min(options, key=lambda option: (option[0] / (size + 1 - option[1]), option[0]))


class Tiling:
    """How a convolution without padding or strides is cut into tiles.

    Parameters
    ----------
    x_shape : (b, n_in, [z,] y, x)
    w_shape : (n_out, n_in, [z,] y, x)
    dilation : tuple of int, per spatial axis
    size : int
        Inputs of a tile along the last two axes.
    deep : int
        Inputs of a tile along z, or 1 for tiles in planes, whose products are summed over the kernel's first axis.
    """

    def __init__(self, x_shape: Ints, w_shape: Ints, dilation: Ints, size: int, deep: int = 1) -> None:
        self.size, self.deep = size, deep
        spatial = [n - d * (k - 1) for n, d, k in zip(x_shape[2:], dilation, w_shape[2:], strict=True)]
        # in 2-D the batch axis takes the place of z
        flat = len(spatial) == 2
        self.batch, self.depth = (1, x_shape[0]) if flat else (x_shape[0], x_shape[2])
        self.taps, self.reach = (1, 0) if flat else (w_shape[2], dilation[0])
        self.n_in, self.n_out = w_shape[1], w_shape[0]
        self.out = (self.depth, *spatial) if flat else tuple(spatial)
        self.shape = (self.depth, self.n_out, *spatial) if flat else (self.batch, self.n_out, *spatial)
        self.dilation = dilation[-2:]
        self.parts, self.part = (tuple(n) for n in zip(*(split(k, size) for k in w_shape[-2:]), strict=True))
        self.edges = tuple(size + 1 - k for k in self.part)
        self.edge = deep + 1 - self.taps if deep > 1 else 1
        self.halo = self.reach * (self.taps - 1)
        self.per_phase = tuple(
            ceil(ceil(n / d) / m) for n, d, m in zip(self.out[1:], self.dilation, self.edges, strict=True)
        )
        self.tiles = prod(self.per_phase) * prod(self.dilation)
        # independent of the number of threads, so that results are, too
        points = size**2 * deep
        least = max(LEAST_ROWS, min(self.n_in, self.n_out) // 2)
        rows = min(MOST_ROWS, max(least, CHUNK // (4 * points * (self.n_in + self.n_out))))
        along_z = ceil(self.out[0] / self.edge)
        blocks = max(1, along_z // max(rows, ceil(HALO * self.halo / self.edge)))
        self.length = max(1, ceil(along_z / blocks)) * self.edge
        self.blocks = ceil(self.out[0] / self.length)
        self.step = max(1, min(self.tiles, rows * self.edge // self.length))
        self.steps = ceil(self.tiles / self.step)

        columns, parts = self.tiles * self.batch, prod(self.parts)
        padded = ceil(self.out[0] / self.edge) * self.edge
        n_in, n_out = (ceil(n / LANES) * LANES for n in (self.n_in, self.n_out))  # computed in whole vectors
        inputs, outputs = (padded + self.blocks * self.halo) * parts * n_in, padded * n_out
        values = size**2 * columns * (inputs + outputs)
        if deep > 1:
            values += points * columns * along_z * (parts * n_in + n_out)
        taps = 1 if deep > 1 else self.taps
        kernel = points * parts * taps * self.n_in * n_out
        read = self.batch * self.blocks * self.steps * kernel
        self.units: Units = {
            "winograd_product": columns * along_z * points * parts * taps * self.n_in * n_out,
            "winograd_value": TRANSFORM[size] * values + read,
        }
        """Work of a call; see `speed`."""
        self.prepared = 4 * kernel
        """Size of the transformed kernel in bytes."""
        self.preparation: Units = {"winograd_kernel": kernel}
        """Work of the kernel transform."""

    @property
    def key(self) -> Ints:
        """Key of the transformed kernel in a cache."""
        return self.size, self.deep

    @property
    def scratch(self) -> int:
        """Workspace in bytes, in addition to input and result."""
        return 4 * sum(self._buffers()) * torch.get_num_threads()

    def _buffers(self) -> tuple[int, int, int]:
        """Return the sizes of a thread's buffers; see `winograd_chunks.chunks`."""
        points, parts, layers = self.size**2, prod(self.parts), self.length + self.halo
        inputs = points * parts * (self.step * layers * self.n_in + LANES)
        sums = points * (self.step * self.length * self.n_out + LANES)
        if self.deep == 1:
            return LANES, inputs + LANES, sums + LANES
        rows = self.step * self.length // self.edge
        values, products = parts * (rows * self.n_in + LANES), rows * self.n_out + LANES
        return max(inputs, sums) + LANES, points * self.deep * values + LANES, points * self.deep * products + LANES

    def transformed(self, w: torch.Tensor) -> torch.Tensor:
        """Transform a kernel (n_out, n_in, [z,] y, x) into `matrix_products.panels` of parts (y, x) and taps."""
        w = w.unsqueeze(2) if w.ndim == 4 else w
        n_out, n_in, depth, height, width = w.shape
        (ny, nx), (ky, kx), size = self.parts, self.part, self.size
        padded = torch.nn.functional.pad(w, (0, nx * kx - width, 0, ny * ky - height))
        parts = padded.view(n_out, n_in, depth, ny, ky, nx, kx).permute(3, 5, 2, 4, 6, 1, 0)
        by_tap = parts.reshape(ny, nx, depth, ky * kx, n_in * n_out)
        planes = torch.matmul(kernel_matrix((size, ky), (size, kx)), by_tap)
        if self.deep > 1:
            planes = torch.matmul(kernel_matrix((self.deep, depth)), planes.transpose(2, 3))
        taps = depth if self.deep == 1 else 1
        return _code("matrix_products").panels(planes.reshape(ny * nx * taps, size**2 * self.deep, n_in, n_out))

    def conv(
        self,
        x: torch.Tensor | Parts,
        w: torch.Tensor,
        bias: torch.Tensor | None,
        pad: Ints,
        epilogue: Epilogue = PLAIN,
        operands: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Convolve x with a `transformed` kernel; see `conv_algorithm.ConvAlgorithm`.

        `operands` are those of the epilogue.
        """
        small = isinstance(x, Parts) and min(image.shape[1] for image in x.images) < LANES
        images = list(x.images) if isinstance(x, Parts) and not small else [whole(x)]
        images = [to_channels_last(image).movedim(1, -1) for image in images]
        b, c, *spatial = self.shape
        result = empty(b, *spatial, c)
        plan, sources = self._tables(images, pad, epilogue)
        offsets = torch.zeros(self.n_out) if bias is None else bias.contiguous()
        arrays = [v.data_ptr() for v in (images[0], result, w, offsets)]
        further = [v.data_ptr() for v in operands]
        run = _code("winograd_chunks").chunks(epilogue, self.deep > 1)
        count = self.batch * self.blocks * self.steps
        threads = torch.get_num_threads()
        bounds = np.linspace(0, count, min(count, TASKS * threads) + 1).astype(int)
        waiting, lock = iter(pairwise(bounds.tolist())), threading.Lock()

        def work() -> None:
            buffers = [_aligned(size) for size in self._buffers()]
            scratch = [buffer.data_ptr() for buffer in buffers]
            while True:
                with lock:
                    part = next(waiting, None)
                if part is None:
                    return
                run(*arrays, *scratch, plan.ctypes.data, sources.ctypes.data, *part, *further)

        together(work, threads if count > 1 else 1)
        return result.movedim(-1, 1)

    def fits(self, epilogue: Epilogue, operands: Sequence[torch.Tensor]) -> bool:
        """Return whether the operands of an epilogue have the shapes and the format of its result."""
        return epilogue.fits(self.shape, operands, dense=True)

    def _tables(self, images: list[torch.Tensor], pad: Ints, epilogue: Epilogue) -> tuple[np.ndarray, np.ndarray]:
        """Return the tables of `winograd_chunks` for images (b, [z,] y, x, c)."""
        transforms, deep = _code("winograd_transforms"), self.deep
        functions = (
            transforms.input_transform(self.size),
            _code("matrix_products").multiplier(),
            transforms.output_transform(self.size, self.edges, epilogue),
            *((transforms.into_points(deep), transforms.from_points(deep, self.edge)) if deep > 1 else ()),
        )
        grid = (*self.per_phase, *self.dilation, *self.edges)
        numbers = (
            *(self.steps, self.blocks, self.step, self.tiles, self.length, *self.out, *grid),
            *(self.size**2, deep, self.edge, self.halo, self.n_in, self.n_out),
            *(prod(self.parts), self.taps if deep == 1 else 1, self.reach),
        )
        *above, top, left = (0, *pad) if len(pad) == 2 else pad
        shift = [k * d for k, d in zip(self.part, self.dilation, strict=True)]
        sources = []
        for part, (i, j) in enumerate(product(*map(range, self.parts))):
            padding = (*above, top - i * shift[0], left - j * shift[1])
            channel = 0
            for image in images:
                at = (image.data_ptr() - images[0].data_ptr()) // 4
                *depth, height, width, channels = image.shape if len(pad) == 2 else image.shape[1:]
                apart = 0 if len(pad) == 2 else prod(image.shape[1:])
                sources.append((at, apart, part, channel, *padding, height, width, *depth, channels))
                channel += channels
        addresses = [function.address for function in functions] + [0] * (5 - len(functions))
        plan = (*addresses, *numbers, len(sources))
        return np.array(plan, np.int64), np.array(sources, np.int64)


def _aligned(size: int) -> torch.Tensor:
    """Allocate a buffer of so many values, of which the last `LANES` may be given up to begin at a cache line."""
    buffer = empty(size)
    skipped = -buffer.data_ptr() % CACHE_LINE // 4
    return buffer[skipped:]


def is_deep(w_shape: Ints, dilation: Ints) -> bool:
    """Return whether tiles of `DEEP` layers apply to a convolution."""
    return len(w_shape) == 5 and dilation[0] == 1 < w_shape[2] < DEEP


def best_tiling(x_shape: Ints, w_shape: Ints, dilation: Ints, prepared: bool, speed: Speed) -> Tiling | None:
    """Return the fastest tiling of a convolution without padding, or None if no tiling applies.

    Parameters
    ----------
    x_shape, w_shape, dilation
        See `Tiling`.
    prepared : bool
        Whether the transformed kernel is reused for several calls.
    speed : Speed
    """
    # the transforms work on whole vectors of channels
    if not (len(w_shape) in (4, 5) and min(w_shape[:2]) >= LANES and min(w_shape[-2:]) >= 2):
        return None

    def cost(tiling: Tiling) -> float:
        return speed.seconds(tiling.units) + (0.0 if prepared else speed.seconds(tiling.preparation))

    best = Tiling(x_shape, w_shape, dilation, 6)
    others = [Tiling(x_shape, w_shape, dilation, 7)]
    if is_deep(w_shape, dilation):
        others.append(Tiling(x_shape, w_shape, dilation, 6, DEEP))
    for other in others:
        if (other.deep > 1 or min(other.part) >= 4) and cost(other) < PRECISE * cost(best):
            best = other
    return best


@cache
def _code(module: str) -> ModuleType:
    """Return a module of machine code; imported on demand, as importing llvmlite takes time."""
    return import_module(f"neuromancer.engine.pytensor.kernels.{module}")
