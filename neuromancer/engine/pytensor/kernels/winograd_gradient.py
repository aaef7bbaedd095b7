"""Gradient of a convolution for its kernel by the Cook-Toom algorithm, on the CPU in single precision.

The outputs of a tile are ``A ((G w) * (B x))`` (see `cook_toom`), so the gradient for w is ``G' ((A' gy) * (B x))``,
summed over all tiles: at every point of the tiles one product of matrices (n_in, tiles) and (tiles, n_out).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from itertools import product
from math import ceil, prod
from types import ModuleType
from typing import Any

import torch

from neuromancer.engine.pytensor.kernels import winograd
from neuromancer.engine.pytensor.kernels.cook_toom import matrices
from neuromancer.engine.pytensor.kernels.layout import to_channels_last
from neuromancer.engine.pytensor.kernels.memory import empty
from neuromancer.engine.pytensor.kernels.threads import each

Ints = tuple[int, ...]

PARTS = 16
"""Maximum number of partial sums, each computed by one thread; the result does not depend on the number of threads."""
SHARE, FEW = 1e8, 4
"""Minimum number of products of direct convolution per partial sum; number of partial sums up to which they may be
sums of fewer than `LEAST_ROWS` terms."""
CHUNK = 4 << 20
"""Size in bytes of the transformed values of which a product is computed at once, unless it has too few rows."""
LEAST_ROWS = 128
"""Minimum number of rows of a product, if there are as many."""
SIZE = 6
PRODUCT, TRANSFORM, SUM, PART = 1.1, 30.0, 8.0, 70.0
"""Measured costs, in units of a product of direct convolution: of a product, of the transforms per value, of adding a
product to its sum, and of a value of a partial sum."""


class KernelGradient:
    """How the gradient is computed.

    Parameters
    ----------
    x_shape : (b, n_in, [z,] y, x)
        Padded.
    w_shape : (n_out, n_in, [z,] y, x)
    dilation : tuple of int, per spatial axis
    """

    def __init__(self, x_shape: Ints, w_shape: Ints, dilation: Ints) -> None:
        self.tiling = t = winograd.Tiling(x_shape, w_shape, dilation, SIZE)
        self.w_shape = w_shape
        self.per_tile = 4 * SIZE**2 * (t.depth * t.n_in + t.out[0] * t.n_out)
        tiles, length = t.tiles * t.batch, max(1, t.out[0])
        direct = t.batch * prod(t.out) * prod(w_shape)
        self.parts = max(1, min(PARTS, tiles, int(direct / SHARE), max(FEW, tiles * length // LEAST_ROWS)))
        self.step = min(t.tiles, ceil(tiles / self.parts), max(ceil(LEAST_ROWS / length), CHUNK // self.per_tile))

    @property
    def sums(self) -> Ints:
        """Shape of the sums of products: (parts y, parts x, z, points, n_in, n_out)."""
        t = self.tiling
        return (*t.parts, t.taps, SIZE**2, t.n_in, t.n_out)

    @property
    def work(self) -> float:
        """Cost of a call, as the number of products of a direct convolution that take as long."""
        t = self.tiling
        tiles, parts = t.tiles * t.batch, prod(t.parts)
        values = SIZE**2 * tiles * (parts * t.depth * t.n_in + t.out[0] * t.n_out)
        products = SIZE**2 * tiles * parts * t.out[0] * t.taps * t.n_in * t.n_out
        return (
            PRODUCT * products + TRANSFORM * values + (SUM * len(self.chunks()) + PART * self.parts) * prod(self.sums)
        )

    @property
    def scratch(self) -> int:
        """Workspace in bytes, in addition to operands and result."""
        return (self.step * self.per_tile + 4 * prod(self.sums)) * torch.get_num_threads() + 4 * self.parts * prod(
            self.w_shape
        )

    def chunks(self) -> list[tuple[int, int, int]]:
        """Return the chunks of tiles: (image, first tile, number)."""
        t = self.tiling
        return [
            (image, first, min(self.step, t.tiles - first))
            for image in range(t.batch)
            for first in range(0, t.tiles, self.step)
        ]

    def gradient(self, x: torch.Tensor, gy: torch.Tensor, pad: Ints) -> torch.Tensor:
        """Return the gradient of ``sum(gy * conv(x, w))`` for w, in the channels-last memory format.

        Parameters
        ----------
        x : Tensor, (b, n_in, [z,] y, x)
            Not padded, unlike the shape for which this was made.
        gy : Tensor, (b, n_out, [z,] y, x)
        pad : tuple of int, per spatial axis
        """
        images, gradients = (_images(v) for v in (x, gy))
        chunks = self.chunks()
        count = min(self.parts, len(chunks))
        bounds = [len(chunks) * k // count for k in range(count + 1)]
        sums: list[Any] = [None] * count

        def task(k: int) -> None:
            with torch.inference_mode():
                sums[k] = self._sum(images, gradients, pad, chunks[bounds[k] : bounds[k + 1]])

        each(task, range(count), torch.get_num_threads())
        total = sums[0].double()
        for part in sums[1:]:
            total += part
        return self._kernel(total)

    def _sum(self, images: torch.Tensor, gradients: torch.Tensor, pad: Ints, chunks: list[Any]) -> torch.Tensor:
        """Return the gradient of some chunks: (parts y, parts x, z, taps y * taps x, n_in * n_out)."""
        t, run = self.tiling, _code().tile_transform
        inputs = _code().inputs_matrix(SIZE)
        adjoint = [_code().adjoint_matrix(taps, SIZE) for taps in t.part]
        *above, top, left = (0, *pad) if len(pad) == 2 else pad
        points = SIZE**2
        sums = empty(*self.sums)
        values = empty(points * self.step * t.depth * t.n_in)
        slopes = empty(points * self.step * t.out[0] * t.n_out)
        for number, (image, first, tiles) in enumerate(chunks):
            v = values[: points * t.depth * tiles * t.n_in].view(points, t.depth * tiles, t.n_in)
            s = slopes[: points * t.out[0] * tiles * t.n_out].view(points, t.out[0] * tiles, t.n_out)
            grid = (tiles, first, *t.per_phase, *t.dilation, *t.edges)
            lengths = (*gradients.shape[1:], t.out[0])
            run(*adjoint)(gradients[image].data_ptr(), s.data_ptr(), *lengths, *grid, 0, 0, 0)
            for i, j in product(*map(range, t.parts)):
                shift = [n * k * d for n, k, d in zip((i, j), t.part, t.dilation, strict=True)]
                padding = (*above, top - shift[0], left - shift[1])
                lengths = (*images.shape[1:], t.depth)
                run(inputs, inputs)(images[image].data_ptr(), v.data_ptr(), *lengths, *grid, *padding)
                for k in range(t.taps):
                    rows = v.narrow(1, k * t.reach * tiles, t.out[0] * tiles).transpose(1, 2)
                    if number == 0:
                        torch.bmm(rows, s, out=sums[i, j, k])
                    else:
                        sums[i, j, k].baddbmm_(rows, s)
        back = _back(*t.part)
        return torch.matmul(back, sums.view(*t.parts, t.taps, points, -1))

    def _kernel(self, total: torch.Tensor) -> torch.Tensor:
        """Return the kernel from its parts."""
        t = self.tiling
        (ny, nx), (ky, kx) = t.parts, t.part
        whole = total.view(ny, nx, t.taps, ky, kx, t.n_in, t.n_out).permute(6, 2, 0, 3, 1, 4, 5)
        whole = whole.reshape(t.n_out, t.taps, ny * ky, nx * kx, t.n_in)
        result = empty(t.n_out, *self.w_shape[2:], t.n_in)
        result.view(t.n_out, t.taps, *self.w_shape[-2:], t.n_in).copy_(
            whole[:, :, : self.w_shape[-2], : self.w_shape[-1]]
        )
        return result.movedim(-1, 1)


def best_gradient(x_shape: Ints, w_shape: Ints, dilation: Ints) -> KernelGradient | None:
    """Return how to compute the gradient for a kernel, or None if this does not apply; see `KernelGradient`."""
    if not (len(w_shape) in (4, 5) and min(w_shape[:2]) >= winograd.LANES and min(w_shape[-2:]) >= 2):
        return None
    return KernelGradient(x_shape, w_shape, dilation)


def _images(x: torch.Tensor) -> torch.Tensor:
    """Return images as (b, z, y, x, c), a batch in two dimensions as (1, b, y, x, c)."""
    x = to_channels_last(x).movedim(1, -1)
    return x[None] if x.ndim == 4 else x


@cache
def _back(*taps: int) -> torch.Tensor:
    """Return the matrix from sums of products to the taps of a part, (taps, points)."""
    y, x = (torch.from_numpy(matrices(k, SIZE)[1]) for k in taps)
    return torch.kron(y, x).T.float().contiguous()


@cache
def _code() -> ModuleType:
    """Return the module of the machine code; imported on demand, as importing llvmlite takes time."""
    return import_module("neuromancer.engine.pytensor.kernels.tile_transform")
