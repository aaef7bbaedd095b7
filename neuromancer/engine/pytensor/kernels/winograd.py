"""Winograd (Cook-Toom) convolution over the last two axes, on the CPU in single precision.

A tile of 6x6 inputs gives 3x3 outputs of a 4x4 kernel with 36 products instead of 144 (4x4 outputs of a 3x3 kernel, 2x2
of a 5x5 kernel); a tile of 7x7 gives 4x4 outputs with 49 products. Larger kernels are split into parts of such sizes,
each applied to shifted inputs. Dilation only spreads the inputs of a tile. The products of all tiles and channels at
one position of the tile are one matrix product; those of parts and of the first kernel axis are accumulated before the
output transform.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import product
from math import ceil, prod
from types import ModuleType

import numpy as np
import torch

from neuromancer.engine.pytensor.kernels.cook_toom import matrices
from neuromancer.engine.pytensor.kernels.layout import to_channels_last
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.simd import LANES
from neuromancer.engine.pytensor.kernels.speed import Speed, Units
from neuromancer.engine.pytensor.kernels.threads import pool

Ints = tuple[int, ...]

CHUNK = 6 << 20
"""Size in bytes of the transformed values of a chunk, which is one thread's unit of work."""
LEAST_ROWS = 64
"""Minimum number of rows for an efficient matrix product."""
TRANSFORM = {6: 1.0, 7: 1.4}
"""Cost of the transforms per value by tile size, relative to tiles of 6."""
PRECISE = 0.93
"""Maximum cost of the larger tiles relative to the smaller ones: they are less precise. They are used for at least 4
taps; below, they would save little."""


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
        Inputs of a tile along an axis.
    """

    def __init__(self, x_shape: Ints, w_shape: Ints, dilation: Ints, size: int) -> None:
        self.size = size
        spatial = [n - d * (k - 1) for n, d, k in zip(x_shape[2:], dilation, w_shape[2:], strict=True)]
        # in 2-D the batch axis takes the place of z
        flat = len(spatial) == 2
        self.batch, self.depth = (1, x_shape[0]) if flat else (x_shape[0], x_shape[2])
        self.taps, self.reach = (1, 0) if flat else (w_shape[2], dilation[0])
        self.n_in, self.n_out = w_shape[1], w_shape[0]
        self.out = (self.depth, *spatial) if flat else tuple(spatial)
        self.dilation = dilation[-2:]
        self.parts, self.part = (tuple(n) for n in zip(*(split(k, size) for k in w_shape[-2:]), strict=True))
        self.edges = tuple(size + 1 - k for k in self.part)
        self.per_phase = tuple(
            ceil(ceil(n / d) / m) for n, d, m in zip(self.out[1:], self.dilation, self.edges, strict=True)
        )
        self.tiles = prod(self.per_phase) * prod(self.dilation)
        # independent of the number of threads, so that results are, too
        per_tile = 4 * size**2 * (self.depth * self.n_in + self.out[0] * self.n_out)
        rows = ceil(LEAST_ROWS / self.out[0]) if self.out[0] > 0 else 1
        self.step = max(1, min(CHUNK // per_tile, max(rows, ceil(self.tiles / 16))))

        points, parts = size**2 * self.tiles * self.batch, prod(self.parts)
        values = points * (parts * self.depth * self.n_in + self.out[0] * self.n_out)
        products = points * parts * self.out[0] * self.taps * self.n_in * self.n_out
        operands = points * parts * self.out[0] * self.taps * (self.n_in + self.n_out)
        self.units: Units = {
            "winograd_product": products,
            "winograd_value": TRANSFORM[size] * values + operands,
        }
        """Work of a call; see `speed`."""
        kernel = size**2 * parts * self.taps * self.n_in * self.n_out
        self.prepared = 4 * kernel
        """Size of the transformed kernel in bytes."""
        self.preparation: Units = {"winograd_value": 2 * TRANSFORM[size] * kernel}
        """Work of the kernel transform."""
        self._scratch = self.step * per_tile

    @property
    def key(self) -> int:
        """Key of the transformed kernel in a cache."""
        return self.size

    @property
    def scratch(self) -> int:
        """Workspace in bytes, in addition to input and result."""
        return self._scratch * torch.get_num_threads()

    def chunks(self) -> Iterator[tuple[int, int, int]]:
        """Iterate over chunks of tiles: (image, first tile, end)."""
        for image in range(self.batch):
            for first in range(0, self.tiles, self.step):
                yield image, first, min(first + self.step, self.tiles)

    def transformed(self, w: torch.Tensor) -> torch.Tensor:
        """Transform a kernel (n_out, n_in, [z,] y, x) into (parts y, parts x, z, size * size, n_in, n_out)."""
        w = w.unsqueeze(2) if w.ndim == 4 else w
        n_out, n_in, depth, *taps = w.shape
        (ny, nx), (ky, kx), size = self.parts, self.part, self.size
        whole = torch.nn.functional.pad(w, (0, nx * kx - taps[1], 0, ny * ky - taps[0]))
        parts = whole.view(n_out, n_in, depth, ny, ky, nx, kx).permute(3, 5, 2, 4, 6, 1, 0)
        by_tap = parts.reshape(ny, nx, depth, ky * kx, n_in * n_out)
        return torch.matmul(_along_both(size, ky, kx), by_tap).view(ny, nx, depth, size**2, n_in, n_out)

    def conv(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None, pad: Ints) -> torch.Tensor:
        """Convolve x with a `transformed` kernel; see `conv_algorithm.ConvAlgorithm`."""
        n = self.size
        source = to_channels_last(x).movedim(1, -1)
        result = empty(*(() if x.ndim == 4 else x.shape[:1]), *self.out, self.n_out)
        offsets = np.zeros(self.n_out, "float32") if bias is None else bias.contiguous().numpy()
        images = (source[None], result[None]) if x.ndim == 4 else (source, result)
        *above, top, left = (0, *pad) if x.ndim == 4 else pad
        shift = [k * d for k, d in zip(self.part, self.dilation, strict=True)]
        input_transform = _transforms().input_transform(n)
        output_transform = _transforms().output_transform(n, self.edges)
        chunks, lock = self.chunks(), threading.Lock()

        def work() -> None:
            depth, length = self.depth, self.out[0]
            values = empty(n * n * self.step * depth * self.n_in)
            sums = empty(n * n * self.step * length * self.n_out)
            with torch.inference_mode():
                while True:
                    with lock:
                        chunk = next(chunks, None)
                    if chunk is None:
                        return
                    image, first, end = chunk
                    tiles = end - first
                    v = values[: n * n * tiles * depth * self.n_in].view(n * n, depth * tiles, self.n_in)
                    s = sums[: n * n * tiles * length * self.n_out].view(n * n, length * tiles, self.n_out)
                    for i, j in product(*map(range, self.parts)):
                        padding = (*above, top - i * shift[0], left - j * shift[1])
                        cut = self._cut(first, padding, images[0].shape[1:], depth, tiles)
                        input_transform(images[0][image].data_ptr(), v.data_ptr(), cut.ctypes.data)
                        for k in range(self.taps):
                            rows = v.narrow(1, k * self.reach * tiles, length * tiles)
                            if i == j == k == 0:
                                torch.bmm(rows, w[i, j, k], out=s)
                            else:
                                s.baddbmm_(rows, w[i, j, k])
                    cut = self._cut(first, (0, 0, 0), images[1].shape[1:], length, tiles)
                    arrays = (s.data_ptr(), images[1][image].data_ptr(), offsets.ctypes.data)
                    output_transform(*arrays, cut.ctypes.data)

        threads = torch.get_num_threads()
        if threads == 1 or self.tiles * self.batch <= self.step:
            work()
        else:
            for done in [pool(threads, os.getpid()).submit(work) for _ in range(threads)]:
                done.result()
        return result.movedim(-1, 1)

    def _cut(self, first: int, pad: Ints, shape: Ints, layers: int, tiles: int) -> np.ndarray:
        """Return the table of `winograd_transforms` for so many tiles from `first` on of an image (z, y, x, c)."""
        grid = (*self.per_phase, *self.dilation, *self.edges)
        return np.array([first, *grid, *pad, *shape, layers, tiles], np.int64)


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
    small, large = (Tiling(x_shape, w_shape, dilation, size) for size in TRANSFORM)
    slow, fast = (speed.seconds(t.units) + (0.0 if prepared else speed.seconds(t.preparation)) for t in (small, large))
    return large if min(large.part) >= 4 and fast < PRECISE * slow else small


@cache
def _along_both(size: int, *taps: int) -> torch.Tensor:
    """Return the matrix that transforms a kernel along both axes at once, (size * size, taps)."""
    along = [matrices(k, size)[1] for k in taps]
    return torch.from_numpy(np.kron(*along).astype("float32"))


def _transforms() -> ModuleType:
    """Return the module of the transforms; imported on demand, as importing llvmlite takes time."""
    return import_module("neuromancer.engine.pytensor.kernels.winograd_transforms")
